//! [`Writer`]: publishes lines.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::life_cycle::{self, Hold};
use crate::name::Location;
use crate::options::Options;
use crate::os::clock::boottime;
use crate::os::fork::Origin;
use crate::os::futex;
use crate::protocol::seqlock;
use crate::protocol::sync::Ordering::Relaxed;

/// Every so many messages the writer looks whether its files still have their names.
const CHECK_EVERY: u64 = 1024;
/// Where lines carry a time, it also looks when so many nanoseconds have passed; and so often at most by the names.
const CHECK_AFTER: u64 = 1_000_000_000;

/// The one writer of a mailbox.
///
/// Never waits for readers: a line that nobody has read is replaced by the next. Holds the mailbox until it is dropped
/// or its process ends, however it ends; the last line stays, and the next writer goes on with the next number.
///
/// Files that strangers remove (a cleaner of `/dev/shm`, a log-out) are put back within 1024 messages, or a second
/// where lines carry a time or readers wait; see [`check`](Self::check) for a writer that is idle.
pub struct Writer {
    hold: Hold,
    /// Most bytes in a line, as the file's header says.
    capacity: usize,
    timestamps: bool,
    always_wake: bool,
    /// When the files were looked up by their names last, in nanoseconds of `CLOCK_BOOTTIME`.
    checked: u64,
    /// Whether `leaving` was set then already, though the file had its name.
    was_leaving: bool,
    /// Whether the next publish has something to report first.
    trouble: Option<Fault>,
    origin: Origin,
    location: Location,
    options: Options,
    _not_sync: PhantomData<Cell<()>>,
}

/// When a line was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub(crate) u64);

impl Timestamp {
    /// Now, on `CLOCK_BOOTTIME`, which does not stop while the machine is suspended.
    pub fn now() -> Self {
        Self(boottime())
    }
}

