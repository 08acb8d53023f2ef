//! Failures as Python's own exceptions.

use pyo3::exceptions::{PyBlockingIOError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTypeInfo, create_exception};
use shm_mailbox::{Error, ErrorKind};

create_exception!(
    shm_mailbox,
    MailboxBusy,
    PyBlockingIOError,
    "Another writer has the mailbox; its `errno` is `EBUSY`."
);

/// Why a call failed. Made under the object's lock, turned into an exception without it.
pub enum Failure {
    /// This, a reader or writer, was closed.
    Closed(&'static str),
    /// The library says so.
    Mailbox(Error),
    /// Python does.
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Mailbox(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Failure {
    #[cold]
    pub fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Closed(what) => PyValueError::new_err(format!("this {what} is closed")),
            Self::Mailbox(error) => exception(py, &error).unwrap_or_else(|failed| failed),
            Self::Python(error) => error,
        }
    }
}

/// The exception that a failure of the library is.
#[cold]
pub fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let text = error.to_string();
    let of_system = |class: Bound<'_, PyType>, errno: i32| {
        // Python shows the path after the text, so it need not be in it.
        let path = error.mailbox();
        let text = text.replacen(&format!(" {}: ", path.display()), ": ", 1);
        Ok(PyErr::from_value(class.call1((errno, text, path.as_os_str()))?))
    };
    // `OSError` makes the subclass that belongs to the number: `FileNotFoundError`, `PermissionError`.
    let os_error = |otherwise| of_system(PyOSError::type_object(py), error.raw_os_error().unwrap_or(otherwise));
    match error.kind() {
        ErrorKind::InvalidName | ErrorKind::InvalidOption => Ok(PyValueError::new_err(text)),
        ErrorKind::TooLong { length, capacity } => value_error(py, &text, length, ("capacity", capacity)),
        ErrorKind::BufferTooSmall { length, room } => value_error(py, &text, length, ("room", room)),
        ErrorKind::Forked => Ok(PyRuntimeError::new_err(text)),
        ErrorKind::Busy => of_system(MailboxBusy::type_object(py), libc::EBUSY),
        ErrorKind::Removed => os_error(libc::ESTALE),
        ErrorKind::NotFound => os_error(libc::ENOENT),
        ErrorKind::NotAMailbox => os_error(libc::EINVAL),
        ErrorKind::UnsupportedLayout => os_error(libc::ENOTSUP),
        ErrorKind::Damaged => os_error(libc::EUCLEAN),
        ErrorKind::Untrusted => os_error(libc::EPERM),
        ErrorKind::PermissionDenied => os_error(libc::EACCES),
        ErrorKind::NoSpace => os_error(libc::ENOSPC),
        _ => os_error(libc::EIO),
    }
}

/// A `ValueError` that says in numbers what did not fit.
fn value_error(py: Python<'_>, text: &str, length: usize, limit: (&str, usize)) -> PyResult<PyErr> {
    let error = PyValueError::new_err(text.to_owned());
    let value = error.value(py);
    value.setattr("length", length)?;
    value.setattr(limit.0, limit.1)?;
    Ok(error)
}
