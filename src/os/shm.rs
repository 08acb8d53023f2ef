//! The mailbox's file: made complete before it has a name, checked when it is opened, mapped.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, posix_fallocate};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::linkat;

use super::directory::{Directory, PERMISSIONS, kind_of, of_descriptor};
use super::sigbus::Guarded;
use crate::error::{ErrorKind, Fault};
use crate::layout::{self, Geometry, HEADER, Header, Reject, View};
use crate::name::Names;

/// 128 bits that nobody can guess and nothing else has.
pub fn random_bits() -> Result<[u8; 16], Fault> {
    let mut bits = [0; 16];
    // SAFETY: `bits` is writable for its length. Up to 256 bytes arrive whole or not at all (getrandom(2)).
    let got = unsafe { libc::getrandom(bits.as_mut_ptr().cast(), bits.len(), 0) };
    if got == bits.len() as isize {
        Ok(bits)
    } else {
        Err(Fault::system("no random numbers", io::Error::last_os_error()))
    }
}

/// A file without a name yet, all its pages allocated.
pub struct Unnamed<F = File>(F);

impl Unnamed {
    /// Makes one of `length` bytes in the file system of `directory`.
    pub fn new(directory: &Directory, length: u64) -> Result<Self, Fault> {
        Unnamed::open(directory, length, |open| open().map(File::from))
    }

    /// Whether [`open`](Self::open) failed because the file system has no unnamed files (overlayfs before Linux 6.1).
    pub fn is_unsupported(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
    }
}

impl<F: AsFd> Unnamed<F> {
    /// As [`new`](Unnamed::new), for a descriptor of another kind: `wrap` makes it of what it is given, which opens the
    /// file.
    pub fn open(
        directory: &Directory,
        length: u64,
        wrap: impl FnOnce(&dyn Fn() -> nix::Result<OwnedFd>) -> nix::Result<F>,
    ) -> Result<Self, Fault> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = wrap(&|| openat(directory, c".", flags, Mode::S_IRUSR | Mode::S_IWUSR))
            .map_err(|e| Fault::system(format!("no file can be made in {}", directory.path().display()), e))?;
        allocate(&file, length, directory)?;
        Ok(Self(file))
    }

    /// The file.
    pub fn file(&self) -> &F {
        &self.0
    }

    /// The file, which goes on without this.
    pub fn into_file(self) -> F {
        self.0
    }

    /// Gives it a name that nothing bears.
    pub fn link(&self, directory: &Directory, name: &CStr) -> nix::Result<()> {
        // AT_EMPTY_PATH needs a capability before Linux 6.10, and /proc may be missing: one of them nearly always works
        // (open(2)).
        match linkat(&self.0, c"", directory, name, AtFlags::AT_EMPTY_PATH) {
            Err(Errno::ENOENT | Errno::EPERM | Errno::EINVAL) => {}
            result => return result,
        }
        linkat(AT_FDCWD, of_descriptor(&self.0).as_str(), directory, name, AtFlags::AT_SYMLINK_FOLLOW)
    }
}

/// Allocates all pages now, so that a full file system is an error here and no SIGBUS later.
fn allocate(file: impl AsFd, length: u64, directory: &Directory) -> Result<(), Fault> {
    reserve(&file, length).map_err(|errno| {
        let directory = directory.path().display();
        Fault::system(format!("no room for {length} bytes in the file system of {directory}"), errno)
    })
}

fn reserve(file: impl AsFd, length: u64) -> nix::Result<()> {
    // Asked first: what cannot fit would be found out only when all memory is taken, from everybody. (No blocks at all:
    // a tmpfs without a limit.)
    let system = fstatvfs(&file)?;
    if system.blocks() > 0 && length > system.blocks_available().saturating_mul(system.fragment_size()) {
        return Err(Errno::ENOSPC);
    }
    // In pieces, and each until it is done: tmpfs gives a piece up when a signal comes.
    const PIECE: u64 = 4 << 20;
    for start in (0..length).step_by(PIECE as usize) {
        loop {
            match posix_fallocate(&file, start as i64, PIECE.min(length - start) as i64) {
                Err(Errno::EINTR) => {}
                result => break result?,
            }
        }
    }
    Ok(())
}

/// A mailbox being made: nobody finds it before it is complete.
pub enum Fresh {
    /// The usual case.
    Unnamed(Unnamed),
    /// Without unnamed files: under `NAME.new`, which nobody opens. Whoever makes it removes it if it is not installed.
    Named(File),
}

