//! The limit: one buffer and one flag for each direction, and a `memcpy` on each side. It works for a ping-pong, where
//! the other side never writes while this one reads, and for nothing else.

use std::sync::atomic::Ordering::*;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::{Memory, Place};

/// The largest line.
pub const LARGEST: usize = 1 << 24;
/// Where a line begins behind its flag: up to 40 bytes share the flag's cache line, as in a mailbox.
const SHORT_AT: usize = 24;
const LONG_AT: usize = 64;
const SHORT: usize = 40;

pub struct Bare {
    out: Memory,
    back: Memory,
    sent: u64,
    came: u64,
    received: Vec<u8>,
}

impl Bare {
    fn at(size: usize) -> usize {
        if size <= SHORT { SHORT_AT } else { LONG_AT }
    }
}

impl Channel for Bare {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("bare.there", "bare.back"),
            Side::There => ("bare.back", "bare.there"),
        };
        let open = |name| Memory::open(place.path(), name, LONG_AT + size);
        Ok(Self { out: open(out)?, back: open(back)?, sent: 0, came: 0, received: vec![0; size] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        self.sent += 1;
        // SAFETY: the memory has room for a line behind the flag, and the other side does not look before the flag says
        // so.
        unsafe { self.out.bytes().add(Self::at(line.len())).copy_from_nonoverlapping(line.as_ptr(), line.len()) };
        self.out.word(0).store(self.sent, Release);
        Ok(())
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        self.came += 1;
        while self.back.word(0).load(Acquire) != self.came {}
        let length = self.received.len();
        // SAFETY: as in `send`; the other side does not write before its next turn, which comes after our answer.
        unsafe { self.received.as_mut_ptr().copy_from_nonoverlapping(self.back.bytes().add(Self::at(length)), length) };
        Ok(&self.received)
    }
}
