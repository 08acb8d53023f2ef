//! B4 and B6: nobody wakes those who wait, and they have the line when their slice is over.
//!
//! | | the fault | proved by |
//! |---|---|---|
//! | B4 | the writer is killed after it has published: before it takes the flags, before it wakes, before it rings; at once, or after all have the line (its death itself is news to those who poll) | the bytes of the file, where ptrace holds it |
//! | B6 | readers are stopped between their wake and their relay | the result of the wait, where ptrace holds them |
//!
//! A time above a slice is void if the machine was late itself (see [`Canary`]), and one may be late unnoticed: it counts
//! when it happens three times in a row.

use std::thread;
use std::time::Duration;

use nix::libc;
use nix::unistd::{Pid, gettid};
use shm_mailbox::Options;

use super::crowd::{self, Crowd, PUBLISHED};
use crate::canary::{Canary, SLICE, now};
use crate::check::{Check, Skip, Tally};
use crate::common::trace::{Stop, Traced};
use crate::common::{Child, NAME, Parent, Phase, Place, Role, Words, mix, wait_until};

pub const B4: Check = Check {
    id: "B4",
    fault: "writer killed after it published, before it woke anybody",
    unit: "waiters that nobody woke",
    ci: 400,
    soak: 20_000,
    turn: 800,
    evidence: &["killed before it took the flags", "killed before it woke", "killed before it rang", HELD],
    run: run_b4,
};

pub const B6: Check = Check {
    id: "B6",
    fault: "those who are to wake others are stopped",
    unit: "lines",
    ci: 20,
    soak: 2_000,
    turn: 40,
    evidence: &["readers held before their relay", "lines that nobody relayed"],
    run: run_b6,
};

const HELD: &str = "of these held until all had the line";

pub const ROLES: &[Role<'static>] = &[("doomed_writer", doomed_writer), ("relay", relay)];

/// Shared word: given to begin.
const GO: usize = 0;

/// Says its thread, and publishes when the word is given.
fn doomed_writer(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    writer.publish(b"last").unwrap();
    parent.hear();
}

/// Before what the writer is killed.
#[derive(Clone, Copy, PartialEq)]
enum Moment {
    Flags,
    Wake,
    Ring,
}

fn run_b4(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().create(NAME).unwrap());
    let crowd = Crowd::start(&place, 20, 20);
    let canary = Canary::new();
    let mut lateness = Lateness::default();
    let (mut kills, mut tries) = (0, 0);
    while tally.done < amount {
        let moment = [Moment::Flags, Moment::Wake, Moment::Ring][kills % 3];
        let Some(kill) = kill_after_publish(&place, &words, &crowd, moment, mix(seed + tries)) else {
            return Err(Skip("this system does not allow to trace a child".into()));
        };
        tries += 1;
        let is_held = kills / 3 % 2 == 1;
        canary.reset();
        // Before it rang, it has woken two sleepers, who have woken the others.
        let served = || crowd::wait_until_served(&words, crowd.sleepers, crowd.pollers);
        let (sleepers, pollers) = if is_held {
            let times = served();
            kill();
            times
        } else {
            kill();
            served()
        };
        let longest = if moment == Moment::Ring { pollers } else { pollers.max(sleepers) };
        if lateness.is_void(longest, canary.was_prompt(), &mut tally)? {
            continue;
        }
        kills += 1;
        match moment {
            Moment::Flags => tally.add("killed before it took the flags", 1),
            Moment::Wake => tally.add("killed before it woke", 1),
            Moment::Ring => tally.add("killed before it rang", 1),
        }
        tally.add(HELD, is_held.into());
        tally.done += crowd.pollers + if moment == Moment::Ring { 0 } else { crowd.sleepers };
    }
    Crowd::end(vec![crowd], &place);
    Ok(tally)
}

/// Leads a writer to the moment at which it is to be killed, which what is returned does. `None`: no tracing here.
fn kill_after_publish(
    place: &Place,
    words: &Words,
    crowd: &Crowd,
    moment: Moment,
    seed: u64,
) -> Option<impl FnOnce() + use<>> {
    let raw = place.raw();
    words.set(GO, 0);
    crowd::forget(words);
    let mut child = Child::start("doomed_writer", place, &[]);
    let thread = Pid::from_raw(child.hear_number() as i32);
    // The new writer has woken all; they wait again.
    wait_until("all wait", || raw.waiters() == 3);
    crowd.child().wait_until_asleep();
    let traced = Traced::attach(&child, thread)?;
    let before = raw.latest();
    words.set(GO, 1);
    let is_published = || raw.sequences().iter().any(|&sequence| sequence == 2 * (before + 1));
    while !is_published() {
        words.set(PUBLISHED, now());
        traced.step();
    }
    match moment {
        Moment::Flags => {
            assert_eq!(raw.phase(), Phase::PublishedOnly);
            for _ in 0..seed % 8 {
                if raw.latest() == before + 1 {
                    break;
                }
                traced.step();
            }
            assert_eq!(raw.waiters(), 3, "the flags are there");
        }
        Moment::Wake => {
            // The next system call is the wake: it is never made.
            traced.to_system_call();
            assert_eq!((raw.latest(), raw.waiters()), (before + 1, 0), "it stands before the wake");
        }
        Moment::Ring => {
            (0..3).for_each(|_| traced.to_system_call());
        }
    }
    Some(move || traced.kill(child))
}

