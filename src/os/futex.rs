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
