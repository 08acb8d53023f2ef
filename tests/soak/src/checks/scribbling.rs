//! C2: a process that may write the file does, at random, while a writer and two readers use it. What they publish and
//! read is worth nothing then; that they go on, return no more than the capacity, and end is all that is promised.
//!
//! The file ends where a page does, and so does its last bank: a read past the capacity there leaves the mapping.
//! Every half second all is made anew, since readers may end up waiting for a message of number 2^62.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{ErrorKind, Options, Reader};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words, at, mix};
use crate::random::Random;

pub const C2: Check = Check {
    id: "C2",
    fault: "another process scribbles over the mapped file",
    unit: "scribbles",
    ci: 20_000_000,
    soak: 10_000_000_000,
    turn: 20_000_000,
    evidence: &COUNTED,
    run,
};

pub const ROLES: &[Role<'static>] =
    &[("scribbler", scribbler), ("scribbled_writer", writer), ("scribbled_reader", reader)];

const COUNTED: [&str; 5] = ["lines published", "lines read", "nothing new", "damaged, said a reader", "rounds"];
const PUBLISHED: usize = 0;
const READ: usize = 1;
const NOTHING: usize = 2;
const DAMAGED: usize = 3;

/// Shared words: set to end the round, scribbles, then the counts.
const STOP: usize = 0;
const SCRIBBLES: usize = 8;
const COUNTS: usize = 16;

/// With the bank's three words of its own, 1024: four banks fill a page.
const CAPACITY: usize = 1000;
const ROUND: Duration = Duration::from_millis(500);
const BATCH: u64 = 256;

/// Argument: seed.
fn scribbler(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut random = Random::new(parent.argument(0));
    let path = std::path::Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(NAME);
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mapping: MmapRaw = MmapOptions::new().map_raw(&file).unwrap();
    assert!(mapping.len().is_multiple_of(4096), "{}", mapping.len());
    let page = 4096;
    // Where it hurts: the header's words, the wait page's, each bank's own.
    let mut sore = vec![at::LATEST, at::LATEST, at::LEAVING, at::ALWAYS_WAKE, at::WRITER_PID, page, page + 128];
    sore.extend([at::CAPACITY, at::STRIDE, at::BANKS]);
    sore.extend((0..4).flat_map(|bank| [0, 0, 8, 8, 16].map(|field| 2 * page + 1024 * bank + field)));
    while words.get(STOP) == 0 {
        for _ in 0..BATCH {
            let at = match random.below(4) {
                0 => random.below(mapping.len() as u64) & !7,
                _ => random.pick(&sore) & !7,
            } as usize;
            // SAFETY: a whole aligned word within the mapping, which lives as long as this function; what other
            // processes make of it is what this check is about.
            let word = unsafe { AtomicU64::from_ptr(mapping.as_mut_ptr().add(at).cast()) };
            let is = word.load(Relaxed);
            let value = match random.below(8) {
                0 => random.next(),
                1 => u64::MAX - random.below(4),
                2 => 1 << random.below(64),
                3 => random.below(2 * CAPACITY as u64),
                4 => is ^ (1 << random.below(64)),
                5 => 0,
                _ => is.wrapping_add(random.below(9)).wrapping_sub(4),
            };
            word.store(value, Relaxed);
        }
        words.add(SCRIBBLES, BATCH);
        // Without a pause the processors would do little else, and nobody would ever see a line.
        for _ in 0..random.below(2000) {
            std::hint::spin_loop();
        }
    }
}

/// Publishes until told to stop, whatever becomes of it.
fn writer(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut writer = Options::new().capacity(CAPACITY).create(NAME).unwrap();
    parent.say("made");
    let line = vec![b'x'; CAPACITY];
    let mut random = Random::new(parent.argument(0));
    while words.get(STOP) == 0 {
        let mut published = 0;
        for _ in 0..BATCH {
            // `Removed` cannot be: the file keeps its name, whatever `leaving` says.
            writer.publish(&line[..random.below(CAPACITY as u64 + 1) as usize]).unwrap();
            published += 1;
        }
        words.add(COUNTS + PUBLISHED, published);
    }
}

/// Reads until told to stop. Argument: index; the first polls and waits, the other looks.
fn reader(parent: &mut Parent) {
    let words = Words::of_parent();
    let index: u64 = parent.argument(0);
    let mut reader = Options::new().open(NAME).unwrap();
    parent.say("attached");
    let doorbell = (index == 0).then(|| reader.doorbell().unwrap());
    let mut turns = 0;
    while words.get(STOP) == 0 {
        turns += 1;
        if let Some(doorbell) = &doorbell
            && u64::is_multiple_of(turns, 2)
        {
            poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(2u8)).unwrap();
        }
        let mut counts = [0; COUNTED.len()];
        for _ in 0..BATCH {
            match look(&mut reader, index, turns) {
                Ok(Some(length)) => {
                    assert!(length <= CAPACITY, "{length} bytes of {CAPACITY}");
                    counts[READ] += 1;
                }
                Ok(None) => counts[NOTHING] += 1,
                Err(ErrorKind::Damaged) => counts[DAMAGED] += 1,
                Err(other) => panic!("{other:?}"),
            }
            if index == 0 && counts[READ] == 0 {
                break;
            }
        }
        for (nth, count) in counts.into_iter().enumerate() {
            words.add(COUNTS + nth, count);
        }
        if u64::is_multiple_of(turns, 64) {
            // One who comes now may be refused, and no more.
            match Options::new().open(NAME) {
                Ok(new) => reader = if index == 0 { reader } else { new },
                Err(error) => {
                    let kind = error.kind();
                    let is_right = matches!(kind, ErrorKind::Damaged | ErrorKind::NotAMailbox);
                    assert!(is_right || kind == ErrorKind::UnsupportedLayout, "{error}");
                }
            }
        }
    }
}

fn look(reader: &mut Reader, index: u64, turn: u64) -> Result<Option<usize>, ErrorKind> {
    let message = match (index, turn % 3) {
        (0, 0) => reader.read_timeout(Duration::from_millis(1)),
        (1, 0) => reader.latest(),
        _ => reader.try_read(),
    };
    message.map(|message| message.map(|message| message.bytes.len())).map_err(|error| error.kind())
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    while tally.done < amount {
        tally.merge(round(mix(seed ^ tally.done)));
    }
    Ok(tally)
}

fn round(seed: u64) -> Tally {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = Child::start("scribbled_writer", &place, &[&seed]);
    writer.expect("made");
    let mut children: Vec<_> = (0..2).map(|index| Child::start("scribbled_reader", &place, &[&index])).collect();
    children.iter_mut().for_each(|child| child.expect("attached"));
    children.push(Child::start("scribbler", &place, &[&seed]));
    children.push(writer);
    let started = Instant::now();
    while started.elapsed() < ROUND || words.get(SCRIBBLES) == 0 {
        children.iter_mut().for_each(Child::assert_alive);
        assert!(started.elapsed() < LIMIT, "nobody scribbles");
        thread::sleep(Duration::from_millis(5));
    }
    words.set(STOP, 1);
    // Each ends by itself: none hangs.
    children.into_iter().for_each(Child::end);
    let mut tally = Tally { done: words.get(SCRIBBLES), ..Tally::default() };
    for (nth, name) in COUNTED[..4].iter().enumerate() {
        tally.add(name, words.get(COUNTS + nth));
    }
    tally.add("rounds", 1);
    tally
}
