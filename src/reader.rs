//! [`Reader`]: gets the newest line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::doorbell::Doorbell;
#[expect(unused_imports, reason = "the documentation links to it")]
use crate::error::ErrorKind;
use crate::error::{Fault, Result};
use crate::follower::Follower;
use crate::name::Location;
use crate::options::Options;
use crate::os::clock::Deadline;
use crate::os::lock::Holder;
use crate::sleeper::{Slept, Turn};

/// A reader of a mailbox, one of any number.
///
/// Gets the newest line, each at most once, in order; what was published in between is passed over and counted. Waits
/// for a line without using the processor, through restarts of the writer, growth, removal and re-creation of the
/// mailbox. Never delays the writer. Stopped or killed anywhere, it costs other readers 100 ms at most.
///
/// # Progress
///
/// [`try_read`](Self::try_read) and [`latest`](Self::latest) are lock-free: they try again only when the writer has
/// passed by the whole ring of banks during the copy. The others block. With four banks, a reader of 64 KiB against a
/// writer in a tight loop tries again less than once in a hundred reads ([`retries`](Self::retries) counts).
pub struct Reader {
    follower: Follower,
    /// The line returned last, where the caller had no buffer for it; grows, never shrinks.
    buffer: Vec<u8>,
}

/// A line, in its reader's buffer, or in the caller's.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// Its number: 1 for the first line of a mailbox, one more for each.
    pub number: u64,
    /// How many lines were passed over since the one that this reader returned last; 0 for its first line.
    pub missed: u64,
    /// How long ago it was published, if its writer stored the time.
    pub age: Option<Duration>,
    /// The line.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("number", &self.number)
            .field("missed", &self.missed)
            .field("age", &self.age)
            .field("bytes", &self.bytes.escape_ascii().to_string())
            .finish()
    }
}

/// Whether a mailbox has a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// A process holds the writer's lock.
    Alive,
    /// Nobody does.
    Gone,
    /// It cannot be known: there is no lock file, or this user may not look at it.
    Unknown,
}

impl From<Holder> for WriterState {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Somebody => Self::Alive,
            Holder::Nobody => Self::Gone,
            Holder::Unknown => Self::Unknown,
        }
    }
}

impl Reader {
    /// Opens `name` for reading. See [`Options::wait_for_mailbox`] for a reader that comes before its mailbox.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::NotFound`]: there is no such mailbox.
    /// * [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Io`].
    /// * [`ErrorKind::NotAMailbox`], [`ErrorKind::UnsupportedLayout`], [`ErrorKind::Damaged`],
    ///   [`ErrorKind::Untrusted`]: what is there, or where it is, is not fit for use; the text says why, and what to
    ///   do.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// # let mut writer = shm_mailbox::Writer::create(&name)?;
    /// # writer.publish(b"21.5")?;
    /// let mut reader = shm_mailbox::Reader::open(&name)?;
    /// let message = reader.read()?; // blocks until there is a line
    /// assert_eq!((message.number, message.bytes), (1, &b"21.5"[..]));
    /// assert!(reader.try_read()?.is_none()); // nothing new
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(name: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(name)
    }

    pub(crate) fn with(location: Location, options: &Options) -> std::result::Result<Self, Fault> {
        Ok(Self { follower: Follower::with(location, options)?, buffer: Vec::new() })
    }

