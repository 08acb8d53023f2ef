//! `mailbox-soak`: every way to break the mailbox that we could think of, again and again, and the counts.
//!
//! ```text
//!   cli ──> runner (turns) ──> check (one fault each) ──> child processes: this program, in a role
//!              │
//!            state (counts, kept from run to run) ──> table
//! ```
//!
//! A check makes a fault happen, looks whether it does harm, and counts both: a turn in which the fault did not happen
//! is as bad as one in which a promise was broken.

mod aftermath;
mod canary;
mod chase;
mod check;
mod checks;
mod cli;
#[path = "../../common/mod.rs"]
mod common;
mod files;
mod interrupt;
mod nursery;
mod progress;
mod random;
mod runner;
mod second_user;
mod state;
mod stepper;
mod table;
#[allow(dead_code, reason = "the program `mailbox` uses the rest")]
#[path = "../../../src/bin/mailbox/units.rs"]
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if common::play(&checks::roles()) {
        return ExitCode::SUCCESS;
    }
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mailbox-soak: {error}");
            ExitCode::from(2)
        }
    }
}
