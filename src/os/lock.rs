//! The writer's lock: one byte range of `NAME.lock`, held through an open file description of its own.
//!
//! Open-file-description locks belong to the description and not to a process: the kernel frees the lock when its last
//! descriptor is closed, at death too, whatever the pid namespace (fcntl(2)). The description is never mapped, because
//! a mapping would keep it, and the lock with it, alive. It is not the mailbox itself: who may only read that could
//! take a read lock on it and keep a writer from starting.

use std::ffi::CStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::uio::{pread, pwrite};

use super::clock::Deadline;
use super::directory::Directory;
use super::fork::ParentOnly;
use super::shm::{Unnamed, random_bits};
use crate::error::{ErrorKind, Fault};
use crate::name::show;

/// Random bytes in the file.
const BITS: usize = 16;
/// How long a lock that somebody holds is tried before its holder is called a writer: `rm` and a look at the state hold
/// it for microseconds.
const PATIENCE: Duration = Duration::from_millis(50);

/// Who holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Some process.
    Somebody,
    /// Nobody.
    Nobody,
    /// There is no lock file, or we may not look at it.
    Unknown,
}

/// The lock, held.
pub struct Lock {
    file: ParentOnly,
    bits: [u8; BITS],
    /// Who took it: a copy of this in a forked child holds nothing.
    process: u32,
}

impl Drop for Lock {
    /// Lets go at once. Closing alone would leave the lock with a child that another thread is forking, and that shares
    /// the descriptor until it has run its first instructions: on a busy machine longer than anybody's patience.
    fn drop(&mut self) {
        if std::process::id() == self.process {
            let unlocked = libc::flock { l_type: libc::F_UNLCK as libc::c_short, ..range() };
            _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&unlocked));
        }
    }
}

impl Lock {
    fn of(file: ParentOnly, bits: [u8; BITS]) -> Self {
        Self { file, bits, process: std::process::id() }
    }

    /// Takes the lock, making its file if there is none.
    ///
    /// # Errors
    ///
    /// `Busy` after [`PATIENCE`].
    pub fn acquire(directory: &Directory, name: &CStr, mode: u32) -> Result<Self, Fault> {
        let patience = Deadline::after(PATIENCE);
        loop {
            let Some(file) = directory.open_companion(name, SFlag::S_IFREG)? else {
                match make(directory, name, mode)? {
                    Some(lock) => return Ok(lock),
                    None => continue,
                }
            };
            if try_lock(&file)? {
                // It may have lost its name while we waited: a lock on a file that nobody else can find locks out
                // nobody.
                if is_named(&file, directory, name)? {
                    let bits = read_bits(&file)?;
                    return Ok(Self::of(file, bits));
                }
            } else if patience.is_none_or(Deadline::has_passed) {
                return Err(Fault::new(ErrorKind::Busy, "another writer has it"));
            } else {
                drop(file);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The 128 random bits of the lock file, which a mailbox made under it records.
    pub fn bits(&self) -> [u8; BITS] {
        self.bits
    }

    /// Whether the file that is locked still bears its name.
    pub fn is_current(&self, directory: &Directory, name: &CStr) -> Result<bool, Fault> {
        is_named(&self.file, directory, name)
    }

    /// Whether the file that is locked has lost its name: one system call, no look at the directory.
    pub fn has_lost_its_name(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0)
    }
}

/// Who holds the lock of a mailbox, without disturbing anybody.
pub fn holder(directory: &Directory, name: &CStr) -> Holder {
    let Ok(fd) = directory.open_entry(name, OFlag::O_RDONLY) else { return Holder::Unknown };
    let mut lock = range();
    match fcntl(&fd, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) if lock.l_type == libc::F_UNLCK as libc::c_short => Holder::Nobody,
        Ok(_) => Holder::Somebody,
        Err(_) => Holder::Unknown,
    }
}

fn range() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

/// Makes the file, locked before it has its name: so nobody else gets the lock, and none is left behind by one who fails
/// to take it. `None`: somebody else has made it.
fn make(directory: &Directory, name: &CStr, mode: u32) -> Result<Option<Lock>, Fault> {
    let failed = |e: Errno| Fault::system(format!("the lock {} cannot be made", show(name)), e);
    match Unnamed::open(directory, BITS as u64, |open| ParentOnly::open(open)) {
        Ok(unnamed) => {
            let bits = write_bits(unnamed.file())?;
            directory.settle(unnamed.file(), mode).map_err(failed)?;
            if !try_lock(unnamed.file())? {
                // Nobody else knows it, so this is no writer.
                return Err(failed(Errno::EAGAIN));
            }
            match unnamed.link(directory, name) {
                Ok(()) => Ok(Some(Lock::of(unnamed.into_file(), bits))),
                Err(Errno::EEXIST) => Ok(None),
                Err(errno) => Err(failed(errno)),
            }
        }
        // Without unnamed files the name comes first, and whoever gets the lock writes the bits.
        Err(Fault { source: Some(error), .. }) if Unnamed::is_unsupported(&error) => {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = match ParentOnly::open(|| openat(directory, name, flags, Mode::from_bits_truncate(mode))) {
                Ok(file) => file,
                Err(Errno::EEXIST) => return Ok(None),
                Err(errno) => return Err(failed(errno)),
            };
            let taken = directory
                .settle(&file, mode)
                .map_err(failed)
                .and_then(|()| Ok(if try_lock(&file)? { Some(read_bits(&file)?) } else { None }));
            match taken {
                Ok(bits) => Ok(bits.map(|bits| Lock::of(file, bits))),
                Err(fault) => {
                    _ = directory.remove(name);
                    Err(fault)
                }
            }
        }
        Err(fault) => Err(fault),
    }
}

fn try_lock(file: &ParentOnly) -> Result<bool, Fault> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range())) {
        Ok(_) => Ok(true),
        // Not EACCES, which POSIX allows here: Linux has it for who may not lock at all (a security module says so).
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(Fault::system("the lock cannot be taken", errno)),
    }
}

fn is_named(file: &ParentOnly, directory: &Directory, name: &CStr) -> Result<bool, Fault> {
    let ours = fstat(file).map_err(|e| Fault::system("the lock cannot be examined", e))?;
    let named = directory.look_up(name)?;
    Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)))
}

/// Reads the bits, under the lock; writes them first if the file has none.
fn read_bits(file: &ParentOnly) -> Result<[u8; BITS], Fault> {
    let mut bits = [0; BITS];
    if pread(file, &mut bits, 0).map_err(|e| Fault::system("the lock cannot be read", e))? < bits.len() {
        return write_bits(file);
    }
    Ok(bits)
}

fn write_bits(file: &ParentOnly) -> Result<[u8; BITS], Fault> {
    let bits = random_bits()?;
    match pwrite(file, &bits, 0) {
        Ok(BITS) => Ok(bits),
        Ok(_) => Err(Fault::new(ErrorKind::NoSpace, "the lock cannot be written")),
        Err(errno) => Err(Fault::system("the lock cannot be written", errno)),
    }
}
