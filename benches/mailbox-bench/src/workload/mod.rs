//! One question each.

pub mod copy;
pub mod in_process;
pub mod latency;
pub mod one_way;
pub mod publish;
pub mod read;
pub mod scale;
pub mod shell;
pub mod starve;
pub mod wake;

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Outcome;
use crate::partner::pin;
use crate::peers::Peer;
use crate::place::Place;

/// What a partner's process does for a workload: see [`Partner::start`](crate::partner::Partner::start).
pub fn partner(arguments: &[String]) -> Outcome {
    let [workload, place, cpu, rest @ ..] = arguments else { return Err("a partner without a place".into()) };
    let place = Place::at(Path::new(place));
    pin(cpu.parse()?)?;
    match workload.as_str() {
        "latency" => latency::partner(&place, rest),
        "one-way" => one_way::partner(&place, rest),
        "read" => read::partner(&place),
        "scale" => scale::partner(&place, rest),
        "starve" => starve::partner(&place, rest),
        "wake" => wake::partner(&place),
        _ => Err(format!("a partner for `{workload}`, which is none").into()),
    }
}

/// What all workloads are told.
pub struct Settings {
    pub sizes: Vec<usize>,
    /// Names of peers; empty: all.
    pub peers: Vec<String>,
    /// Numbers of banks, where they matter.
    pub banks: Vec<u32>,
    /// Numbers of waiting readers.
    pub readers: Vec<usize>,
    /// For the whole workload.
    pub duration: Duration,
    /// Where this process and its partner run.
    pub cpus: Vec<usize>,
}

impl Settings {
    /// Whether this peer takes part: the mailbox and the limit always do.
    pub fn wants(&self, peer: &Peer) -> bool {
        self.peers.is_empty() || ["mailbox", "bare"].contains(&peer.name) || self.peers.iter().any(|n| n == peer.name)
    }
}

/// A bar on standard error, if that is a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(what: &str) -> Self {
        let bar = ProgressBar::new(1000);
        bar.set_style(ProgressStyle::with_template("{prefix:12} {wide_bar} {percent:>3} %  {msg}").expect("valid"));
        bar.set_prefix(what.to_owned());
        Self(bar)
    }

    pub fn show(&self, share: f64, what: &str) {
        self.0.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
