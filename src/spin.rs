//! How long to spin before sleeping.

use std::hint::spin_loop;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::os::clock::Deadline;

/// A sleep and a wake across processors cost some tens of microseconds: who has spun for so long has lost no more than
/// that.
const MOST: Duration = Duration::from_micros(50);
/// Where lines come slower than that, a short look remains, to notice when they come faster.
const LEAST: Duration = Duration::from_micros(2);
/// Looks before the first pause and the first clock: a line between two spinning processors arrives within these, in
/// some microseconds.
const EAGER: u32 = 2048;
/// Looks between two readings of the clock.
const BATCH: u32 = 32;

/// Spins for as long as lines have lately been arriving, within bounds; adapts to each reader's mailbox.
pub struct Spin {
    /// Looks before anything else; 0 where no other processor could make progress while we spin.
    eager: u32,
    /// Moving average of the waits, in nanoseconds.
    average: u64,
}

impl Spin {
    pub fn new() -> Self {
        // Of the machine and not of this thread: who pins a reader to one processor pins the writer to another. Where
        // they do share one, lines come slowly for a reader that spins, and the average ends that.
        let processors = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
        Self { eager: if processors > 1 { EAGER } else { 0 }, average: 0 }
    }

    /// How many looks to make at once, with no clock and no pause between them, before [`until`](Self::until).
    #[inline(always)]
    pub fn eager(&self) -> u32 {
        self.eager
    }

    /// Accounts for a line that came within these.
    #[inline(always)]
    pub fn hit(&mut self) {
        self.average -= self.average / 8;
    }

    /// Spins until `ready`, and returns true; or until it is time to sleep, or the deadline. `interrupted` is asked now
    /// and then, and counts as ready.
    #[inline]
    pub fn until(
        &mut self,
        deadline: Option<Deadline>,
        ready: impl Fn() -> bool,
        interrupted: impl Fn() -> bool,
    ) -> bool {
        if self.eager == 0 {
            return false;
        }
        let most = if self.average <= MOST.as_nanos() as u64 { MOST } else { LEAST };
        let started = Deadline::now();
        let most = deadline.map_or(most, |deadline| most.min(deadline.left()));
        loop {
            for _ in 0..BATCH {
                if ready() {
                    self.waited(started.passed());
                    return true;
                }
                spin_loop();
            }
            if interrupted() {
                return true;
            }
            if started.passed() >= most {
                return false;
            }
        }
    }

    /// Accounts for a wait that was not over within the spin.
    pub fn slept(&mut self, time: Duration) {
        self.waited(time);
    }

    fn waited(&mut self, wait: Duration) {
        // Capped, so that one long silence is forgotten after some quick lines.
        self.average = (self.average * 7 + wait.min(MOST * 8).as_nanos() as u64) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_shorten_the_spin_and_quick_lines_lengthen_it() {
        for quick in [|spin: &mut Spin| spin.waited(Duration::from_nanos(100)), Spin::hit] {
            let mut spin = Spin { eager: EAGER, average: 0 };
            (0..100).for_each(|_| spin.waited(Duration::from_secs(1)));
            assert!((MOST * 7..=MOST * 8).contains(&Duration::from_nanos(spin.average)), "{}", spin.average);
            (0..30).for_each(|_| quick(&mut spin));
            assert!(Duration::from_nanos(spin.average) < MOST);
        }
    }

    #[test]
    fn a_sleep_counts_as_a_wait_and_a_hit_as_none() {
        let mut spin = Spin { eager: EAGER, average: 0 };
        assert_eq!(spin.eager(), EAGER);
        spin.slept(MOST);
        assert_eq!(Duration::from_nanos(spin.average), MOST / 8);
        spin.average = 800;
        spin.hit();
        assert_eq!(spin.average, 700);
    }

    #[test]
    fn it_spins_for_its_time_where_lines_come_fast() {
        let mut spin = Spin { eager: EAGER, average: 0 };
        let started = Deadline::now();
        assert!(!spin.until(None, || false, || false));
        assert!(started.passed() >= MOST);
    }

    #[test]
    fn one_processor_does_not_spin() {
        let mut spin = Spin { eager: 0, average: 0 };
        assert_eq!(spin.eager(), 0);
        assert!(!spin.until(None, || panic!("looked"), || panic!("asked")));
    }

    #[test]
    fn it_ends_when_ready_or_interrupted_or_in_time() {
        let mut spin = Spin { eager: EAGER, average: 0 };
        assert!(spin.until(None, || true, || false));
        assert!(spin.until(None, || false, || true));
        assert!(!spin.until(None, || false, || false));
    }
}
