//! `mailbox`: the newest line, from the shell.

mod cli;
mod commands;
mod exit_code;
mod output;
mod signals;
mod stdout_pipe;
mod units;

use std::process;

use clap::Parser;

use crate::cli::Cli;

fn main() -> process::ExitCode {
    // A mailbox that somebody cuts short is something to report, not to die of.
    shm_mailbox::guard_against_truncation();
    let Cli { command, place } = Cli::parse();
    match commands::run(command, &place) {
        Ok(code) => code.into(),
        Err(failure) => {
            failure.report();
            failure.code.into()
        }
    }
}
