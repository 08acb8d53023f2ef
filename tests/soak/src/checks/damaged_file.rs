//! C1: files that no writer has made. Two processes each spoil a mailbox's file again and again, let everybody try it,
//! and make it good again.
//!
//! | spoilt | tried by |
//! |---|---|
//! | each single bit of the header, the words of the wait page and the banks | a new reader; now and then |
//! | each length from 0 to full | one from before, with a doorbell, |
//! | up to eight fields: extremes, near misses, each other's values, flipped bits | `inspect` and `list`, |
//! | stretches of random bytes, of zeros, of other parts of the file | a writer that publishes and grows |
//!
//! Mailboxes of 1, 2, 4 and 8 banks take turns. A crash or a panic ends a process, which the parent sees, as it sees
//! one that makes no progress.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use shm_mailbox::{Message, Options};

use self::damaged::{OUTCOMES, Outcome, Shape, reads, what, writes};
use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words, at, mix};
use crate::random::Random;

#[path = "../../../common/damaged.rs"]
mod damaged;

pub const C1: Check = Check {
    id: "C1",
    fault: "damaged file",
    unit: "damaged files",
    ci: 1_000_000,
    soak: 1_000_000_000,
    turn: 250_000,
    evidence: &COUNTED,
    run,
};

pub const ROLES: &[Role<'static>] = &[("spoiler", spoiler)];

/// How many of the files were made by turns, and what all came to.
const COUNTED: [&str; 9] = {
    let [foreign, layout, damaged, lines, nothing, taken, refused] = OUTCOMES;
    ["single bits flipped", "lengths", foreign, layout, damaged, lines, nothing, taken, refused]
};
const FLIPPED: usize = 0;
const LENGTHS: usize = 1;
/// Where the outcomes begin.
const FIRST: usize = 2;

const CAPACITY: usize = 64;
const BANKS: [u32; 4] = [1, 2, 4, 8];
const PROCESSES: u64 = 2;
/// Of so many files one is tried by those from before and by `inspect` as well, and of so many one by a writer.
const MORE_EVERY: u64 = 8;
const WRITER_EVERY: u64 = 32;

/// Among the fields of a specimen.
const WAITERS: usize = 12;

/// Each process's shared words: files tried, then the counts.
const STRIDE: usize = 16;

/// Arguments: index, how many, seed.
fn spoiler(parent: &mut Parent) {
    let (index, amount, seed): (usize, u64, u64) = (parent.argument(0), parent.argument(1), parent.argument(2));
    let words = Words::of_parent();
    let mut random = Random::new(mix(seed ^ index as u64));
    let mut specimens = BANKS.map(|banks| Specimen::new(index, banks));
    // The single bits and the lengths, split among the processes, before anything random, in each turn.
    let every_other = || (index as u64..).step_by(PROCESSES as usize);
    let mut systematic = every_other();
    let mut specimen = 0;
    for tried in 0..amount {
        let mut spoilt = None;
        while specimen < specimens.len() {
            spoilt = specimens[specimen].nth_spoilt(systematic.next().expect("endless"));
            if spoilt.is_some() {
                break;
            }
            specimen += 1;
            systematic = every_other();
        }
        let which = if spoilt.is_some() { specimen } else { random.below(4) as usize };
        let spoilt = spoilt.unwrap_or_else(|| specimens[which].spoil(&mut random));
        let mut count = |what: usize| words.add(STRIDE * index + 1 + what, 1);
        match spoilt.kind {
            Kind::Bit => count(FLIPPED),
            Kind::Length => count(LENGTHS),
            Kind::Random => {}
        }
        specimens[which].try_out(&spoilt.bytes, tried, &mut count);
        words.set(STRIDE * index, tried + 1);
    }
    parent.say("done");
}

enum Kind {
    Bit,
    Length,
    Random,
}

struct Spoilt {
    kind: Kind,
    bytes: Vec<u8>,
}

/// A mailbox with three lines and no writer.
struct Specimen {
    options: Options,
    path: PathBuf,
    file: File,
    good: Vec<u8>,
    /// Where fields are, and how long: those of the header and of the banks.
    fields: Vec<(usize, usize)>,
}

impl Specimen {
    fn new(process: usize, banks: u32) -> Self {
        let path = Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(format!("{process}-{banks}"));
        fs::create_dir(&path).unwrap();
        let options = Options::new().dir(&path).capacity(CAPACITY).banks(banks);
        let path = path.join(NAME);
        let mut specimen = Self { options, file: make(&path), path, good: Vec::new(), fields: Vec::new() };
        specimen.make_anew();
        let field = |at: usize| u32::from_le_bytes(specimen.good[at..at + 4].try_into().unwrap()) as usize;
        let (page, stride) = (field(at::PAGE as usize), field(at::STRIDE as usize));
        let header = [
            (at::MAGIC, 8),
            (at::VERSION, 4),
            (at::PAGE, 4),
            (at::INSTANCE, 8),
            (at::CAPACITY, 8),
            (at::STRIDE, 8),
            (at::BANKS, 4),
            (at::LATEST, 8),
            (at::LEAVING, 4),
            (at::ALWAYS_WAKE, 4),
            (at::WRITER_PID, 4),
            (at::LOCK, 8),
        ];
        let mut fields: Vec<_> = header.map(|(at, length)| (at as usize, length)).to_vec();
        fields.extend([(page, 4), (page + 128, 4)]);
        for bank in (0..banks as usize).map(|index| 2 * page + index * stride) {
            // Sequence, length, time, twice as often as the rest: that is what reads go by.
            fields.extend([(bank, 8), (bank, 8), (bank + 8, 8), (bank + 8, 8), (bank + 16, 8), (bank + 24, 8)]);
        }
        Self { fields, ..specimen }
    }

    /// A mailbox with a file of its own, after a writer had the last one.
    fn make_anew(&mut self) {
        _ = fs::remove_file(&self.path);
        let mut writer = self.options.create(NAME).unwrap();
        for line in ["one", "two", "three"] {
            writer.publish(line.as_bytes()).unwrap();
        }
        self.good = fs::read(&self.path).unwrap();
        self.file = File::options().read(true).write(true).open(&self.path).unwrap();
    }

    /// The nth of the single bits flipped and then of the lengths; `None` after the last.
    fn nth_spoilt(&self, nth: u64) -> Option<Spoilt> {
        let mut bytes = self.good.clone();
        // What lies between header, wait page and banks is never looked at.
        let page = self.fields[WAITERS].0;
        let mut read = (0..512).chain(page..page + 256).chain(2 * page..bytes.len());
        let bits = 8 * read.clone().count() as u64;
        if nth < bits {
            bytes[read.nth(nth as usize / 8).expect("below the count")] ^= 1 << (nth % 8);
            return Some(Spoilt { kind: Kind::Bit, bytes });
        }
        let length = (nth - bits) as usize;
        (length < bytes.len()).then(|| {
            bytes.truncate(length);
            Spoilt { kind: Kind::Length, bytes }
        })
    }

    fn spoil(&self, random: &mut Random) -> Spoilt {
        let mut bytes = self.good.clone();
        for _ in 0..1 + random.below(8) {
            match random.below(8) {
                0 => {
                    let (start, length) = stretch(bytes.len(), random);
                    bytes[start..start + length].fill_with(|| random.next() as u8);
                }
                1 => {
                    let (start, length) = stretch(bytes.len(), random);
                    bytes[start..start + length].fill(0);
                }
                2 => {
                    let (start, length) = stretch(bytes.len(), random);
                    let from = random.below((bytes.len() - length + 1) as u64) as usize;
                    bytes.copy_within(from..from + length, start);
                }
                _ => {
                    let (at, length) = random.pick(&self.fields);
                    let value = self.value(&bytes, at, length, random);
                    bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
                }
            }
        }
        if random.below(32) == 0 {
            bytes.resize(random.below(2 * bytes.len() as u64) as usize, 0);
        }
        Spoilt { kind: Kind::Random, bytes }
    }

    fn value(&self, bytes: &[u8], at: usize, length: usize, random: &mut Random) -> u64 {
        let read = |at: usize, length: usize| {
            let mut word = [0; 8];
            word[..length].copy_from_slice(&bytes[at..at + length]);
            u64::from_le_bytes(word)
        };
        let near = random.below(7).wrapping_sub(3);
        let base = match random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << random.below(64),
            3 => random.pick(&[CAPACITY, bytes.len(), 4096, 1 << 20]) as u64,
            4 => return random.next(),
            5 => return read(at, length) ^ (1 << random.below(8 * length as u64)),
            6 => read(at, length),
            _ => {
                let (at, length) = random.pick(&self.fields);
                read(at, length)
            }
        };
        base.wrapping_add(near)
    }

    /// Everybody tries the spoilt file; then it is good again.
    fn try_out(&mut self, spoilt: &[u8], nth: u64, count: &mut impl FnMut(usize)) {
        let is_more = nth.is_multiple_of(MORE_EVERY);
        let mut early = is_more.then(|| self.options.open(NAME).unwrap());
        self.file.write_all_at(spoilt, 0).unwrap();
        if spoilt.len() != self.good.len() {
            // Before the one from before looks: what is cut from under a reader is another check (C3).
            early = None;
            self.file.set_len(spoilt.len() as u64).unwrap();
        }
        let shape = Shape::of(spoilt, spoilt.len() as u64);
        let in_file = |at: u64, length: usize| spoilt[at as usize..][..length].to_vec();
        let mut opened = self.options.open(NAME);
        match (&mut opened, shape) {
            (Ok(reader), Ok(shape)) => {
                let is_possible = |message: Message<'_>| shape.check(&message, in_file);
                count(FIRST + Outcome::of(reads(reader, is_possible)) as usize);
                if is_more {
                    _ = reader.doorbell().unwrap();
                    _ = reads(reader, is_possible);
                }
            }
            (Err(error), Err(expected)) => {
                assert_eq!(what(error), expected, "{error}");
                count(FIRST + expected as usize);
            }
            (opened, expected) => panic!("{opened:?}, where it must be {expected:?}"),
        }
        if is_more {
            if let Some(mut early) = early {
                let shape = Shape::claimed(&self.good);
                _ = reads(&mut early, |message| shape.check(&message, in_file));
            }
            _ = self.options.inspect(NAME);
            let is_listed = !self.options.list().unwrap().is_empty();
            assert!(is_listed || shape.is_err(), "one that can be opened is listed");
        }
        if nth.is_multiple_of(WRITER_EVERY) {
            match self.options.clone().capacity(1).create(NAME) {
                Ok(writer) => {
                    let capacity = shape.expect("who may write may read").capacity;
                    writes(writer, capacity as usize, &mut opened.expect("as the shape says"));
                    count(FIRST + Outcome::Taken as usize);
                    self.make_anew();
                    return;
                }
                Err(error) => {
                    _ = what(&error);
                    count(FIRST + Outcome::Refused as usize);
                }
            }
        }
        self.file.write_all_at(&self.good, 0).unwrap();
        if spoilt.len() != self.good.len() {
            self.file.set_len(self.good.len() as u64).unwrap();
        }
    }
}

