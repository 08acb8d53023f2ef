//! Models of [`seqlock`]: publishing, reading, recovery.

use super::{BACK, BEHIND, MIXED, Model, STALE, TORN, TWO_LINES};
use crate::protocol::seqlock::{self, Attempt, Bank, Look, Slot};
use crate::protocol::sync::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use crate::protocol::{copy, sync};
use loom::thread;
use std::sync::Arc;

/// A slot whose words are loom's; two words of payload.
pub struct Words {
    latest: AtomicU64,
    banks: Vec<[AtomicU64; 3]>,
    payload: Vec<[AtomicU64; 2]>,
}

impl Words {
    /// With messages 1 to `newest` published, long ago and by [`FIRST`].
    pub fn holding(banks: u64, newest: u64) -> Self {
        let lines = (0..banks).map(|index| (1..=newest).rev().find(|n| n % banks == index).unwrap_or(0));
        let content = |n| if n == 0 { [0; 2] } else { content(n, FIRST) };
        Self {
            latest: AtomicU64::new(newest),
            banks: lines.clone().map(|n| [2 * n, 16, content(n)[0]].map(AtomicU64::new)).collect(),
            payload: lines.map(|n| content(n).map(AtomicU64::new)).collect(),
        }
    }
}

impl Slot for Words {
    fn latest(&self) -> &AtomicU64 {
        &self.latest
    }
    fn banks(&self) -> u64 {
        self.banks.len() as u64
    }
    fn capacity(&self) -> usize {
        16
    }
    fn bank(&self, number: u64) -> Bank<'_> {
        let index = (number % self.banks()) as usize;
        let [sequence, length, time] = &self.banks[index];
        Bank { sequence, length, time, payload: &self.payload[index] }
    }
}

/// Who wrote a line. Two writers that use one number are found out by it.
const FIRST: u64 = 1;
const SECOND: u64 = 2;

/// Both words of the payload, the first of them also the time: each tells the number and the writer.
fn content(number: u64, writer: u64) -> [u64; 2] {
    [10 * number + writer, !(10 * number + writer)]
}

fn bytes(number: u64, writer: u64) -> [u8; 16] {
    let [first, second] = content(number, writer).map(u64::to_ne_bytes);
    std::array::from_fn(|i| if i < 8 { first[i] } else { second[i - 8] })
}

fn publish(slot: &Words, number: u64, writer: u64) {
    seqlock::publish(slot, number, content(number, writer)[0], &bytes(number, writer));
}

/// What a read found: number and writer of a whole line.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Line {
    number: u64,
    writer: u64,
}

/// One attempt at message `number`; `None` if the writer has passed by. Here stands what every read must satisfy.
fn attempt(slot: &Words, number: u64) -> Option<Line> {
    let mut buffer = vec![0; 16];
    match seqlock::read_attempt(slot, number, &mut buffer) {
        Attempt::Read { length, time } => {
            assert_eq!(length, 16);
            let [first, second] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| buffer[at + i])));
            assert!(first == !second && time == first, "{TORN}");
            assert!(first / 10 == number, "{MIXED}");
            Some(Line { number, writer: first % 10 })
        }
        Attempt::Lapped => None,
        Attempt::Behind => panic!("{BEHIND}"),
        Attempt::NoRoom(length) => unreachable!("16 bytes are there, and not {length}"),
    }
}

/// A way to find the newest number: [`seqlock::look`], or a weakened substitute.
type Looker = fn(&Words, u64) -> Look;

/// One look and one attempt at the newest line, also if it is the one that is held. `None` if the writer has passed by.
fn read(slot: &Words, look: Looker, held: u64) -> Option<Line> {
    match look(slot, held) {
        Look::Newest(0) => Some(Line::default()),
        Look::Newest(number) => attempt(slot, number),
        Look::Lapped => None,
    }
}

/// `look` without the look at the next bank.
fn without_look_ahead(slot: &Words, held: u64) -> Look {
    Look::Newest(latest(slot).max(held))
}

