//! [`inspect`](Options::inspect), [`list`](Options::list) and [`remove`](Options::remove): mailboxes from outside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;

use crate::error::{ErrorKind, Fault, Result};
use crate::life_cycle;
use crate::name::{Location, Names, missing};
use crate::options::Options;
use crate::os::clock::boottime;
use crate::os::directory::{Directory, PERMISSIONS};
use crate::os::lock;
use crate::os::shm::Opened;
use crate::protocol::seqlock::{self, Reading};
use crate::reader::WriterState;

/// What can be said of a mailbox without being its reader or writer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Where it is.
    pub path: PathBuf,
    /// 128 bits that tell it from every other, and from others that bore its name.
    pub instance: [u8; 16],
    /// Most bytes in a line.
    pub capacity: u64,
    /// Physical copies of the slot.
    pub banks: u32,
    /// Number of the newest message; 0 if there is none.
    pub number: u64,
    /// Whether it has a writer.
    pub writer: WriterState,
    /// The writer's process id in the writer's namespace, a hint for people; `None` if it is gone.
    pub writer_pid: Option<u32>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// How long ago the newest line was published, if it carries a time.
    pub age: Option<Duration>,
    /// Bytes of shared memory.
    pub footprint: u64,
}

impl Options {
    /// Looks at mailbox `name` without becoming its reader.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`](crate::Reader::open).
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// use shm_mailbox::{Options, WriterState};
    ///
    /// let options = Options::new().dir(directory.path());
    /// let mut writer = options.create("clock")?;
    /// writer.publish(b"12:00")?;
    /// let info = options.inspect("clock")?;
    /// assert_eq!((info.number, info.writer), (1, WriterState::Alive));
    /// drop(writer);
    /// assert_eq!(options.inspect("clock")?.writer, WriterState::Gone);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(&self, name: impl AsRef<Path>) -> Result<Info> {
        self.on(name.as_ref(), "inspect mailbox", |location| inspect(&location))
    }

    /// The names of the mailboxes in the directory, sorted; also of those that are damaged. Empty if there is no
    /// directory yet.
    ///
    /// # Errors
    ///
    /// Those of the directory, see [`ErrorKind`].
    pub fn list(&self) -> Result<Vec<OsString>> {
        let (path, is_default) = Location::find_directory(self.dir.as_deref(), self.owner)
            .map_err(|f| f.of("list the mailboxes of", ".".into()))?;
        match list(&path, is_default, self.owner) {
            Err(fault) if fault.kind == ErrorKind::NotFound && is_default => Ok(Vec::new()),
            result => result.map_err(|fault| fault.of("list the mailboxes of", path)),
        }
    }

    /// Removes mailbox `name` and wakes its readers, who find nothing until there is a new one; says whether there was
    /// anything to remove. A mailbox with a live writer is refused, unless `force`; that writer's next publish then
    /// reports [`ErrorKind::Removed`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`], and those of [`Writer::create`](crate::Writer::create). What is no mailbox is refused too.
    pub fn remove(&self, name: impl AsRef<Path>, force: bool) -> Result<bool> {
        self.on(name.as_ref(), "remove mailbox", |location| life_cycle::remove(&location, force))
    }
}

fn inspect(location: &Location) -> std::result::Result<Info, Fault> {
    let directory = Directory::open(location, false)?;
    let opened = Opened::open(&directory, &location.names.mailbox)?.ok_or_else(missing)?;
    let (stat, header) = (opened.stat, opened.header);
    let shared = opened.map_to_read()?;
    let (number, time) = match seqlock::read_newest(&*shared, 0, true, &mut Vec::new(), &mut 0) {
        Reading::Line { number, time, .. } => (number, time),
        Reading::Nothing | Reading::Unfinished if shared.is_lost() => return Err(shared.damaged()),
        Reading::Nothing => (0, 0),
        Reading::Unfinished => (seqlock::announced(&*shared), 0),
        Reading::Damaged => return Err(shared.damaged()),
        Reading::NoRoom(length) => return Err(Fault::no_memory(length)),
    };
    let writer = WriterState::from(lock::holder(&directory, &location.names.lock));
    Ok(Info {
        path: location.path(),
        instance: header.geometry.instance,
        capacity: header.geometry.capacity,
        banks: header.geometry.banks,
        number,
        writer,
        writer_pid: (writer != WriterState::Gone && header.writer_pid != 0).then_some(header.writer_pid),
        mode: stat.st_mode & PERMISSIONS,
        uid: stat.st_uid,
        age: (time != 0).then(|| Duration::from_nanos(boottime().saturating_sub(time))),
        footprint: header.geometry.footprint(),
    })
}

fn list(path: &Path, is_default: bool, owner: Option<u32>) -> std::result::Result<Vec<OsString>, Fault> {
    let directory = Directory::open_path(path, is_default, owner, false)?;
    let unreadable = |e| Fault::system(format!("the directory {} cannot be read", path.display()), e);
    let mut entries = nix::dir::Dir::openat(
        &directory,
        c".",
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(unreadable)?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if Names::new(name.to_bytes()).is_err() {
            continue;
        }
        match Opened::open(&directory, name) {
            Ok(None) => {}
            Err(fault) if fault.kind == ErrorKind::NotAMailbox => {}
            _ => names.push(OsStr::from_bytes(name.to_bytes()).to_owned()),
        }
    }
    names.sort();
    Ok(names)
}
