//! What fork leaves of a writer: nothing.
//!
//! A forked child has the parent's memory and descriptors. If it published, there would be two writers; if it merely
//! kept the lock's descriptor, the lock would outlive the parent, because an open-file-description lock belongs to all
//! who share the descriptor (fcntl(2)). So the child finds `/dev/null` under the numbers of those descriptors, and a
//! page that reads zero.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::*};

use memmap2::{MmapMut, MmapRaw};
use nix::libc;

/// Tells a process from its forked children by one load.
pub struct Origin(MmapRaw);

impl Origin {
    /// Remembers the calling process.
    pub fn new() -> io::Result<Self> {
        let page = MmapRaw::from(MmapMut::map_anon(size_of::<u32>())?);
        // SAFETY: the range is the mapping's own, page-aligned. Private anonymous memory is what MADV_WIPEONFORK takes;
        // the child of a fork finds it zeroed, and nothing else changes (madvise(2), Linux 4.14).
        if unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let origin = Self(page);
        origin.word().store(1, Relaxed);
        Ok(origin)
    }

    /// Whether this process is a forked child of the one that made this.
    #[inline(always)]
    pub fn is_forked(&self) -> bool {
        self.word().load(Relaxed) == 0
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is page-aligned, at least 4 bytes long, lives as long as `self`, and is accessed here
        // only.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

/// A descriptor that forked children do not inherit: they find `/dev/null` under its number.
pub struct ParentOnly {
    fd: Option<OwnedFd>,
    entry: &'static Entry,
}

impl ParentOnly {
    /// Opens a descriptor and registers it. No fork of this process happens in between; `open` must be short.
    pub fn open<E>(open: impl FnOnce() -> Result<OwnedFd, E>) -> Result<Self, E> {
        install();
        let _gate = Gate::close();
        let fd = open()?;
        let entry = register(fd.as_raw_fd());
        Ok(Self { fd: Some(fd), entry })
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        let _gate = Gate::close();
        self.entry.fd.store(FREE, Relaxed);
        self.fd = None;
    }
}

impl AsFd for ParentOnly {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("open until dropped").as_fd()
    }
}

/// A place in the list of descriptors that the child's handler goes through. Places are used again and never freed, so
/// that the handler, which may not lock or allocate, can go through them at any moment.
struct Entry {
    /// The descriptor, or [`FREE`], or [`DONE`].
    fd: AtomicI32,
    /// The place registered before; never changed.
    next: Option<&'static Entry>,
}

/// Nobody has the place.
const FREE: RawFd = -1;
/// In a forked child: what was inherited was dealt with, and its owner has not been dropped. The number may be
/// anybody's by now.
const DONE: RawFd = -2;
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// Registers `fd`; called with the gate closed, so alone.
fn register(fd: RawFd) -> &'static Entry {
    for entry in entries() {
        if entry.fd.load(Relaxed) == FREE {
            entry.fd.store(fd, Relaxed);
            return entry;
        }
    }
    let next = newest_entry();
    let entry = Box::leak(Box::new(Entry { fd: AtomicI32::new(fd), next }));
    ENTRIES.store(entry, Release);
    entry
}

fn newest_entry() -> Option<&'static Entry> {
    // SAFETY: null, or an entry that was leaked by `register`, complete before the Release store that this load reads
    // from.
    unsafe { ENTRIES.load(Acquire).as_ref() }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    std::iter::successors(newest_entry(), |entry| entry.next)
}

/// While it is closed, forks of this process wait; closed for as long as it takes to open and register a descriptor.
struct Gate;

static CLOSED: AtomicBool = AtomicBool::new(false);

impl Gate {
    fn close() -> Self {
        close_gate();
        Self
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        open_gate();
    }
}

extern "C" fn close_gate() {
    while CLOSED.swap(true, Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn open_gate() {
    CLOSED.store(false, Release);
}

extern "C" fn in_child() {
    // SAFETY: open, dup3 and close are async-signal-safe (signal-safety(7)), and the descriptors are our own. If
    // /dev/null cannot be opened, they are closed instead, at the risk that others take their numbers: better than a
    // lock that stays.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for entry in entries() {
            let fd = entry.fd.load(Relaxed);
            if fd < 0 {
                continue;
            }
            // Once only: this child may use the number for something else, and have children of its own.
            entry.fd.store(DONE, Relaxed);
            if null == -1 || libc::dup3(null, fd, libc::O_CLOEXEC) == -1 {
                libc::close(fd);
            }
        }
        if null != -1 {
            libc::close(null);
        }
    }
    open_gate();
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers are `extern "C"`, live for ever, and do only what is allowed between fork and exec.
        // Failure means that there is no memory for three pointers; `Origin` still refuses to publish in the child.
        unsafe { libc::pthread_atfork(Some(close_gate), Some(open_gate), Some(in_child)) };
    });
}