/// ... and without the number that is held.
fn without_max(slot: &Words, _: u64) -> Look {
    Look::Newest(latest(slot))
}

/// ... and with `!=` for newer.
fn differs(slot: &Words, held: u64) -> Look {
    let latest = latest(slot);
    Look::Newest(if latest != held { latest } else { held })
}

fn latest(slot: &Words) -> u64 {
    let latest = slot.latest.load(Relaxed);
    sync::core_fence(Acquire);
    latest
}

/// The writer adds `count` messages; `done` says which publish has returned.
struct Published {
    slot: Words,
    done: AtomicU64,
    told: AtomicU64,
}

fn with_writer(banks: u64, base: u64, count: u64) -> (Arc<Published>, thread::JoinHandle<()>) {
    let shared =
        Arc::new(Published { slot: Words::holding(banks, base), done: AtomicU64::new(base), told: AtomicU64::new(0) });
    let writer = Arc::clone(&shared);
    let writer = thread::spawn(move || {
        for number in base + 1..=base + count {
            publish(&writer.slot, number, FIRST);
            writer.done.store(number, Release);
        }
    });
    (shared, writer)
}

/// A read, then a look: whole, fresh, in order.
fn read_then_look(banks: u64, base: u64, count: u64) {
    let (shared, writer) = with_writer(banks, base, count);
    let returned = shared.done.load(Acquire);
    if let Some(line) = read(&shared.slot, seqlock::look, 0) {
        assert!(line.number >= returned, "{STALE}");
        if let Look::Newest(number) = seqlock::look(&shared.slot, line.number) {
            assert!(number >= line.number, "{BACK}");
        }
    }
    writer.join().unwrap();
}

/// The waiting path, then a read of the newest line: whole, fresh, in order.
fn wait_then_read(banks: u64, base: u64, count: u64, look: Looker) {
    let (shared, writer) = with_writer(banks, base, count);
    let returned = shared.done.load(Acquire);
    let mut held = base;
    let newer = seqlock::has_newer(&shared.slot, held);
    assert!(newer || returned == base, "{STALE}");
    if newer {
        // By the bank alone: the next bank's line is taken whatever `latest` says.
        if let Some(line) = attempt(&shared.slot, base + 1) {
            held = line.number;
        }
    }
    if let Some(line) = read(&shared.slot, look, held) {
        assert!(line.number >= returned, "{STALE}");
        assert!(line.number >= held, "{BACK}");
    }
    writer.join().unwrap();
}

/// Reader A takes a line by the waiting path and tells B, who must find at least that, also while the writer stands
/// between `end_write` and `announce`.
fn told(banks: u64, base: u64, count: u64, look: Looker) {
    let (shared, writer) = with_writer(banks, base, count);
    let a = Arc::clone(&shared);
    let a = thread::spawn(move || {
        if seqlock::has_newer(&a.slot, base)
            && let Some(line) = read(&a.slot, seqlock::look, base)
        {
            a.told.store(line.number, Release);
        }
    });
    let told = shared.told.load(Acquire);
    if told > 0
        && let Some(line) = read(&shared.slot, look, 0)
    {
        assert!(line.number >= told, "{STALE}");
    }
    a.join().unwrap();
    writer.join().unwrap();
}

/// A way to recover: [`seqlock::recover`], or a weakened substitute.
type Recovery = fn(&Words) -> u64;

fn recover(slot: &Words) -> u64 {
    seqlock::recover(slot).expect("no damage")
}

/// Recovery that trusts `latest` alone.
fn trust_latest(slot: &Words) -> u64 {
    slot.latest.load(Relaxed)
}

/// Steps of a publish after which the first writer can stop; 0: before the first one.
pub const STEPS: usize = 5;

