//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use shm_mailbox::Options;

use crate::units;

/// A named place in shared memory that holds one line: the newest.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
One writer, any number of readers. The writer never waits; a line that nobody
has read is replaced by the next.

  while date; do sleep 1; done | mailbox put clock     one terminal
  mailbox watch clock                                  another: each line
  mailbox get clock                                    a third: the newest line

A NAME without `/` is in the directory that --dir or MAILBOX_DIR names, or in
your own, /dev/shm/mailbox-<uid>; with a `/` it is a path.
DUR: 250ms, 2s, 5m, 1h or 1.5 (seconds).

Exit status: 0 done (also when the reader of the output left), 1 nothing there,
2 usage, input or output, permission or damaged file, 3 another writer has the
mailbox, 124 time ran out."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub place: Place,
}

/// Where mailboxes are, and who is trusted with them.
#[derive(Args)]
pub struct Place {
    /// The directory for names without `/`.
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Another user to trust with the mailbox, by name or number; without --dir and MAILBOX_DIR also chooses that user's
    /// directory.
    #[arg(long, global = true, value_name = "USER", value_parser = units::user)]
    pub owner: Option<u32>,
}

impl Place {
    pub fn options(&self) -> Options {
        let mut options = Options::new();
        if let Some(dir) = &self.dir {
            options = options.dir(dir);
        }
        if let Some(owner) = self.owner {
            options = options.owner(owner);
        }
        options
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Publish LINE, or every line of standard input as it comes.
    Put(Put),
    /// Print the newest line.
    Get(Get),
    /// Print the current line, then each newer one as it comes; lines that the output cannot take in time are skipped.
    Watch(Watch),
    /// List the mailboxes.
    List(List),
    /// Show what there is to know of a mailbox.
    Stat(Stat),
    /// Remove mailboxes and wake their readers.
    Rm(Rm),
    /// See the whole idea at work, in five seconds.
    Demo,
}

/// For the verbs that take a DUR.
macro_rules! durations {
    () => {
        "DUR: 250ms, 2s, 5m, 1h or 1.5 (seconds). Exit status: see `mailbox --help`."
    };
}

const WATCHING: &str = concat!(
    "\
Put the slow step directly behind it: a filter in between has a pipe of its own
that holds up to 64 KiB of old lines.

  mailbox watch clock | while read -r line; do sleep 1; echo \"$line\"; done

",
    durations!()
);

#[derive(Args)]
#[command(after_help = durations!())]
pub struct Put {
    /// The mailbox; made if it does not exist.
    pub name: OsString,
    /// The line; else standard input is read, where a line ends with LF and the last one needs none. One that begins
    /// with `-` goes after `--`.
    pub line: Option<OsString>,
    /// Most bytes in a line, such as 4096, 64K or 1M; longer ones are then errors. Else a new mailbox begins with 4096
    /// and grows as needed, up to 64 MiB. It takes four times as much memory.
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub capacity: Option<usize>,
    /// Permissions of a new mailbox: 0600, 0640, 0644, 0660 or 0664. Other than those of one that exists: an error.
    #[arg(long, value_name = "OCTAL", value_parser = units::mode)]
    pub mode: Option<u32>,
    /// Lines end with NUL.
    #[arg(short = '0', long, conflicts_with_all = ["line", "raw"])]
    pub null: bool,
    /// All of standard input is one message.
    #[arg(long, conflicts_with = "line")]
    pub raw: bool,
    /// How long to wait for another writer to leave; else it is an error at once (3).
    #[arg(long, value_name = "DUR", allow_hyphen_values = true, value_parser = units::duration)]
    pub wait: Option<Duration>,
}

#[derive(Args)]
#[command(after_help = durations!())]
pub struct Get {
    /// The mailbox.
    pub name: OsString,
    /// How long to wait for a line, if there is none (with --max-age: none that is fresh enough).
    #[arg(long, value_name = "DUR", allow_hyphen_values = true, value_parser = units::duration)]
    pub wait: Option<Duration>,
    /// A line that is older, or whose age is unknown, does not count.
    #[arg(long, value_name = "DUR", allow_hyphen_values = true, value_parser = units::duration)]
    pub max_age: Option<Duration>,
    /// One JSON object: name, number, missed, time, age_s, len, data or data_base64.
    #[arg(long)]
    pub json: bool,
    /// No newline after the line.
    #[arg(short = 'N', long)]
    pub no_newline: bool,
}

#[derive(Args)]
#[command(after_help = WATCHING)]
pub struct Watch {
    /// The mailbox; waited for if it does not exist.
    pub name: OsString,
    /// End after so many lines.
    #[arg(short = 'n', long = "count", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End with status 124 when there is no new line for so long.
    #[arg(long, value_name = "DUR", allow_hyphen_values = true, value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// Pass over the line that is there already.
    #[arg(long)]
    pub new_only: bool,
    /// End when the writer has gone; one that has not come yet is waited for, so that after one that may be over already
    /// --timeout is needed too.
    #[arg(long)]
    pub until_writer_exits: bool,
    /// One JSON object a line: name, number, missed, time, age_s, len, data or data_base64.
    #[arg(long, conflicts_with = "null")]
    pub json: bool,
    /// Lines end with NUL.
    #[arg(short = '0', long)]
    pub null: bool,
}

#[derive(Args)]
pub struct List {
    /// One JSON object a mailbox, as with `stat`.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Stat {
    /// The mailbox.
    pub name: OsString,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Rm {
    /// The mailboxes.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<OsString>,
    /// Also one that has a live writer, whose next publish then fails.
    #[arg(short, long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
