//! Readers in processes of their own against a writer that publishes as fast as it can, in its own process.
//!
//! | payload | banks | asserted |
//! |---|---|---|
//! | 0, 1, 7, 8, 39, 40, 41, 255, 4095, 4096 bytes, 64 KiB, and of mixed lengths | 2, 4, 8 | whole; numbers rise, `missed` adds up; each reader gets its lines |
//! | the same | 1, the textbook seqlock | whole; numbers rise; nobody waits for ever once the writer rests |
//! | short | 2, 4, 8 | fresh: what the writer, or another reader, has told of is found |
//!
//! Each line is a function of its number and length, so a mixture of two shows. The edges of the sizes: a word (8),
//! what shares the sequence's cache line (40), a page, more than the caches nearest to the processor.
//!
//! Longer, with more lines per reader: `TORN_READS_LINES=2000000 cargo test --test torn_reads -- --nocapture`.

mod common;

use std::time::Duration;

use common::{Child, NAME, Parent, Place, Words, fill, is_line, mix, wait_until};
use shm_mailbox::Options;

roles!(writer, reader, fresh_writer, fresh_reader);

/// Lines that each reader must get, if the environment says nothing else.
const LINES: u64 = 500;
/// Stands for lines of lengths that change.
const MIXED: usize = usize::MAX;
const LARGEST: usize = 65536;

/// Shared words: set to end the run; then where readers count their lines.
const STOP: usize = 0;
const COUNTS: usize = 1;

/// The length of message `number` in a run with lines of `size` bytes.
fn length_of(number: u64, size: usize) -> usize {
    if size == MIXED { (mix(number) % 5000) as usize } else { size }
}

fn capacity_for(size: usize) -> usize {
    if size == MIXED { 5000 } else { size.max(1) }
}

/// Publishes until told to stop. Arguments: size.
fn writer(parent: &mut Parent) {
    let size = parent.argument(0);
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    let mut line = vec![0; capacity_for(size)];
    while words.get(STOP) == 0 {
        for _ in 0..64 {
            let number = writer.number() + 1;
            let line = &mut line[..length_of(number, size)];
            fill(line, number, 0);
            writer.publish(line).unwrap();
        }
    }
    parent.say(writer.number());
}

/// How a reader asks; one kind each.
const WAYS: [&str; 3] = ["read", "try_read", "latest"];

/// Reads until told to stop, checks every line, and says how many there were, how many passed over, and how many
/// retries. Arguments: size, index among the readers.
fn reader(parent: &mut Parent) {
    let (size, index): (usize, usize) = (parent.argument(0), parent.argument(1));
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let (mut count, mut first, mut held) = (0u64, 0, 0);
    let mut missed = 0;
    while words.get(STOP) == 0 {
        let message = match WAYS[index % WAYS.len()] {
            "read" => reader.read_timeout(Duration::from_millis(100)).unwrap(),
            "try_read" => reader.try_read().unwrap(),
            _ => reader.latest().unwrap(),
        };
        let Some(message) = message else { continue };
        let number = message.number;
        if number == held && WAYS[index % WAYS.len()] == "latest" {
            assert_eq!(message.missed, 0);
            continue;
        }
        assert!(number > held, "{number} after {held}");
        assert_eq!(message.bytes.len(), length_of(number, size), "length of {number}");
        assert!(is_line(message.bytes, number, 0), "torn read: message {number} of {} bytes", message.bytes.len());
        if count == 0 {
            assert_eq!(message.missed, 0, "0 for the first line");
            first = number;
        } else {
            assert_eq!(number, held + 1 + message.missed, "missed, from {held} to {number}");
        }
        missed += message.missed;
        held = number;
        count += 1;
        words.add(COUNTS + index, 1);
    }
    if count > 0 {
        assert_eq!(first + missed + count - 1, held, "all are counted");
    }
    parent.say(reader.retries());
}