/// The first `steps` steps of [`seqlock::publish`].
fn publish_partly(slot: &Words, number: u64, steps: usize) {
    let bank = slot.bank(number);
    let content = content(number, FIRST);
    if steps >= 1 {
        seqlock::begin_write(bank, number);
    }
    if steps >= 2 {
        bank.length.store(16, Relaxed);
        copy::store(&bank.payload[..1], &content[0].to_ne_bytes());
    }
    if steps >= 3 {
        bank.time.store(content[0], Relaxed);
        copy::store(&bank.payload[1..], &content[1].to_ne_bytes());
    }
    if steps >= 4 {
        seqlock::end_write(bank, number);
    }
    if steps >= 5 {
        seqlock::announce(slot, number);
    }
}

/// A writer stops after `steps`, the lock passes on (here: by a spawn, which orders as the lock does), a second writer
/// recovers and publishes, while a reader reads.
fn succession(banks: u64, steps: usize, recover: Recovery) {
    let base = banks;
    let slot = Arc::new(Words::holding(banks, base));
    let first = Arc::clone(&slot);
    let first = thread::spawn(move || {
        publish_partly(&first, base + 1, steps);
        thread::spawn(move || {
            let found = recover(&first);
            assert!(found >= base, "recovery lost a line");
            publish(&first, found + 1, SECOND);
        })
    });
    let mut seen = Vec::new();
    if seqlock::has_newer(&*slot, base) {
        seen.extend(attempt(&slot, base + 1));
    }
    seen.extend(read(&slot, seqlock::look, seen.last().map_or(0, |line| line.number)));
    first.join().unwrap().join().unwrap();
    // One that comes late, when all is quiet.
    let last = read(&slot, seqlock::look, 0).expect("nothing moves");
    seen.push(last);
    for (earlier, later) in seen.iter().zip(&seen[1..]) {
        assert!(earlier.number <= later.number, "{BACK}");
        assert!(earlier.number != later.number || earlier.writer == later.writer, "{TWO_LINES}");
    }
}

/// One bank, overwritten in place.
pub fn one_bank() -> Model {
    Model::new(|| read_then_look(1, 1, 1))
}

/// One bank, overwritten twice: here a look goes by way of `latest`.
pub fn one_bank_lapped() -> Model {
    Model::new(|| read_then_look(1, 0, 2))
}

/// The waiting path.
pub fn waiting() -> Model {
    Model::exhaustive(|| wait_then_read(2, 2, 1, seqlock::look))
}

#[test]
fn reads_are_whole_fresh_and_in_order() {
    one_bank().holds();
    one_bank_lapped().holds();
    Model::new(|| read_then_look(2, 2, 2)).holds();
    Model::new(|| read_then_look(4, 4, 2)).holds();
}

#[test]
fn a_reader_that_waits_never_goes_back() {
    waiting().holds();
    Model::new(|| wait_then_read(1, 1, 1, seqlock::look)).holds();
    Model::new(|| wait_then_read(2, 2, 2, seqlock::look)).holds();
    Model::new(|| wait_then_read(4, 0, 2, seqlock::look)).holds();
    // The twins fall back from the bank's number to that of `latest`.
    Model::new(|| wait_then_read(2, 2, 1, without_max)).fails(BACK);
    Model::new(|| wait_then_read(2, 2, 1, differs)).fails(BACK);
}

#[test]
fn a_line_that_one_reader_told_another_is_found() {
    Model::new(|| told(2, 2, 1, seqlock::look)).holds();
    Model::new(|| told(4, 0, 2, seqlock::look)).holds();
    Model::new(|| told(2, 2, 1, without_look_ahead)).fails(STALE);
}

#[test]
fn a_killed_writer_loses_nothing_and_no_number_is_used_twice() {
    for steps in 0..=STEPS {
        Model::new(move || succession(2, steps, recover)).holds();
        Model::new(move || succession(4, steps, recover)).holds();
    }
    // Only a line that was published and not announced tells the two apart.
    Model::new(|| succession(2, 4, trust_latest)).fails(TWO_LINES);
}
