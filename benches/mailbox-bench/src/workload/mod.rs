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
use crate::peers::{ALL, Peer};
use crate::place::Place;
use crate::report::Figure;

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
    /// The peers that take part, and a figure for each of those that cannot; the mailbox and the limit always are asked.
    fn choose(
        &self,
        workload: &'static str,
        case: &str,
        can: impl Fn(&Peer) -> Result<(), String>,
    ) -> (Vec<&'static Peer>, Vec<Figure>) {
        let (mut peers, mut skipped) = (Vec::new(), Vec::new());
        for peer in ALL.iter().filter(|peer| ["mailbox", "bare"].contains(&peer.name) || self.wants(peer.name)) {
            match can(peer) {
                Ok(()) => peers.push(peer),
                Err(why) => skipped.push(Figure::skipped(workload, peer.title, case, why)),
            }
        }
        (peers, skipped)
    }

    /// Whether this peer was asked for: by name, or because none was named.
    fn wants(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == name)
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

/// Measures size by size, each for its part of `duration`. `of_size` is given a size, how long it may take, and what
/// to tell its progress to, as a share.
fn by_size(
    workload: &str,
    sizes: &[usize],
    duration: Duration,
    mut of_size: impl FnMut(usize, Duration, &dyn Fn(f64)) -> Outcome<Vec<Figure>>,
) -> Outcome<Vec<Figure>> {
    let progress = Progress::new(workload);
    let mut figures = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        let share = |within: f64| (index as f64 + within) / sizes.len() as f64;
        let show = |within: f64| progress.show(share(within), &format!("{size} bytes"));
        figures.extend(of_size(size, duration / sizes.len() as u32, &show)?);
    }
    Ok(figures)
}
