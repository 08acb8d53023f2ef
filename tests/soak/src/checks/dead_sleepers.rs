//! B5: readers killed asleep leave a flag, which the next publish takes. The one after it makes no system call, as if
//! they had never been there, and the writer has the same descriptors.
//!
//! System calls are counted by ptrace; a kill, by the wait status; that its reader slept, by its state and its flag.

use std::fs;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getppid, gettid};
use shm_mailbox::Options;

use crate::check::{Check, Skip, Tally};
use crate::common::trace::Traced;
use crate::common::{Child, NAME, Parent, Place, Role, Words, states, wait_until};
use crate::nursery::Forked;

pub const B5: Check = Check {
    id: "B5",
    fault: "readers killed asleep",
    unit: "kills",
    ci: 2_000,
    soak: 100_000,
    turn: 4_000,
    evidence: &["publishes that took the flags of the dead", "publishes without a system call"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("counted_writer", counted_writer), ("sleepers", sleepers)];

const SLEEPERS: usize = 50;
/// Below the number at which a writer looks after its files.
const BATCHES: u64 = 400;

/// Shared words: the line to publish next, and the one that was.
const GO: usize = 0;
const DONE: usize = 16;

/// Says its thread, and publishes whenever the word is given.
fn counted_writer(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    parent.say(gettid());
    loop {
        while words.get(GO) == words.get(DONE) {}
        writer.publish(b"line").unwrap();
        words.set(DONE, words.get(GO));
        // The end of what is counted.
        getppid();
    }
}

/// A batch of readers whenever it is asked for one; kills them asleep.
fn sleepers(parent: &mut Parent) {
    while parent.hear() == "batch" {
        let batch: Vec<_> = (0..SLEEPERS).map(|index| Forked::start(move || sleep(index % 2 == 0))).collect();
        for sleeper in &batch {
            wait_until("a reader sleeps", || {
                let wait = fs::read_to_string(format!("/proc/{}/wchan", sleeper.pid())).unwrap();
                // A kernel that does not tell where says 0.
                let waits = wait == "0" || wait.contains("futex") || wait.contains("poll");
                states(sleeper.pid()) == ['S'] && waits
            });
        }
        parent.say("asleep");
        assert_eq!(parent.hear(), "kill");
        batch.into_iter().for_each(Forked::kill);
        parent.say("killed");
    }
}

fn sleep(by_poll: bool) {
    let mut reader = Options::new().open(NAME).unwrap();
    while reader.try_read().unwrap().is_some() {}
    if by_poll {
        let doorbell = reader.doorbell().unwrap();
        while reader.try_read().unwrap().is_none() {
            poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        }
    }
    reader.read().unwrap();
}

fn run(amount: u64, _: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    while tally.done < amount {
        let batches = (amount - tally.done).div_ceil(SLEEPERS as u64).min(BATCHES);
        tally.merge(kill_batches(batches)?);
    }
    Ok(tally)
}

fn kill_batches(batches: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = Child::start("counted_writer", &place, &[]);
    let thread = Pid::from_raw(writer.hear_number() as i32);
    let mut nursery = Child::start("sleepers", &place, &[]);
    let Some(traced) = Traced::attach(&writer, thread) else {
        return Err(Skip("this system does not allow to trace a child".into()));
    };
    let raw = place.raw();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", writer.pid())).unwrap().count();
    // How many system calls one publish makes.
    let publish = || {
        let number = words.get(GO) + 1;
        words.set(GO, number);
        let mut stops = 0;
        loop {
            traced.to_system_call();
            if words.get(DONE) == number {
                break;
            }
            stops += 1;
        }
        // The end of the call that marks the end.
        traced.to_system_call();
        stops / 2
    };
    publish();
    let before = (publish(), descriptors());
    assert_eq!(before.0, 0, "system calls of a publish while nobody waits");
    for _ in 0..batches {
        nursery.say("batch");
        nursery.expect("asleep");
        nursery.say("kill");
        nursery.expect("killed");
        assert_eq!(raw.waiters(), 3, "the flags of the dead");
        publish();
        assert_eq!(raw.waiters(), 0, "taken");
        tally.add("publishes that took the flags of the dead", 1);
        assert_eq!((publish(), descriptors()), before, "system calls and descriptors, with {SLEEPERS} dead readers");
        tally.add("publishes without a system call", 1);
        tally.done += SLEEPERS as u64;
    }
    nursery.say("enough");
    nursery.end();
    traced.kill(writer);
    Ok(tally)
}
