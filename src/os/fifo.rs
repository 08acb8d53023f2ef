//! The doorbell's FIFO, from the writer's side: made, opened, rung.
//!
//! It carries no data. A byte in a FIFO reaches one reader only, so nobody ever reads this one but the writer itself:
//! readers watch it edge-triggered, each with an epoll instance of its own, and one write wakes them all.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};
use nix::unistd::{mkfifoat, pipe2, read, write};

use super::directory::{Directory, of_descriptor};
use super::fork::ParentOnly;
use crate::error::Fault;
use crate::name::{Names, show};

/// The writer's end.
///
/// Open for reading and writing: so opening never waits for a reader, and writing never meets a FIFO without one
/// (`EPIPE`, `SIGPIPE`; fifo(7)). As the only end that can write, its closing is the readers' hint that the writer is
/// gone.
pub struct Bell(ParentOnly);

impl Bell {
    /// Opens the FIFO, making it if it is not there. The writer's lock must be held.
    pub fn open_or_make(directory: &Directory, names: &Names, mode: u32) -> Result<Self, Fault> {
        // Found out now, and not within the first publish that rings.
        needs_empty_fifo();
        // What a killed maker left.
        directory.remove(&names.new_bell)?;
        loop {
            match Self::open(directory, &names.bell)? {
                Some(bell) => return Ok(bell),
                None => make(directory, names, mode)?,
            }
        }
    }

    /// Opens the FIFO; `None` if there is none.
    pub fn open(directory: &Directory, name: &CStr) -> Result<Option<Self>, Fault> {
        Ok(directory.open_companion(name, SFlag::S_IFIFO)?.map(Self))
    }

    /// Wakes everybody who watches the FIFO. Never blocks.
    ///
    /// One byte goes in, then what was there before comes out: the FIFO is never empty, so that a writer stopped
    /// between the two loses nobody's event.
    pub fn ring(&self) {
        let drain_first = needs_empty_fifo();
        if drain_first {
            self.drain(0);
        }
        if write(&self.0, b"!") == Err(Errno::EAGAIN) {
            // Full: by no writer of ours, but then it must not stay so.
            self.drain(0);
            _ = write(&self.0, b"!");
        }
        if !drain_first && self.drain(1) == 0 {
            // Two who rang at once (`rm --force` beside a writer) have each taken the other's byte.
            _ = write(&self.0, b"!");
        }
    }

    /// Takes bytes until `keep` are left; returns how many are.
    fn drain(&self, keep: usize) -> usize {
        let mut bytes = [0; 4096];
        loop {
            let left = queued(&self.0);
            let surplus = left.saturating_sub(keep).min(bytes.len());
            if surplus == 0 || read(&self.0, &mut bytes[..surplus]).is_err() {
                return left;
            }
        }
    }

    /// Whether this is the FIFO that `stat` describes.
    pub fn is(&self, stat: &FileStat) -> bool {
        fstat(&self.0).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Whether the FIFO has lost its name: one system call, no look at the directory.
    pub fn has_lost_its_name(&self) -> bool {
        fstat(&self.0).is_ok_and(|stat| stat.st_nlink == 0)
    }
}

/// The reader's end, to be watched and never read; `None` if there is none that may be used.
pub fn open_to_watch(directory: &Directory, name: &CStr) -> Option<OwnedFd> {
    let stat = directory.look_up(name).ok()??;
    directory.check_entry(&stat, SFlag::S_IFIFO, "the bell").ok()?;
    let fd = directory.open_entry(name, OFlag::O_RDONLY).ok()?;
    let stat = fstat(&fd).ok()?;
    directory.check_entry(&stat, SFlag::S_IFIFO, "the bell").ok()?.then_some(fd)
}

/// Made under the name `NAME.bell.new` and renamed, so that it never appears without its owner and mode.
fn make(directory: &Directory, names: &Names, mode: u32) -> Result<(), Fault> {
    let name = names.new_bell.as_c_str();
    let failed = |e: Errno| Fault::system(format!("{} cannot be made", show(&names.bell)), e);
    mkfifoat(directory, name, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    let settled = settle(directory, name, mode)
        .and_then(|()| nix::fcntl::renameat(directory, name, directory, names.bell.as_c_str()));
    settled.map_err(|errno| {
        _ = directory.remove(name);
        failed(errno)
    })
}

/// Gives the new FIFO its owner and mode, by a descriptor that only names it, because to open a FIFO is to be one of
/// its ends. Not by its name: when root works in another user's directory, that user can put something else there
/// meanwhile.
fn settle(directory: &Directory, name: &CStr, mode: u32) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    let stat = fstat(&fd)?;
    let (is, ours) = (stat.st_mode & SFlag::S_IFMT.bits(), nix::unistd::geteuid().as_raw());
    if is != SFlag::S_IFIFO.bits() || stat.st_nlink != 1 || stat.st_uid != ours {
        return Err(Errno::EEXIST);
    }
    if let Some((uid, gid)) = directory.new_owner() {
        nix::unistd::fchownat(&fd, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    }
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(directory, of_descriptor(&fd).as_str(), mode, FchmodatFlags::FollowSymlink)
}

nix::ioctl_read_bad!(
    /// Bytes waiting to be read (ioctl_tty(2), pipe(7)).
    fionread,
    libc::FIONREAD,
    libc::c_int
);

/// Bytes in a pipe or FIFO.
pub fn queued(fd: impl AsFd) -> usize {
    let mut bytes = 0;
    // SAFETY: FIONREAD stores an int at the address given, which is one.
    let result = unsafe { fionread(fd.as_fd().as_raw_fd(), &mut bytes) };
    if result.is_ok() { bytes as usize } else { 0 }
}

/// Whether this kernel wakes watchers only when a byte comes into an empty FIFO: Linux 5.5 to 5.13 (its commits
/// 1b6b26ae7053 and 3a34b13a88ca). Found by trying, once, since such fixes travel to older versions.
fn needs_empty_fifo() -> bool {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    match NEEDED.get() {
        Some(&needed) => needed,
        // Without descriptors for a trial it is the safe way, which costs a system call more, and tried again.
        None => second_byte_is_silent().map_or(true, |needed| *NEEDED.get_or_init(|| needed)),
    }
}

fn second_byte_is_silent() -> nix::Result<bool> {
    let (reading, writing) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&reading, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    let mut event = [EpollEvent::empty()];
    write(&writing, b"!")?;
    epoll.wait(&mut event, 0u8)?;
    write(&writing, b"!")?;
    Ok(epoll.wait(&mut event, 0u8)? == 0)
}