impl Fresh {
    /// Makes the file, empty. The lock must be held: what a killed maker left as `NAME.new` is removed.
    pub fn new(directory: &Directory, names: &Names, length: u64) -> Result<Self, Fault> {
        directory.remove(&names.new)?;
        match Unnamed::new(directory, length) {
            Ok(unnamed) => Ok(Self::Unnamed(unnamed)),
            Err(Fault { source: Some(error), .. }) if Unnamed::is_unsupported(&error) => {
                let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let fd = openat(directory, names.new.as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
                    .map_err(|e| Fault::system(format!("no file can be made in {}", directory.path().display()), e))?;
                if let Err(fault) = allocate(&fd, length, directory) {
                    _ = directory.remove(&names.new);
                    return Err(fault);
                }
                Ok(Self::Named(fd.into()))
            }
            Err(fault) => Err(fault),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        match self {
            Self::Unnamed(unnamed) => unnamed.file(),
            Self::Named(file) => file,
        }
    }

    /// Names it `NAME.new`, ready to be renamed over a mailbox.
    pub fn stage(&self, directory: &Directory, names: &Names) -> Result<(), Fault> {
        match self {
            Self::Unnamed(unnamed) => unnamed.link(directory, &names.new),
            Self::Named(_) => Ok(()),
        }
        .map_err(|e| Fault::system("the new file cannot be named", e))
    }

    /// Names it `NAME`, which nothing bears; `false` if something does by now.
    pub fn place(&self, directory: &Directory, names: &Names) -> Result<bool, Fault> {
        let placed = match self {
            Self::Unnamed(unnamed) => unnamed.link(directory, &names.mailbox),
            Self::Named(_) => nix::fcntl::renameat2(
                directory,
                names.new.as_c_str(),
                directory,
                names.mailbox.as_c_str(),
                nix::fcntl::RenameFlags::RENAME_NOREPLACE,
            ),
        };
        match placed {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(Fault::system("the new file cannot be named", errno)),
        }
    }
}

/// Renames `NAME.new` over `NAME`.
pub fn replace(directory: &Directory, names: &Names) -> Result<(), Fault> {
    nix::fcntl::renameat(directory, names.new.as_c_str(), directory, names.mailbox.as_c_str())
        .map_err(|e| Fault::system("the new file cannot take the old one's place", e))
}

/// A file that was opened and checked.
pub struct Opened {
    /// The file.
    pub file: File,
    /// Why we may not write to it, if we may not.
    pub refusal: Option<Errno>,
    /// Its header.
    pub header: Header,
    /// Its owner, mode and so on.
    pub stat: FileStat,
}

impl Opened {
    /// Opens mailbox `NAME`; `None` if nothing bears the name.
    pub fn open(directory: &Directory, name: &CStr) -> Result<Option<Self>, Fault> {
        loop {
            let Some((file, refusal)) = Self::open_file(directory, name)? else { return Ok(None) };
            let stat = fstat(&file).map_err(|e| Fault::system("the file cannot be examined", e))?;
            if !directory.check_entry(&stat, SFlag::S_IFREG, "what bears the name")? {
                continue;
            }
            let header = read_header(&file, &stat)?;
            return Ok(Some(Self { file, refusal, header, stat }));
        }
    }

    fn open_file(directory: &Directory, name: &CStr) -> Result<Option<(File, Option<Errno>)>, Fault> {
        // A look before the open: to open a device can have effects.
        let Some(stat) = directory.look_up(name)? else { return Ok(None) };
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(Fault::new(
                ErrorKind::NotAMailbox,
                format!("what bears the name is {}, not a mailbox; choose another name", kind_of(&stat)),
            ));
        }
        let mut result = directory.open_entry(name, OFlag::O_RDWR).map(|fd| (fd, None));
        if let Err(refusal @ (Errno::EACCES | Errno::EROFS | Errno::EPERM)) = result {
            result = directory.open_entry(name, OFlag::O_RDONLY).map(|fd| (fd, Some(refusal)));
        }
        match result {
            Ok((fd, refusal)) => Ok(Some((fd.into(), refusal))),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP) => {
                Err(Fault::new(ErrorKind::NotAMailbox, "what bears the name is a symbolic link, not a mailbox"))
            }
            Err(Errno::EACCES) => Err(Fault::system(
                format!(
                    "it belongs to user {} and has mode {:04o}; to let others read, its owner has to make it anew: \
                     mailbox rm, then mailbox put --mode 0644",
                    stat.st_uid,
                    stat.st_mode & PERMISSIONS
                ),
                Errno::EACCES,
            )),
            Err(errno) => Err(Fault::system("the file cannot be opened", errno)),
        }
    }

    /// Maps it for a reader: the slot read-only, the wait page writable if the file is.
    pub fn map_to_read(self) -> Result<Shared, Fault> {
        let Self { file, refusal, header: Header { geometry, .. }, .. } = self;
        let writable = refusal.is_none();
        let failed = |e| Fault::system("the file cannot be mapped", e);
        let whole = MmapOptions::new().len(geometry.footprint() as usize).map_raw_read_only(&file).map_err(failed)?;
        let wait = if writable {
            let wait_page = MmapOptions::new().offset(geometry.wait_page()).len(geometry.page as usize).map_raw(&file);
            Some(wait_page.map_err(failed)?)
        } else {
            None
        };
        Ok(Shared::new(file, geometry, writable, whole, wait))
    }

