//! `shm_mailbox.Writer`.

use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use shm_mailbox::Options;

use crate::bytes_like::with_line;
use crate::errors::{Failure, exception};
use crate::lock::Lock;
use crate::unclosed;

/// The one writer of a mailbox: publishes lines, and never waits for anybody.
///
/// Makes the mailbox if it is not there. A line that nobody has read is replaced by the next. The last line stays when
/// the writer is closed or dies, and the next writer goes on with the next number.
///
/// name
///     Names the mailbox in the user's own directory, or in ``dir``, or in the directory that the environment variable
///     MAILBOX_DIR names; with a ``/`` it is a path.
/// capacity
///     Most bytes in a line. A smaller mailbox is made larger, a larger one stays. None: what it has, 4096 if it is new.
/// mode
///     Who may use a new mailbox: 0o600, 0o640, 0o644, 0o660 or 0o664. Who may write to it is trusted. None: what it
///     has, 0o600 if it is new.
/// owner
///     A user, by name or number, who may own the mailbox besides ourselves and root.
/// timestamps
///     Whether lines carry the time, for ``Reader.age`` and ``mailbox get --max-age``.
///
/// Raises MailboxBusy if another writer has the mailbox, and OSError (FileNotFoundError, PermissionError) or ValueError
/// for what is there, or is asked for, and not fit for use.
///
/// A forked child is not the writer: there, ``write`` raises RuntimeError. A writer cannot be pickled.
///
/// >>> with Writer("temperature") as writer:
/// ...     writer.write("21.5")
/// ...     writer.write(b"21.6")
/// 1
/// 2
#[pyclass(frozen, module = "shm_mailbox")]
pub struct Writer {
    writer: Lock<Option<shm_mailbox::Writer>>,
    path: PathBuf,
}

/// The options that writers and readers share.
pub fn options(dir: Option<PathBuf>, owner: Option<&Bound<'_, PyAny>>) -> PyResult<Options> {
    let mut options = Options::new();
    if let Some(dir) = dir {
        options = options.dir(dir);
    }
    if let Some(owner) = owner {
        options = options.owner(uid(owner)?);
    }
    Ok(options)
}

fn uid(owner: &Bound<'_, PyAny>) -> PyResult<u32> {
    if let Ok(uid) = owner.extract() {
        return Ok(uid);
    }
    let Ok(name) = owner.extract::<String>() else {
        return Err(PyTypeError::new_err("owner is a user's name or number"));
    };
    match owner.py().import("pwd")?.call_method1("getpwnam", (&name,)) {
        Ok(user) => user.getattr("pw_uid")?.extract(),
        Err(_) => Err(PyValueError::new_err(format!("there is no user {name}"))),
    }
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (name, *, capacity=None, mode=None, dir=None, owner=None, timestamps=true))]
    fn new(
        py: Python<'_>,
        name: PathBuf,
        capacity: Option<i64>,
        mode: Option<u32>,
        dir: Option<PathBuf>,
        owner: Option<&Bound<'_, PyAny>>,
        timestamps: bool,
    ) -> PyResult<Self> {
        let mut options = options(dir, owner)?.timestamps(timestamps);
        if let Some(capacity) = capacity {
            // Less than none is as wrong as none, and the library says so.
            options = options.capacity(usize::try_from(capacity).unwrap_or(0));
        }
        if let Some(mode) = mode {
            options = options.mode(mode);
        }
        match py.detach(|| options.create(name)) {
            Ok(writer) => Ok(Self { path: writer.path(), writer: Lock::new(Some(writer)) }),
            Err(error) => Err(exception(py, &error)?),
        }
    }

    /// Publishes a line and returns its message number: one more than the last.
    ///
    /// A str is written as UTF-8 (with surrogateescape, as file names are), without one final newline; bytes-like
    /// objects (bytes, bytearray, memoryview, arrays that are C-contiguous) as they are. A buffer must not be changed by
    /// another thread meanwhile.
    ///
    /// Never waits for readers. Raises ValueError, with the numbers as ``length`` and ``capacity``, if the line is too
    /// long; RuntimeError in a forked child; OSError if the mailbox was removed under this writer. Then nothing was
    /// published, and the last line stays.
    ///
    /// >>> with Writer("clock") as writer, Reader("clock") as reader:
    /// ...     number = writer.write("12:00\n")
    /// ...     reader.read()
    /// b'12:00'
    fn write(&self, line: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = line.py();
        let written = with_line(line, |line| {
            self.writer.with(py, |writer| match writer {
                Some(writer) => writer.publish(line).map_err(Failure::Mailbox),
                None => Err(Failure::Closed("writer")),
            })
        });
        written?.map_err(|failure| failure.raise(py))
    }

    /// Lets go of the mailbox; the last line stays. Closing again does nothing.
    fn close(&self, py: Python<'_>) {
        if let Some(writer) = self.writer.with(py, Option::take) {
            py.detach(|| drop(writer));
        }
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.writer.with(py, |writer| writer.is_none())
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        match slf.get().closed(py) {
            false => Ok(slf),
            true => Err(Failure::Closed("writer").raise(py)),
        }
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.close(_exception.py());
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Writer cannot be pickled: a mailbox has one writer; pass the mailbox's name"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let closed = if self.closed(py) { " (closed)" } else { "" };
        format!("<shm_mailbox.Writer of {}{closed}>", self.path.display())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.writer.get_mut().is_some() {
            unclosed::warn("Writer", &self.path);
        }
    }
}
