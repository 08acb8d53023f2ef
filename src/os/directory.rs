//! The directory of a mailbox: opened, checked, made if it is the user's own.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchown, geteuid};

use super::fork::ParentOnly;
use crate::error::{ErrorKind, Fault};
use crate::name::{Location, missing, show, trusts};

/// Bits of a mode that say who may do what.
pub const PERMISSIONS: u32 = 0o7777;
const OTHERS_WRITE: u32 = 0o002;

/// A directory that was checked: owned by somebody trusted, not writable by others, on a local file system.
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    is_default: bool,
    owner: Option<u32>,
    stat: FileStat,
}

impl Directory {
    /// Opens the directory of a mailbox; makes the user's own if `make` and it is missing.
    pub fn open(location: &Location, make: bool) -> Result<Self, Fault> {
        Self::open_path(&location.directory, location.is_default, location.owner, make)
    }

    /// Opens the directory at `path`.
    pub fn open_path(path: &Path, is_default: bool, owner: Option<u32>, make: bool) -> Result<Self, Fault> {
        let mut flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if is_default {
            // Its name is in a directory that everybody may write to; a path that the caller gave is the caller's
            // business.
            flags |= OFlag::O_NOFOLLOW;
        }
        let mut made = false;
        let fd = loop {
            match nix::fcntl::open(path, flags, Mode::empty()) {
                Ok(fd) => break fd,
                Err(Errno::ENOENT) if is_default && make && !made => {
                    Self::make(path, owner)?;
                    made = true;
                }
                Err(Errno::ENOENT) if is_default => return Err(missing()),
                Err(Errno::ENOENT) => {
                    let shown = path.display();
                    let advice = if make { format!("; make it: mkdir -m 700 {shown}") } else { String::new() };
                    return Err(Fault::system(format!("there is no directory {shown}{advice}"), Errno::ENOENT));
                }
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let kind = format!("{} is not a directory", path.display());
                    return Err(Fault::new(ErrorKind::Untrusted, kind));
                }
                Err(errno) => {
                    return Err(Fault::system(format!("the directory {} cannot be opened", path.display()), errno));
                }
            }
        };
        let stat = fstat(&fd).map_err(|e| Fault::system("the directory cannot be examined", e))?;
        let directory = Self { fd, path: path.into(), is_default, owner, stat };
        directory.check()?;
        Ok(directory)
    }

    fn make(path: &Path, owner: Option<u32>) -> Result<(), Fault> {
        let me = geteuid();
        let owner = owner.map_or(me, Uid::from_raw);
        if owner != me && !me.is_root() {
            return Err(missing());
        }
        let failed = |e: io::Error| Fault::system(format!("the directory {} cannot be made", path.display()), e);
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) if owner != me => std::os::unix::fs::lchown(path, Some(owner.as_raw()), None).map_err(failed),
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn check(&self) -> Result<(), Fault> {
        let untrusted = |why: String| Err(Fault::new(ErrorKind::Untrusted, why));
        let shown = self.path.display();
        if !trusts(self.stat.st_uid, self.owner) {
            let uid = self.stat.st_uid;
            return untrusted(if self.is_default && self.owner.is_none() {
                format!(
                    "the directory {shown} should be yours, and was made by user {uid}; have it removed (root can), or \
                     use another by --dir"
                )
            } else {
                format!("the directory {shown} belongs to user {uid}; if you trust that user, say so: --owner {uid}")
            });
        }
        if self.stat.st_mode & OTHERS_WRITE != 0 {
            return untrusted(format!(
                "the directory {shown} is writable by everybody (mode {:04o}), so anybody could swap the mailbox; \
                 use one of your own, such as {shown}/mine, made by: mkdir -m 700 {shown}/mine",
                self.stat.st_mode & PERMISSIONS
            ));
        }
        // Futexes and coherent mappings end at the machine: network and user-space file systems promise neither.
        let system = nix::sys::statfs::fstatfs(&self.fd).map_err(|e| Fault::system("no file system information", e))?;
        let name = match system.filesystem_type() {
            nix::sys::statfs::NFS_SUPER_MAGIC => "NFS",
            nix::sys::statfs::FUSE_SUPER_MAGIC => "FUSE",
            kind if kind.0 == V9FS_MAGIC => "9p",
            _ => return Ok(()),
        };
        Err(Fault::new(
            ErrorKind::InvalidOption,
            format!("the directory {shown} is on {name}, where memory is not shared between processes; use /dev/shm"),
        ))
    }

    /// Device and inode, which tell one directory from the next at the same path.
    pub fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whom new files must be given to: root working in another user's directory makes that user's files.
    pub fn new_owner(&self) -> Option<(Uid, Gid)> {
        (geteuid().is_root() && self.stat.st_uid != 0)
            .then(|| (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid)))
    }

    /// Gives a new file its owner (see [`new_owner`](Self::new_owner)) and exactly this mode, whatever the umask.
    pub fn settle(&self, file: impl AsFd, mode: u32) -> nix::Result<()> {
        if let Some((uid, gid)) = self.new_owner() {
            fchown(&file, Some(uid), Some(gid))?;
        }
        nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(mode))
    }

    /// Lets others reach the mailboxes in the user's own directory that are meant for them.
    pub fn let_others_pass(&self) -> Result<(), Fault> {
        if !self.is_default || self.stat.st_mode & 0o011 == 0o011 {
            return Ok(());
        }
        let mode = self.stat.st_mode & PERMISSIONS | 0o011;
        // By descriptor, and so the directory that was checked, whatever its path leads to by now.
        fs::set_permissions(of_descriptor(&self.fd), fs::Permissions::from_mode(mode))
            .map_err(|e| Fault::system(format!("{} cannot be opened to others", self.path.display()), e))
    }

    /// What `name` is, not following links; `None` if nothing bears it.
    pub fn look_up(&self, name: &CStr) -> Result<Option<FileStat>, Fault> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::EACCES) => Err(Fault::system(
                format!(
                    "the directory {} belongs to user {} and has mode {:04o}, which does not let this user in",
                    self.path.display(),
                    self.stat.st_uid,
                    self.stat.st_mode & PERMISSIONS
                ),
                Errno::EACCES,
            )),
            Err(errno) => {
                Err(Fault::system(format!("the directory {} cannot be searched", self.path.display()), errno))
            }
        }
    }

    /// Removes `name`; says whether it was there.
    pub fn remove(&self, name: &CStr) -> Result<bool, Fault> {
        match nix::unistd::unlinkat(&self.fd, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Fault::system(format!("{} cannot be removed", name.to_string_lossy()), errno)),
        }
    }

    /// Checks an entry that somebody else may have made: its kind, one name, a trusted owner, not writable by others.
    ///
    /// `Ok(false)`: it has lost its name since it was opened; open again.
    pub fn check_entry(&self, stat: &FileStat, wanted: SFlag, what: &str) -> Result<bool, Fault> {
        let untrusted = |why: String| Err(Fault::new(ErrorKind::Untrusted, why));
        if stat.st_mode & SFlag::S_IFMT.bits() != wanted.bits() {
            return untrusted(format!("{what} is {}; remove it by hand", kind_of(stat)));
        }
        match stat.st_nlink {
            0 => return Ok(false),
            1 => {}
            links => return untrusted(format!("{what} has {links} names; a mailbox's files have one each")),
        }
        if !trusts(stat.st_uid, self.owner) {
            let uid = stat.st_uid;
            return untrusted(format!("{what} belongs to user {uid}; if you trust that user, say so: --owner {uid}"));
        }
        if stat.st_mode & OTHERS_WRITE != 0 {
            return untrusted(format!("{what} is writable by everybody (mode {:04o})", stat.st_mode & PERMISSIONS));
        }
        Ok(true)
    }

    /// Opens a bell or a lock that exists, for reading and writing, if it passes [`check_entry`](Self::check_entry);
    /// `None` if there is none. Forked children do not inherit it.
    pub fn open_companion(&self, name: &CStr, kind: SFlag) -> Result<Option<ParentOnly>, Fault> {
        let what = show(name);
        loop {
            // A look before the open: to open a device can have effects.
            let Some(stat) = self.look_up(name)? else { return Ok(None) };
            self.check_entry(&stat, kind, &what)?;
            let fd = match ParentOnly::open(|| self.open_entry(name, OFlag::O_RDWR)) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => return Ok(None),
                Err(errno) => return Err(Fault::system(format!("{what} cannot be opened"), errno)),
            };
            let stat = fstat(&fd).map_err(|e| Fault::system(format!("{what} cannot be examined"), e))?;
            if self.check_entry(&stat, kind, &what)? {
                return Ok(Some(fd));
            }
        }
    }

    /// Opens an entry that exists: never makes one, follows no link, waits for nothing.
    pub fn open_entry(&self, name: &CStr, access: OFlag) -> nix::Result<OwnedFd> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        openat(&self.fd, name, flags, Mode::empty())
    }
}

/// A path that leads to an open file, for the system calls that take no descriptor (or none opened by `O_PATH`;
/// proc(5)).
pub fn of_descriptor(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `V9FS_MAGIC` of statfs(2), which nix does not name.
const V9FS_MAGIC: i64 = 0x0102_1997;

/// The kind of a file, for a message.
pub fn kind_of(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFCHR | SFlag::S_IFBLK => "a device",
        _ => "something unknown",
    }
}
