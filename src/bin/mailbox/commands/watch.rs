//! `mailbox watch`: the current line, then each newer one.

use std::ffi::OsStr;
use std::time::Instant;

use shm_mailbox::{ErrorKind, Options, Reader, WriterState};

use crate::cli::{Place, Watch};
use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::{Format, Output};
use crate::stdout_pipe::Stdout;

pub fn run(arguments: &Watch, place: &Place) -> Result {
    let options = place.options();
    let mut vigil = Vigil::new(arguments, &options);
    let mut reader = options.clone().wait_for_mailbox(true).skip_current(arguments.new_only).open(&arguments.name)?;
    let doorbell = reader.doorbell()?;
    let mut stdout = Stdout::new();
    let mut output = Output::new();
    let format = match (arguments.json, arguments.null) {
        (true, _) => Format::Json,
        (false, true) => Format::Plain(b"\0"),
        (false, false) => Format::Plain(b"\n"),
    };
    let deadline_from = |start: Instant| arguments.timeout.and_then(|timeout| start.checked_add(timeout));
    let mut deadline = deadline_from(Instant::now());
    let mut shown = 0;
    let mut last = 0;
    loop {
        let is_over = vigil.is_over(&reader, &options, &arguments.name)?;
        // Room first, then the line: while there is no room, newer lines take the place of older ones.
        if !stdout.wait_for_room(deadline)? {
            if !has_other_than(last, &options, &arguments.name) {
                return timed_out(arguments, &reader);
            }
            deadline = deadline_from(Instant::now());
            continue;
        }
        if let Some(message) = reader.try_read()? {
            last = message.number;
            output.message(&arguments.name, &message, format)?;
            shown += 1;
            if arguments.count == Some(shown) {
                return Ok(ExitCode::Done);
            }
            deadline = deadline_from(Instant::now());
            continue;
        }
        if is_over {
            return Ok(ExitCode::Done);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return timed_out(arguments, &reader);
        }
        stdout.wait_for_ring(&doorbell, deadline)?;
    }
}

fn timed_out(arguments: &Watch, reader: &Reader) -> Result {
    let timeout = crate::units::span(arguments.timeout.unwrap_or_default());
    let text = format!("no new line in mailbox {} for {timeout}", reader.path().display());
    Err(Failure::new(ExitCode::TimedOut, text))
}

/// Whether the newest line is another than the one shown last; a look that leaves the reader as it is.
fn has_other_than(last: u64, options: &Options, name: &OsStr) -> bool {
    options.inspect(name).is_ok_and(|info| info.number != 0 && info.number != last)
}

/// Waits for the end of a writer, if that is asked for.
enum Vigil {
    NotAsked,
    /// No writer was seen. Its sign is a lock that is held, or another position than the one that was there first.
    Waiting {
        first: Position,
    },
    Seen,
}

/// Which mailbox bears the name, and its newest line.
type Position = Option<([u8; 16], u64)>;

fn position(options: &Options, name: &OsStr) -> Position {
    options.inspect(name).ok().map(|info| (info.instance, info.number))
}

impl Vigil {
    fn new(arguments: &Watch, options: &Options) -> Self {
        if arguments.until_writer_exits {
            Self::Waiting { first: position(options, &arguments.name) }
        } else {
            Self::NotAsked
        }
    }

    /// Whether the writer has come and gone. Asked before each line too: a writer may come and go while one waits for
    /// room.
    fn is_over(&mut self, reader: &Reader, options: &Options, name: &OsStr) -> Result<bool> {
        if let Self::NotAsked = self {
            return Ok(false);
        }
        match reader.writer_state() {
            WriterState::Alive => {
                *self = Self::Seen;
                return Ok(false);
            }
            WriterState::Gone => {}
            WriterState::Unknown => match options.inspect(name) {
                // No mailbox, no writer.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(matches!(self, Self::Seen)),
                _ => {
                    let text = format!(
                        "whether mailbox {} has a writer cannot be known: its lock is missing, or not ours to look at",
                        reader.path().display()
                    );
                    return Err(Failure::new(ExitCode::Failed, text));
                }
            },
        }
        if let Self::Waiting { first } = self
            && *first != position(options, name)
        {
            *self = Self::Seen;
        }
        Ok(matches!(self, Self::Seen))
    }
}
