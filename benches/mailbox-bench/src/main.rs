//! `mailbox-bench`: what a mailbox costs, beside its peers and beside what the machine can do at best.
//!
//! Every figure is a ratio of two things measured in turns within one run ([`block`]): on a shared machine the distance
//! of two processors changes within seconds, so that absolute times, and two runs one after the other, say little.
//!
//! ```text
//!   cli ──> workload (one question each) ──> report (table, JSON, page)
//!                │            │
//!           contender      block: turns, paired with the floor
//!                │
//!             peers (one adapter each), partner (the process at the other end)
//! ```

mod block;
mod cli;
mod contender;
mod environment;
mod floor;
mod line;
mod partner;
mod peers;
mod place;
mod report;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

/// What anything here ends with.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        // Ourselves, at the other end.
        Some((first, rest)) if first == "partner" => workload::partner(rest),
        _ => place::remove_when_ended().and_then(|()| Cli::parse().run()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mailbox-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
