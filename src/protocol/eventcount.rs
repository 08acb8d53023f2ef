//! Waiting for a line and waking those who wait: an eventcount over a futex, with a tree of wakes, and the doorbell's
//! flag.
//!
//! ```text
//!   reader                                       writer
//!   key = epoch                 [key]            latest = n                   [latest]
//!   waiters |= FUTEX            [arm]            waiters == 0 ?  done         [waiters]
//!   fence                       [armed]          flags = swap(waiters, 0)
//!   latest > held ?  take it                     FUTEX: epoch += 1            [bump]
//!   sleep while epoch == key                            wake two sleepers
//!   woken: wake two older sleepers               BELL:  ring
//! ```
//!
//! **No wake-up is lost.** Either the reader's look finds the line, or the writer's look finds the flag (\[armed\] and
//! \[latest\]/\[waiters\] are all SeqCst: one comes first). In the second case `epoch` moves after the reader took its
//! key, or the key is of the new epoch and then the look found the line (\[bump\] and \[key\]). The kernel compares
//! `epoch` with the key under the lock that a wake takes too, so a reader is asleep before the wake or does not fall
//! asleep.
//!
//! **Flags, not a count.** A reader that is killed asleep leaves a flag, which costs the writer one needless wake.
//!
//! **The tree.** Waking a thousand sleepers takes the writer milliseconds, so it wakes [`FAN_OUT`] and each that was
//! woken wakes as many again, before anything else and whatever it finds. Each sleeper carries the bit `key mod 32`; a
//! relay goes to all bits but the present epoch's, hence to sleepers of *older* epochs only. A relay to anybody might
//! be absorbed by readers that had the line already and sleep afresh; a relay only by those who found a new line stops
//! at the first that took it while still awake (two readers suffice where a wake wakes one: `docs/models/tree.pml`).
//! Sleepers whose epoch differs by a multiple of 32 keep the bit until their time slice ends.
//!
//! The wake-up rests on nothing else, but a process that dies or is stopped between two of these steps, or a hostile
//! one that moves sleepers to another futex, can swallow it: so nobody sleeps for more than one time slice without
//! looking.
//!
//! The eventcount is D. Vyukov's, as in folly's `EventCount.h`; the tree and its bits are our own.

use super::sync::{self, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst, Site};

/// Flag in `waiters`: readers sleep on the futex `epoch`.
pub const FUTEX: u32 = 1;
/// Flag in `waiters`: readers poll the doorbell.
pub const BELL: u32 = 2;

/// How many sleepers one wake wakes: the writer's, and each relay's.
pub const FAN_OUT: u32 = 2;

/// All bits: a wake that is not a relay.
const ANYBODY: u32 = u32::MAX;

/// The kernel's side, so that model tests can put their own in its place.
pub trait Futex {
    /// When a wait gives up.
    type Deadline;

    /// Sleeps while `word` holds `key`, until a wake whose bits have one in common with `bit`, or the deadline.
    fn wait(&self, word: &AtomicU32, key: u32, bit: u32, deadline: Self::Deadline) -> Wait;

    /// Wakes at most `count` sleepers whose bits have one in common with `bits`.
    fn wake(&self, word: &AtomicU32, count: u32, bits: u32);
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// By a wake. This reader has relayed it.
    Woken,
    /// Without sleeping: the epoch had moved.
    Moved,
    /// By the deadline.
    TimedOut,
    /// By a signal.
    Interrupted,
}

/// A waiter's copy of the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The epoch.
    pub const fn epoch(self) -> u32 {
        self.0
    }

    /// The bit that stands for an epoch among the sleepers.
    const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }
}

/// The words of the wait page.
#[derive(Clone, Copy)]
pub struct Eventcount<'a> {
    /// [`FUTEX`] and [`BELL`]: set by readers, taken by the writer. The only word that a reader writes.
    pub waiters: &'a AtomicU32,
    /// The futex word: counts the wakes, wraps; changed only by `fetch_add`, since `rm --force` may do it beside a
    /// writer.
    pub epoch: &'a AtomicU32,
    /// See [`FAN_OUT`].
    pub fan_out: u32,
}

