//! [`Doorbell`]: a descriptor for event loops.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nix::sys::epoll::Epoll;

use crate::follower::{LONGEST_NAP, SLICE};
use crate::name::Location;
use crate::os::directory::Directory;
use crate::os::fifo;
use crate::os::poll::{PollSet, Watch};
use crate::os::shm::Shared;

/// A descriptor that becomes readable when its reader may find something new.
///
/// Poll it for reading, alone or among others, in any way: `poll`, `select`, `epoll` (level- or edge-triggered), an
/// event loop. Never read from it. When it is ready, call [`Reader::try_read`](crate::Reader::try_read) until that says
/// nothing: only that consumes the event.
///
/// Readiness may be spurious, at least ten times a second: that bounds what can go wrong elsewhere, such as a writer
/// that is killed between publishing and ringing. The end of the writer makes it ready too.
///
/// A ring costs the writer some microseconds for each reader that polls; for thousands of waiting readers,
/// [`Reader::read`](crate::Reader::read) is what scales.
///
/// # Examples
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let name = directory.path().join("clock");
/// use std::os::fd::AsFd;
/// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
///
/// # let mut writer = shm_mailbox::Writer::create(&name)?;
/// # writer.publish(b"12:00")?;
/// let mut reader = shm_mailbox::Reader::open(&name)?;
/// let doorbell = reader.doorbell()?;
/// loop {
///     poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
///     while let Some(message) = reader.try_read()? {
///         println!("{}", message.bytes.escape_ascii());
/// #       return Ok(());
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Doorbell(Arc<Epoll>);

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doorbell").field(&self.as_raw_fd()).finish()
    }
}

/// The reader's side of it: what is watched, and when that has to change.
pub struct Watching(PollSet);

impl Watching {
    pub fn new() -> nix::Result<Self> {
        PollSet::new(SLICE).map(Self)
    }

    pub fn handle(&self) -> Doorbell {
        Doorbell(self.0.epoll())
    }

    /// See [`PollSet::own`]; a child that cannot have descriptors of its own tries again next time, and takes events
    /// from its parent until then, which costs either a slice.
    pub fn own(&mut self) -> bool {
        self.0.own().unwrap_or(false)
    }

    /// See [`PollSet::consume`].
    pub fn consume(&mut self) -> bool {
        self.0.consume()
    }

    /// Watches what there is to watch: the bell, for those who may be trusted with it; time alone, for others and where
    /// there is no bell; the directory, where there is no mailbox.
    pub fn watch(&mut self, directory: Option<&Directory>, location: &Location, attached: Option<&Shared>) {
        let watched = match (attached, directory) {
            (Some(shared), Some(directory)) if shared.is_writable() => {
                match fifo::open_to_watch(directory, &location.names.bell) {
                    Some(fifo) => self.0.watch_bell(fifo, SLICE),
                    None => self.0.watch_nothing(LONGEST_NAP),
                }
            }
            (Some(_), _) => self.0.watch_nothing(LONGEST_NAP),
            (None, Some(directory)) => match Watch::new(directory) {
                Some(watch) => self.0.watch_directory(watch, SLICE),
                None => self.0.watch_nothing(SLICE),
            },
            (None, None) => self.0.watch_nothing(SLICE),
        };
        if watched.is_err() {
            // No memory in the kernel for a watch: the timer, which is there already, remains.
            _ = self.0.watch_nothing(LONGEST_NAP);
        }
    }

    /// Whether something else is to be watched by now: the bell was made anew, or the directory.
    pub fn is_stale(&self, directory: Option<&Directory>, location: &Location, attached: Option<&Shared>) -> bool {
        let Some(directory) = directory else { return false };
        match attached {
            Some(shared) if shared.is_writable() => {
                let named = directory.look_up(&location.names.bell).ok().flatten();
                named.map(|stat| (stat.st_dev, stat.st_ino)) != self.0.bell()
            }
            Some(_) => false,
            None => !self.0.watches(directory),
        }
    }
}
