//! The guard against truncation: a fault in the memory of a mailbox becomes an error of that mailbox.
//!
//! A file that somebody cuts short leaves its mappings in place, and who touches a page beyond the new end gets SIGBUS.
//! The handler replaces the whole mapping by anonymous memory, all zeros, and lets the instruction go on. Not the page
//! alone: a reader in the middle of a copy would get zeros for the rest of the line, and a bank's sequence, in an
//! earlier page that is still there, would call the line whole. With the whole mapping gone the sequence reads 0, and
//! the read is thrown away.
//!
//! Nothing on the fast paths asks whether this has happened. The handler sets two words in the new memory that every
//! look and every publish tests anyway, `leaving` and `waiters`, and the cold paths behind them ask the flag.
//!
//! Other programs' guards of this kind: systemd's `src/basic/sigbus.c`, Wayland's `src/wayland-shm.c`.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*, fence};
use std::sync::{Once, OnceLock};

use memmap2::MmapRaw;
use nix::libc;

/// From now on, in this process, a mailbox that is truncated while it is in use is an error
/// ([`ErrorKind::Damaged`](crate::ErrorKind::Damaged)) and not the end of the process by SIGBUS.
///
/// Only who may write a mailbox's file can truncate it, and the library trusts them; this is for programs that would
/// rather say what happened than die of it, above all root's that read others' mailboxes by
/// [`Options::owner`](crate::Options::owner). The program `mailbox` calls it. Off unless called, because it installs a
/// signal handler, which belongs to the whole process: a library must not do that unasked.
///
/// The call during which the memory went away, or the next one, reports the error; what was read in it is not returned.
/// A reader goes on by itself once the mailbox was removed and made anew, like any reader of a removed mailbox.
///
/// Call it once, early, before there are other threads; more calls do nothing. Every other SIGBUS (misaligned access,
/// hardware memory errors, other mappings, `kill`) goes to the handler that was there before, or ends the process as it
/// would have.
///
/// # What it cannot do
///
/// * A handler that is installed *later* and does not call the one before it (some language runtimes) replaces this
///   one.
/// * It stays until the process ends: a dynamic library that contains it must not be unloaded.
/// * Whoever can truncate the file can write to it as well, and a file that was cut and filled up again, or cut within
///   its last page, raises no signal: it reads as zeros, like anything else that a trusted writer may put there.
/// * The new memory takes as much address space as the mailbox. Where the system has none left, the process ends by
///   SIGBUS after all.
pub fn guard_against_truncation() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = PREVIOUS.get_or_init(|| {
            // SAFETY: a sigaction of zeros is one, with the default action; the call only fills it in. It cannot fail
            // for these arguments (sigaction(2)).
            unsafe {
                let mut previous = std::mem::zeroed();
                libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous);
                previous
            }
        });
        let mut ours = *previous;
        ours.sa_sigaction = on_sigbus as *const () as usize;
        // On the alternate stack where there is one, as those who watch for stack overflows want it; else as before.
        ours.sa_flags = (previous.sa_flags | libc::SA_SIGINFO | libc::SA_ONSTACK) & !libc::SA_RESETHAND;
        // SAFETY: the handler does nothing but loads, stores and system calls that are async-signal-safe, or what the
        // one before it does; it lives for ever. `previous` was stored before it can run.
        unsafe { libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut()) };
    });
}

/// What was done about SIGBUS before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo_t; `si_addr` is valid for the codes that the kernel itself
    // gives SIGBUS, and BUS_ADRERR is one. errno is this thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        let is_ours = (*info).si_code == libc::BUS_ADRERR && entry_at((*info).si_addr()).is_some_and(Entry::replace);
        if !is_ours {
            pass_on(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Does what would have been done without us.
///
/// # Safety
///
/// The arguments must be those of a signal handler.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    // SAFETY: which of its two types a handler has is what SA_SIGINFO says. The system calls are async-signal-safe.
    unsafe {
        match previous.sa_sigaction {
            // What may be ignored; a fault may not, and the kernel ends a process that ignores one.
            libc::SIG_IGN if (*info).si_code <= 0 || (*info).si_code == libc::BUS_MCEERR_AO => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // The same signal once more, with its cause, to this thread: blocked until we return, it then ends the
                // process where it stands.
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &default, ptr::null_mut());
                libc::syscall(
                    libc::SYS_rt_tgsigqueueinfo,
                    libc::getpid(),
                    libc::syscall(libc::SYS_gettid),
                    signal,
                    info,
                );
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
            }
            handler => std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler)(signal),
        }
    }
}

// The mappings. -------------------------------------------------------------------------------------------------------

