//! Whether the machine itself was late: a bound on a time can be told from the noise of a busy machine by one who
//! sleeps beside it and says how late it woke.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::time::ClockId;

/// How long waiters may take to see a line that nobody has woken them for: a slice, and a tenth.
pub const SLICE: Duration = Duration::from_millis(110);
/// How late a sleeper wakes on a machine that is not too busy to measure.
const PROMPT: Duration = Duration::from_millis(2);

/// Sleeps again and again while it lives.
pub struct Canary {
    worst: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Canary {
    pub fn new() -> Self {
        let (worst, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_worst, its_end) = (Arc::clone(&worst), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            const NAP: Duration = Duration::from_millis(3);
            while !its_end.load(Relaxed) {
                let started = Instant::now();
                thread::sleep(NAP);
                its_worst.fetch_max((started.elapsed() - NAP).as_nanos() as u64, Relaxed);
            }
        });
        Self { worst, is_over, thread: Some(thread) }
    }

    /// From here on.
    pub fn reset(&self) {
        self.worst.store(0, Relaxed);
    }

    /// Whether a time taken since the reset says something about the mailbox; `false` if it may be the machine's.
    pub fn was_prompt(&self) -> bool {
        Duration::from_nanos(self.worst.load(Relaxed)) <= PROMPT
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Nanoseconds of a clock that all processes share.
pub fn now() -> u64 {
    Duration::from(ClockId::CLOCK_MONOTONIC.now().expect("there is one")).as_nanos() as u64
}
