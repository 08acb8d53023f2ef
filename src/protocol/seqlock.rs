//! The slot: publishing a line in one of several banks, reading the newest, recovering after a death.
//!
//! Message `n` lives in bank `n mod banks`. A bank's sequence says what it holds:
//!
//! ```text
//!    sequence 2m                 2n - 1                    2n
//!   ┌────────────┐ begin_write ┌────────────┐ end_write ┌────────────┐
//!   │ holds m    │────────────>│ n is being │──────────>│ holds n    │      n = m + banks
//!   │ (0: none)  │             │ written    │           │            │
//!   └────────────┘             └────────────┘           └────────────┘
//! ```
//!
//! Only the writer takes these arrows, and a sequence never decreases within an instance. A reader copies the content
//! between two looks at the sequence and keeps it only if both found `2n`.

use super::copy;
use super::sync::{self, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Site};

/// One physical copy of the slot.
#[derive(Clone, Copy)]
pub struct Bank<'a> {
    /// Even, `2n`: holds message `n`, stable (0: none yet); odd, `2n - 1`: message `n` is being written. Written only
    /// by the writer, never decreases within an instance.
    pub sequence: &'a AtomicU64,
    /// Bytes of the line; written only by the writer, while the sequence is odd.
    pub length: &'a AtomicU64,
    /// When the line was published, in nanoseconds of `CLOCK_BOOTTIME`, or 0; written like `length`.
    pub time: &'a AtomicU64,
    /// The line, in words; written like `length`.
    pub payload: &'a [AtomicU64],
}

/// The shared words of a mailbox that hold its line.
pub trait Slot {
    /// Number of the newest message that was announced, 0 if there is none. Written only by the writer, never decreases
    /// within an instance, and never ahead of the banks: whoever reads `n` here finds a sequence of at least `2n`.
    fn latest(&self) -> &AtomicU64;

    /// How many banks there are: a power of two.
    fn banks(&self) -> u64;

    /// Most bytes in a line.
    fn capacity(&self) -> usize;

    /// The bank of message `number`: `number mod banks`.
    fn bank(&self, number: u64) -> Bank<'_>;
}

/// Greatest message number that is taken for honest: 10^9 a second do not reach it in 146 years.
pub const MAX_NUMBER: u64 = 1 << 62;

/// The sequence of a bank that holds message `number`.
#[inline(always)]
pub const fn sequence_of(number: u64) -> u64 {
    // Wrapping: a damaged `latest` must not be a panic.
    number.wrapping_mul(2)
}

/// Publishes `bytes` as message `number`, which is one more than the last. Wait-free.
///
/// Until this returns, and also if the writer dies inside, readers find message `number - 1` or `number`, whole (with
/// one bank, where the old line is overwritten in place, they may find nothing).
///
/// # Panics
///
/// If the line is longer than the bank's payload.
#[inline]
pub fn publish(slot: &impl Slot, number: u64, time: u64, bytes: &[u8]) {
    let bank = slot.bank(number);
    begin_write(bank, number);
    bank.length.store(bytes.len() as u64, Relaxed);
    bank.time.store(time, Relaxed);
    copy::store(bank.payload, bytes);
    end_write(bank, number);
    announce(slot, number);
}

/// Marks the bank: its old content may no longer be used.
#[inline(always)]
pub fn begin_write(bank: Bank<'_>, number: u64) {
    bank.sequence.store(sequence_of(number).wrapping_sub(1), Relaxed);
    // ORDERING [mark]: Release fence, pairs with [validate] in `read_attempt`. The odd sequence must be visible before
    // any word of the content; if it were not, a lapped reader could copy new words and still find the old even
    // sequence when it validates. A Release *store* would not do: it orders what comes before it, not after.
    sync::fence(Site::Mark, Release);
}

