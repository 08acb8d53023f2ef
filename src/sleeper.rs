//! [`Sleeper`]: a reader's wait, apart from the reader.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::os::futex;
use crate::os::poll::{Watch, wait_for_change};
use crate::os::shm::Mapping;
use crate::protocol::eventcount::{Key, Wait};
use crate::reader::Message;

/// What a reader came to that had the choice of [sleeping elsewhere](crate::Reader::read_or_sleeper).
#[derive(Debug)]
#[non_exhaustive]
pub enum Turn<'b> {
    /// A line.
    Line(Message<'b>),
    /// No line: sleep, and try again.
    Sleep(Sleeper),
    /// No line, and the deadline has passed.
    TimeOut,
}

/// A wait for a reader's next line that does not need the reader.
///
/// Keeps what it waits on: the reader may read, be dropped, be moved to another thread meanwhile. See
/// [`Reader::read_or_sleeper`](crate::Reader::read_or_sleeper).
#[must_use]
pub struct Sleeper {
    bed: Bed,
    until: Deadline,
}

enum Bed {
    /// The mailbox's futex, on which its writer wakes.
    Futex { mapping: Mapping, key: Key },
    /// A directory in which the mailbox may appear, if it can be watched.
    Directory(Option<Arc<Watch>>),
    /// Time alone.
    Nap,
}

/// How it was: for the reader's next turn.
#[derive(Clone, Copy, Debug)]
pub struct Slept {
    /// How long, if it slept where the writer wakes.
    pub(crate) time: Option<Duration>,
    /// Whether a slice passed without a sign of life: then there is nothing to spin for.
    pub(crate) quiet: bool,
}

impl Sleeper {
    /// On the futex of `mapping`, prepared and armed.
    pub(crate) fn on_futex(mapping: Mapping, key: Key, until: Deadline) -> Self {
        Self { bed: Bed::Futex { mapping, key }, until }
    }

    /// For a name to appear.
    pub(crate) fn in_directory(watch: Option<Arc<Watch>>, until: Deadline) -> Self {
        Self { bed: Bed::Directory(watch), until }
    }

    /// For a moment.
    pub(crate) fn nap(until: Deadline) -> Self {
        Self { bed: Bed::Nap, until }
    }

    /// Sleeps until there may be a line, until the deadline, for 100 ms, or until a signal, whichever comes first.
    pub fn sleep(self) -> Slept {
        match self.bed {
            Bed::Futex { mapping, key } => {
                let started = Deadline::now();
                let wait = mapping.eventcount().wait(&futex::Shared, key, self.until);
                Slept { time: Some(started.passed()), quiet: wait == Wait::TimedOut }
            }
            Bed::Directory(watch) => {
                wait_for_change(watch.as_deref(), self.until);
                Slept { time: None, quiet: false }
            }
            Bed::Nap => {
                std::thread::sleep(self.until.left());
                Slept { time: None, quiet: false }
            }
        }
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper").field("until", &self.until).finish_non_exhaustive()
    }
}