impl Writer {
    /// Opens `name` for writing, and makes it if it is not there. See [`Options`] for everything else.
    ///
    /// A `name` with a `/` is a path; else it is in the directory that the environment variable `MAILBOX_DIR` names, or
    /// in the user's own, `/dev/shm/mailbox-<uid>`.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::Busy`]: another writer has it.
    /// * [`ErrorKind::InvalidName`], [`ErrorKind::NotFound`] (no directory), [`ErrorKind::NoSpace`],
    ///   [`ErrorKind::PermissionDenied`], [`ErrorKind::Io`].
    /// * [`ErrorKind::NotAMailbox`], [`ErrorKind::UnsupportedLayout`], [`ErrorKind::Damaged`],
    ///   [`ErrorKind::Untrusted`]: what is there, or where it is, is not fit for use; the text says why, and what to
    ///   do.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("temperature");
    /// let mut writer = shm_mailbox::Writer::create(&name)?;
    /// assert_eq!(writer.publish(b"21.5")?, 1);
    /// assert_eq!(writer.publish(b"21.6")?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(name: impl AsRef<Path>) -> Result<Self> {
        Options::new().create(name)
    }

    pub(crate) fn with(location: Location, options: &Options) -> std::result::Result<Self, Fault> {
        let origin = Origin::new().map_err(|e| Fault::system("no page to tell forked children by", e))?;
        let hold = life_cycle::take(&location, options)?;
        Ok(Self {
            capacity: hold.shared.geometry().capacity as usize,
            hold,
            timestamps: options.timestamps,
            always_wake: options.always_wake,
            checked: boottime(),
            was_leaving: false,
            trouble: None,
            origin,
            location,
            options: options.clone(),
            _not_sync: PhantomData,
        })
    }

    /// Publishes `line` and returns its message number: one more than the last.
    ///
    /// When this returns, every read that begins finds this line or a newer one. Wait-free, without system call or
    /// allocation, while no reader waits; otherwise it wakes two sleepers, who wake the others, and rings the doorbell
    /// if somebody polls it (which costs the kernel some microseconds per polling reader). Every 1024th message also
    /// asks whether the files still have their names, by three system calls; once a second, where lines carry a time or
    /// readers wait, by looking the names up. Files that are gone are put back, which can take 50 ms and makes a file.
    ///
    /// # Errors
    ///
    /// Nothing was published, and the last line stays, if this fails:
    ///
    /// * [`ErrorKind::TooLong`]: see [`grow`](Self::grow).
    /// * [`ErrorKind::Removed`]: the mailbox was removed under this writer; so will every later publish.
    /// * [`ErrorKind::Forked`]: this is a forked child of the writer's process; it can make a writer of its own when
    ///   the parent's is gone.
    /// * [`ErrorKind::Damaged`]: the file was cut short, and
    ///   [`guard_against_truncation`](crate::guard_against_truncation) was called; so will every later publish.
    /// * Others, if files that were swept away could not be put back; later publishes go on, and it is tried again
    ///   within a second.
    #[inline]
    pub fn publish(&mut self, line: &[u8]) -> Result<u64> {
        let time = if self.timestamps { boottime() } else { 0 };
        self.publish_line(line, time)
    }

    /// As [`publish`](Self::publish), with a time that the caller took before: one clock reading for many lines.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    #[inline]
    pub fn publish_at(&mut self, line: &[u8], time: Timestamp) -> Result<u64> {
        self.publish_line(line, time.0)
    }

    #[inline]
    fn publish_line(&mut self, line: &[u8], time: u64) -> Result<u64> {
        // Four tests that never come true in the common case; each is one load of a cache line that nobody changes.
        if line.len() > self.capacity || self.origin.is_forked() || self.is_leaving() || self.trouble.is_some() {
            self.check_publish(line.len())?;
        }
        let number = self.hold.number + 1;
        seqlock::publish(&*self.hold.shared, number, time, line);
        self.hold.number = number;
        let due = number.is_multiple_of(CHECK_EVERY) || time.saturating_sub(self.checked) > CHECK_AFTER;
        if self.hold.shared.eventcount().has_waiters() || self.always_wake || due {
            self.after_publish(due)?;
        }
        Ok(number)
    }

    #[inline(always)]
    fn is_leaving(&self) -> bool {
        // ORDERING: Relaxed. Seen late, a line goes into a file that has lost its name: the remover's word is that the
        // *next* publish reports it, after its own.
        self.hold.shared.leaving().load(Relaxed) != 0
    }

    /// Finds out which of the tests came true, and whether the line may be published all the same.
    #[cold]
    fn check_publish(&mut self, length: usize) -> Result<()> {
        let fault = if self.origin.is_forked() {
            Fault::new(ErrorKind::Forked, "this process was forked from its writer's and is not the writer")
        } else if let Some(fault) = self.trouble.take() {
            if fault.kind == ErrorKind::Removed {
                self.trouble = Some(life_cycle::removed());
            }
            fault
        } else if self.is_leaving() && self.hold.shared.has_lost_its_name() {
            self.trouble = Some(life_cycle::removed());
            life_cycle::removed()
        } else if self.hold.shared.is_lost() {
            self.hold.shared.damaged()
        } else if length > self.capacity {
            let capacity = self.capacity;
            let kind = ErrorKind::TooLong { length, capacity };
            Fault::new(kind, format!("the line has {length} bytes, and the capacity is {capacity}"))
        } else {
            return Ok(());
        };
        Err(self.failed("publish to mailbox", fault))
    }

    /// The rare end of a publish: somebody waits, or it is time to look at the names.
    #[cold]
    fn after_publish(&mut self, due: bool) -> Result<()> {
        if self.hold.shared.is_lost() {
            return self.check_publish(0);
        }
        if self.hold.shared.eventcount().notify(&futex::Shared, self.always_wake) {
            self.hold.bell.ring();
        }
        if due || boottime() - self.checked > CHECK_AFTER {
            self.look_at_names();
        }
        Ok(())
    }

    /// Puts the files back if they have lost their names: told by their descriptors every time, by the names once a
    /// second.
    fn look_at_names(&mut self) {
        let now = boottime();
        let by_name = now - self.checked > CHECK_AFTER;
        if self.trouble.is_some() || self.hold.shared.is_lost() || (self.is_leaving() && !by_name) {
            return;
        }
        let is_lost = if by_name {
            self.checked = now;
            // Not being able to look (no descriptors left, say) is no reason to stop: the next look may be.
            self.hold.is_misnamed(&self.location).unwrap_or(false)
        } else {
            self.hold.has_lost_a_name()
        };
        if self.is_leaving() {
            self.call_off_leaving();
            return;
        }
        self.was_leaving = false;
        if !is_lost {
            return;
        }
        match self.hold.keep(&self.location, &self.options) {
            Ok(()) => self.capacity = self.hold.shared.geometry().capacity as usize,
            Err(fault) => self.trouble = Some(fault),
        }
    }

    /// `leaving` is set, and the file has its name, for the second time in a row, a second apart: who set it was killed
    /// before the name was gone.
    #[cold]
    fn call_off_leaving(&mut self) {
        if self.hold.shared.has_lost_its_name() {
            return;
        }
        if self.was_leaving {
            self.hold.call_off_leaving();
        }
        self.was_leaving = !self.was_leaving;
    }

    /// Looks whether the files still have their names, and puts back what strangers removed; for a writer that is idle,
    /// as publishing looks by itself.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn check(&mut self) -> Result<()> {
        if !self.origin.is_forked() {
            self.look_at_names();
        }
        if self.origin.is_forked() || self.is_leaving() || self.trouble.is_some() {
            self.check_publish(0)?;
        }
        Ok(())
    }

    /// Makes the capacity at least `capacity` bytes (and doubles it, up to 64 MiB), if it is less. Readers go on
    /// without loss: the last line, its number and its mode move to a new file under the same name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSpace`], [`ErrorKind::PermissionDenied`] if owner and mode could not be kept,
    /// [`ErrorKind::Removed`], [`ErrorKind::Forked`], [`ErrorKind::Io`]: the mailbox is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let name = directory.path().join("notes");
    /// use shm_mailbox::{ErrorKind, Options};
    ///
    /// let mut writer = Options::new().capacity(10).create(&name)?;
    /// let line = [b'x'; 11];
    /// let error = writer.publish(&line).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TooLong { length: 11, capacity: 10 });
    ///
    /// writer.grow(line.len())?;
    /// assert_eq!(writer.capacity(), 20);
    /// assert_eq!(writer.publish(&line)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn grow(&mut self, capacity: usize) -> Result<()> {
        self.check()?;
        if capacity <= self.capacity {
            return Ok(());
        }
        if capacity as u64 > crate::layout::MAX_CAPACITY {
            let fault = Fault::new(ErrorKind::InvalidOption, format!("{capacity} bytes are more than any mailbox has"));
            return Err(self.failed("grow mailbox", fault));
        }
        match self.hold.grow(&self.location, &self.options, capacity) {
            Ok(()) => self.capacity = self.hold.shared.geometry().capacity as usize,
            Err(fault) => return Err(self.failed("grow mailbox", fault)),
        }
        Ok(())
    }

    /// Most bytes in a line.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of the newest message, which may be a former writer's; 0 if there is none.
    pub fn number(&self) -> u64 {
        self.hold.number
    }

    /// The path of the mailbox.
    pub fn path(&self) -> PathBuf {
        self.location.path()
    }

    fn failed(&self, attempt: &'static str, fault: Fault) -> Error {
        fault.of(attempt, self.path())
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path()).field("number", &self.number()).finish_non_exhaustive()
    }
}