    /// Returns the newest line that this reader has not returned before, or `None` if there is nothing new.
    ///
    /// Never blocks and never delays the writer. Lines published in between are conflated: only the newest is returned,
    /// and [`Message::missed`] says how many were passed over. Once this has returned message *n*, it will never return
    /// an older one of the same instance; a newer one may appear at any moment.
    ///
    /// Also consumes the event of this reader's [`Doorbell`], if it returns `None`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Damaged`] if the mailbox contradicts itself; and what [`open`](Self::open) can say, if another file
    /// is under the name by now. A dead writer is no error: its last line stays. Nor is a removed mailbox: the reader
    /// finds nothing until there is a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// # let mut writer = shm_mailbox::Writer::create(&name)?;
    /// # let mut reader = shm_mailbox::Reader::open(&name)?;
    /// for line in ["21.5", "21.6", "21.7"] {
    ///     writer.publish(line.as_bytes())?;
    /// }
    /// let message = reader.try_read()?.expect("published");
    /// assert_eq!((message.bytes, message.missed), (&b"21.7"[..], 0)); // 0: its first
    /// writer.publish(b"21.8")?;
    /// writer.publish(b"21.9")?;
    /// let message = reader.try_read()?.expect("published");
    /// assert_eq!((message.bytes, message.missed), (&b"21.9"[..], 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_read(&mut self) -> Result<Option<Message<'_>>> {
        self.follower.try_read(&mut self.buffer)
    }

    /// As [`try_read`](Self::try_read), into `buffer`: the line is copied once, straight to where the caller wants it.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read), and [`ErrorKind::BufferTooSmall`] if the line has more bytes than `buffer`: it
    /// was not read, and what is read next is that line or a newer one. What `buffer` holds after an error, or beyond
    /// the line, is nothing to rely on.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// # let mut writer = shm_mailbox::Writer::create(&name)?;
    /// # let mut reader = shm_mailbox::Reader::open(&name)?;
    /// use shm_mailbox::ErrorKind;
    ///
    /// writer.publish(b"21.5")?;
    /// let error = reader.try_read_into(&mut [0; 3]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::BufferTooSmall { length: 4, room: 3 });
    /// let mut buffer = [0; 64];
    /// let message = reader.try_read_into(&mut buffer)?.expect("still there");
    /// assert_eq!(message.bytes, b"21.5");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_read_into<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<Message<'b>>> {
        self.follower.try_read(buffer)
    }

    /// Waits for a line that this reader has not returned before, and returns it.
    ///
    /// Spins for some microseconds if lines have been arriving that fast, then sleeps in the kernel. A signal does not
    /// end it.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    #[inline]
    pub fn read(&mut self) -> Result<Message<'_>> {
        self.follower.read(&mut self.buffer)
    }

    /// As [`read`](Self::read), into `buffer`.
    ///
    /// # Errors
    ///
    /// As [`try_read_into`](Self::try_read_into).
    #[inline(always)]
    pub fn read_into<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Message<'b>> {
        self.follower.read(buffer)
    }

    /// As [`read`](Self::read), for at most `timeout`; then `None`.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    #[inline]
    pub fn read_timeout(&mut self, timeout: Duration) -> Result<Option<Message<'_>>> {
        self.follower.read_until(&mut self.buffer, || Deadline::after(timeout))
    }

    /// As [`read_timeout`](Self::read_timeout), into `buffer`.
    ///
    /// # Errors
    ///
    /// As [`try_read_into`](Self::try_read_into).
    #[inline(always)]
    pub fn read_into_timeout<'b>(&mut self, buffer: &'b mut [u8], timeout: Duration) -> Result<Option<Message<'b>>> {
        self.follower.read_until(buffer, || Deadline::after(timeout))
    }

    /// As [`read`](Self::read), until `deadline`; then `None`.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub fn read_deadline(&mut self, deadline: Instant) -> Result<Option<Message<'_>>> {
        self.follower.read_until(&mut self.buffer, || Deadline::at(deadline))
    }

    /// As [`read_deadline`](Self::read_deadline), but where that would sleep, this returns what to sleep on: for those
    /// who share a reader, and have to let go of it meanwhile.
    ///
    /// `slept` is how the last sleep of this wait was, if there was one; it decides how long to spin. A sleeper that is
    /// not used, or that outlives its reader, does no harm.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// # let mut writer = shm_mailbox::Writer::create(&name)?;
    /// # writer.publish(b"21.5")?;
    /// use std::sync::Mutex;
    /// use shm_mailbox::{Reader, Result, Turn};
    ///
    /// /// Others may use the reader while this waits.
    /// fn read(reader: &Mutex<Reader>) -> Result<Vec<u8>> {
    ///     let mut slept = None;
    ///     loop {
    ///         let sleeper = match reader.lock().expect("no panic").read_or_sleeper(None, slept)? {
    ///             Turn::Line(message) => return Ok(message.bytes.to_vec()),
    ///             Turn::Sleep(sleeper) => sleeper,
    ///             _ => continue,
    ///         };
    ///         slept = Some(sleeper.sleep());
    ///     }
    /// }
    ///
    /// assert_eq!(read(&Mutex::new(Reader::open(&name)?))?, b"21.5");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_or_sleeper(&mut self, deadline: Option<Instant>, slept: Option<Slept>) -> Result<Turn<'_>> {
        self.follower.read_or_sleeper(&mut self.buffer, deadline, slept)
    }

    /// As [`read_or_sleeper`](Self::read_or_sleeper), into `buffer`.
    ///
    /// # Errors
    ///
    /// As [`try_read_into`](Self::try_read_into).
    pub fn read_into_or_sleeper<'b>(
        &mut self,
        buffer: &'b mut [u8],
        deadline: Option<Instant>,
        slept: Option<Slept>,
    ) -> Result<Turn<'b>> {
        self.follower.read_or_sleeper(buffer, deadline, slept)
    }

    /// Returns the newest line, whether this reader has returned it before or not; it counts as returned. `None` if
    /// there is none at all.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// # let mut writer = shm_mailbox::Writer::create(&name)?;
    /// # let mut reader = shm_mailbox::Reader::open(&name)?;
    /// assert!(reader.latest()?.is_none());
    /// writer.publish(b"21.5")?;
    /// assert_eq!(reader.latest()?.expect("published").bytes, b"21.5");
    /// assert_eq!(reader.latest()?.expect("still there").bytes, b"21.5");
    /// assert!(reader.try_read()?.is_none()); // but nothing new
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn latest(&mut self) -> Result<Option<Message<'_>>> {
        self.follower.latest(&mut self.buffer)
    }

    /// As [`latest`](Self::latest), into `buffer`.
    ///
    /// # Errors
    ///
    /// As [`try_read_into`](Self::try_read_into).
    #[inline(always)]
    pub fn latest_into<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<Message<'b>>> {
        self.follower.latest(buffer)
    }

    /// A descriptor that becomes readable when there may be something new, for `poll`, `epoll` and event loops.
    ///
    /// Every call returns the same one; it exists before the mailbox does and stays through everything that can happen
    /// to it. It is ready when made. See [`Doorbell`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the system has no descriptors left.
    pub fn doorbell(&mut self) -> Result<Doorbell> {
        self.follower.doorbell()
    }

    /// Whether the mailbox has a writer at this moment.
    pub fn writer_state(&self) -> WriterState {
        self.follower.writer_state()
    }

    /// How many attempts to read had to be repeated, since this reader was made, because the writer had passed by. A
    /// measure of how hard the writer drives, for tests and tuning.
    pub fn retries(&self) -> u64 {
        self.follower.retries()
    }

    /// The path of the mailbox.
    pub fn path(&self) -> PathBuf {
        self.follower.path()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path())
            .field("number", &self.follower.number())
            .finish_non_exhaustive()
    }
}
