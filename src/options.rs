//! What a mailbox is made and opened with.

use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Fault, Result};
use crate::layout::MAX_CAPACITY;
use crate::name::Location;
use crate::{Reader, Writer};

/// How a mailbox is made and opened; one set of options for both sides.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use shm_mailbox::Options;
///
/// let options = Options::new().dir(directory.path()).capacity(100);
/// let mut reader = options.clone().wait_for_mailbox(true).open("clock")?; // before there is a mailbox
/// let mut writer = options.create("clock")?;
/// writer.publish(b"12:00")?;
/// assert_eq!(reader.read()?.bytes, b"12:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Options {
    pub(crate) capacity: Option<usize>,
    pub(crate) banks: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<u32>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) timestamps: bool,
    pub(crate) always_wake: bool,
    pub(crate) skip_current: bool,
    pub(crate) wait_for_mailbox: bool,
}

/// Most bytes in a line of a new mailbox, unless said otherwise.
pub const DEFAULT_CAPACITY: usize = 4096;
/// Banks of a new mailbox, unless said otherwise.
pub const DEFAULT_BANKS: u32 = 4;
/// Mode of a new mailbox, unless said otherwise: ours alone.
pub const DEFAULT_MODE: u32 = 0o600;

impl Options {
    /// The defaults: a new mailbox has a capacity of 4096 bytes, four banks and mode 0600; one that exists stays as it
    /// is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes in a line, 1 or more. A writer makes a smaller mailbox larger, and leaves a larger one as it is.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Physical copies of the slot: 1, 2, 4 or 8; of a new mailbox only.
    ///
    /// With 4, a reader of 64 KiB is hardly ever passed by, even by a writer in a tight loop; 8 serve extreme ones; 2
    /// save memory. 1 is the textbook seqlock, for comparison: against a tight writer its readers starve, and a writer
    /// killed in the middle of a line leaves none.
    pub fn banks(mut self, banks: u32) -> Self {
        self.banks = Some(banks);
        self
    }

    /// Permissions of the mailbox: 0600, 0640, 0644, 0660 or 0664. Who may write is trusted; who may only read can
    /// neither change it nor delay the writer. A mode that differs from that of an existing mailbox is an error.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// A user, by number, who may own the mailbox besides ourselves and root. Where neither [`dir`](Self::dir) nor
    /// `MAILBOX_DIR` names a directory, it also chooses that user's.
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// The directory for names without `/`, in place of the one that `MAILBOX_DIR` names, or else of the user's own
    /// (ours, or [`owner`](Self::owner)'s). Must exist.
    pub fn dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.dir = Some(directory.into());
        self
    }

    /// Writer: whether lines carry the time at which they were published. Off by default: a clock costs more than a
    /// publish. With it, publishing also looks at the files' names once a second (see [`Writer::check`]).
    pub fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = on;
        self
    }

    /// Writer: wake sleepers with every line, asked or not. For readers that may not write the mailbox, which otherwise
    /// look every 1 to 10 ms; costs a system call per line.
    pub fn always_wake(mut self, on: bool) -> Self {
        self.always_wake = on;
        self
    }

    /// Reader: whether to pass over the line that is there when it is opened.
    pub fn skip_current(mut self, on: bool) -> Self {
        self.skip_current = on;
        self
    }

    /// Reader: whether to open although there is no mailbox yet. It then behaves like one where nothing was published.
    pub fn wait_for_mailbox(mut self, on: bool) -> Self {
        self.wait_for_mailbox = on;
        self
    }

    /// Opens `name` for writing, as [`Writer::create`] does.
    ///
    /// # Errors
    ///
    /// As [`Writer::create`], and [`ErrorKind::InvalidOption`].
    pub fn create(&self, name: impl AsRef<Path>) -> Result<Writer> {
        self.on(name.as_ref(), "write to mailbox", |location| Writer::with(location, self))
    }

    /// Opens `name` for reading, as [`Reader::open`] does.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`]; with [`wait_for_mailbox`](Self::wait_for_mailbox) it is no error that there is none.
    pub fn open(&self, name: impl AsRef<Path>) -> Result<Reader> {
        self.on(name.as_ref(), "open mailbox", |location| Reader::with(location, self))
    }

    /// Finds `name` and works on it; an error says so.
    pub(crate) fn on<T>(
        &self,
        name: &Path,
        attempt: &'static str,
        work: impl FnOnce(Location) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let location = Location::find(name, self.dir.as_deref(), self.owner).map_err(|f| f.of(attempt, name.into()))?;
        let path = location.path();
        self.check().and_then(|()| work(location)).map_err(|fault| fault.of(attempt, path))
    }

    fn check(&self) -> std::result::Result<(), Fault> {
        let invalid = |why: String| Err(Fault::new(ErrorKind::InvalidOption, why));
        if let Some(capacity) = self.capacity
            && (capacity == 0 || capacity as u64 > MAX_CAPACITY)
        {
            return invalid(format!("a capacity of {capacity} bytes is not between 1 and {MAX_CAPACITY}"));
        }
        if let Some(banks) = self.banks
            && !matches!(banks, 1 | 2 | 4 | 8)
        {
            return invalid(format!("{banks} banks: there can be 1, 2, 4 or 8"));
        }
        if let Some(mode) = self.mode
            && !matches!(mode, 0o600 | 0o640 | 0o644 | 0o660 | 0o664)
        {
            return invalid(format!("a mode of {mode:04o}: it must be 0600, 0640, 0644, 0660 or 0664"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_capacity_is_one_and_none_above_it() {
        assert!(Options::new().capacity(MAX_CAPACITY as usize).check().is_ok());
        assert!(Options::new().capacity(MAX_CAPACITY as usize + 1).check().is_err());
    }
}
