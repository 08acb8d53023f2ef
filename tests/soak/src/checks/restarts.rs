//! A3 and B3: a writer that is killed, and the next one, by the ten thousand.
//!
//! | | the writer is killed | asserted |
//! |---|---|---|
//! | A3 | in a tight loop, or while it starts, at a random moment | no number has two lines, over all writers and readers; what was seen is not forgotten |
//! | B3 | in a tight loop, or at rest while readers sleep | the next has the lock at once; a sleeper, a spinner and a poller have its first line |

use std::fs::File;
use std::hint::spin_loop;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{Options, Writer};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Phase, Place, Raw, Role, Words, fill, is_line, mix, wait_until};
use crate::nursery::Forked;

pub const A3: Check = Check {
    id: "A3",
    fault: "one number for two lines, across restarts",
    unit: "restarts",
    ci: 10_000,
    soak: 1_000_000,
    turn: 20_000,
    evidence: &["killed in the middle of a line", "killed while starting", "lines seen twice or more"],
    run: run_a3,
};

pub const B3: Check = Check {
    id: "B3",
    fault: "writer killed, and restarted",
    unit: "kills",
    ci: 2_000,
    soak: 100_000,
    turn: 5_000,
    evidence: &["killed in the middle of a line", "killed while a reader slept"],
    run: run_b3,
};

pub const ROLES: &[Role<'static>] =
    &[("claims_nursery", claims_nursery), ("claims_reader", claims_reader), ("nursery", nursery), ("heir", heir)];

/// Shared words: set to end the round, kills, and how many of them met what.
const STOP: usize = 0;
const KILLS: usize = 1;
const IN_THE_MIDDLE: usize = 2;
const WHILE_STARTING: usize = 3;
const WHILE_ASLEEP: usize = 4;
const SEEN_AGAIN: usize = 5;
/// The life whose writer is ready.
const READY: usize = 16;
/// The newest message that anybody has seen.
const SEEN: usize = 32;

const CAPACITY: usize = 200;

/// Which of `0..count`, at random.
fn draw(seed: &mut u64, count: u64) -> u64 {
    *seed = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    *seed % count
}

/// Passes a random time of up to about so many microseconds.
fn pass_time(seed: &mut u64, micros: u64) {
    let until = std::time::Instant::now() + Duration::from_nanos(draw(seed, 1000 * micros));
    while std::time::Instant::now() < until {
        spin_loop();
    }
}

/// Counts what the writer that has just been killed was doing.
fn note_phase(words: &Words, raw: &Raw) {
    words.add(KILLS, 1);
    if raw.phase() == Phase::Writing {
        words.add(IN_THE_MIDDLE, 1);
    }
}

// A3. -----------------------------------------------------------------------------------------------------------------

/// Of each message, by its number: the salt of the writer whose line it was, as whoever saw it first says.
struct Claims(MmapRaw);

impl Claims {
    const COUNT: u64 = 1 << 20;

    fn new(directory: &Path) -> Self {
        let path = directory.join("claims");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(8 * Self::COUNT).unwrap();
        Self(MmapOptions::new().map_raw(&file).unwrap())
    }

    fn of_parent() -> Self {
        Self::new(Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()))
    }

    /// Says that message `number` is the line of `salt`; whether somebody has said so before.
    #[track_caller]
    fn claim(&self, number: u64, salt: u64) -> bool {
        assert!(number < Self::COUNT);
        // SAFETY: the mapping is page-aligned, holds COUNT words, and lives as long as `self`; every process accesses
        // them here, atomically.
        let word = unsafe { &*self.0.as_ptr().cast::<AtomicU64>().add(number as usize) };
        match word.compare_exchange(0, salt, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => false,
            Err(other) => {
                assert_eq!(salt, other, "message {number} is a line of two writers");
                true
            }
        }
    }
}

/// A writer's life: publishes lines that bear its salt, until it is killed or the table of claims is full.
fn live(words: &Words, claims: &Claims, life: u64, salt: u64) {
    let mut writer = Options::new().create(NAME).expect("the lock is free");
    let seen = words.get(SEEN);
    assert!(writer.number() >= seen, "message {seen} was seen, and the next writer goes on from {}", writer.number());
    words.set(READY, life);
    let mut line = [0; CAPACITY];
    line[..8].copy_from_slice(&salt.to_le_bytes());
    while writer.number() < Claims::COUNT - 2 {
        let number = writer.number() + 1;
        let line = &mut line[..16 + (mix(number ^ salt) % (CAPACITY as u64 - 15)) as usize];
        fill(&mut line[8..], number, salt);
        writer.publish(line).unwrap();
        claims.claim(number, salt);
    }
    loop {
        thread::park();
    }
}

