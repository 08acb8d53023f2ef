//! What a reader polls: a private epoll instance over the bell, a timer and the directory; and a wait for a name to
//! appear.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::clock::Deadline;
use super::directory::{Directory, of_descriptor};
use super::fork::Origin;

/// Entries that an instance can have at once.
const ENTRIES: usize = 3;

/// A descriptor to poll that becomes readable when there may be something new; what is inside can change, the number
/// stays.
pub struct PollSet {
    epoll: Arc<Epoll>,
    timer: TimerFd,
    /// What is watched besides the timer.
    watched: Option<Watched>,
    origin: Origin,
    period: Duration,
}

enum Watched {
    Bell { fifo: OwnedFd, inode: (u64, u64) },
    Directory(Watch),
}

impl PollSet {
    /// An instance with the timer alone, ready from the start: whoever polls first takes a look first.
    pub fn new(period: Duration) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let (timer, origin) = Self::parts(&epoll)?;
        let mut set = Self { epoll: Arc::new(epoll), timer, watched: None, origin, period };
        set.start(Duration::from_nanos(1))?;
        Ok(set)
    }

    fn parts(epoll: &Epoll) -> nix::Result<(TimerFd, Origin)> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let origin = Origin::new().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::ENOMEM)))?;
        Ok((timer, origin))
    }

    fn start(&mut self, first: Duration) -> nix::Result<()> {
        let expiration =
            Expiration::IntervalDelayed(TimeSpec::from_duration(first), TimeSpec::from_duration(self.period));
        self.timer.set(expiration, TimerSetTimeFlags::empty())
    }

    /// The descriptor, for as long as somebody wants it.
    pub fn epoll(&self) -> Arc<Epoll> {
        Arc::clone(&self.epoll)
    }

    /// In a forked child: makes descriptors of its own under the same number, since the parent's instance is shared
    /// with it and an event that one consumes is gone for the other. Says whether that was needed; then nothing is
    /// watched.
    pub fn own(&mut self) -> nix::Result<bool> {
        if !self.origin.is_forked() {
            return Ok(false);
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let parts = Self::parts(&epoll)?;
        // SAFETY: both are open descriptors of ours; the instance under the old number, the parent's, is only ours to
        // leave.
        if unsafe { libc::dup3(epoll.0.as_raw_fd(), self.epoll.0.as_raw_fd(), libc::O_CLOEXEC) } == -1 {
            return Err(Errno::last());
        }
        // Only now: until here, what is inside is the parent's and not to be touched.
        (self.timer, self.origin) = parts;
        self.watched = None;
        self.start(Duration::from_nanos(1))?;
        Ok(true)
    }

    /// Watches a bell in place of what was watched, and looks every `period`.
    pub fn watch_bell(&mut self, fifo: OwnedFd, period: Duration) -> nix::Result<()> {
        self.forget();
        let inode = inode(&fifo)?;
        self.epoll.add(&fifo, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1))?;
        self.watched = Some(Watched::Bell { fifo, inode });
        self.look_every(period)
    }

    /// Watches a directory in place of what was watched, and looks every `period`.
    pub fn watch_directory(&mut self, watch: Watch, period: Duration) -> nix::Result<()> {
        self.forget();
        self.epoll.add(&watch.inotify, EpollEvent::new(EpollFlags::EPOLLIN, 2))?;
        self.watched = Some(Watched::Directory(watch));
        self.look_every(period)
    }

    /// Watches nothing but the time.
    pub fn watch_nothing(&mut self, period: Duration) -> nix::Result<()> {
        self.forget();
        self.look_every(period)
    }

    fn look_every(&mut self, period: Duration) -> nix::Result<()> {
        if self.period != period {
            self.period = period;
            // With a look at once, which is also how a new instance is ready from the start.
            self.start(Duration::from_nanos(1))?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        // Closing a descriptor takes it out of the instance, but a forked child may hold another: so by name first
        // (epoll(7)).
        match self.watched.take() {
            Some(Watched::Bell { fifo, .. }) => _ = self.epoll.delete(fifo),
            Some(Watched::Directory(watch)) => _ = self.epoll.delete(&watch.inotify),
            None => {}
        }
    }

    /// Device and inode of the bell that is watched.
    pub fn bell(&self) -> Option<(u64, u64)> {
        match &self.watched {
            Some(Watched::Bell { inode, .. }) => Some(*inode),
            _ => None,
        }
    }

    /// Whether this very directory is watched.
    pub fn watches(&self, directory: &Directory) -> bool {
        matches!(&self.watched, Some(Watched::Directory(watch)) if watch.is_of(directory))
    }

    /// Takes what has happened, so that the descriptor is ready again only for what happens from now on. Says whether
    /// the time to look has come.
    pub fn consume(&mut self) -> bool {
        let mut events = [EpollEvent::empty(); ENTRIES];
        _ = self.epoll.wait(&mut events, 0u8);
        if let Some(Watched::Directory(watch)) = &self.watched {
            watch.drain();
        }
        let mut expirations = [0; 8];
        nix::unistd::read(&self.timer, &mut expirations).is_ok()
    }
}

/// Device and inode of an open file.
fn inode(fd: impl AsFd) -> nix::Result<(u64, u64)> {
    nix::sys::stat::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// A watch over a directory for names that appear.
pub struct Watch {
    inotify: Inotify,
    directory: (u64, u64),
}

impl Watch {
    /// Watches `directory`; `None` where that is not possible (no instance left of the user's 128, or not readable):
    /// then only looking again and again remains.
    pub fn new(directory: &Directory) -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
        // By descriptor, so that it is the directory that was checked.
        inotify.add_watch(of_descriptor(directory).as_str(), events).ok()?;
        Some(Self { inotify, directory: directory.identity() })
    }

    /// Whether it watches this very directory, and not one that had its path before.
    pub fn is_of(&self, directory: &Directory) -> bool {
        self.directory == directory.identity()
    }

    fn drain(&self) {
        while self.inotify.read_events().is_ok() {}
    }
}

/// Waits until something appears in the watched directory, or the deadline.
pub fn wait_for_change(watch: Option<&Watch>, deadline: Deadline) {
    // Rounded up: a wait that ends early would be a busy one.
    let left = deadline.left() + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match watch {
        Some(watch) => {
            _ = poll(&mut [PollFd::new(watch.inotify.as_fd(), PollFlags::POLLIN)], timeout);
            watch.drain();
        }
        None => _ = poll(&mut [], timeout),
    }
}
