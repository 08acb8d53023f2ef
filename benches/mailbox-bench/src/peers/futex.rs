//! The least that a sleeping hand-over costs: a buffer, a flag, and the two calls of the kernel's futex.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::*};

use nix::errno::Errno;
use nix::libc;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::{Memory, Place};

/// The largest line.
pub const LARGEST: usize = 1 << 24;
/// Where a line begins behind its flag: a short one shares the flag's cache line.
const LINE_AT: usize = 8;

/// One buffer and one flag for each direction, as in [`Bare`](super::bare::Bare); but whoever waits sleeps at once, and
/// whoever sends always wakes. Its users are those who build their own hand-over and never spin.
pub struct Futex {
    out: Memory,
    back: Memory,
    sent: u32,
    came: u32,
    received: Vec<u8>,
}

impl Channel for Futex {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("futex.there", "futex.back"),
            Side::There => ("futex.back", "futex.there"),
        };
        let open = |name| Memory::open(place.path(), name, LINE_AT + size);
        Ok(Self { out: open(out)?, back: open(back)?, sent: 0, came: 0, received: vec![0; size] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        assert!(line.len() <= self.received.len());
        self.sent = self.sent.wrapping_add(1);
        // SAFETY: the memory was opened with room for a line of `received`'s length behind the flag, and the other side
        // does not look before the flag says so.
        unsafe { self.out.bytes().add(LINE_AT).copy_from_nonoverlapping(line.as_ptr(), line.len()) };
        flag(&self.out).store(self.sent, Release);
        wake(flag(&self.out))
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        let before = self.came;
        self.came = before.wrapping_add(1);
        while flag(&self.back).load(Acquire) != self.came {
            wait(flag(&self.back), before)?;
        }
        let length = self.received.len();
        // SAFETY: as in `send`; the other side does not write before its next turn, which comes after our answer.
        unsafe { self.received.as_mut_ptr().copy_from_nonoverlapping(self.back.bytes().add(LINE_AT), length) };
        Ok(&self.received)
    }
}

/// How many lines were sent.
pub fn flag(memory: &Memory) -> &AtomicU32 {
    // SAFETY: the mapping begins at a page and has room for the flag, it lives as long as `memory`, and all processes
    // access these four bytes by this function alone.
    unsafe { AtomicU32::from_ptr(memory.bytes().cast()) }
}

/// Sleeps while the word is `value`, or shorter.
pub fn wait(word: &AtomicU32, value: u32) -> Outcome {
    // SAFETY: the kernel reads the live, aligned word atomically, and without a timeout nothing else.
    let result = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, ptr::null::<libc::timespec>())
    };
    match Errno::result(result) {
        // The word has another value already, or a signal came.
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Wakes the one that sleeps, if there is one.
pub fn wake(word: &AtomicU32) -> Outcome {
    // SAFETY: the kernel takes the address of a live word as a key and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
    Errno::result(result)?;
    Ok(())
}
