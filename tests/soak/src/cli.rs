//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::check::Check;
use crate::runner::{self, Plan};
use crate::state::State;
use crate::{checks, interrupt, table, units};

/// Tries every way to break the mailbox, in turns, until it is ended, and shows the counts
///
/// Counts are kept in the state file, and the next run goes on with them, unless the source has changed. Ctrl-C ends it
/// after the current turn, a second one at once.
#[derive(Parser)]
pub struct Cli {
    /// Only these checks
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// End when so much time has passed: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    time: Option<Duration>,
    /// Each check once, at the size of the tests; counts are not kept
    #[arg(long, conflicts_with_all = ["time", "state", "markdown"])]
    ci: bool,
    /// Print what the checks are, and nothing else
    #[arg(long, conflicts_with = "ci")]
    list: bool,
    /// Print the counts so far as a table in Markdown, and nothing else
    #[arg(long)]
    markdown: bool,
    /// Where the counts are kept [default: beside the program]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Of the first turn; the others follow from it [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Cli {
    pub fn run(self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let checks = self.checks()?;
        if self.list {
            print!("{}", table::of_checks(&checks));
            return Ok(ExitCode::SUCCESS);
        }
        let seed = self.seed.unwrap_or_else(random);
        if self.ci {
            return Ok(exit_code(runner::once_each(&checks, seed)));
        }
        let path = match self.state {
            Some(path) => path,
            None => std::env::current_exe()?.with_extension("json"),
        };
        let mut state = State::load(path)?;
        if self.markdown {
            print!("{}", table::of_counts(&checks, &state).markdown());
            return Ok(ExitCode::SUCCESS);
        }
        interrupt::catch()?;
        let is_good = runner::run(&Plan { checks: &checks, time: self.time, seed }, &mut state)?;
        print!("{}", table::of_counts(&checks, &state));
        if is_good {
            interrupt::end_by_it();
        }
        Ok(exit_code(is_good))
    }

    fn checks(&self) -> Result<Vec<&'static Check>, String> {
        if self.only.is_empty() {
            return Ok(checks::ALL.iter().collect());
        }
        let find = |id: &String| checks::ALL.iter().find(|check| check.id.eq_ignore_ascii_case(id));
        self.only.iter().map(|id| find(id).ok_or_else(|| format!("there is no check {id}: see --list"))).collect()
    }
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