/// Lets writers live and kills them. Arguments: how many, seed.
fn claims_nursery(parent: &mut Parent) {
    let (lives, mut seed): (u64, u64) = (parent.argument(0), parent.argument(1));
    let (words, claims) = (Words::of_parent(), Claims::of_parent());
    let raw = Raw::open(&Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(NAME));
    for life in 1..=lives {
        if raw.latest() > Claims::COUNT - 1000 {
            break;
        }
        let salt = draw(&mut seed, u64::MAX) | 1;
        let mut writer = Forked::start(|| live(&words, &claims, life, salt));
        if draw(&mut seed, 4) == 0 {
            pass_time(&mut seed, 400);
        } else {
            while words.get(READY) != life {
                assert!(!writer.has_ended(), "a writer could not start: see what it said");
                thread::yield_now();
            }
            pass_time(&mut seed, 50);
        }
        writer.kill();
        note_phase(&words, &raw);
        if words.get(READY) != life {
            words.add(WHILE_STARTING, 1);
        }
    }
    parent.say("over");
}

/// Reads until told to stop, and claims what it gets. Arguments: `read`, `try_read` or `latest`.
fn claims_reader(parent: &mut Parent) {
    let way: String = parent.argument(0);
    let (words, claims) = (Words::of_parent(), Claims::of_parent());
    let mut reader = Options::new().open(NAME).unwrap();
    let (mut held, mut again) = (0, 0);
    while words.get(STOP) == 0 {
        let message = match &*way {
            "read" => reader.read_timeout(Duration::from_millis(20)).unwrap(),
            "try_read" => reader.try_read().unwrap(),
            _ => reader.latest().unwrap(),
        };
        let Some(message) = message else { continue };
        assert!(message.number >= held, "message {} after {held}", message.number);
        let is_new = message.number > held;
        held = message.number;
        let salt = u64::from_le_bytes(message.bytes[..8].try_into().unwrap());
        assert!(is_line(&message.bytes[8..], held, salt), "message {held} is not whole");
        let was_claimed = claims.claim(held, salt);
        if is_new {
            again += u64::from(was_claimed);
            words.raise(SEEN, held);
        } else {
            thread::yield_now();
        }
    }
    words.add(SEEN_AGAIN, again);
}

fn run_a3(amount: u64, mut seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    while tally.done < amount {
        let place = Place::new();
        let words = Words::new(place.dir());
        let _claims = Claims::new(place.dir());
        let banks = [2, 4, 4, 8][draw(&mut seed, 4) as usize];
        drop(place.options().banks(banks).capacity(CAPACITY).create(NAME).unwrap());
        let readers: Vec<_> =
            ["read", "latest"].iter().map(|way| Child::start("claims_reader", &place, &[way])).collect();
        let lives = (amount - tally.done).min(2000);
        let mut nursery = Child::start("claims_nursery", &place, &[&lives, &draw(&mut seed, u64::MAX)]);
        nursery.expect("over");
        words.set(STOP, 1);
        readers.into_iter().chain([nursery]).for_each(Child::end);
        tally.done += words.get(KILLS);
        tally.add("killed in the middle of a line", words.get(IN_THE_MIDDLE));
        tally.add("killed while starting", words.get(WHILE_STARTING));
        tally.add("lines seen twice or more", words.get(SEEN_AGAIN));
    }
    Ok(tally)
}

// B3. -----------------------------------------------------------------------------------------------------------------

/// How the heirs of a writer's lines wait; where each tells what it has.
const WAYS: [&str; 3] = ["sleeper", "spinner", "poller"];
const HAS: usize = 64;