/// A place for the file, until there is a mailbox.
fn make(path: &Path) -> File {
    File::create(path).unwrap()
}

fn stretch(bytes: usize, random: &mut Random) -> (usize, usize) {
    // The header, or the whole, in which a header is little.
    let end = random.pick(&[512, bytes]);
    let start = random.below(end as u64) as usize;
    let length = 1 + random.below(64.min(end - start) as u64) as usize;
    (start, length)
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let share = amount.div_ceil(PROCESSES);
    let mut children: Vec<_> =
        (0..PROCESSES).map(|index| Child::start("spoiler", &place, &[&index, &share, &seed])).collect();
    let tried = |index: u64| words.get(STRIDE * index as usize);
    let (mut before, mut moved) = ([0; PROCESSES as usize], Instant::now());
    while (0..PROCESSES).any(|index| tried(index) < share) {
        for (index, child) in (0..).zip(&mut children) {
            assert!(
                tried(index) == share || child.is_running(),
                "process {index} has ended, after {} files",
                tried(index)
            );
        }
        let now: [u64; PROCESSES as usize] = std::array::from_fn(|index| tried(index as u64));
        if (0..before.len()).all(|index| now[index] > before[index] || now[index] == share) {
            (before, moved) = (now, Instant::now());
        }
        assert!(moved.elapsed() < LIMIT, "hangs at {now:?} of {share} files each");
        thread::sleep(Duration::from_millis(5));
    }
    let mut tally = Tally::default();
    for (index, mut child) in (0..).zip(children) {
        child.expect("done");
        child.end();
        tally.done += tried(index);
        for (nth, name) in COUNTED.into_iter().enumerate() {
            tally.add(name, words.get(STRIDE * index as usize + 1 + nth));
        }
    }
    Ok(tally)
}
