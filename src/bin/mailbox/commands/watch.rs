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
            vigil.has_seen(last);
            deadline = deadline_from(Instant::now());
            continue;
        }
        if vigil.is_over(&reader, &options)? {
            // What it published last, between our look and its end.
            if let Some(message) = reader.try_read()? {
                output.message(&arguments.name, &message, format)?;
            }
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
    /// No writer was seen. Its sign is a lock that is held, or a line other than the one that was there first.
    Waiting {
        first: u64,
    },
    Seen,
}

impl Vigil {
    fn new(arguments: &Watch, options: &Options) -> Self {
        if !arguments.until_writer_exits {
            return Self::NotAsked;
        }
        Self::Waiting { first: options.inspect(&arguments.name).map_or(0, |info| info.number) }
    }

    /// A line was shown.
    fn has_seen(&mut self, number: u64) {
        if let Self::Waiting { first } = self
            && *first != number
        {
            *self = Self::Seen;
        }
    }

    fn is_over(&mut self, reader: &Reader, options: &Options) -> Result<bool> {
        if let Self::NotAsked = self {
            return Ok(false);
        }
        match reader.writer_state() {
            WriterState::Alive => *self = Self::Seen,
            WriterState::Gone => return Ok(matches!(self, Self::Seen)),
            WriterState::Unknown => match options.inspect(reader.path()) {
                // No mailbox, no writer.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(matches!(self, Self::Seen)),
                _ => {
                    let path = reader.path();
                    let text = format!("whether mailbox {} has a writer cannot be known", path.display());
                    return Err(Failure::new(ExitCode::Failed, text));
                }
            },
        }
        Ok(false)
    }
}