/// Publishes what was written to the bank.
#[inline(always)]
pub fn end_write(bank: Bank<'_>, number: u64) {
    // ORDERING [publish]: Release, pairs with [saw-sequence] in `read_attempt`: a reader that finds `2n` finds the
    // content of message n. Relaxed, a reader that came by the bank alone would copy old words under the new number.
    sync::store_release(Site::Publish, bank.sequence, sequence_of(number));
}

/// Tells those who do not watch the bank that message `number` is there.
#[inline(always)]
pub fn announce(slot: &impl Slot, number: u64) {
    // ORDERING [latest]: SeqCst, for two pairs. As a Release it pairs with [saw-latest] in `look`: `latest` is never
    // ahead of the banks. As a SeqCst store before the SeqCst load [waiters] in `Eventcount::has_waiters` it pairs with
    // [arm] and [armed]: publish mine, then look at yours, on both sides, so that not both can miss the other. With
    // Release a reader goes to sleep on a line that is there, on x86 too (the store waits in the store buffer).
    sync::store_seqcst(Site::Latest, slot.latest(), number);
}

/// The newest message that was announced.
#[inline(always)]
pub fn announced(slot: &impl Slot) -> u64 {
    // ORDERING: Relaxed. After [armed] it is the reader's half of that pair; elsewhere its age does not matter.
    slot.latest().load(Relaxed)
}

/// The newest message that anybody can have seen, for a reader that starts behind it. `None`: the slot contradicts
/// itself.
pub fn newest(slot: &impl Slot) -> Option<u64> {
    let backoff = sync::Backoff::new();
    let seen = (0..MOTIONLESS).find_map(|_| match look(slot, 0) {
        Look::Newest(newest) => Some(newest),
        Look::Lapped => {
            backoff.spin();
            None
        }
    });
    let newest = seen.unwrap_or_else(|| announced(slot));
    // ORDERING [saw-latest]: Acquire fence, pairs with [latest] in `announce`, as in `look`.
    sync::fence(Site::SawLatest, Acquire);
    let is_there = slot.bank(newest).sequence.load(Relaxed) >= sequence_of(newest);
    (is_there && newest <= MAX_NUMBER).then_some(newest)
}

/// Whether a message newer than `held` may be there; the cheapest look, one load of the cache line that will
/// change next.
///
/// `false` is certain: numbers are consecutive, and a file that carries on another's begins as if all its banks had
/// been written, so nothing newer exists while the bank of `held + 1` holds less than it.
#[inline(always)]
pub fn has_newer(slot: &impl Slot, held: u64) -> bool {
    let next = held.wrapping_add(1);
    // ORDERING: Relaxed suffices. That publish k has returned before this load (the reader knows it by other means,
    // which carry the order) makes the load see at least the sequence of the newest of messages 1 to k that belongs to
    // this bank, by coherence. Whoever goes on calls `look`, which fences.
    slot.bank(next).sequence.load(Relaxed) >= sequence_of(next)
}

/// Whether a message newer than `held` was announced; what a reader looks at when it is about to sleep. `None`: so says
/// `latest`, and its bank does not, which is not the work of a writer.
#[inline]
pub fn has_announced(slot: &impl Slot, held: u64) -> Option<bool> {
    if announced(slot) <= held {
        return Some(false);
    }
    // ORDERING [saw-latest]: Acquire fence, pairs with [latest] in `announce`, as in `look`.
    sync::fence(Site::SawLatest, Acquire);
    has_newer(slot, held).then_some(true)
}

/// What a look at the slot found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The newest message, or the number that was held if there is no newer one (0: there is none at all).
    Newest(u64),
    /// The writer passed by at least a whole round of banks during the look: look again.
    Lapped,
}

/// Finds the number of the newest message, not below `held`, the number that this reader has returned last. Wait-free.
///
/// A reader that keeps up never loads `latest`, whose cache line the writer changes with every message.
#[inline]
pub fn look(slot: &impl Slot, held: u64) -> Look {
    match look_ahead(slot, held) {
        Look::Lapped => {}
        newest => return newest,
    }
    let latest = slot.latest().load(Relaxed);
    // ORDERING [saw-latest]: Acquire fence, pairs with [latest] in `announce`. `latest = n` was stored after bank n's
    // sequence, so what is loaded from the banks below is at least that; a smaller sequence is then damage, no race.
    sync::fence(Site::SawLatest, Acquire);
    // A reader that spins takes message n from its bank before `latest` says n: going by `latest` alone would send it
    // back to n - 1.
    look_ahead(slot, latest.max(held))
}

