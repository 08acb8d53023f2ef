//! What the machine can do at best: a flag handed from processor to processor, and a word that both change.

use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::contender::Contender;
use crate::place::{Memory, Place};

/// **F**: two flags on cache lines of their own, each written by one side and watched by the other. The least that a
/// hop between two processors can cost.
pub struct Flags(Memory);

impl Flags {
    pub fn open(place: &Place) -> Outcome<Self> {
        Memory::open(place.path(), "floor.flags", 4096).map(Self)
    }
}

impl Contender for Flags {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        let (there, back) = (self.0.word(0), self.0.word(1));
        let first = there.load(Relaxed);
        let start = Instant::now();
        for turn in first + 1..=first + times {
            there.store(turn, Release);
            while back.load(Acquire) != turn {}
        }
        Ok(start.elapsed())
    }

    fn echo(&mut self, times: u64) -> Outcome {
        let (there, back) = (self.0.word(0), self.0.word(1));
        let first = back.load(Relaxed);
        for turn in first + 1..=first + times {
            while there.load(Acquire) != turn {}
            back.store(turn, Release);
        }
        Ok(())
    }
}

/// **T**: one word that both sides change by turns, by a read-modify-write.
pub struct Turns(Memory);

impl Turns {
    pub fn open(place: &Place) -> Outcome<Self> {
        Memory::open(place.path(), "floor.turns", 4096).map(Self)
    }
}

impl Contender for Turns {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        let word = self.0.word(0);
        let first = word.load(Relaxed);
        let start = Instant::now();
        for turn in 0..times {
            word.fetch_add(1, AcqRel);
            while word.load(Acquire) != first + 2 * turn + 2 {}
        }
        Ok(start.elapsed())
    }

    fn echo(&mut self, times: u64) -> Outcome {
        let word = self.0.word(0);
        // Even between two calls.
        let first = word.load(Relaxed) & !1;
        for turn in 0..times {
            while word.load(Acquire) != first + 2 * turn + 1 {}
            word.fetch_add(1, AcqRel);
        }
        Ok(())
    }
}
