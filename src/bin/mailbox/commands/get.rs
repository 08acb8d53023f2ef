//! `mailbox get`: the newest line.

use std::time::{Duration, Instant};

use shm_mailbox::{Message, Reader};

use crate::cli::{Get, Place};
use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::{Format, Output};
use crate::units::span;

pub fn run(arguments: &Get, place: &Place) -> Result {
    let mut reader = place.options().wait_for_mailbox(arguments.wait.is_some()).open(&arguments.name)?;
    let deadline = arguments.wait.and_then(|wait| Instant::now().checked_add(wait));
    if let Some(wait) = arguments.wait {
        wait_for_fresh(&mut reader, deadline, arguments.max_age, wait)?;
    }
    let path = reader.path();
    let Some(message) = reader.latest()? else {
        return Err(Failure::new(ExitCode::Nothing, format!("mailbox {} has no line yet", path.display())));
    };
    if arguments.wait.is_none() && !is_fresh(&message, arguments.max_age) {
        let why = match message.age {
            Some(age) => format!("is {} old", span(age)),
            None => "carries no time".into(),
        };
        return Err(Failure::new(ExitCode::Nothing, format!("the newest line of mailbox {} {why}", path.display())));
    }
    let ending: &[u8] = if arguments.no_newline { b"" } else { b"\n" };
    let format = if arguments.json { Format::Json } else { Format::Plain(ending) };
    Output::new().message(&arguments.name, &message, format)?;
    Ok(ExitCode::Done)
}

/// Waits until the newest line is fresh enough.
fn wait_for_fresh(
    reader: &mut Reader,
    deadline: Option<Instant>,
    max_age: Option<Duration>,
    wait: Duration,
) -> Result<()> {
    loop {
        let message = match deadline {
            Some(deadline) => reader.read_deadline(deadline)?,
            None => Some(reader.read()?),
        };
        match message {
            Some(message) if is_fresh(&message, max_age) => return Ok(()),
            Some(_) => {}
            None => {
                let what = if max_age.is_some() { "no fresh line" } else { "no line" };
                let text = format!("{what} in mailbox {} within {}", reader.path().display(), span(wait));
                return Err(Failure::new(ExitCode::TimedOut, text));
            }
        }
    }
}

fn is_fresh(message: &Message<'_>, max_age: Option<Duration>) -> bool {
    max_age.is_none_or(|max_age| message.age.is_some_and(|age| age <= max_age))
}