/// Finds the newest message from `known` on, by the banks alone.
///
/// Needed after `latest` too: the writer may have stopped, for ever, between `end_write` and `announce`, and another
/// reader may have the line already and have told somebody.
#[inline]
fn look_ahead(slot: &impl Slot, known: u64) -> Look {
    let mut newest = known;
    loop {
        let next = newest.wrapping_add(1);
        let sequence = slot.bank(next).sequence.load(Relaxed);
        if sequence < sequence_of(next) {
            return Look::Newest(newest);
        }
        if sequence > sequence_of(next) {
            return Look::Lapped;
        }
        newest = next;
    }
}

/// How one attempt to read a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The line is in the buffer, whole.
    Read {
        /// Bytes of the line: the first ones of the buffer.
        length: usize,
        /// See [`Bank::time`].
        time: u64,
    },
    /// The writer has begun to overwrite the bank, so that newer messages exist or are being made: look again.
    Lapped,
    /// The bank holds less than was announced: not the work of a writer.
    Behind,
    /// The buffer has no room for the line, which has so many bytes.
    NoRoom(usize),
}

/// Where a read puts the line.
pub trait Buffer {
    /// Whether there is room for any line for which there is memory.
    const GROWS: bool;

    /// Room for `length` bytes, if there is any.
    fn room(&mut self, length: usize) -> Option<&mut [u8]>;

    /// All of it; the line last read is at its start.
    fn bytes(&self) -> &[u8];
}

/// A reader's own: grows, never shrinks.
impl Buffer for Vec<u8> {
    const GROWS: bool = true;

    #[inline(always)]
    fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.len() < length {
            // A damaged file may claim any length up to its own.
            self.try_reserve(length - self.len()).ok()?;
            self.resize(length, 0);
        }
        Some(&mut self[..length])
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A caller's.
impl Buffer for [u8] {
    const GROWS: bool = false;

