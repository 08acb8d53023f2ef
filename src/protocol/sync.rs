//! The one place that chooses core's or loom's atomics, and names the ordered operations.
//!
//! Every operation of the protocol whose ordering carries an argument goes through this module under a [`Site`]: the
//! label that stands in the `ORDERING:` comments at both ends of a pair. In a real build the label vanishes. Under loom
//! a test may weaken the one operation of that name to `Relaxed` (or drop the fence) and see the model fail: that is
//! how `loom_tests.rs` shows that each ordering is needed, on the code itself.
//!
//! loom takes `SeqCst` accesses for `AcqRel` but models `fence(SeqCst)`, so a `SeqCst` access is named once here and
//! loom gets the fence: one between the store of `latest` and the load of `waiters`, there only while both are
//! `SeqCst`.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence as core_fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence as core_fence};

/// Spins between attempts to read.
#[cfg(not(loom))]
pub use crossbeam_utils::Backoff;

/// Under loom every attempt lets the other threads run, or the model would never end.
#[cfg(loom)]
#[derive(Default)]
pub struct Backoff;

#[cfg(loom)]
impl Backoff {
    /// Nothing to keep.
    pub fn new() -> Self {
        Self
    }
    /// Lets another thread run.
    pub fn spin(&self) {
        loom::thread::yield_now();
    }
}

/// The name of one ordered operation; the pairs are listed in `protocol/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), allow(dead_code))]
pub enum Site {
    /// Writer: the fence between a bank's odd sequence and its new content.
    Mark,
    /// Writer: the store of the even sequence, which publishes.
    Publish,
    /// Writer: the store of `latest`.
    Latest,
    /// Reader: the fence after the load of `latest`.
    SawLatest,
    /// Reader: the fence after the sequence of the bank to be read, before its content.
    SawSequence,
    /// Reader: the fence between the content and the second look at the sequence.
    Validate,
    /// Writer: the load of `waiters` after `latest`.
    Waiters,
    /// Reader: the store of its flag in `waiters`.
    Arm,
    /// Reader: the fence between its flag and the look that decides whether it sleeps.
    Armed,
    /// Whoever wakes: the step of `epoch`.
    Bump,
    /// Reader: the fence after it took its key from `epoch`.
    Key,
}

/// `fence(order)`.
#[inline(always)]
pub fn fence(site: Site, order: Ordering) {
    if !weakened(site) {
        core_fence(order);
    }
}

/// `word.store(value, Release)`.
#[inline(always)]
pub fn store_release(site: Site, word: &AtomicU64, value: u64) {
    word.store(value, if weakened(site) { Ordering::Relaxed } else { Ordering::Release });
}

/// `word.store(value, SeqCst)`: one `xchg` on x86-64, a seventh of the cost of a store and a separate fence.
#[inline(always)]
pub fn store_seqcst(site: Site, word: &AtomicU64, value: u64) {
    #[cfg(not(loom))]
    {
        _ = site;
        word.store(value, Ordering::SeqCst);
    }
    #[cfg(loom)]
    store_release(site, word, value); // The fence stands in `load_seqcst`.
}

/// `word.load(SeqCst)`.
#[inline(always)]
pub fn load_seqcst(site: Site, word: &AtomicU32) -> u32 {
    #[cfg(not(loom))]
    {
        _ = site;
        word.load(Ordering::SeqCst)
    }
    #[cfg(loom)]
    {
        if !weakened(Site::Latest) {
            fence(site, Ordering::SeqCst);
        }
        word.load(if weakened(site) { Ordering::Relaxed } else { Ordering::Acquire })
    }
}

/// `word.fetch_or(bits, SeqCst)`.
#[inline(always)]
pub fn fetch_or_seqcst(site: Site, word: &AtomicU32, bits: u32) {
    word.fetch_or(bits, if weakened(site) { Ordering::Relaxed } else { Ordering::SeqCst });
}

/// `word.fetch_add(1, Release)`, returning the new value.
#[inline(always)]
pub fn increment_release(site: Site, word: &AtomicU32) -> u32 {
    word.fetch_add(1, if weakened(site) { Ordering::Relaxed } else { Ordering::Release }).wrapping_add(1)
}

/// Whether a model test has asked for this operation to be weakened; never, in a real build.
#[cfg(not(loom))]
#[inline(always)]
const fn weakened(_: Site) -> bool {
    false
}

#[cfg(loom)]
fn weakened(site: Site) -> bool {
    WEAKENED.get() == Some(site)
}

#[cfg(loom)]
std::thread_local! {
    /// The [`Site`] that is weakened. Of the test's own thread, on which loom runs all threads of a model: tests do not
    /// disturb each other.
    pub static WEAKENED: core::cell::Cell<Option<Site>> = const { core::cell::Cell::new(None) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    /// x86-64 orders most of it anyway, so that no other test on it would see the difference.
    #[test]
    fn nothing_is_weakened_in_a_real_build() {
        assert!(!super::weakened(super::Site::Armed));
    }
}