/// Reads until told to stop, and tells what it has. Arguments: index of its way.
fn heir(parent: &mut Parent) {
    let index: usize = parent.argument(0);
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let doorbell = (WAYS[index] == "poller").then(|| reader.doorbell().unwrap());
    parent.say("reading");
    let mut held = 0;
    while words.get(STOP) == 0 {
        let message = match &doorbell {
            Some(doorbell) => {
                let message = reader.try_read().unwrap();
                if message.is_none() {
                    poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::MAX).unwrap();
                }
                message
            }
            None if WAYS[index] == "sleeper" => reader.read_timeout(LIMIT).unwrap(),
            None => {
                let message = reader.try_read().unwrap();
                if message.is_none() {
                    thread::yield_now();
                }
                message
            }
        };
        let Some(message) = message else { continue };
        assert!(message.number > held, "message {} after {held}", message.number);
        held = message.number;
        assert!(is_line(message.bytes, held, 0), "message {held} is not whole");
        words.set(HAS + 16 * index, held);
    }
}

fn publish(writer: &mut Writer) -> u64 {
    let number = writer.number() + 1;
    let mut line = [0; CAPACITY];
    fill(&mut line, number, 0);
    writer.publish(&line).unwrap()
}

/// A writer's life: one line that all heirs must have, then many, or none. Then it waits for its end.
fn bequeath(words: &Words, life: u64, is_busy: bool) {
    let mut writer = Options::new().create(NAME).expect("the lock is free");
    let first = publish(&mut writer);
    wait_until_all_have(words, first);
    words.set(READY, life);
    loop {
        if is_busy {
            publish(&mut writer);
        } else {
            thread::park();
        }
    }
}

#[track_caller]
fn wait_until_all_have(words: &Words, number: u64) {
    for (index, way) in WAYS.iter().enumerate() {
        let started = std::time::Instant::now();
        while words.get(HAS + 16 * index) < number {
            assert!(started.elapsed() < LIMIT, "the {way} never had message {number}");
            thread::yield_now();
        }
    }
}

/// Lets writers live and kills them. Arguments: how many, seed.
fn nursery(parent: &mut Parent) {
    let (lives, mut seed): (u64, u64) = (parent.argument(0), parent.argument(1));
    let words = Words::of_parent();
    let raw = Raw::open(&Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(NAME));
    for life in 1..=lives {
        let is_busy = life % 2 == 0;
        let mut writer = Forked::start(|| bequeath(&words, life, is_busy));
        while words.get(READY) != life {
            assert!(!writer.has_ended(), "a writer could not start: see what it said");
            thread::yield_now();
        }
        if is_busy {
            pass_time(&mut seed, 50);
        } else {
            // The sleeper says so by its flag, which the next writer finds.
            wait_until("a reader sleeps", || raw.waiters() & 1 != 0);
        }
        writer.kill();
        note_phase(&words, &raw);
        if raw.waiters() & 1 != 0 {
            words.add(WHILE_ASLEEP, 1);
        }
    }
    // The last one's lines have been read when the readers end.
    let mut writer = Options::new().create(NAME).expect("the lock is free");
    words.set(STOP, 1);
    publish(&mut writer);
    parent.say("over");
}

fn run_b3(amount: u64, mut seed: u64) -> Result<Tally, Skip> {
    let (mut tally, mut in_the_middle) = (Tally::default(), 0);
    // A writer that wakes readers with each line spends little of its time in the middle of one: of a thousand kills
    // ten or so meet it there, and now and then none.
    while tally.done < amount || (in_the_middle == 0 && tally.done < 10 * amount) {
        let place = Place::new();
        let words = Words::new(place.dir());
        let banks = [2, 4, 4, 8][draw(&mut seed, 4) as usize];
        drop(place.options().banks(banks).capacity(CAPACITY).create(NAME).unwrap());
        let mut heirs: Vec<_> = (0..WAYS.len()).map(|index| Child::start("heir", &place, &[&index])).collect();
        heirs.iter_mut().for_each(|heir| heir.expect("reading"));
        let lives = amount.saturating_sub(tally.done).clamp(100, 1000);
        let mut nursery = Child::start("nursery", &place, &[&lives, &draw(&mut seed, u64::MAX)]);
        nursery.expect("over");
        heirs.into_iter().chain([nursery]).for_each(Child::end);
        tally.done += words.get(KILLS);
        in_the_middle += words.get(IN_THE_MIDDLE);
        tally.add("killed while a reader slept", words.get(WHILE_ASLEEP));
    }
    tally.add("killed in the middle of a line", in_the_middle);
    Ok(tally)
}
