//! D4: the mailbox is grown, removed and made again, removed by force under its writer, swept by strangers and put back
//! or made anew, under readers that sleep, poll and look. Each gets the first line after it, none gets an old line after
//! a new one, and each has it within a slice (judged by the best of ten, since other programs only add to times).

use std::fs;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{ErrorKind, Options, Writer};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, wait_until};
use crate::random::Random;

pub const D4: Check = Check {
    id: "D4",
    fault: "grown, removed, swept and made again, under waiting readers",
    unit: "changes",
    ci: 500,
    soak: 10_000,
    turn: 500,
    evidence: &CHANGES,
    run,
};

pub const ROLES: &[Role<'static>] = &[("settler", settler)];

const CHANGES: [&str; 6] = [
    "grown",
    "removed and made again",
    "removed by force",
    "swept and put back",
    "swept and made anew",
    "name swept alone",
];
const GROWN: usize = 0;
const REMOVED: usize = 1;
const FORCED: usize = 2;
const PUT_BACK: usize = 3;
const MADE_ANEW: usize = 4;

const READERS: usize = 3;
const WITHIN: Duration = Duration::from_millis(110);
const BEST_OF: usize = 10;

/// Each reader's shared word: the last line that it has.
const fn word(reader: usize) -> usize {
    8 * reader
}

/// Argument: index. The first sleeps, the second polls, the third looks.
fn settler(parent: &mut Parent) {
    let words = Words::of_parent();
    let index: usize = parent.argument(0);
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = (index == 1).then(|| reader.doorbell().unwrap());
    let mut had = 0;
    while had != u64::MAX {
        let message = match (&doorbell, index) {
            (Some(doorbell), _) => {
                poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
                reader.try_read().unwrap()
            }
            (None, 0) => Some(reader.read().unwrap()),
            (None, _) => {
                thread::sleep(Duration::from_micros(100));
                reader.try_read().unwrap()
            }
        };
        if let Some(message) = message {
            let line = u64::from_le_bytes(message.bytes[..8].try_into().unwrap());
            assert!(line > had, "line {line} after line {had}");
            had = line;
            words.set(word(index), line);
        }
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut random = Random::new(seed);
    let options = place.options();
    let mut children: Vec<_> = (0..READERS).map(|index| Child::start("settler", &place, &[&index])).collect();
    let mut writer = options.create(NAME).unwrap();
    let mut line = 0;
    let mut times: [Vec<Duration>; CHANGES.len()] = Default::default();
    let mut tally = Tally::default();
    let mut publish = |writer: &mut Writer, is_last: bool| {
        line = if is_last { u64::MAX } else { line + 1 };
        writer.publish(&line.to_le_bytes()).unwrap();
        let published = Instant::now();
        wait_until("all have the line", || {
            children.iter_mut().for_each(|child| {
                if !is_last {
                    child.assert_alive()
                }
            });
            (0..READERS).all(|index| words.get(word(index)) == line)
        });
        published.elapsed()
    };
    publish(&mut writer, false);
    while tally.done < amount {
        let change = random.below(CHANGES.len() as u64) as usize;
        // Sometimes the readers have had time to fall asleep, and sometimes not.
        thread::sleep(Duration::from_micros(random.below(3000)));
        match change {
            GROWN if writer.capacity() < 1 << 20 => writer.grow(writer.capacity() + 1).unwrap(),
            GROWN | REMOVED => {
                drop(writer);
                assert!(options.remove(NAME, false).unwrap());
                writer = options.create(NAME).unwrap();
            }
            FORCED => {
                assert!(options.remove(NAME, true).unwrap());
                assert_eq!(writer.publish(&[0; 8]).unwrap_err().kind(), ErrorKind::Removed);
                drop(writer);
                writer = options.create(NAME).unwrap();
            }
            PUT_BACK | MADE_ANEW => {
                for entry in ["box", "box.bell", "box.lock"] {
                    fs::remove_file(place.path(entry)).unwrap();
                }
                if change == MADE_ANEW {
                    drop(writer);
                    writer = options.create(NAME).unwrap();
                } else {
                    put_back(&mut writer);
                }
            }
            _ => {
                fs::remove_file(place.path(NAME)).unwrap();
                put_back(&mut writer);
            }
        }
        let counted = if change == GROWN && writer.number() == 0 { REMOVED } else { change };
        times[counted].push(publish(&mut writer, false));
        if times[counted].len() == BEST_OF {
            let best = times[counted].iter().min().unwrap();
            assert!(*best <= WITHIN, "{}: {:?}, and at best {best:?}", CHANGES[counted], times[counted]);
            times[counted].clear();
        }
        tally.add(CHANGES[counted], 1);
        tally.done += 1;
    }
    publish(&mut writer, true);
    children.into_iter().for_each(Child::end);
    Ok(tally)
}

/// A look at descriptors tells what has lost its name; at the names themselves, once a second only.
fn put_back(writer: &mut Writer) {
    writer.check().unwrap();
}