/// After so many void times the machine is too busy for this.
const MOST_VOID: u64 = 20;
/// So many times late in a row, on a machine that was prompt, is harm.
const IN_A_ROW: u64 = 3;

/// How often those who wait had the line later than they may.
#[derive(Default)]
struct Lateness {
    void: u64,
    in_a_row: u64,
}

impl Lateness {
    /// Whether a time is too long to be counted, and no proof of harm yet. After that the same is tried again.
    #[track_caller]
    fn is_void(&mut self, longest: Duration, was_prompt: bool, tally: &mut Tally) -> Result<bool, Skip> {
        if longest <= SLICE {
            self.in_a_row = 0;
            return Ok(false);
        }
        if was_prompt {
            self.in_a_row += 1;
            assert!(self.in_a_row < IN_A_ROW, "a waiter had the line after {longest:?}");
        }
        tally.add("void, the machine being late", 1);
        self.void += 1;
        if self.void > MOST_VOID { Err(Skip("the machine is too busy to measure 110 ms".into())) } else { Ok(true) }
    }
}

/// Gets every line, until the last.
fn relay(_: &mut Parent) {
    let mut reader = Options::new().open(NAME).unwrap();
    while reader.read().unwrap().bytes != crowd::THE_END {}
}

/// A reader that can be held between its wake and its relay. (Stopped by a signal, it would leave the futex's queue, and
/// nobody would depend on it.)
struct Held {
    child: Child,
    traced: Traced,
}

impl Held {
    fn start(place: &Place) -> Option<Self> {
        let child = Child::start("relay", place, &[]);
        let traced = Traced::attach(&child, child.pid())?;
        Some(Self { child, traced })
    }

    /// Lets it go on until it sleeps, for a whole slice.
    fn fall_asleep(&self) {
        loop {
            let stop = self.traced.next(None);
            if stop == Stop::Call(libc::SYS_futex)
                && self.traced.arguments()[1] as i32 & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT_BITSET
            {
                return self.traced.let_go(None);
            }
        }
    }

    /// Waits until it is back from its sleep, where it stays; whether it was woken, and stands before its relay.
    fn wait_for_end_of_sleep(&self) -> bool {
        let mut stop = None;
        wait_until("it is back from its sleep", || {
            stop = self.traced.has_stopped();
            stop.is_some()
        });
        assert_eq!(stop, Some(Stop::Returned));
        self.traced.result() == 0
    }
}

fn run_b6(amount: u64, seed: u64) -> Result<Tally, Skip> {
    const HELD: usize = 4;
    /// Later than this, nobody was woken.
    const WOKEN: Duration = Duration::from_millis(20);
    let mut tally = Tally::default();
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = place.options().create(NAME).unwrap();
    let crowd = Crowd::start(&place, 4, 0);
    let held = (0..HELD).map(|_| Held::start(&place)).collect::<Option<Vec<_>>>();
    let Some(held) = held else { return Err(Skip("this system does not allow to trace a child".into())) };
    let canary = Canary::new();
    let mut lateness = Lateness::default();
    let mut lines = 0;
    while tally.done < amount {
        crowd::forget(&words);
        crowd.child().wait_until_asleep();
        // In the middle of the others' slices; when these are over and begin again, those that are held are the first
        // to be woken, as long as their own slices last.
        thread::sleep(Duration::from_millis(50));
        held.iter().for_each(Held::fall_asleep);
        thread::sleep(Duration::from_micros(40_000 + mix(seed ^ lines) % 50_000));
        canary.reset();
        words.set(PUBLISHED, now());
        writer.publish(b"line").unwrap();
        let (longest, _) = crowd::wait_until_served(&words, crowd.sleepers, 0);
        let was_prompt = canary.was_prompt();
        let woken = held.iter().filter(|held| held.wait_for_end_of_sleep()).count();
        lines += 1;
        if lateness.is_void(longest, was_prompt, &mut tally)? {
            continue;
        }
        tally.done += 1;
        tally.add("readers held before their relay", woken as u64);
        tally.add("lines that nobody relayed", u64::from(longest > WOKEN && woken >= 2));
    }
    drop(writer);
    let children: Vec<_> = held.into_iter().map(|Held { child, traced }| (child, drop(traced)).0).collect();
    Crowd::end(vec![crowd], &place);
    children.into_iter().for_each(Child::end);
    Ok(tally)
}
