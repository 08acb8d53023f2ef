//! The protocol: how one writer and any number of readers share the newest line without waiting for each other.
//!
//! No files, descriptors, system calls or clocks here: only atomic words that somebody lends, so that model tests can
//! lend their own. `docs/protocol.md` draws the bytes; this page says what happens to them.
//!
//! # Parties
//!
//! * **The writer**, one at a time (a lock sees to that). It may be stopped or killed between any two instructions, and
//!   another may take its place.
//! * **Readers**, any number. They map the slot read-only and leave no trace in it; those who may write the file set a
//!   flag on the wait page when they are about to sleep.
//!
//! # State
//!
//! | word | where | written by | meaning |
//! |---|---|---|---|
//! | `sequence`, `length`, `time`, payload | each bank | writer | see [`seqlock::Bank`] |
//! | `latest` | header | writer | number of the newest message announced |
//! | `leaving` | header | who grows or removes the mailbox | this file is about to lose its name, or has lost it |
//! | `waiters` | wait page | readers set, writer takes | who waits: [`eventcount::FUTEX`], [`eventcount::BELL`] |
//! | `epoch` | wait page | whoever wakes | the futex word |
//!
//! # Publish message n
//!
//! 0. `leaving` is not set, and we are not a forked child (one cached load each).
//! 1. `sequence = 2n - 1`, fence \[mark\]
//! 2. length, time, payload
//! 3. `sequence = 2n` \[publish\]: **the publication**
//! 4. `latest = n` \[latest\]
//! 5. `waiters` \[waiters\]: zero, and it is done; else [`eventcount::Eventcount::notify`].
//!
//! No loop, no lock, and no system call unless somebody sleeps or polls: wait-free. (The writer also looks after its
//! files now and then: `docs/protocol.md`, section 3.)
//!
//! # Read, by a reader that last returned p
//!
//! 1. `n = p`.
//! 2. The bank of n + 1 holds n + 1: `n += 1`, look again. It holds less: n is the newest. It holds more: the writer is
//!    a round ahead, so `n = max(latest, p)`, fence \[saw-latest\], and look again ([`seqlock::look`]).
//! 3. `n = p`: nothing new. Else copy bank n between two looks at its sequence, fences \[saw-sequence\] and
//!    \[validate\]; not `2n` both times: start again at 1 ([`seqlock::read_attempt`]).
//!
//! A retry means that the writer has passed by meanwhile, so that the system as a whole moves: lock-free. A reader that
//! keeps up touches neither `latest` nor any other cache line that the writer changes but the banks'; one that waits
//! looks at the next bank's sequence alone ([`seqlock::has_newer`]), so that a short line, which shares its cache line
//! with the sequence, arrives in one transfer.
//!
//! # The pairs
//!
//! Both ends of a pair carry the label in an `ORDERING:` comment and in [`sync::Site`]. What each is needed for was
//! found by model checking before this was written (GenMC under RC11, herd7 for AArch64 and x86-64, SPIN for waking);
//! `loom_tests.rs` repeats it on this code, weakening one site at a time.
//!
//! | writer | reader | without it |
//! |---|---|---|
//! | \[mark\] fence after the odd sequence | \[validate\] fence before the second look | a torn read passes for whole |
//! | \[publish\] release of `2n` | \[saw-sequence\] fence after the first look | old words under a new number |
//! | \[latest\] as a release | \[saw-latest\] fence after `latest` | `latest` ahead of its bank, as if damaged |
//! | \[latest\], \[waiters\]: store, look | \[arm\], \[armed\]: store, look | a reader sleeps on a line that is there |
//! | \[bump\] release of `epoch` | \[key\] fence after the key | the same, where the key is the new epoch |
//!
//! One more pair stands where files are removed, in `life_cycle.rs`: \[gone\] and \[called-off\]. Every ordered operation,
//! with the models in which it is weakened: `docs/models/orderings.md`.
//!
//! # Guarantees
//!
//! * **Whole**: a read returns the bytes of one message. By \[mark\]/\[validate\]: if the copy saw one word of message
//!   n + banks or later, the second look sees a sequence that is not `2n`.
//! * **Ordered**: what one reader returns never goes back, by the `max` of step 2 and because "newer" is `>`.
//! * **Fresh**: a read that begins after publish k returned gives k or newer: each bank then shows it at least the
//!   newest of messages 1 to k that belongs to it, so that no look ends below k. So does a read that begins after
//!   *another reader* has returned k: by the look at the next bank, even if the writer stopped before step 4.
//! * **One number, one line** within an instance, for all readers and across kills, because recovery counts every line
//!   that anybody can have seen ([`seqlock::recover`]).
//! * **Crash-safe**: with 2 banks or more, message n - 1 is untouched while n is written; killed before step 3, n - 1
//!   is the newest, after it, n.
//! * **Woken**: see [`eventcount`]; with readers that may not write, and against everything that another process can do
//!   to a sleeper, by the time slice.
//!
//! # Not promised
//!
//! With one bank (the textbook seqlock, kept for comparison) there is no line while one is being written, nor after a
//! kill in the middle. An unlucky reader that is preempted in every attempt can retry without a bound that a proof
//! would give.

pub mod copy;
pub mod eventcount;
pub mod seqlock;
pub mod sync;

#[cfg(all(test, loom))]
mod loom_tests;
