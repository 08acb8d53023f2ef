//! `mailbox get`: the newest line.

use std::time::{Duration, Instant};

use shm_mailbox::{Message, Reader};

use crate::cli::{Get, Place};
use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::{Format, Output};
use crate::units::span;

pub fn run(arguments: &Get, place: &Place) -> Result {
    let mut reader = place.options().wait_for_mailbox(arguments.wait.is_some()).open(&arguments.name)?;
    let path = reader.path();
    let mut message = match arguments.wait {
        Some(wait) => match wait_for_fresh(&mut reader, wait, arguments.max_age)? {
            Some(message) => message,
            None => {
                let what = if arguments.max_age.is_some() { "no fresh line" } else { "no line" };
                let text = format!("{what} in mailbox {} within {}", path.display(), span(wait));
                return Err(Failure::new(ExitCode::TimedOut, text));
            }
        },
        None => match reader.latest()? {
            Some(message) if is_fresh(&message, arguments.max_age) => message,
            Some(message) => {
                let why = message.age.map_or("carries no time".into(), |age| format!("is {} old", span(age)));
                let text = format!("the newest line of mailbox {} {why}", path.display());
                return Err(Failure::new(ExitCode::Nothing, text));
            }
            None => {
                let text = format!("mailbox {} has no line yet", path.display());
                return Err(Failure::new(ExitCode::Nothing, text));
            }
        },
    };
    let ending: &'static [u8] = if arguments.no_newline { b"" } else { b"\n" };
    let format = if arguments.json { Format::Json } else { Format::Plain(ending) };
    // Nobody has missed what was passed over while we waited.
    message.missed = 0;
    Output::new().message(&arguments.name, &message, format)?;
    Ok(ExitCode::Done)
}

/// Waits for a line that is fresh enough; `None` if there is none in time.
fn wait_for_fresh(reader: &mut Reader, wait: Duration, max_age: Option<Duration>) -> Result<Option<Message<'_>>> {
    let deadline = Instant::now().checked_add(wait);
    loop {
        let message = match deadline {
            Some(deadline) => reader.read_deadline(deadline)?,
            None => Some(reader.read()?),
        };
        match message.map(|message| is_fresh(&message, max_age)) {
            // What was just read, or something newer.
            Some(true) => return Ok(reader.latest()?.filter(|message| is_fresh(message, max_age))),
            Some(false) => {}
            None => return Ok(None),
        }
    }
}

fn is_fresh(message: &Message<'_>, max_age: Option<Duration>) -> bool {
    max_age.is_none_or(|max_age| message.age.is_some_and(|age| age <= max_age))
}