    #[inline(always)]
    fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        self.get_mut(..length)
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Tries once to copy message `number`, which `look` found, into `buffer`.
///
/// Wait-free. No reader writes to the slot, so any number of them read at the same time without a trace.
#[inline(always)]
pub fn read_attempt<B: Buffer + ?Sized>(slot: &impl Slot, number: u64, buffer: &mut B) -> Attempt {
    let bank = slot.bank(number);
    let wanted = sequence_of(number);
    let sequence = bank.sequence.load(Relaxed);
    // ORDERING [saw-sequence]: Acquire fence, pairs with [publish] in `end_write`: after `2n`, the content of message n
    // or newer. Without it the loads below could be satisfied before the sequence's (a branch orders no loads).
    sync::fence(Site::SawSequence, Acquire);
    if sequence != wanted {
        return if sequence > wanted { Attempt::Lapped } else { Attempt::Behind };
    }
    // Clamped before use: the length is of another message if the writer is overwriting it, and anything if the file is
    // damaged.
    let length = bank.length.load(Relaxed).min(slot.capacity() as u64) as usize;
    let time = bank.time.load(Relaxed);
    let room = buffer.room(length);
    let is_copied = room.is_some();
    if let Some(room) = room {
        copy::load(bank.payload, room);
    }
    // ORDERING [validate]: Acquire fence, pairs with [mark] in `begin_write`. If any load above saw a word of a later
    // message, the load below sees that message's odd sequence or a later one. An Acquire load in place of fence and
    // load would not do: it orders what comes after it, not before.
    sync::fence(Site::Validate, Acquire);
    if bank.sequence.load(Relaxed) != wanted {
        return Attempt::Lapped;
    }
    if is_copied { Attempt::Read { length, time } } else { Attempt::NoRoom(length) }
}

/// What reading the newest line came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Message `number` is in the buffer, whole.
    Line {
        /// Its number.
        number: u64,
        /// Bytes of the line: the first ones of the buffer.
        length: usize,
        /// See [`Bank::time`].
        time: u64,
    },
    /// There is nothing newer than what is held.
    Nothing,
    /// The only bank is being written, again and again, or was when its writer died.
    Unfinished,
    /// The slot contradicts itself.
    Damaged,
    /// The buffer has no room for the newest line, which has so many bytes.
    NoRoom(usize),
}

/// Attempts without any movement of the slot, after which a reader stops trying. An honest writer's stores are all
/// visible long before that.
const MOTIONLESS: u32 = 100;

/// With one bank, attempts on a slot that moves, after which a reader stops trying; each counts once, and once more for
/// every [`COSTLY`] bytes of the line. The textbook seqlock gives a reader no better word against a tight writer.
const OVERTAKEN: usize = 10_000;
const COSTLY: usize = 4096;

/// Reads the newest message into `buffer` if its number is greater than `held`, or at least `held` if `again`; counts
/// the attempts that failed in `retries`.
///
/// Lock-free: every retry means that the writer has published meanwhile; ends in any case when the slot does not move,
/// and with one bank after a bounded number of attempts.
#[inline]
pub fn read_newest<B: Buffer + ?Sized>(
    slot: &impl Slot,
    held: u64,
    again: bool,
    buffer: &mut B,
    retries: &mut u64,
) -> Reading {
    match attempt_newest(slot, held, again, buffer) {
        Some(reading) => reading,
        None => read_newest_again(slot, held, again, buffer, retries),
    }
}

/// As [`read_newest`], by one look and one attempt: wait-free, and `None` if the writer passed by.
#[inline(always)]
pub fn attempt_newest<B: Buffer + ?Sized>(slot: &impl Slot, held: u64, again: bool, buffer: &mut B) -> Option<Reading> {
    let Look::Newest(number) = look(slot, held) else { return None };
    if number < held || number > MAX_NUMBER {
        // Below what is held only if `latest` is so great that counting on from it has begun again at 0.
        return Some(Reading::Damaged);
    }
    if number == 0 || (number == held && !again) {
        return Some(Reading::Nothing);
    }
    match read_attempt(slot, number, buffer) {
        Attempt::Read { length, time } => Some(Reading::Line { number, length, time }),
        Attempt::Lapped => None,
        Attempt::Behind => Some(Reading::Damaged),
        Attempt::NoRoom(length) => Some(Reading::NoRoom(length)),
    }
}

#[cold]
fn read_newest_again<B: Buffer + ?Sized>(
    slot: &impl Slot,
    held: u64,
    again: bool,
    buffer: &mut B,
    retries: &mut u64,
) -> Reading {
    let backoff = sync::Backoff::new();
    let (mut before, mut motionless, mut overtaken) = (None, 0, 0);
    loop {
        *retries += 1;
        let latest = announced(slot);
        motionless = if before == Some(latest) { motionless + 1 } else { 0 };
        before = Some(latest);
        if motionless > MOTIONLESS {
            return if slot.banks() == 1 { Reading::Unfinished } else { Reading::Damaged };
        }
        if slot.banks() == 1 {
            overtaken += 1 + buffer.bytes().len().min(slot.capacity()) / COSTLY;
            if overtaken > OVERTAKEN {
                return Reading::Unfinished;
            }
        }
        // No yield: on a busy machine each could take milliseconds, and the caller may have a deadline.
        backoff.spin();
        if let Some(reading) = attempt_newest(slot, held, again, buffer) {
            return reading;
        }
    }
}

/// A bank that no writer can have left like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Index of the bank.
    pub bank: u64,
    /// What stands in its sequence.
    pub sequence: u64,
    /// What stands in `latest`.
    pub latest: u64,
}

