//! The files of a directory, as a process that is killed at this moment leaves them: watched in one place, put into
//! another.
//!
//! A mailbox changes in two ways: by system calls (names, modes, new files), and by stores to a mapped file. So
//! [`Watched::look`] reads the directory after a system call only, and compares the bytes after every instruction.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::stat::Mode;

const PERMISSIONS: u32 = 0o7777;

/// Files by their names. The bytes that wait in a FIFO are no part of it: they go with the last process that has it
/// open.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Files(BTreeMap<OsString, Entry>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Entry {
    File { mode: u32, bytes: Arc<[u8]> },
    Fifo { mode: u32 },
}

impl Files {
    /// Makes the directory hold these files and nothing else.
    pub fn put(&self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let is_fifo = entry.file_type().unwrap().is_fifo();
            match self.0.get(&entry.file_name()) {
                Some(Entry::File { .. }) if !is_fifo => {}
                Some(Entry::Fifo { .. }) if is_fifo => {}
                _ => fs::remove_file(entry.path()).unwrap(),
            }
        }
        for (name, entry) in &self.0 {
            let path = directory.join(name);
            let mode = match entry {
                Entry::File { mode, bytes } => {
                    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
                    file.write_all_at(bytes, 0).unwrap();
                    let length = file.metadata().unwrap().len();
                    if length != bytes.len() as u64 {
                        file.set_len(bytes.len() as u64).unwrap();
                    }
                    *mode
                }
                Entry::Fifo { mode } => {
                    if !path.exists() {
                        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
                    }
                    *mode
                }
            };
            if fs::symlink_metadata(&path).unwrap().mode() & PERMISSIONS != mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// A directory whose files are watched for changes.
pub struct Watched {
    directory: PathBuf,
    named: BTreeMap<OsString, Named>,
    /// Every file that was found under a name, for as long as this lives: also one that has lost it, which readers may
    /// still have.
    files: Vec<Mapped>,
}

#[derive(Clone, PartialEq, Eq)]
struct Named {
    mode: u32,
    /// Which of the files it is; `None`: a FIFO.
    file: Option<usize>,
}

struct Mapped {
    inode: u64,
    map: MmapRaw,
    /// What it held when it was looked at last.
    bytes: Arc<[u8]>,
}

impl Watched {
    pub fn new(directory: &Path) -> Self {
        let mut this = Self { directory: directory.into(), named: BTreeMap::new(), files: Vec::new() };
        this.look(true);
        this
    }

    /// Looks for changes since the last look; at the names only if `names`.
    pub fn look(&mut self, names: bool) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            if !file.is_unchanged() {
                file.bytes = file.copy();
                changed = true;
            }
        }
        if names {
            let named = self.read_names();
            changed |= named != self.named;
            self.named = named;
        }
        changed
    }

    pub fn files(&self) -> Files {
        let entry = |named: &Named| match named.file {
            Some(index) => Entry::File { mode: named.mode, bytes: Arc::clone(&self.files[index].bytes) },
            None => Entry::Fifo { mode: named.mode },
        };
        Files(self.named.iter().map(|(name, named)| (name.clone(), entry(named))).collect())
    }

    fn read_names(&mut self) -> BTreeMap<OsString, Named> {
        let entries = fs::read_dir(&self.directory).unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                let file = (!metadata.file_type().is_fifo()).then(|| self.map(&entry.path(), metadata.ino()));
                (entry.file_name(), Named { mode: metadata.mode() & PERMISSIONS, file })
            })
            .collect()
    }

    fn map(&mut self, path: &Path, inode: u64) -> usize {
        if let Some(index) = self.files.iter().position(|file| file.inode == inode) {
            return index;
        }
        let file = File::open(path).unwrap();
        let map = MmapOptions::new().map_raw_read_only(&file).unwrap();
        let mut mapped = Mapped { inode, map, bytes: Arc::new([]) };
        mapped.bytes = mapped.copy();
        self.files.push(mapped);
        self.files.len() - 1
    }
}

impl Mapped {
    fn words(&self) -> &[AtomicU64] {
        let words = self.map.len() / 8;
        // SAFETY: the mapping is page-aligned, has at least so many words, lives as long as `self`, and nobody shrinks
        // the file. Others may store to it meanwhile, and these loads are atomic.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), words) }
    }

    fn is_unchanged(&self) -> bool {
        let (known, _) = self.bytes.as_chunks::<8>();
        self.words().iter().zip(known).all(|(word, known)| word.load(Relaxed) == u64::from_le_bytes(*known))
    }

    fn copy(&self) -> Arc<[u8]> {
        self.words().iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
    }
}
