//! How the program ends: [`ExitCode`], and [`Failure`] with what there is to say about it.

use std::error::Error as _;
use std::{fmt, io, process};

use shm_mailbox::{Error, ErrorKind};

use crate::output::talk;

/// The exit codes, which scripts rely on. A signal ends the program by the signal itself, which a shell shows as 128 +
/// its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Done; also when the reader of our output has left.
    Done = 0,
    /// There is no such mailbox, no line in it, or none that is fresh enough.
    Nothing = 1,
    /// Usage, input or output, permission, damaged file.
    Failed = 2,
    /// Another writer has the mailbox.
    Busy = 3,
    /// Time ran out.
    TimedOut = 124,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// What ends a command early.
#[derive(Debug)]
pub struct Failure {
    pub code: ExitCode,
    /// For standard error; empty if there is nothing to say.
    text: String,
}

pub type Result<T = ExitCode> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(code: ExitCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The reader of our output has left: nobody is interested any more, and that is no failure.
    pub fn reader_left() -> Self {
        Self::new(ExitCode::Done, "")
    }

    /// The system failed in `what`.
    pub fn system(what: &str, error: impl Into<io::Error>) -> Self {
        Self::new(ExitCode::Failed, format!("{what}: {}", error.into()))
    }

    /// Tells people.
    pub fn report(&self) {
        if !self.text.is_empty() {
            talk(&self.text);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            // With a cause from the system it is a directory that was given and is missing.
            ErrorKind::NotFound if error.source().is_none() => ExitCode::Nothing,
            ErrorKind::Busy => ExitCode::Busy,
            _ => ExitCode::Failed,
        };
        let text = match error.source() {
            // To which "No such file or directory" adds nothing.
            Some(_) if error.to_string().contains("there is no directory") => error.to_string(),
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self { code, text }
    }
}
