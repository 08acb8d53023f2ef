//! B6w: the writer is stopped, by SIGSTOP, at any machine instruction of a publish that has somebody to wake.
//!
//! For each instruction a writer of its own is led there and left stopped. Meanwhile a reader that looks has the newest
//! line at once, old or new; once the new line is published, one that sleeps and one that polls have it while the writer
//! stands still, within a slice; and before that they have it when the writer goes on.

use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::Reader;

use crate::aftermath::newest;
use crate::canary::SLICE;
use crate::check::{Check, Skip, Tally};
use crate::common::{LIMIT, Phase, Place, line, mix, wait_until};
use crate::stepper::{start, step_to_mark, to_mark};

const STOPS: &str = "writers stopped";
const BEFORE: &str = "of these before the line was published";
const WHILE: &str = "waiters that had the line while the writer stood still";

pub const B6W: Check = Check {
    id: "B6w",
    fault: "writer stopped at any machine instruction of publish",
    unit: "instruction boundaries",
    ci: 200,
    soak: 10_000,
    turn: 500,
    evidence: &[STOPS, BEFORE, WHILE],
    run,
};

const BANKS: u64 = 4;
const LENGTH: usize = 40;
/// Lines before the one that is stepped.
const BEFOREHAND: u64 = 6;
const NUMBER: u64 = BEFOREHAND + 1;
/// Flags of those who wait: a sleeper and a poller.
const BOTH: u32 = 3;
/// Cases at once: they mostly wait for slices to end.
const AT_ONCE: usize = 12;

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let boundaries = boundaries()?;
    let mut tally = Tally::default();
    for turn in 0.. {
        // A round of all, in an order that the seed mixes; the last one may be cut off.
        let mut order = boundaries.clone();
        order.sort_by_key(|&steps| mix(mix(seed ^ turn) ^ steps));
        if turn > 0 {
            order.truncate(amount.saturating_sub(tally.done) as usize);
        }
        tally.merge(round(&order)?);
        if tally.done >= amount {
            return Ok(tally);
        }
    }
    unreachable!()
}

/// After how many steps the writer stands at another instruction. (One that repeats itself is stepped many times.)
fn boundaries() -> Result<Vec<u64>, Skip> {
    let place = Place::new();
    let (child, traced) = start("stepped_writer", &place, &[&BANKS, &LENGTH, &BEFOREHAND, &false])?;
    to_mark(&traced);
    let raw = place.raw();
    raw.put_u32(raw.page(), BOTH);
    let (mut boundaries, mut steps, mut position) = (Vec::new(), 0, 0);
    step_to_mark(&traced, |_| {
        steps += 1;
        let now = traced.position();
        if now != position {
            boundaries.push(steps);
        }
        position = now;
        true
    });
    traced.kill(child);
    Ok(boundaries)
}

fn round(order: &[u64]) -> Result<Tally, Skip> {
    let next = AtomicUsize::new(0);
    let result = Mutex::new(Ok((Tally::default(), Vec::new())));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&steps) = order.get(next.fetch_add(1, SeqCst)) {
                    let stopped = stop_after(steps);
                    let mut result = result.lock().unwrap();
                    match (&mut *result, stopped) {
                        (Ok((tally, times)), Ok(more)) => {
                            tally.done += 1;
                            tally.add(STOPS, 1);
                            tally.add(BEFORE, more.is_none().into());
                            tally.add(WHILE, more.map_or(0, |more| more.len() as u64));
                            times.extend(more.into_iter().flatten());
                        }
                        (Err(_), _) => return,
                        (result, Err(skip)) => *result = Err(skip),
                    }
                }
            });
        }
    });
    let (tally, mut times) = result.into_inner().unwrap()?;
    // All of them had it, which is what counts; how soon is told by most of them, since a busy machine is late.
    times.sort();
    let most: Duration = times[times.len() * 3 / 4];
    assert!(most <= SLICE, "a quarter of the waiters had the line more than {most:?} after the writer stopped");
    Ok(tally)
}

/// Stops a writer after so many steps of a publish. Returns how long a sleeper and a poller took to have the line while
/// it stood; `None` if it was not published yet.
fn stop_after(steps: u64) -> Result<Option<[Duration; 2]>, Skip> {
    let place = Place::new();
    let (mut child, traced) = start("stepped_writer", &place, &[&BANKS, &LENGTH, &BEFOREHAND, &false])?;
    to_mark(&traced);
    let raw = place.raw();
    thread::scope(|scope| {
        let waiters = [sleeper as fn(&mut Reader), poller].map(|waits| {
            let mut reader = place.options().open("box").unwrap();
            scope.spawn(move || {
                waits(&mut reader);
                (Instant::now(), newest(&mut reader).expect("a line").0)
            })
        });
        wait_until("both wait", || raw.waiters() == BOTH);
        for _ in 0..steps {
            traced.step();
        }
        traced.leave_stopped();
        wait_until("it is stopped", || child.is_stopped());
        let stopped = Instant::now();

        let is_published = raw.phase() == Phase::PublishedOnly || raw.latest() == NUMBER;
        let shown = if is_published { NUMBER } else { BEFOREHAND };
        for mut reader in [place.options().open("box").unwrap(), place.options().open("box").unwrap()] {
            assert_eq!(newest(&mut reader), Some((shown, line(shown, 0, LENGTH))), "after {steps} steps");
            assert!(reader.try_read().unwrap().is_none(), "nothing more");
        }
        if !is_published {
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "there is nothing to return yet");
            child.resume();
        }
        wait_until("the waiters have the line", || waiters.iter().all(thread::ScopedJoinHandle::is_finished));
        if is_published {
            assert!(child.is_stopped(), "all this time");
        }
        let times = waiters.map(|waiter| {
            let (found, number) = waiter.join().unwrap();
            assert!(number >= NUMBER);
            found.saturating_duration_since(stopped)
        });
        child.assert_alive();
        child.kill();
        Ok(is_published.then_some(times))
    })
}

fn sleeper(reader: &mut Reader) {
    while reader.read_timeout(LIMIT).unwrap().expect("a line").number < NUMBER {}
}

fn poller(reader: &mut Reader) {
    let doorbell = reader.doorbell().unwrap();
    loop {
        while let Some(message) = reader.try_read().unwrap() {
            if message.number >= NUMBER {
                return;
            }
        }
        poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }
}
