//! What can go wrong: [`Error`] names the mailbox, what was attempted and the cause.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use nix::errno::Errno;

/// Result of an operation on a mailbox.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on a mailbox failed.
///
/// What is normal (nothing new, time ran out) is a value and never an error. The text says what was attempted, on which
/// mailbox, and why it failed; [`source`](std::error::Error::source) keeps the system's error where there was one.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    attempt: &'static str,
    mailbox: PathBuf,
    fault: Fault,
}

/// What kind of failure it was, for programs to decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name is not one that a mailbox can have.
    InvalidName,
    /// An option contradicts itself or the mailbox that is there.
    InvalidOption,
    /// There is no mailbox of that name, or no directory for it.
    NotFound,
    /// Another writer has the mailbox.
    Busy,
    /// The line is longer than the capacity.
    TooLong {
        /// Bytes in the line.
        length: usize,
        /// Most bytes that fit.
        capacity: usize,
    },
    /// The caller's buffer is too small for the line, which was not read.
    BufferTooSmall {
        /// Bytes in the line.
        length: usize,
        /// Bytes in the buffer.
        room: usize,
    },
    /// The mailbox was removed, or taken over, under its writer. Final for that writer.
    Removed,
    /// This process was forked from the writer's and is not the writer.
    Forked,
    /// What bears the name is not a mailbox.
    NotAMailbox,
    /// The mailbox has a layout that this version does not know.
    UnsupportedLayout,
    /// The mailbox contradicts itself: somebody who may write to it has done what no writer does.
    Damaged,
    /// The file, or its directory, is under the control of somebody who is not to be trusted.
    Untrusted,
    /// The system refused for want of rights.
    PermissionDenied,
    /// There is no room for the mailbox.
    NoSpace,
    /// Another failure of the system.
    Io,
}

impl Error {
    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.fault.kind
    }

    /// The path of the mailbox.
    pub fn mailbox(&self) -> &Path {
        &self.0.mailbox
    }

    /// The system's error number, if the system failed.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.fault.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { attempt, mailbox, fault } = &*self.0;
        if mailbox.as_os_str().is_empty() {
            return write!(f, "cannot {attempt} \"\": {}", fault.detail);
        }
        write!(f, "cannot {attempt} {}: {}", mailbox.display(), fault.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.fault.source.as_ref().map(|e| e as _)
    }
}

/// A failure before it is known on behalf of which mailbox it happened.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: ErrorKind,
    pub detail: Cow<'static, str>,
    pub source: Option<io::Error>,
}

impl Fault {
    /// A failure of our own finding.
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), source: None }
    }

    /// The system failed in `what`.
    pub fn system(what: impl Into<Cow<'static, str>>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => ErrorKind::PermissionDenied,
            Some(Errno::ENOSPC | Errno::EDQUOT) => ErrorKind::NoSpace,
            Some(Errno::ENOENT) => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self { kind, detail: what.into(), source: Some(error) }
    }

    /// A line of `length` bytes does not fit into memory.
    pub fn no_memory(length: usize) -> Self {
        Self::new(ErrorKind::Io, format!("no memory for a line of {length} bytes"))
    }

    /// Says on which mailbox it happened, and what was attempted.
    pub fn of(self, attempt: &'static str, mailbox: PathBuf) -> Error {
        Error(Box::new(Inner { attempt, mailbox, fault: self }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn the_text_names_attempt_mailbox_and_reason() {
        let fault = Fault::system("no room for 4096 bytes", Errno::ENOSPC);
        let error = fault.of("create mailbox", "/dev/shm/mailbox-0/clock".into());
        assert_eq!(error.to_string(), "cannot create mailbox /dev/shm/mailbox-0/clock: no room for 4096 bytes");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC));
        assert!(error.source().unwrap().to_string().contains("No space left"));
    }

    #[test]
    fn an_error_is_as_small_as_a_pointer() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
