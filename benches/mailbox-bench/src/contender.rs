//! Who takes part in a ping-pong between two processes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Outcome;
use crate::line::Line;
use crate::place::Place;

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that measures and sends first.
    Here,
    /// Its partner.
    There,
}

/// One end of something that carries lines to another process and back: what an adapter of a peer implements.
pub trait Channel: Sized {
    /// Opens this side's end. `Side::Here` is opened first; the other end may not exist yet.
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self>;

    /// Hands over a line of the size that was opened with. Returns when the line is on its way.
    fn send(&mut self, line: &[u8]) -> Outcome;

    /// The next line; waits for it in the way that this peer's users would.
    fn receive(&mut self) -> Outcome<&[u8]>;
}

/// Takes turns with its like in the partner's process.
pub trait Contender {
    /// So many exchanges there and back, begun here.
    fn bounce(&mut self, times: u64) -> Outcome<Duration>;

    /// The other end of [`bounce`](Self::bounce).
    fn echo(&mut self, times: u64) -> Outcome;

    /// As [`bounce`](Self::bounce), each exchange timed by itself; records half of it, the nanoseconds of a hop.
    fn bounce_each(&mut self, times: u64, histogram: &mut Histogram<u64>) -> Outcome {
        for _ in 0..times {
            let nanos = self.bounce(1)?.as_nanos() as u64;
            histogram.record(nanos / 2)?;
        }
        Ok(())
    }
}

/// A channel with its lines.
pub struct Bouncer<C> {
    channel: C,
    line: Line,
}

impl<C: Channel> Bouncer<C> {
    pub fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        Ok(Self { channel: C::open(place, side, size)?, line: Line::new(size) })
    }
}

// The loops are here and not with the caller, so that each is compiled for its channel, without an indirect call.
impl<C: Channel> Contender for Bouncer<C> {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        let start = Instant::now();
        for _ in 0..times {
            self.channel.send(self.line.next())?;
            self.line.check(self.channel.receive()?)?;
        }
        Ok(start.elapsed())
    }

    fn echo(&mut self, times: u64) -> Outcome {
        for _ in 0..times {
            // Made before its like comes, so that making it is no part of the way back.
            self.line.next();
            self.line.check(self.channel.receive()?)?;
            self.channel.send(self.line.bytes())?;
        }
        Ok(())
    }
}
