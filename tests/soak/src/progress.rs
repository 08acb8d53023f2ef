//! What a soak shows while it runs: a bar on a terminal, a line a minute elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::check::Check;
use crate::state::Counts;
use crate::table::grouped;

const EVERY: Duration = Duration::from_secs(60);

pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    said: Option<Instant>,
}

impl Progress {
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix:4} {bar:30} {msg}  {elapsed_precise}").expect("valid");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, started: Instant::now(), said: None }
    }

    /// A turn of this check begins.
    pub fn begin(&mut self, check: &Check, counts: &Counts) {
        let (done, goal) = (grouped(counts.done), grouped(check.soak));
        let text = format!("{}: {done} of {goal} {}, {} bad", check.fault, check.unit, counts.bad);
        if !self.bar.is_hidden() {
            self.bar.set_prefix(check.id);
            self.bar.set_length(check.soak);
            self.bar.set_position(counts.done.min(check.soak));
            self.bar.set_message(text);
        } else if self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.said = Some(Instant::now());
            eprintln!("{:>6} s  {} {text}", self.started.elapsed().as_secs(), check.id);
        }
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