impl Eventcount<'_> {
    /// Takes the key for a wait. First of the reader's three steps; [`arm`](Self::arm) follows, unless it may not
    /// write.
    #[inline]
    pub fn prepare_wait(&self) -> Key {
        let key = self.epoch.load(Relaxed);
        // ORDERING [key]: Acquire fence, pairs with [bump] in `notify`. A reader that took the new epoch for its key
        // would sleep through the wake that made it; this fence makes its look find the line (or `leaving`) that came
        // before.
        sync::fence(Site::Key, Acquire);
        Key(key)
    }

    /// Sets `flag`, so that the next publish wakes. What is loaded after this decides whether to wait.
    #[inline]
    pub fn arm(&self, flag: u32) {
        // ORDERING [arm]: SeqCst, pairs with [waiters] in `has_waiters`. At least Release is needed besides, so that
        // the key is not loaded after the flag is set.
        sync::fetch_or_seqcst(Site::Arm, self.waiters, flag);
        // ORDERING [armed]: SeqCst fence, pairs with [latest] in `seqlock::announce`, whose SeqCst store and load stand
        // in the opposite order. The look that follows is a Relaxed load, all that the language promises on a read-only
        // mapping; without the fence it may be satisfied before the flag is seen (on Arm's LL/SC, if not on x86), and
        // the reader sleeps on a line that is there.
        sync::fence(Site::Armed, SeqCst);
    }

    /// Sleeps until woken or `deadline`, unless the epoch has moved since `key`; if woken, wakes others first.
    pub fn wait<F: Futex>(&self, futex: &F, key: Key, deadline: F::Deadline) -> Wait {
        let wait = futex.wait(self.epoch, key.0, key.bit(), deadline);
        if wait == Wait::Woken {
            // ORDERING: Relaxed. The kernel's lock orders the wake before our return, so this is at least the epoch of
            // the waker. A later one only spares sleepers that the later waker's tree reaches.
            let now = Key(self.epoch.load(Relaxed));
            futex.wake(self.epoch, self.fan_out, ANYBODY & !now.bit());
        }
        wait
    }

    /// Whether somebody waits. The writer's last step of a publish; nobody, in the common case.
    #[inline(always)]
    pub fn has_waiters(&self) -> bool {
        // ORDERING [waiters]: SeqCst, after the SeqCst store [latest] in `seqlock::announce`; pairs with [arm] and
        // [armed]: if this misses the flag, the reader's look finds the line. As Acquire it could be satisfied before
        // the store.
        sync::load_seqcst(Site::Waiters, self.waiters) != 0
    }

    /// Takes the flags and wakes those whom they stand for; `always` wakes sleepers without a flag as well.
    ///
    /// Returns whether the doorbell has to be rung. Constant cost, whatever the number of sleepers.
    pub fn notify(&self, futex: &impl Futex, always: bool) -> bool {
        // A swap: a plain store of 0 would wipe a flag set since the load, and its reader's wake-up with it.
        // ORDERING: SeqCst, although Relaxed would do (the branch orders the step of the epoch): it costs the same.
        let flags = self.waiters.swap(0, SeqCst);
        if always || flags & FUTEX != 0 {
            // ORDERING [bump]: Release, pairs with [key] in `prepare_wait`: who takes the new epoch for its key finds
            // what was published, or `leaving`, before it. Relaxed, that reader sleeps on a line that is there.
            sync::increment_release(Site::Bump, self.epoch);
            futex.wake(self.epoch, self.fan_out, ANYBODY);
        }
        flags & BELL != 0
    }

    /// Moves the epoch and wakes, whatever the flags say: recovery, growth and removal. Ring after it.
    pub fn notify_all(&self, futex: &impl Futex) {
        self.notify(futex, true);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Records the wakes; every wait ends by a wake at once.
    #[derive(Default)]
    struct Recorder(RefCell<Vec<(u32, u32)>>);

    impl Futex for Recorder {
        type Deadline = ();
        fn wait(&self, word: &AtomicU32, key: u32, _: u32, (): ()) -> Wait {
            if word.load(Relaxed) == key { Wait::Woken } else { Wait::Moved }
        }
        fn wake(&self, _: &AtomicU32, count: u32, bits: u32) {
            self.0.borrow_mut().push((count, bits));
        }
    }

    fn with(test: impl Fn(Eventcount<'_>, &Recorder)) {
        let (waiters, epoch) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        test(Eventcount { waiters: &waiters, epoch: &epoch, fan_out: FAN_OUT }, &Recorder::default());
    }

    #[test]
    fn nobody_waits_nobody_is_woken() {
        with(|eventcount, futex| {
            assert!(!eventcount.has_waiters());
            assert!(!eventcount.notify(futex, false));
            assert!(futex.0.borrow().is_empty());
            assert_eq!(eventcount.epoch.load(Relaxed), u32::MAX);
        });
    }

    #[test]
    fn a_sleeper_is_woken_and_the_epoch_wraps() {
        with(|eventcount, futex| {
            let key = eventcount.prepare_wait();
            eventcount.arm(FUTEX);
            assert!(eventcount.has_waiters());
            assert!(!eventcount.notify(futex, false));
            assert_eq!(futex.0.take(), [(FAN_OUT, u32::MAX)]);
            assert_eq!(eventcount.epoch.load(Relaxed), 0);
            assert!(!eventcount.has_waiters());
            assert_eq!(eventcount.wait(futex, key, ()), Wait::Moved);
            assert!(futex.0.take().is_empty(), "one that did not sleep relays nothing");
        });
    }

    #[test]
    fn a_wake_of_all_needs_no_flag() {
        with(|eventcount, futex| {
            eventcount.epoch.store(35, Relaxed);
            eventcount.notify_all(futex);
            assert_eq!(futex.0.take(), [(FAN_OUT, u32::MAX)]);
            assert_eq!(eventcount.prepare_wait().epoch(), 36);
        });
    }

    #[test]
    fn a_relay_spares_those_who_sleep_in_the_present_epoch() {
        with(|eventcount, futex| {
            eventcount.epoch.store(35, Relaxed);
            let key = eventcount.prepare_wait();
            assert_eq!(eventcount.wait(futex, key, ()), Wait::Woken);
            assert_eq!(futex.0.take(), [(FAN_OUT, !(1 << 3))]);
        });
    }

    #[test]
    fn a_bell_alone_rings_and_wakes_no_sleeper() {
        with(|eventcount, futex| {
            eventcount.arm(BELL);
            assert!(eventcount.notify(futex, false));
            assert!(futex.0.take().is_empty());
            eventcount.arm(BELL);
            assert!(eventcount.notify(futex, true));
            assert_eq!(futex.0.take(), [(FAN_OUT, u32::MAX)]);
        });
    }
}