/// Repairs `latest` after the death of a writer and returns it; the next message is one more.
///
/// Called by the one process that holds the writer's lock. May itself be killed and called again. `latest` becomes the
/// greatest number that any reader can have seen: a line that was published and not announced counts, one that was only
/// begun does not, and its number is used again, for the first time in anybody's eyes.
///
/// # Errors
///
/// [`Damage`] if a bank holds anything but the newest message up to `latest` that belongs to it, or the one after
/// `latest`, begun or published.
pub fn recover(slot: &impl Slot) -> Result<u64, Damage> {
    // ORDERING: Relaxed. The lock that we got was released by the kernel after the last store of the dead writer, and
    // whoever holds it is alone: these loads see the last values.
    let announced = slot.latest().load(Relaxed);
    let (mut latest, mask) = (announced, slot.banks() - 1);
    for index in 0..=mask {
        let sequence = slot.bank(index).sequence.load(Relaxed);
        // Of those that are announced, in this bank; 0: none yet.
        let newest = announced.saturating_sub(announced.wrapping_sub(index) & mask);
        let number = sequence.div_ceil(2);
        let is_next = number == announced.wrapping_add(1) && number & mask == index;
        if announced > MAX_NUMBER || (sequence != sequence_of(newest) && !is_next) {
            return Err(Damage { bank: index, sequence, latest: announced });
        }
        latest = latest.max(sequence / 2);
    }
    announce(slot, latest);
    Ok(latest)
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// A slot in ordinary memory.
    pub struct Boxed {
        latest: AtomicU64,
        words: Vec<[AtomicU64; 3]>,
        payload: Vec<Vec<AtomicU64>>,
    }

    impl Boxed {
        pub fn new(banks: usize, words: usize) -> Self {
            Self {
                latest: AtomicU64::new(0),
                words: (0..banks).map(|_| [0; 3].map(AtomicU64::new)).collect(),
                payload: (0..banks).map(|_| (0..words).map(|_| AtomicU64::new(0)).collect()).collect(),
            }
        }
    }

    impl Slot for Boxed {
        fn latest(&self) -> &AtomicU64 {
            &self.latest
        }
        fn banks(&self) -> u64 {
            self.words.len() as u64
        }
        fn capacity(&self) -> usize {
            self.payload[0].len() * copy::WORD
        }
        fn bank(&self, number: u64) -> Bank<'_> {
            let index = number as usize & (self.words.len() - 1);
            let [sequence, length, time] = &self.words[index];
            Bank { sequence, length, time, payload: &self.payload[index] }
        }
    }

    fn read(slot: &Boxed, held: u64) -> (u64, Option<Vec<u8>>) {
        let Look::Newest(number) = look(slot, held) else { panic!("lapped without a writer") };
        if number == 0 {
            return (0, None);
        }
        let mut buffer = Vec::new();
        match read_attempt(slot, number, &mut buffer) {
            Attempt::Read { length, .. } => (number, Some(buffer[..length].to_vec())),
            _ => (number, None),
        }
    }

    proptest! {
        #[test]
        fn the_newest_line_is_read(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            banks in prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
        ) {
            let slot = Boxed::new(banks, 5);
            for (index, line) in lines.iter().enumerate() {
                prop_assert!(!has_newer(&slot, index as u64));
                publish(&slot, index as u64 + 1, 0, line);
                prop_assert!(has_newer(&slot, index as u64));
                prop_assert_eq!(read(&slot, index as u64), (index as u64 + 1, Some(line.clone())));
            }
            prop_assert_eq!(read(&slot, 0), (lines.len() as u64, lines.last().cloned()));
        }

        /// Stops a publish after each of its steps, as a kill would, and lets a second writer take over.
        #[test]
        fn a_writer_killed_at_any_step_loses_nothing(
            before in 1u64..20,
            stop in 0usize..5,
            banks in prop_oneof![Just(2usize), Just(4), Just(8)],
        ) {
            let slot = Boxed::new(banks, 5);
            for number in 1..=before {
                publish(&slot, number, 0, &number.to_le_bytes());
            }
            let next = before + 1;
            let bank = slot.bank(next);
            let published = stop >= 3;
            if stop >= 1 { begin_write(bank, next); }
            if stop >= 2 { bank.length.store(8, Relaxed); copy::store(bank.payload, &next.to_le_bytes()); }
            if stop >= 3 { end_write(bank, next); }
            if stop >= 4 { announce(&slot, next); }

            let newest = if published { next } else { before };
            prop_assert_eq!(read(&slot, 0), (newest, Some(newest.to_le_bytes().to_vec())));
            prop_assert_eq!(recover(&slot), Ok(newest));
            prop_assert_eq!(recover(&slot), Ok(newest), "recovery can be repeated");
            prop_assert_eq!(read(&slot, 0), (newest, Some(newest.to_le_bytes().to_vec())));
            publish(&slot, newest + 1, 0, b"again");
            prop_assert_eq!(read(&slot, newest), (newest + 1, Some(b"again".to_vec())));
        }
    }

    #[test]
    fn one_bank_killed_in_the_middle_holds_nothing() {
        let slot = Boxed::new(1, 5);
        publish(&slot, 1, 0, b"one");
        begin_write(slot.bank(2), 2);
        assert_eq!(look(&slot, 0), Look::Newest(1));
        assert_eq!(read_attempt(&slot, 1, &mut Vec::new()), Attempt::Lapped);
        assert_eq!(recover(&slot), Ok(1));
        publish(&slot, 2, 0, b"two");
        assert_eq!(read(&slot, 0), (2, Some(b"two".to_vec())));
    }

    #[test]
    fn a_published_line_counts_before_it_is_announced() {
        let slot = Boxed::new(4, 5);
        publish(&slot, 1, 0, b"one");
        slot.latest.store(0, Relaxed);
        assert_eq!(look(&slot, 0), Look::Newest(1));
    }

    #[test]
    fn a_lapped_look_says_so() {
        let slot = Boxed::new(2, 5);
        for number in 1..=4 {
            publish(&slot, number, 0, b"");
        }
        slot.latest.store(1, Relaxed);
        assert_eq!(look(&slot, 0), Look::Lapped);
        assert_eq!(read_attempt(&slot, 2, &mut Vec::new()), Attempt::Lapped);
    }

    #[test]
    fn damage_is_said() {
        for (bank, sequence) in [(0, 2), (1, 4), (1, 10), (3, 2 * 7), (2, 2 * 6 - 1), (2, 0), (3, 2 * 3 - 1)] {
            let slot = Boxed::new(4, 5);
            for number in 1..=4 {
                publish(&slot, number, 0, b"");
            }
            slot.words[bank][0].store(sequence, Relaxed);
            let found = recover(&slot);
            if (bank, sequence) == (1, 10) {
                assert_eq!(found, Ok(5), "published, not announced: no damage");
            } else {
                assert_eq!(found, Err(Damage { bank: bank as u64, sequence, latest: 4 }));
            }
        }
    }

    #[test]
    fn latest_ahead_of_its_bank_is_damage_and_no_wait() {
        let slot = Boxed::new(4, 5);
        for number in 1..=5 {
            publish(&slot, number, 0, b"");
        }
        slot.latest.store(1000, Relaxed);
        assert_eq!(look(&slot, 0), Look::Newest(1000));
        assert_eq!(read_attempt(&slot, 1000, &mut Vec::new()), Attempt::Behind);
    }

    #[test]
    fn a_slot_that_contradicts_itself_ends_the_read() {
        let slot = Boxed::new(2, 5);
        publish(&slot, 1, 0, b"one");
        slot.words[0][0].store(2 * 100, Relaxed);
        let mut retries = 0;
        assert_eq!(read_newest(&slot, 0, false, &mut Vec::new(), &mut retries), Reading::Damaged);
        // The first finds where it stands, then as many find it there, and one more.
        assert_eq!(retries, u64::from(MOTIONLESS) + 2);
    }

    /// A slot whose `latest` is another at every look, as beside a writer in a tight loop, for so many looks.
    struct Driven {
        slot: Boxed,
        looks: Cell<usize>,
        lasts: usize,
    }

    impl Driven {
        fn new(banks: usize, lasts: usize) -> Self {
            let slot = Boxed::new(banks, 3 * COSTLY / copy::WORD);
            // Ahead of every message that `latest` tells of: always in the middle of a later one.
            slot.words.iter().for_each(|bank| bank[0].store((1 << 40) + 1, Relaxed));
            Self { slot, looks: Cell::new(0), lasts }
        }
    }

    impl Slot for Driven {
        fn latest(&self) -> &AtomicU64 {
            self.looks.update(|looks| looks + 1);
            if self.looks.get() < self.lasts {
                self.slot.latest.fetch_add(1, Relaxed);
            } else {
                // The writer rests: it has announced its last message.
                self.slot.latest.store(4, Relaxed);
                (1..=4).for_each(|number| end_write(self.slot.bank(number), number));
            }
            self.slot.latest()
        }
        fn banks(&self) -> u64 {
            self.slot.banks()
        }
        fn capacity(&self) -> usize {
            self.slot.capacity()
        }
        fn bank(&self, number: u64) -> Bank<'_> {
            self.slot.bank(number)
        }
    }

    #[test]
    fn a_reader_of_one_bank_gives_up_the_sooner_the_longer_its_line() {
        // What lies beyond the capacity is of no line.
        for (length, costs) in [(0, 1), (COSTLY - 1, 1), (2 * COSTLY, 3), (5 * COSTLY, 4)] {
            let slot = Driven::new(1, usize::MAX);
            let mut retries = 0;
            assert_eq!(read_newest(&slot, 0, false, &mut vec![0; length], &mut retries), Reading::Unfinished);
            assert_eq!(retries, (OVERTAKEN / costs + 1) as u64, "a line of {length} bytes");
            // And so in a caller's buffer.
            let (slot, mut retries) = (Driven::new(1, usize::MAX), 0);
            assert_eq!(read_newest(&slot, 0, false, &mut vec![0; length][..], &mut retries), Reading::Unfinished);
            assert_eq!(retries, (OVERTAKEN / costs + 1) as u64, "a buffer of {length} bytes");
        }
    }

    #[test]
    fn a_reader_of_several_banks_never_gives_up_on_a_writer_that_goes_on() {
        let slot = Driven::new(4, 5 * OVERTAKEN);
        let mut retries = 0;
        let reading = read_newest(&slot, 0, false, &mut vec![0; 2 * COSTLY], &mut retries);
        assert_eq!(reading, Reading::Line { number: 4, length: 0, time: 0 });
        assert!(retries > OVERTAKEN as u64, "{retries}");
    }

    #[test]
    fn what_was_announced_is_told_from_what_is_there() {
        let slot = Boxed::new(4, 5);
        assert_eq!((announced(&slot), newest(&slot), has_announced(&slot, 0)), (0, Some(0), Some(false)));
        for number in 1..=6 {
            publish(&slot, number, 0, b"");
        }
        assert_eq!((announced(&slot), newest(&slot)), (6, Some(6)));
        assert_eq!((has_announced(&slot, 5), has_announced(&slot, 6)), (Some(true), Some(false)));
        // Published, and its writer killed before it said so.
        end_write(slot.bank(7), 7);
        assert_eq!((announced(&slot), newest(&slot), has_announced(&slot, 6)), (6, Some(7), Some(false)));
        // Announced, and not there.
        slot.latest.store(1000, Relaxed);
        assert_eq!((newest(&slot), has_announced(&slot, 7)), (None, None));
    }

    #[test]
    fn the_greatest_number_is_taken_and_none_above_it() {
        for (latest, is_taken) in [(MAX_NUMBER, true), (MAX_NUMBER + 1, false)] {
            let slot = Boxed::new(4, 5);
            for number in latest - 3..=latest {
                end_write(slot.bank(number), number);
            }
            slot.latest.store(latest, Relaxed);
            assert_eq!(newest(&slot), is_taken.then_some(latest));
            let reading = read_newest(&slot, 0, false, &mut Vec::new(), &mut 0);
            let line = Reading::Line { number: latest, length: 0, time: 0 };
            assert_eq!(reading, if is_taken { line } else { Reading::Damaged });
            assert_eq!(recover(&slot).ok(), is_taken.then_some(latest));
        }
    }

    #[test]
    fn recovery_does_not_believe_a_latest_that_its_bank_does_not_bear_out() {
        let slot = Boxed::new(4, 5);
        for number in 1..=4 {
            publish(&slot, number, 0, b"");
        }
        slot.latest.store(1000, Relaxed);
        assert_eq!(recover(&slot), Err(Damage { bank: 0, sequence: 8, latest: 1000 }));
    }

    /// A long-lived reader's memory is of the order of its longest line.
    #[test]
    fn the_buffer_grows_by_what_is_missing() {
        let slot = Boxed::new(4, 50);
        publish(&slot, 1, 0, &[1; 400]);
        let mut buffer = vec![0; 300];
        assert_eq!(read_attempt(&slot, 1, &mut buffer), Attempt::Read { length: 400, time: 0 });
        assert!(buffer.capacity() < 300 + 400, "{}", buffer.capacity());
    }

    #[test]
    fn an_unfinished_line_in_the_only_bank_ends_the_read() {
        let slot = Boxed::new(1, 5);
        publish(&slot, 1, 0, b"one");
        begin_write(slot.bank(2), 2);
        assert_eq!(read_newest(&slot, 0, false, &mut Vec::new(), &mut 0), Reading::Unfinished);
        assert_eq!(read_newest(&slot, 1, false, &mut Vec::new(), &mut 0), Reading::Nothing);
    }

    #[test]
    fn what_is_held_is_read_again_only_when_asked() {
        let slot = Boxed::new(4, 5);
        publish(&slot, 1, 7, b"one");
        let mut buffer = Vec::new();
        assert_eq!(read_newest(&slot, 1, false, &mut buffer, &mut 0), Reading::Nothing);
        assert_eq!(read_newest(&slot, 1, true, &mut buffer, &mut 0), Reading::Line { number: 1, length: 3, time: 7 });
        assert_eq!(&buffer[..3], b"one");
    }

    #[test]
    fn a_buffer_of_fixed_size_gets_a_line_or_nothing() {
        let slot = Boxed::new(4, 5);
        publish(&slot, 1, 7, b"one");
        let mut buffer = *b"....";
        assert_eq!(read_newest(&slot, 0, false, &mut buffer[..2], &mut 0), Reading::NoRoom(3));
        assert_eq!(&buffer, b"....");
        let line = Reading::Line { number: 1, length: 3, time: 7 };
        assert_eq!(read_newest(&slot, 0, false, &mut buffer[..3], &mut 0), line);
        assert_eq!(&buffer, b"one.");
    }

    #[test]
    fn a_length_that_is_being_overwritten_is_nobodys() {
        let slot = Boxed::new(4, 5);
        publish(&slot, 1, 0, b"one");
        begin_write(slot.bank(5), 5);
        slot.bank(5).length.store(4, Relaxed);
        assert_eq!(read_attempt(&slot, 1, &mut [0; 3][..]), Attempt::Lapped);
    }

    #[test]
    fn a_length_beyond_the_bank_is_clamped() {
        let slot = Boxed::new(4, 5);
        publish(&slot, 1, 0, b"one");
        slot.words[1][1].store(u64::MAX, Relaxed);
        assert_eq!(read_attempt(&slot, 1, &mut Vec::new()), Attempt::Read { length: 40, time: 0 });
    }
}
