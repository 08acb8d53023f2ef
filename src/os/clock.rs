//! Clocks: deadlines on the monotonic one, times of lines on the one that goes on while the machine sleeps.

use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// A point of `CLOCK_MONOTONIC`, absolute, so that a wait can be interrupted and taken up again without adding up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

impl Deadline {
    /// Now.
    pub fn now() -> Self {
        Self(now(ClockId::CLOCK_MONOTONIC))
    }

    /// `duration` from now; `None`, for ever, if that is beyond the clock.
    pub fn after(duration: Duration) -> Option<Self> {
        let end = Self::now().0.checked_add(duration)?;
        i64::try_from(end.as_secs()).ok().map(|_| Self(end))
    }

    /// The same point as `instant`.
    pub fn at(instant: Instant) -> Option<Self> {
        Self::after(instant.saturating_duration_since(Instant::now()))
    }

    /// Time left; zero if it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Time since this point; zero if it is yet to come.
    pub fn passed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// As the kernel takes it.
    pub fn timespec(self) -> libc::timespec {
        *TimeSpec::from_duration(self.0).as_ref()
    }
}

/// The earlier of a deadline, if there is one, and the end of a slice.
pub fn earlier(deadline: Option<Deadline>, slice: Duration) -> Deadline {
    let end = Deadline(Deadline::now().0 + slice);
    deadline.map_or(end, |deadline| deadline.min(end))
}

/// Nanoseconds of `CLOCK_BOOTTIME`, which counts while the machine is suspended; not 0.
#[inline]
pub fn boottime() -> u64 {
    (now(ClockId::CLOCK_BOOTTIME).as_nanos() as u64).max(1)
}

#[inline]
fn now(clock: ClockId) -> Duration {
    // Both clocks exist since Linux 2.6.39 and cannot fail.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