/// A mailbox's mappings, known to the handler for as long as this lives, which must be no longer than they do.
pub struct Guarded(&'static Entry);

impl Guarded {
    /// Makes mappings known. When one of them is lost, `alarms`, which are in them, are set to 1.
    pub fn new(whole: &MmapRaw, wait: Option<&MmapRaw>, alarms: [&AtomicU32; 2]) -> Self {
        let entry = Entry::claim();
        for (range, mapping) in entry.ranges.iter().zip([Some(whole), wait]) {
            range.start.store(mapping.map_or(ptr::null_mut(), MmapRaw::as_mut_ptr), Relaxed);
            range.length.store(mapping.map_or(0, MmapRaw::len), Relaxed);
        }
        for (known, alarm) in entry.alarms.iter().zip(alarms) {
            known.store(alarm.as_ptr(), Relaxed);
        }
        entry.is_lost.store(false, Relaxed);
        entry.release();
        Self(entry)
    }

    /// Whether the memory was lost and replaced.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Relaxed)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.version.fetch_add(1, Relaxed);
        // ORDERING: Release fence, pairs with the Acquire fence in `entry_at`, as the release in `Entry::release` does
        // with its Acquire load: who sees any of these stores sees the version move, and looks elsewhere.
        fence(Release);
        for range in &self.0.ranges {
            range.length.store(0, Relaxed);
        }
        self.0.release();
    }
}

/// A place in the list that the handler goes through. Places are used again and never freed, so that the handler, which
/// may not lock or allocate, can go through them at any moment.
struct Entry {
    /// Odd while an owner comes or goes. The handler passes over such a place, and over one whose version moves while
    /// it looks: the thread that has faulted is inside its mailbox, so *its* place stands still.
    version: AtomicUsize,
    /// The whole file and, for readers, the wait page once more. First length 0: the place is free.
    ranges: [Range; 2],
    alarms: [AtomicPtr<u32>; 2],
    is_lost: AtomicBool,
    /// The place registered before; never changed once the place is in the list.
    next: AtomicPtr<Entry>,
}

struct Range {
    start: AtomicPtr<u8>,
    length: AtomicUsize,
}

static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

fn entries() -> impl Iterator<Item = &'static Entry> {
    // SAFETY: null, or a place that was leaked by `claim`, complete before the Release store that these loads read
    // from (that of `next` was before that of ENTRIES).
    let get = |pointer: &AtomicPtr<Entry>| unsafe { pointer.load(Acquire).as_ref() };
    std::iter::successors(get(&ENTRIES), move |entry| get(&entry.next))
}

/// The place whose mappings contain `address`.
fn entry_at(address: *mut libc::c_void) -> Option<&'static Entry> {
    entries().find(|entry| {
        let version = entry.version.load(Acquire);
        let is_inside = entry.ranges.iter().any(|range| {
            let offset = address.addr().wrapping_sub(range.start.load(Relaxed).addr());
            offset < range.length.load(Relaxed)
        });
        fence(Acquire);
        is_inside && version.is_multiple_of(2) && entry.version.load(Relaxed) == version
    })
}

impl Entry {
    /// A place that nobody else has, its version odd.
    fn claim() -> &'static Self {
        for entry in entries() {
            let version = entry.version.load(Acquire);
            if version.is_multiple_of(2)
                && entry.ranges[0].length.load(Relaxed) == 0
                && entry.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_ok()
            {
                fence(Release);
                return entry;
            }
        }
        let range = || Range { start: AtomicPtr::default(), length: AtomicUsize::new(0) };
        let entry = Box::leak(Box::new(Self {
            version: AtomicUsize::new(1),
            ranges: [range(), range()],
            alarms: [AtomicPtr::default(), AtomicPtr::default()],
            is_lost: AtomicBool::new(false),
            next: AtomicPtr::default(),
        }));
        let mut newest = ENTRIES.load(Relaxed);
        loop {
            entry.next.store(newest, Relaxed);
            match ENTRIES.compare_exchange_weak(newest, entry, AcqRel, Relaxed) {
                Ok(_) => return entry,
                Err(other) => newest = other,
            }
        }
    }

    /// The fields stand still from now on.
    fn release(&self) {
        self.version.fetch_add(1, Release);
    }

    /// Puts anonymous memory in the place of the mappings; `false` if there is none. Called by the handler, in the
    /// thread that has faulted in one of them.
    fn replace(&self) -> bool {
        self.is_lost.store(true, Relaxed);
        for range in &self.ranges {
            let length = range.length.load(Relaxed);
            if length == 0 {
                continue;
            }
            let start = range.start.load(Relaxed);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
            // SAFETY: the range is a mapping of ours that lives until the place is given up (`Guarded`), which its
            // owner, this thread, is not about to do. To all who look, its content changes as if another process had
            // written zeros: what the atomic accesses to it allow for.
            if unsafe { libc::mmap(start.cast(), length, protection, flags, -1, 0) } == libc::MAP_FAILED {
                return false;
            }
        }
        for alarm in &self.alarms {
            // SAFETY: the alarms are aligned words within the mappings (`Guarded::new`), which are writable now.
            unsafe { AtomicU32::from_ptr(alarm.load(Relaxed)) }.store(1, Relaxed);
        }
        true
    }
}
