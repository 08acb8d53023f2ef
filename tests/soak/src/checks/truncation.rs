//! C3: the file is cut short, to any length, under a writer in a tight loop, a reader that looks, one that sleeps and
//! one that polls, all with the guard (`guard_against_truncation`). Nobody dies, no line is not whole, the writer says
//! that it is damaged, and all go on with the next mailbox.
//!
//! A cut within a page leaves that page, with zeros from there on: a line that ends in it reads so, and no signal tells.
//! In such a round a line need not be whole.
//!
//! That another user cannot do it is part of C5; what becomes of each call, and of other faults, is in
//! `tests/truncation.rs`.

use std::fs;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{ErrorKind, Options, guard_against_truncation};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words, fill, is_line, mix};
use crate::random::Random;

pub const C3: Check = Check {
    id: "C3",
    fault: "truncated while mapped, with the guard",
    unit: "truncations",
    ci: 1_000,
    soak: 1_000_000,
    turn: 1_000,
    evidence: &["writers that said so", "readers that said so", "in the middle of a page", "lines read"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("cut_writer", writer), ("cut_reader", reader)];

const CAPACITY: usize = 9000;
const READERS: usize = 3;
/// Groups at once: they mostly wait for slices to end.
const AT_ONCE: u64 = 4;

/// Shared words: the round, which is the salt of its lines; the one whose mailbox the writer has made; the one in which
/// it has said that it is damaged; and of each reader, the newest of which it has read a line, times that it said that
/// the mailbox is damaged, and lines.
const ROUND: usize = 0;
const MADE: usize = 8;
const ENDED: usize = 16;
const STOP: usize = 24;
/// The last round in which the cut was within a page.
const ZEROS: usize = 25;
const OF_READER: usize = 32;
const REACHED: usize = 0;
const SAID: usize = 1;
const LINES: usize = 2;

fn writer(parent: &mut Parent) {
    guard_against_truncation();
    let words = Words::of_parent();
    let mut line = vec![0; CAPACITY];
    for round in 1.. {
        while words.get(ROUND) < round {
            if words.get(STOP) != 0 {
                return;
            }
            thread::yield_now();
        }
        let mut writer = Options::new().capacity(CAPACITY).create(NAME).unwrap();
        let error = loop {
            let number = writer.number() + 1;
            // Lines of all sizes, but mostly long ones, which are more likely to be cut in the middle.
            let length = if number.is_multiple_of(4) { number as usize % CAPACITY } else { CAPACITY };
            fill(&mut line[..length], number, round);
            if let Err(error) = writer.publish(&line[..length]) {
                break error;
            }
            words.raise(MADE, round);
        };
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        words.set(ENDED, round);
    }
    parent.say("never");
}

/// Argument: index. The first looks, the second sleeps, the third polls.
fn reader(parent: &mut Parent) {
    guard_against_truncation();
    let words = Words::of_parent();
    let index: usize = parent.argument(0);
    let own = OF_READER + 8 * index;
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = (index == 2).then(|| reader.doorbell().unwrap());
    while words.get(STOP) == 0 {
        let before = words.get(ROUND);
        let message = match (&doorbell, index) {
            (None, 0) => reader.try_read(),
            (None, _) => reader.read_timeout(Duration::from_millis(20)),
            (Some(doorbell), _) => {
                poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20u8)).unwrap();
                reader.try_read()
            }
        };
        match message {
            Ok(None) => thread::sleep(Duration::from_micros(50)),
            Ok(Some(message)) => {
                let of = |round: u64| is_line(message.bytes, message.number, round);
                let round = (before.saturating_sub(1)..=words.get(ROUND)).find(|&round| of(round));
                let length = message.bytes.len();
                if let Some(round) = round {
                    words.raise(own + REACHED, round);
                } else {
                    let is_expected = words.get(ZEROS) + 1 >= words.get(ROUND);
                    assert!(is_expected, "message {} of {length} bytes is not whole", message.number);
                }
                words.add(own + LINES, 1);
            }
            // What is under the name by now may have been cut short before it was opened.
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotAMailbox), "{error}");
                words.add(own + SAID, u64::from(error.to_string().contains("cut short")));
            }
        }
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let groups = (0..AT_ONCE).map(|group| scope.spawn(move || cut(amount.div_ceil(AT_ONCE), mix(seed ^ group))));
        groups.collect::<Vec<_>>().into_iter().for_each(|group| tally.merge(group.join().unwrap()));
    });
    Ok(tally)
}

/// Cuts one mailbox after the other under a group of readers.
fn cut(amount: u64, seed: u64) -> Tally {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut random = Random::new(seed);
    let mut children = vec![Child::start("cut_writer", &place, &[])];
    children.extend((0..READERS).map(|index| Child::start("cut_reader", &place, &[&index])));
    let of_reader = |index: usize, what: usize| words.get(OF_READER + 8 * index + what);
    let mut tally = Tally::default();
    for round in 1..=amount {
        words.set(ROUND, round);
        let mut wait = |what: &str, condition: &dyn Fn() -> bool| {
            let started = Instant::now();
            while !condition() {
                children.iter_mut().for_each(Child::assert_alive);
                assert!(
                    started.elapsed() < LIMIT,
                    "round {round}: waited in vain until {what}: made {} ended {} reached {:?}",
                    words.get(MADE),
                    words.get(ENDED),
                    (0..READERS).map(|i| (of_reader(i, REACHED), of_reader(i, SAID))).collect::<Vec<_>>()
                );
                thread::sleep(Duration::from_micros(50));
            }
        };
        let are_all_there = || words.get(MADE) == round && (0..READERS).all(|index| of_reader(index, REACHED) == round);
        wait("all have a line of it", &are_all_there);
        for _ in 0..random.below(200_000) {
            std::hint::spin_loop();
        }
        // The last page goes in any case: sooner or later each writer and reader needs it.
        let raw = place.raw();
        let last_page = (raw.file().metadata().unwrap().len() - 1) / 4096 * 4096;
        let length = match random.below(4) {
            0 => random.below(last_page),
            _ => random.below(last_page / 4096 + 1) * 4096,
        };
        if !length.is_multiple_of(4096) {
            words.set(ZEROS, round);
            tally.add("in the middle of a page", 1);
        }
        raw.file().set_len(length).unwrap();
        wait("the writer has said so", &|| words.get(ENDED) == round);
        tally.add("writers that said so", 1);
        fs::remove_file(place.path(NAME)).unwrap();
        tally.done += 1;
    }
    words.set(STOP, 1);
    children.into_iter().for_each(Child::end);
    for index in 0..READERS {
        tally.add("readers that said so", of_reader(index, SAID));
        tally.add("lines read", of_reader(index, LINES));
    }
    tally
}
