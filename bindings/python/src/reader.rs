//! `shm_mailbox.Reader`.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};
use shm_mailbox::{Doorbell, Message, Turn, WriterState};

use crate::bytes_like::{Buffer, to_bytes, to_text};
use crate::errors::{Failure, exception};
use crate::lock::Lock;
use crate::unclosed;
use crate::writer::options;

/// A reader of a mailbox, one of any number: gets the newest line, each at most once.
///
/// What was published between two reads is passed over and counted. Waits without using the processor, through restarts
/// of the writer, growth, removal and re-creation of the mailbox, which may also appear later than the reader. Never
/// delays the writer.
///
/// name, dir, owner
///     As for Writer. A directory that is given must exist.
/// skip_current
///     Whether to pass over the line that is there already.
///
/// Iterating gives each newer line, for ever, or until the reader is closed; so does ``async for``, in any number of
/// tasks. ``fileno()`` is for select, selectors, poll and other event loops. Threads may share a reader; each line goes
/// to one of them. A reader is pickled as its name and options, and opened anew where it is unpickled.
///
/// >>> with Writer("clock") as writer, Reader("clock", skip_current=True) as reader:
/// ...     for line in ["12:00", "12:01", "12:02"]:
/// ...         first = writer.write(line)
/// ...     reader.read()
/// ...     for line in ["12:03", "12:04"]:
/// ...         number = writer.write(line)
/// ...     reader.read()
/// ...     reader.number - first, reader.missed
/// b'12:02'
/// b'12:04'
/// (2, 1)
#[pyclass(frozen, module = "shm_mailbox")]
pub struct Reader {
    state: Lock<State>,
    path: PathBuf,
    /// What opens it again elsewhere.
    name: PathBuf,
    dir: Option<PathBuf>,
    owner: Option<Py<PyAny>>,
    skip_current: bool,
}

struct State {
    /// `None` once it is closed.
    reader: Option<shm_mailbox::Reader>,
    /// The descriptor that was handed out, for as long as the reader is open.
    doorbell: Option<Doorbell>,
    last: Last,
    /// A line of text in the making.
    text: Vec<u8>,
}

/// What is known of the line that was returned last.
#[derive(Clone, Copy, Default)]
struct Last {
    number: u64,
    missed: u64,
    age: Option<Duration>,
}

impl Last {
    #[inline]
    fn of(message: &Message<'_>) -> Self {
        Self { number: message.number, missed: message.missed, age: message.age }
    }
}

/// What a line is to become.
enum Form<'a, 'py> {
    Bytes,
    /// With one final newline.
    Text,
    /// The line goes into the buffer, its length is returned.
    Into(&'a mut Buffer<'py>),
}

/// What a read came to.
enum Read<'py> {
    Line(Bound<'py, PyAny>),
    Nothing,
    Sleep(shm_mailbox::Sleeper),
}

/// How a read looks for a line.
enum Look {
    /// Newer than the last one, or nothing.
    Once,
    /// The newest, also if it is not new.
    Again,
    /// Newer than the last one, or something to sleep on.
    OrSleep(Option<Instant>, Option<shm_mailbox::Slept>),
}

impl State {
    #[inline]
    fn read<'py>(&mut self, py: Python<'py>, look: Look, form: &mut Form<'_, 'py>) -> Result<Read<'py>, Failure> {
        let Some(reader) = &mut self.reader else { return Err(Failure::Closed("reader")) };
        let (is_text, is_into) = (matches!(form, Form::Text), matches!(form, Form::Into(_)));
        let turn = match form {
            Form::Bytes | Form::Text => match look {
                Look::Once => reader.try_read()?.map(Turn::Line),
                Look::Again => reader.latest()?.map(Turn::Line),
                Look::OrSleep(deadline, slept) => Some(reader.read_or_sleeper(deadline, slept)?),
            },
            Form::Into(buffer) => {
                // SAFETY: the form is made of a writable buffer, and the lock is held: no Python code runs.
                let buffer = unsafe { buffer.bytes_mut() };
                match look {
                    Look::Once => reader.try_read_into(buffer)?.map(Turn::Line),
                    Look::Again => reader.latest_into(buffer)?.map(Turn::Line),
                    Look::OrSleep(deadline, slept) => Some(reader.read_into_or_sleeper(buffer, deadline, slept)?),
                }
            }
        };
        let message = match turn {
            Some(Turn::Line(message)) => message,
            Some(Turn::Sleep(sleeper)) => return Ok(Read::Sleep(sleeper)),
            _ => return Ok(Read::Nothing),
        };
        self.last = Last::of(&message);
        let line = if is_into {
            PyInt::new(py, message.bytes.len()).into_any()
        } else if is_text {
            self.text.clear();
            self.text.extend_from_slice(message.bytes.strip_suffix(b"\n").unwrap_or(message.bytes));
            self.text.push(b'\n');
            to_text(py, &self.text)?
        } else {
            to_bytes(py, message.bytes)?
        };
        Ok(Read::Line(line))
    }
}

