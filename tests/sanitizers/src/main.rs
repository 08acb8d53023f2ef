//! What ThreadSanitizer and AddressSanitizer watch (`run`, beside this package).
//!
//! A sanitizer sees one process, and keeps its books by address: two mappings of one file are strangers to it. So the
//! protocol's own source runs here over a slot in ordinary memory that threads share, and the library, whose writers
//! and readers each map the file by themselves, beside it for all that is not the slot: buffers, descriptors, statics.
//!
//! | argument | |
//! |---|---|
//! | `slot` | a writer and readers on one slot |
//! | `library` | writers that come, grow, remove and go; readers that ask, sleep and poll |
//! | `race` | as `slot`, but the payload is written by plain stores: must be reported |
//! | `overrun` | a read behind the end of a line: must be reported |

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::Options;

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../../src/protocol/mod.rs"]
mod protocol;

use protocol::seqlock::{self, Bank, Reading, Slot};
use protocol::sync::AtomicU64;
use protocol::sync::Ordering::Relaxed;

const BANKS: u64 = 4;
/// Short enough for copies by words; vectors are assembly, into which no sanitizer looks.
const CAPACITY: usize = 120;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("slot") => share_slot(seqlock::publish),
        Some("race") => share_slot(publish_plainly),
        Some("library") => use_library(),
        Some("overrun") => overrun(),
        _ => panic!("slot, library, race or overrun?"),
    }
}

// The slot. -----------------------------------------------------------------------------------------------------------

/// A slot in ordinary memory.
struct Boxed {
    latest: AtomicU64,
    /// Sequence, length, time.
    heads: Vec<[AtomicU64; 3]>,
    payloads: Vec<Vec<AtomicU64>>,
}

impl Boxed {
    fn new() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            latest: AtomicU64::new(0),
            heads: (0..BANKS).map(|_| [0; 3].map(AtomicU64::new)).collect(),
            payloads: (0..BANKS).map(|_| zeros(CAPACITY / 8)).collect(),
        }
    }
}

impl Slot for Boxed {
    fn latest(&self) -> &AtomicU64 {
        &self.latest
    }
    fn banks(&self) -> u64 {
        BANKS
    }
    fn capacity(&self) -> usize {
        CAPACITY
    }
    fn bank(&self, number: u64) -> Bank<'_> {
        let index = (number % BANKS) as usize;
        let [sequence, length, time] = &self.heads[index];
        Bank { sequence, length, time, payload: &self.payloads[index] }
    }
}

type Publish = fn(&Boxed, u64, u64, &[u8]);

/// Message `number`: its length and its bytes follow from it.
fn line(number: u64) -> Vec<u8> {
    vec![number as u8; (number * 7 % (CAPACITY as u64 + 1)) as usize]
}

fn share_slot(publish: Publish) {
    const LINES: u64 = 50_000;
    let slot = Boxed::new();
    // Joined one by one: a sanitizer sees that, and not what the library of the language does at a scope's end.
    thread::scope(|scope| {
        let read = || {
            let (mut held, mut buffer, mut retries) = (0, Vec::new(), 0);
            while held < LINES {
                match seqlock::read_newest(&slot, held, false, &mut buffer, &mut retries) {
                    Reading::Line { number, length, time } => {
                        assert!(number > held && time == number);
                        assert!(buffer[..length] == line(number), "message {number} is torn");
                        held = number;
                    }
                    Reading::Nothing => thread::yield_now(),
                    reading => panic!("{reading:?}"),
                }
            }
        };
        let readers = [(); 3].map(|()| scope.spawn(read));
        for number in 1..=LINES {
            publish(&slot, number, number, &line(number));
        }
        readers.into_iter().for_each(|reader| reader.join().expect("a good end"));
    });
    println!("{LINES} lines");
}

/// What the protocol must not be: the payload by plain stores.
fn publish_plainly(slot: &Boxed, number: u64, time: u64, bytes: &[u8]) {
    let bank = slot.bank(number);
    seqlock::begin_write(bank, number);
    bank.length.store(bytes.len() as u64, Relaxed);
    bank.time.store(time, Relaxed);
    for (word, chunk) in bank.payload.iter().zip(bytes.chunks(8)) {
        let mut plain = [0; 8];
        plain[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: none, which is the point: readers load this word meanwhile, so this is a data race. It is within the
        // word, and the program is one whose only end is to be caught.
        unsafe { *word.as_ptr() = u64::from_ne_bytes(plain) };
    }
    seqlock::end_write(bank, number);
    seqlock::announce(slot, number);
}

// The library. --------------------------------------------------------------------------------------------------------

fn use_library() {
    const ROUNDS: u64 = 20;
    const LINES: u64 = 500;
    let place = tempfile::Builder::new().prefix("mailbox-test-").tempdir_in("/dev/shm").expect("a directory");
    let options = Options::new().dir(place.path()).wait_for_mailbox(true);
    let is_over = AtomicBool::new(false);
    let (options, is_over) = (&options, &is_over);
    let reads: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|way| scope.spawn(move || read(options, way, is_over))).collect();
        for round in 0..ROUNDS {
            let mut writer = options.clone().capacity(64 << (round % 3)).create("box").expect("a writer");
            for number in 0..LINES {
                let bytes = line(number % 9);
                if bytes.len() > writer.capacity() {
                    writer.grow(bytes.len()).expect("room");
                }
                writer.publish(&bytes).expect("published");
                if number % 100 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            writer.check().expect("still there");
            drop(writer);
            if round % 4 == 3 {
                options.remove("box", false).expect("removed");
            }
        }
        is_over.store(true, SeqCst);
        readers.into_iter().map(|reader| reader.join().expect("a good end")).sum()
    });
    println!("{reads} reads");
    assert!(reads > 0);
}

/// Reads in one of four ways until it is over; says how many lines.
fn read(options: &Options, way: u64, is_over: &AtomicBool) -> u64 {
    let mut reader = options.open("box").expect("a reader");
    let doorbell = (way == 3).then(|| reader.doorbell().expect("a doorbell"));
    let mut lines = 0;
    while !is_over.load(SeqCst) {
        let message = match way {
            0 => reader.read_timeout(Duration::from_millis(10)),
            1 => reader.latest(),
            _ => reader.try_read(),
        };
        match message.expect("no error") {
            Some(message) => {
                assert!(message.bytes.iter().all(|byte| *byte == message.bytes[0]), "torn");
                lines += 1;
            }
            None => match &doorbell {
                Some(doorbell) => {
                    let mut polled = [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)];
                    poll(&mut polled, PollTimeout::from(20u8)).expect("polled");
                }
                None => thread::yield_now(),
            },
        }
    }
    lines
}

/// A read of one byte behind a line.
fn overrun() {
    let bytes = std::hint::black_box(line(17)).into_boxed_slice();
    // SAFETY: none, which is the point: this byte is behind the allocation, and the program is to be caught at it.
    let byte = unsafe { std::ptr::read_volatile(bytes.as_ptr().add(bytes.len())) };
    println!("{byte}");
}
