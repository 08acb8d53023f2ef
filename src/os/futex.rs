//! The futex, shared between processes.

use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::clock::Deadline;
use crate::protocol::eventcount::{Futex, Wait};
use crate::protocol::sync::AtomicU32;

/// The kernel's futex, never with `FUTEX_PRIVATE_FLAG`: its key is then the file's page, the same for every process
/// that maps it, also for those that map it read-only (futex(2)).
pub struct Shared;

impl Futex for Shared {
    type Deadline = Deadline;

    fn wait(&self, word: &AtomicU32, key: u32, bit: u32, deadline: Deadline) -> Wait {
        let until = deadline.timespec();
        // SAFETY: the kernel reads `word`, which is a live 4-byte aligned word, atomically, and `until`, which outlives
        // the call; it writes nothing.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                // An absolute time of CLOCK_MONOTONIC, unlike FUTEX_WAIT, whose time is relative (futex(2)).
                libc::FUTEX_WAIT_BITSET,
                key,
                &raw const until,
                ptr::null::<u32>(),
                bit,
            )
        };
        if result == 0 {
            return Wait::Woken;
        }
        match Errno::last() {
            Errno::EAGAIN => Wait::Moved,
            Errno::EINTR => Wait::Interrupted,
            _ => Wait::TimedOut,
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32, bits: u32) {
        // SAFETY: the kernel uses the address of `word` as a key and touches no memory. It can fail only for arguments
        // that are constant here; there would be nothing to do about it.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE_BITSET,
                count,
                ptr::null::<libc::timespec>(),
                ptr::null::<u32>(),
                bits,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::Duration;

    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    /// Beyond every test.
    fn late() -> Deadline {
        Deadline::after(Duration::from_secs(600)).unwrap()
    }

    /// How a wait ends to which `nudge` is done until it has ended.
    fn ends(nudge: impl Fn(&AtomicU32, nix::sys::pthread::Pthread)) -> Wait {
        let (word, has_ended) = (AtomicU32::new(7), AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                tell.send(pthread_self()).unwrap();
                let wait = Shared.wait(&word, 7, 1, late());
                has_ended.store(true, SeqCst);
                // The thread stays until nobody nudges it any more.
                while has_ended.load(SeqCst) {
                    std::thread::yield_now();
                }
                wait
            });
            let thread = told.recv().unwrap();
            while !has_ended.load(SeqCst) {
                nudge(&word, thread);
                std::thread::sleep(Duration::from_millis(1));
            }
            has_ended.store(false, SeqCst);
            waiter.join().unwrap()
        })
    }

    #[test]
    fn a_wait_says_how_it_ended() {
        extern "C" fn nothing(_: i32) {}
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();

        assert_eq!(Shared.wait(&AtomicU32::new(7), 8, 1, late()), Wait::Moved);
        assert_eq!(Shared.wait(&AtomicU32::new(7), 7, 1, Deadline::now()), Wait::TimedOut);
        assert_eq!(ends(|word, _| Shared.wake(word, 1, 1)), Wait::Woken);
        assert_eq!(ends(|_, thread| pthread_kill(thread, Signal::SIGUSR1).unwrap()), Wait::Interrupted);
    }
}
