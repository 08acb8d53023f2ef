//! A directory in shared memory for one workload, and words in it that two processes share.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread;

use memmap2::MmapRaw;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use shm_mailbox::Options;
use tempfile::TempDir;

use crate::Outcome;

/// Names that places of this process begin with, so that all that bears them can be removed when it is ended.
static MADE: Mutex<Vec<OsString>> = Mutex::new(Vec::new());

const MEMORY: &str = "/dev/shm";

/// From now on, SIGINT, SIGTERM and SIGHUP end this process only when its places are removed. To be called while there is
/// one thread: those that are made later do not hear these signals.
pub fn remove_when_ended() -> Outcome {
    let asked = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    asked.thread_block()?;
    thread::spawn(move || {
        let signal = asked.wait().unwrap_or(Signal::SIGTERM);
        let made = MADE.lock().map(|made| made.clone()).unwrap_or_default();
        for entry in fs::read_dir(MEMORY).into_iter().flatten().flatten() {
            if made.iter().any(|name| entry.file_name().as_bytes().starts_with(name.as_bytes())) {
                _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
        // SAFETY: ends this process at once; nothing of it is needed any more.
        unsafe { libc::_exit(128 + signal as i32) }
    });
    Ok(())
}

/// Where the files of one workload are; removed in the end by the process that made it.
pub struct Place {
    path: PathBuf,
    _made: Option<TempDir>,
}

impl Place {
    pub fn new() -> Outcome<Self> {
        let made = tempfile::Builder::new().prefix("mailbox-bench-").tempdir_in(MEMORY)?;
        let name = made.path().file_name().ok_or("a place without a name")?.to_owned();
        MADE.lock().map_err(|_| "a thread has panicked")?.push(name);
        Ok(Self { path: made.path().into(), _made: Some(made) })
    }

    /// The place that another process has made.
    pub fn at(path: &Path) -> Self {
        Self { path: path.into(), _made: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn options(&self) -> Options {
        Options::new().dir(&self.path)
    }
}

/// Shared memory of a fixed size.
pub struct Memory(MmapRaw);

/// Distance of two words, more than the pair of cache lines that processors fetch together.
const APART: usize = 256;

impl Memory {
    /// The memory of this name, made by whoever comes first.
    pub fn open(place: &Path, name: &str, bytes: usize) -> Outcome<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place.join(name))?;
        file.set_len(bytes.next_multiple_of(4096) as u64)?;
        Ok(Self(MmapRaw::map_raw(&file)?))
    }

    /// A word that shares its cache lines with no other.
    #[inline(always)]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * APART <= self.0.len());
        // SAFETY: within the mapping, which lives as long as `self`, aligned, and accessed atomically by all processes.
        unsafe { &*self.0.as_ptr().add(index * APART).cast() }
    }

    /// Where bytes may be copied to and from, by whoever has the turn.
    pub fn bytes(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }
}