    /// Refuses one that we may only read.
    pub fn check_writable(&self) -> Result<(), Fault> {
        let Some(refusal) = self.refusal else { return Ok(()) };
        let (uid, mode) = (self.stat.st_uid, self.stat.st_mode & PERMISSIONS);
        let why = match refusal {
            Errno::EACCES => format!("it belongs to user {uid} and has mode {mode:04o}: it can be read, not written"),
            _ => "it can be read, not written".into(),
        };
        Err(Fault::system(why, refusal))
    }

    /// Maps it for a writer.
    pub fn map_to_write(self, directory: &Directory) -> Result<Shared, Fault> {
        self.check_writable()?;
        let Self { file, header: Header { geometry, .. }, stat, .. } = self;
        if (stat.st_blocks as u64) * 512 < geometry.footprint() {
            allocate(&file, geometry.footprint(), directory)?;
        }
        map_whole(file, geometry)
    }
}

/// Maps a file that we may write, all of it writable.
pub fn map_whole(file: File, geometry: Geometry) -> Result<Shared, Fault> {
    let whole = MmapOptions::new()
        .len(geometry.footprint() as usize)
        .map_raw(&file)
        .map_err(|e| Fault::system("the file cannot be mapped", e))?;
    Ok(Shared::new(file, geometry, true, whole, None))
}

fn read_header(file: &File, stat: &FileStat) -> Result<Header, Fault> {
    let length = stat.st_size as u64;
    let reject = |reject: Reject| {
        let kind = match reject {
            Reject::Version(_) => ErrorKind::UnsupportedLayout,
            Reject::Field(_) | Reject::Truncated { .. } => ErrorKind::Damaged,
            _ => ErrorKind::NotAMailbox,
        };
        Fault::new(kind, format!("{reject}"))
    };
    let mut bytes = [0; HEADER];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => layout::parse(&bytes, length).map_err(reject),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(reject(Reject::Short(length))),
        Err(error) => Err(Fault::system("the file cannot be read", error)),
    }
}

/// A mailbox in memory: its words by way of [`View`], for as long as anybody has this or a clone of it.
#[derive(Clone)]
pub struct Mapping {
    view: View,
    // Unmapped when the last clone is dropped, and the view with it. Behind the addresses and not in front of them: who
    // reads the words does not come by here.
    maps: Arc<Maps>,
}

/// The file, mapped whole, and its wait page once more if it may be written.
struct Maps {
    // Dropped first: unmapped only after the handler has forgotten them.
    guarded: Guarded,
    _whole: MmapRaw,
    _wait: Option<MmapRaw>,
}

/// A mailbox's mapping and the file itself.
pub struct Shared {
    mapping: Mapping,
    geometry: Geometry,
    file: File,
    writable: bool,
}

impl Shared {
    fn new(file: File, geometry: Geometry, writable: bool, whole: MmapRaw, wait: Option<MmapRaw>) -> Self {
        let wait_page = match &wait {
            Some(wait) => wait.as_ptr(),
            None => whole.as_ptr().wrapping_add(geometry.page as usize),
        };
        // SAFETY: `whole` maps `footprint` bytes of a file that is at least that long (`parse`, or allocated by us;
        // nobody shrinks a mailbox, and who may is trusted), `wait_page` a page of it; both are unmapped only when the
        // last `Mapping` is dropped, and no view leaves one. All processes follow the layout.
        let view = unsafe { View::new(whole.as_ptr(), wait_page, &geometry) };
        let guarded = Guarded::new(&whole, wait.as_ref(), [view.leaving(), view.eventcount().waiters]);
        let mapping = Mapping { view, maps: Arc::new(Maps { guarded, _whole: whole, _wait: wait }) };
        Self { mapping, geometry, file, writable }
    }

    /// The mapping, to outlive this.
    pub fn mapping(&self) -> Mapping {
        self.mapping.clone()
    }

    /// The numbers of its header.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether the wait page may be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The file's owner, mode, number of names.
    pub fn stat(&self) -> Result<FileStat, Fault> {
        fstat(&self.file).map_err(|e| Fault::system("the file cannot be examined", e))
    }

    /// Whether this is the file that `stat` describes.
    pub fn is(&self, stat: &FileStat) -> bool {
        fstat(&self.file).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Whether the file was cut short, and [`sigbus`](super::sigbus) has put empty memory in its place. `leaving` is
    /// set then.
    pub fn is_lost(&self) -> bool {
        self.mapping.maps.guarded.is_lost()
    }

    /// What to say where its words contradict each other.
    #[cold]
    pub fn damaged(&self) -> Fault {
        let why = if self.is_lost() {
            "damaged: the file was cut short while it was in use; to start afresh, remove it"
        } else {
            "damaged: its banks contradict its header; to start afresh: mailbox rm"
        };
        Fault::new(ErrorKind::Damaged, why)
    }

    /// Whether the file has lost its name: one system call, no look at the directory.
    pub fn has_lost_its_name(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0)
    }
}

impl Deref for Mapping {
    type Target = View;

    #[inline(always)]
    fn deref(&self) -> &View {
        &self.view
    }
}

impl Deref for Shared {
    type Target = View;

    #[inline(always)]
    fn deref(&self) -> &View {
        &self.mapping.view
    }
}