impl Reader {
    /// One look, without a wait.
    #[inline]
    fn look<'py>(
        &self,
        py: Python<'py>,
        look: Look,
        form: &mut Form<'_, 'py>,
    ) -> Result<Option<Bound<'py, PyAny>>, Failure> {
        match self.state.with(py, |state| state.read(py, look, form))? {
            Read::Line(line) => Ok(Some(line)),
            _ => Ok(None),
        }
    }

    #[inline]
    fn wait<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        mut form: Form<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        match self.look(py, Look::Once, &mut form)? {
            Some(line) => Ok(line),
            None => self.sleep(py, timeout, &mut form),
        }
    }

    #[cold]
    fn sleep<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        form: &mut Form<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let deadline = match timeout {
            Some(seconds) if seconds.is_nan() => {
                return Err(PyValueError::new_err("a timeout that is not a number").into());
            }
            Some(seconds) if seconds <= 0.0 => return Err(self.time_out(0.0)),
            // Beyond what the clock can say: for ever.
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).ok().and_then(|timeout| Instant::now().checked_add(timeout))
            }
            None => None,
        };
        let mut slept = None;
        loop {
            match self.state.with(py, |state| state.read(py, Look::OrSleep(deadline, slept), form))? {
                Read::Line(line) => return Ok(line),
                Read::Nothing => return Err(self.time_out(timeout.unwrap_or_default())),
                Read::Sleep(sleeper) => slept = Some(py.detach(|| sleeper.sleep())),
            }
            py.check_signals()?;
        }
    }

    fn time_out(&self, seconds: f64) -> Failure {
        PyTimeoutError::new_err(format!("no new line in mailbox {} within {seconds} s", self.path.display())).into()
    }

    fn last(&self, py: Python<'_>) -> Last {
        self.state.with(py, |state| state.last)
    }
}

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (name, *, dir=None, owner=None, skip_current=false))]
    fn new(
        py: Python<'_>,
        name: PathBuf,
        dir: Option<PathBuf>,
        owner: Option<Bound<'_, PyAny>>,
        skip_current: bool,
    ) -> PyResult<Self> {
        // Absolute, so that a process in another directory finds the same.
        let dir = dir.map(std::path::absolute).transpose()?;
        let options = options(dir.clone(), owner.as_ref())?.skip_current(skip_current).wait_for_mailbox(true);
        let reader = match py.detach(|| options.open(&name)) {
            Ok(reader) => reader,
            Err(error) => return Err(exception(py, &error)?),
        };
        let path = reader.path();
        Ok(Self {
            state: Lock::new(State { reader: Some(reader), doorbell: None, last: Last::default(), text: Vec::new() }),
            name: if name.as_os_str().as_encoded_bytes().contains(&b'/') { path.clone() } else { name },
            path,
            dir,
            owner: owner.map(Bound::unbind),
            skip_current,
        })
    }

    /// Waits for a line that this reader has not returned before, and returns it.
    ///
    /// Raises TimeoutError after ``timeout`` seconds without one (0: looks once); None waits for ever. Ctrl-C ends the
    /// wait, and so does close() in another thread, with ValueError. Other threads run meanwhile, and may use this
    /// reader.
    ///
    /// >>> with Reader("nobody writes here") as reader:
    /// ...     reader.read(timeout=0.01)
    /// Traceback (most recent call last):
    ///   ...
    /// TimeoutError: no new line in mailbox ... within 0.01 s
    #[pyo3(signature = (timeout=None))]
    fn read<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.wait(py, timeout, Form::Bytes).map_err(|failure| failure.raise(py))
    }

    /// As read, but returns text with exactly one final newline, as a file gives it.
    ///
    /// The text is UTF-8; what is not becomes surrogates, as in file names (surrogateescape).
    ///
    /// >>> with Writer("clock") as writer, Reader("clock") as reader:
    /// ...     number = writer.write("12:00")
    /// ...     reader.readline()
    /// '12:00\n'
    #[pyo3(signature = (timeout=None))]
    fn readline<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.wait(py, timeout, Form::Text).map_err(|failure| failure.raise(py))
    }

    /// As read, but fills a buffer (bytearray, memoryview, an array that is C-contiguous) and returns how many bytes.
    ///
    /// Raises ValueError, with the numbers as ``length`` and ``room``, if the line does not fit; the line is kept, and
    /// what is read next is that line or a newer one. No object is allocated for the line.
    ///
    /// >>> buffer = bytearray(100)
    /// >>> with Writer("clock") as writer, Reader("clock") as reader:
    /// ...     number = writer.write("12:00")
    /// ...     length = reader.read_into(buffer)
    /// >>> bytes(buffer[:length])
    /// b'12:00'
    #[pyo3(signature = (buffer, timeout=None))]
    fn read_into<'py>(&self, buffer: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let mut buffer = Buffer::writable(buffer)?;
        let py = buffer.py();
        self.wait(py, timeout, Form::Into(&mut buffer)).map_err(|failure| failure.raise(py))
    }

    /// Returns the newest line that this reader has not returned before, or None if there is nothing new.
    ///
    /// Never waits. After ``fileno()`` was ready, call this until it returns None: only that consumes the event.
    ///
    /// >>> with Writer("clock") as writer, Reader("clock") as reader:
    /// ...     number = writer.write("12:00")
    /// ...     reader.try_read(), reader.try_read()
    /// (b'12:00', None)
    fn try_read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.look(py, Look::Once, &mut Form::Bytes).map_err(|failure| failure.raise(py))
    }

    /// Returns the newest line, whether this reader has returned it before or not, or None if there is none at all.
    ///
    /// Never waits. The line counts as returned.
    ///
    /// >>> with Writer("clock") as writer, Reader("clock") as reader:
    /// ...     number = writer.write("12:00")
    /// ...     reader.latest(), reader.latest(), reader.try_read()
    /// (b'12:00', b'12:00', None)
    fn latest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.look(py, Look::Again, &mut Form::Bytes).map_err(|failure| failure.raise(py))
    }

    /// Number of the line returned last: 1 for the first of a mailbox, one more for each; 0 before the first.
    #[getter]
    fn number(&self, py: Python<'_>) -> u64 {
        self.last(py).number
    }

    /// How many lines were passed over before the one returned last; 0 for this reader's first.
    #[getter]
    fn missed(&self, py: Python<'_>) -> u64 {
        self.last(py).missed
    }

    /// How old the line returned last was when it was read, in seconds; None if it carries no time.
    #[getter]
    fn age(&self, py: Python<'_>) -> Option<f64> {
        self.last(py).age.map(|age| age.as_secs_f64())
    }

    /// Whether the mailbox has a writer at this moment; None if that cannot be known.
    #[getter]
    fn writer_alive(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let state = self.state.with(py, |state| state.reader.as_ref().map(shm_mailbox::Reader::writer_state));
        match state {
            Some(WriterState::Alive) => Ok(Some(true)),
            Some(WriterState::Gone) => Ok(Some(false)),
            Some(WriterState::Unknown) => Ok(None),
            None => Err(Failure::Closed("reader").raise(py)),
        }
    }

    /// A descriptor that is ready for reading when there may be something new: for select, selectors, poll, event loops.
    ///
    /// It is the same in every call, ready at first, and stays through everything that can happen to the mailbox. Never
    /// read from it: when it is ready, call try_read() until that returns None. It is ready at least ten times a second,
    /// and when the writer has gone.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        let doorbell = self.state.with(py, |state| {
            let Some(reader) = &mut state.reader else { return Err(Failure::Closed("reader")) };
            if state.doorbell.is_none() {
                state.doorbell = Some(reader.doorbell()?);
            }
            Ok(state.doorbell.as_ref().expect("made above").as_raw_fd())
        });
        doorbell.map_err(|failure| failure.raise(py))
    }

    /// Ends all waits on this reader, and lets go of the mailbox. Closing again does nothing.
    ///
    /// A read() in another thread raises ValueError within 100 ms; loops over the reader end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (reader, doorbell) = self.state.with(py, |state| (state.reader.take(), state.doorbell.take()));
        if reader.is_none() {
            return Ok(());
        }
        if let Some(doorbell) = &doorbell {
            // Tasks wait on the descriptor: they leave before it is closed.
            let modules = py.import("sys")?.getattr("modules")?;
            if let Ok(tasks) = modules.get_item("shm_mailbox._asyncio") {
                tasks.call_method1("closed", (doorbell.as_raw_fd(),))?;
            }
        }
        py.detach(|| drop((reader, doorbell)));
        Ok(())
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.reader.is_none())
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        Self::__iter__(slf, py)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(_exception.py())
    }

    fn __iter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        match slf.get().closed(py) {
            false => Ok(slf),
            true => Err(Failure::Closed("reader").raise(py)),
        }
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.wait(py, None, Form::Bytes) {
            Ok(line) => Ok(Some(line)),
            Err(Failure::Closed(_)) => Ok(None),
            Err(failure) => Err(failure.raise(py)),
        }
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().closed(py) {
            return Err(Failure::Closed("reader").raise(py));
        }
        py.import("shm_mailbox._asyncio")?.getattr("Lines")?.call1((slf,))
    }

    /// For pickle: the name and the options.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((&OsStr,), Bound<'py, PyDict>)> {
        let options = PyDict::new(py);
        options.set_item("dir", self.dir.as_ref().map(|dir| dir.as_os_str()))?;
        options.set_item("owner", &self.owner)?;
        options.set_item("skip_current", self.skip_current)?;
        Ok(((self.name.as_os_str(),), options))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let closed = if self.closed(py) { " (closed)" } else { "" };
        format!("<shm_mailbox.Reader of {}{closed}>", self.path.display())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.state.get_mut().reader.is_some() {
            unclosed::warn("Reader", &self.path);
        }
    }
}
