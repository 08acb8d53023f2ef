//! A2: what each reader gets rises; a read that begins when somebody has told of message k gives k or newer; nobody
//! gets a message before its publish has begun.
//!
//! Told of by the writer after its publish has returned, or by another reader after its read has: that may be earlier.

use shm_mailbox::Options;

use crate::chase::{self, READS, STOP};
use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, mix};

pub const A2: Check = Check {
    id: "A2",
    fault: "old line after a newer one",
    unit: "checked reads",
    ci: 100_000_000,
    soak: 10_000_000_000,
    turn: 500_000_000,
    evidence: &["lines published", "lines read", "lines told of before their publish returned"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("fresh_writer", writer), ("fresh_reader", reader)];

const READERS: usize = 3;
const BATCH: u64 = 256;

/// Shared words, each in a cache line of its own, after those of a chase: the message whose publish has begun, the one
/// whose publish has returned, and the newest that a reader has told of.
const BEGUN: usize = 32;
const RETURNED: usize = 48;
const TOLD: usize = 64;

/// Publishes until told to stop, and tells of each publish before and after it. Arguments: largest line.
fn writer(parent: &mut Parent) {
    let largest: u64 = parent.argument(0);
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    let line = vec![0; largest as usize];
    while words.get(STOP) == 0 {
        for _ in 0..BATCH {
            let number = writer.number() + 1;
            let length = mix(number) % (largest + 1);
            words.set(BEGUN, number);
            writer.publish(&line[..length as usize]).unwrap();
            words.set(RETURNED, number);
        }
    }
    parent.say(writer.number());
}

/// Asks what was told, reads, and tells in its turn, until told to stop. Says how many lines it had, and how many of
/// them before their publish returned. Arguments: index among the readers, who ask in different ways.
fn reader(parent: &mut Parent) {
    let index: u64 = parent.argument(0);
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let (mut held, mut lines, mut early) = (0, 0, 0);
    while words.get(STOP) == 0 {
        for _ in 0..BATCH {
            let told = words.get(RETURNED).max(words.get(TOLD));
            let number = match index {
                0 => reader.latest().unwrap().map(|message| message.number),
                1 if told > held => Some(reader.read().unwrap().number),
                _ => reader.try_read().unwrap().map(|message| message.number),
            };
            let returned = words.get(RETURNED);
            if let Some(number) = number {
                assert!(number >= held + u64::from(index != 0), "message {number} after {held}");
                held = number;
            }
            assert!(held >= told, "message {told} was told of before the read that gave {held}");
            if number.is_some() && returned < held {
                early += 1;
                words.raise(TOLD, held);
            }
            lines += u64::from(number.is_some());
            let begun = words.get(BEGUN);
            assert!(held <= begun, "message {held} before its publish had begun: {begun} had");
        }
        if held > 0 {
            words.add(READS, BATCH);
        }
    }
    parent.say(lines);
    parent.say(early);
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    for (index, banks) in [2, 4, 8].into_iter().enumerate() {
        let largest = [8, 40, 500][(seed as usize % 3 + index) % 3];
        tally.merge(round(amount.div_ceil(3), banks, largest));
    }
    Ok(tally)
}

fn round(reads: u64, banks: u32, largest: usize) -> Tally {
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().banks(banks).capacity(largest).create(NAME).unwrap());
    let writer = Child::start("fresh_writer", &place, &[&largest]);
    let readers = (0..READERS).map(|index| Child::start("fresh_reader", &place, &[&index])).collect();
    let is_enough = || words.get(READS) >= reads;
    chase::until(is_enough, &words, writer, readers, "lines told of before their publish returned")
}