fn run(banks: u32, size: usize) {
    let lines = std::env::var("TORN_READS_LINES").map_or(LINES, |lines| lines.parse().unwrap());
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().banks(banks).capacity(capacity_for(size)).create(NAME).unwrap());
    let mut readers: Vec<_> = (0..WAYS.len()).map(|index| Child::start("reader", &place, &[&size, &index])).collect();
    let mut writer = Child::start("writer", &place, &[&size]);

    let counts = || (0..WAYS.len()).map(|index| words.get(COUNTS + index)).collect::<Vec<_>>();
    let raw = place.raw();
    if banks == 1 {
        // Readers may starve: so only the writer's lines end the run.
        let is_enough = || raw.latest() > 400 * lines || counts().iter().sum::<u64>() > lines;
        wait_until("the writer has published", is_enough);
    } else {
        wait_until("each reader has got its lines", || counts().iter().all(|&count| count >= lines));
    }
    words.set(STOP, 1);
    let published = writer.hear_number();
    let counts = counts();
    let retries: Vec<_> = readers.iter_mut().map(Child::hear_number).collect();
    writer.end();
    readers.into_iter().for_each(Child::end);

    // Once the writer rests, nothing can keep the last line from anybody.
    let mut late = place.options().open(NAME).unwrap();
    let message = late.try_read().unwrap().expect("the last line");
    assert_eq!(message.number, published);
    assert!(is_line(message.bytes, published, 0));

    let size = if size == MIXED { "mixed".into() } else { size.to_string() };
    println!("{banks} banks, {size:>5} bytes: {published:>8} published, {counts:?} read, {retries:?} retries");
}

/// One test for each number of banks; not side by side, as three readers and a writer are enough for the machine.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn run_all_sizes(banks: u32) {
    let _alone = ALONE.lock();
    for size in [0, 1, 7, 8, 39, 40, 41, 255, 4095, 4096, LARGEST, MIXED] {
        run(banks, size);
    }
}

#[test]
fn lines_are_whole_and_nobody_starves_with_2_banks() {
    run_all_sizes(2);
}

#[test]
fn lines_are_whole_and_nobody_starves_with_4_banks() {
    run_all_sizes(4);
}

#[test]
fn lines_are_whole_and_nobody_starves_with_8_banks() {
    run_all_sizes(8);
}

#[test]
fn lines_are_whole_with_1_bank() {
    run_all_sizes(1);
}

// Fresh. --------------------------------------------------------------------------------------------------------------

/// Shared word: the number of the newest message that somebody has told of, after its publish or read had returned.
const TOLD: usize = 8;

/// Publishes, and tells of it. Says how many.
fn fresh_writer(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    while words.get(STOP) == 0 {
        let number = writer.publish(b"").unwrap();
        words.raise(TOLD, number);
    }
    parent.say(writer.number());
}

/// Asks what was told, then reads: that, or newer. Tells in its turn. Arguments: index.
fn fresh_reader(parent: &mut Parent) {
    let index: usize = parent.argument(0);
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let mut held = 0;
    while words.get(STOP) == 0 {
        let told = words.get(TOLD);
        match WAYS[index % WAYS.len()] {
            "latest" => {
                held = reader.latest().unwrap().map_or(0, |message| message.number);
            }
            "read" if told > held => held = reader.read().unwrap().number,
            _ => {
                if let Some(message) = reader.try_read().unwrap() {
                    held = message.number;
                }
            }
        }
        assert!(held >= told, "{told} was told, and {held} is the newest found by {}", WAYS[index % WAYS.len()]);
        words.raise(TOLD, held);
        words.add(COUNTS + index, 1);
    }
    parent.say(held);
}

#[test]
fn a_line_that_was_told_of_is_found() {
    let _alone = ALONE.lock();
    for banks in [2, 4, 8] {
        let place = Place::new();
        let words = Words::new(place.dir());
        drop(place.options().banks(banks).capacity(8).create(NAME).unwrap());
        let readers: Vec<_> = (0..3).map(|index| Child::start("fresh_reader", &place, &[&index])).collect();
        let mut writer = Child::start("fresh_writer", &place, &[]);
        wait_until("each has looked often", || (0..3).all(|index| words.get(COUNTS + index) > 20_000));
        words.set(STOP, 1);
        let published = writer.hear_number();
        for mut reader in readers {
            assert!(reader.hear_number() <= published);
            reader.end();
        }
        writer.end();
    }
}
