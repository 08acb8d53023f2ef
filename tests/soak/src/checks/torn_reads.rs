//! A1: readers in processes of their own against a writer that publishes as fast as it can. Each line is a function of
//! its number and length, so a mixture of two shows.
//!
//! | lines | share of the reads |
//! |---|---|
//! | of 0 to 40 bytes, which share their sequence's cache line | most: they are the fastest |
//! | of 0 to 4096 bytes, each length at least once | some |
//! | of 0 to 65536 bytes | a few |
//!
//! Half of the rounds begin with `epoch`, the 32-bit futex word, just below its wrap. The writer rests now and then, so
//! that a reader falls asleep and is woken, which is what moves `epoch`.

use std::thread;
use std::time::Duration;

use shm_mailbox::Options;

use crate::chase::{self, READS, STOP};
use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, fill, is_line, mix};

pub const A1: Check = Check {
    id: "A1",
    fault: "torn read",
    unit: "checked reads",
    ci: 100_000_000,
    soak: 10_000_000_000,
    turn: 400_000_000,
    evidence: &["lines published", "lines read", "retries", "wraps of epoch"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("torn_writer", writer), ("torn_reader", reader)];

/// Of 1000 reads so many are of lines of up to so many bytes.
const ROUNDS: [(u64, usize); 5] = [(400, 40), (400, 40), (160, 40), (38, 4096), (2, 65536)];
/// Lines of all lengths up to this one are read in each turn.
const ALL_LENGTHS: usize = 4096;
const READERS: usize = 3;
/// Reads between two looks at what the others did.
const BATCH: u64 = 1024;

/// Shared words, after those of a chase: the lengths that were seen, a bit each.
const LENGTHS: usize = 32;
const LENGTH_WORDS: usize = ALL_LENGTHS / 64 + 1;

fn length_of(number: u64, largest: usize) -> usize {
    (mix(number) % (largest as u64 + 1)) as usize
}

/// Publishes until told to stop. Arguments: largest line, salt.
fn writer(parent: &mut Parent) {
    let (largest, salt): (usize, u64) = (parent.argument(0), parent.argument(1));
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    let mut line = vec![0; largest];
    while words.get(STOP) == 0 {
        for _ in 0..32 * BATCH {
            let number = writer.number() + 1;
            let line = &mut line[..length_of(number, largest)];
            fill(line, number, salt);
            writer.publish(line).unwrap();
            if number.is_multiple_of(BATCH) && words.get(STOP) != 0 {
                break;
            }
        }
        thread::sleep(Duration::from_micros(300));
    }
    parent.say(writer.number());
}

/// Reads until told to stop, checks every line, and says how many lines there were and how many retries. Arguments:
/// largest line, salt, index among the readers: the first one sleeps when there is nothing new, the others never.
fn reader(parent: &mut Parent) {
    let (largest, salt, index): (usize, u64, u64) = (parent.argument(0), parent.argument(1), parent.argument(2));
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let mut lengths = [0; LENGTH_WORDS];
    let (mut held, mut lines) = (0, 0);
    while words.get(STOP) == 0 {
        let mut reads = 0;
        for _ in 0..BATCH {
            let message = match index {
                0 => reader.read_timeout(Duration::from_millis(1)).unwrap(),
                _ => reader.latest().unwrap(),
            };
            let Some(message) = message else { break };
            let (number, length) = (message.number, message.bytes.len());
            assert!(number >= held, "{number} after {held}");
            assert_eq!(length, length_of(number, largest), "length of message {number}");
            assert!(is_line(message.bytes, number, salt), "torn read: message {number} of {length} bytes");
            lines += u64::from(number > held);
            held = number;
            reads += 1;
            if length <= ALL_LENGTHS {
                lengths[length / 64] |= 1 << (length % 64);
            }
        }
        words.add(READS, reads);
        for (at, bits) in lengths.iter_mut().enumerate().filter(|(_, bits)| **bits != 0) {
            words.set_bits(LENGTHS + at, std::mem::take(bits));
        }
    }
    parent.say(lines);
    parent.say(reader.retries());
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    for (index, (share, largest)) in ROUNDS.into_iter().enumerate() {
        let seed = mix(seed ^ index as u64);
        let reads = (amount * share).div_ceil(1000);
        // Retries are rare with more than two banks: so each number of them has its turn with each size.
        let banks = [2, 4, 8, 2][(seed % 4) as usize];
        tally.merge(round(reads, largest, banks, index % 2 == 0, seed));
    }
    Ok(tally)
}

fn round(reads: u64, largest: usize, banks: u32, at_wrap: bool, salt: u64) -> Tally {
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().banks(banks).capacity(largest).create(NAME).unwrap());
    let raw = place.raw();
    if at_wrap {
        raw.set_epoch(u32::MAX - 2);
    }
    let writer = Child::start("torn_writer", &place, &[&largest, &salt]);
    let readers = (0..READERS).map(|index| Child::start("torn_reader", &place, &[&largest, &salt, &index])).collect();
    let has_wrapped = || at_wrap && raw.epoch() < u32::MAX / 2;
    let lengths = || (0..LENGTH_WORDS).map(|at| words.get(LENGTHS + at).count_ones() as usize).sum::<usize>();
    let is_enough = || {
        let have_all_lengths = largest != ALL_LENGTHS || lengths() == ALL_LENGTHS + 1;
        words.get(READS) >= reads && have_all_lengths && has_wrapped() == at_wrap
    };
    let mut tally = chase::until(is_enough, &words, writer, readers, "retries");
    tally.add("wraps of epoch", u64::from(has_wrapped()));
    tally
}
