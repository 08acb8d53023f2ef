//! The life of a mailbox's files: made, taken over, grown, found again after a sweep, removed.
//!
//! Everything here but [`remove`] with force happens under the writer's lock, and in an order that may be cut off by a
//! kill anywhere: whoever comes next goes on from what it finds.
//!
//! ```text
//!               take                      grow                       remove
//!   (nothing) ────────> NAME, bell, lock ──────> NAME, larger  ────────────> (nothing)
//!       ^                    │     ^                                            │
//!       └────────────────────┘     └── take, by a restarted writer              └─> take: a new instance
//!        swept by strangers:
//!        `keep`, with the same instance
//! ```

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::unistd::{Gid, Uid, fchown};

use crate::error::{ErrorKind, Fault};
use crate::layout::{Geometry, HEADER, MAGIC};
use crate::name::Location;
use crate::options::{DEFAULT_BANKS, DEFAULT_CAPACITY, DEFAULT_MODE, Options};
use crate::os::clock::Deadline;
use crate::os::directory::{Directory, PERMISSIONS};
use crate::os::fifo::Bell;
use crate::os::futex;
use crate::os::lock::Lock;
use crate::os::shm::{self, Fresh, Opened, Shared, random_bits};
use crate::protocol::seqlock::{self, Reading, Slot};
use crate::protocol::sync::{self, Ordering::Relaxed, Ordering::SeqCst};

/// Growth doubles the capacity, so that lines that get longer step by step do not make a file each; up to this, where
/// memory matters more.
const DOUBLED_TO: u64 = 64 << 20;

/// What a writer holds of its mailbox.
pub struct Hold {
    /// The file, mapped.
    pub shared: Shared,
    /// The doorbell's FIFO.
    pub bell: Bell,
    /// The lock, which nobody else has.
    pub lock: Lock,
    /// Number of the newest message.
    pub number: u64,
}

/// Takes the mailbox for writing: makes it, or takes over what another writer left.
pub fn take(location: &Location, options: &Options) -> Result<Hold, Fault> {
    loop {
        let directory = Directory::open(location, true)?;
        // A look before the lock is made, so that nothing is left beside what is no mailbox or not ours to write.
        let (mode, pid) = match Opened::open(&directory, &location.names.mailbox)? {
            Some(opened) => {
                opened.check_writable()?;
                (opened.stat.st_mode & PERMISSIONS, opened.header.writer_pid)
            }
            None => (options.mode.unwrap_or(DEFAULT_MODE), 0),
        };
        let lock =
            Lock::acquire(&directory, &location.names.lock, lock_mode(mode)).map_err(|fault| match fault.kind {
                ErrorKind::Busy if pid != 0 => {
                    Fault::new(fault.kind, format!("{}: process {pid}, by its own account", fault.detail))
                }
                _ => fault,
            })?;
        match take_locked(&directory, location, options, &lock) {
            Ok(Some((shared, bell, number))) => {
                let hold = Hold { shared, bell, lock, number };
                hold.introduce(options);
                return Ok(hold);
            }
            Ok(None) => {}
            // The lock was lost in the middle: start over.
            Err(fault) if fault.kind == ErrorKind::Removed => {}
            Err(fault) => {
                match lock.is_current(&directory, &location.names.lock) {
                    // Whatever failed, another who has the lock by now may have caused it.
                    Ok(false) => continue,
                    // Nothing half-made stays behind.
                    Ok(true) if matches!(directory.look_up(&location.names.mailbox), Ok(None)) => {
                        _ = remove_companions(&directory, location);
                    }
                    // As far as that can be had: the first fault is the one to tell.
                    _ => {}
                }
                return Err(fault);
            }
        }
    }
}

/// `None` if the lock was lost meanwhile, or somebody without it put something under the name: start over.
fn take_locked(
    directory: &Directory,
    location: &Location,
    options: &Options,
    lock: &Lock,
) -> Result<Option<(Shared, Bell, u64)>, Fault> {
    match Opened::open(directory, &location.names.mailbox)? {
        Some(opened) => {
            let taken = take_over(directory, location, options, lock, opened)?;
            // Recovery clears `leaving`, which may have been that of a `rm --force` on its way.
            Ok((!taken.0.has_lost_its_name()).then_some(taken))
        }
        None => {
            let mode = options.mode.unwrap_or(DEFAULT_MODE);
            let bell = Bell::open_or_make(directory, &location.names, bell_mode(mode))?;
            let geometry = Geometry::new(
                random_bits()?,
                options.capacity.unwrap_or(DEFAULT_CAPACITY) as u64,
                options.banks.unwrap_or(DEFAULT_BANKS),
                page_size(),
            );
            let built = build(directory, location, geometry, lock, &Content::EMPTY)?;
            directory.settle(built.fresh.file(), mode).map_err(|e| Fault::system("its mode cannot be set", e))?;
            if mode & 0o077 != 0 {
                directory.let_others_pass()?;
            }
            if !lock.is_current(directory, &location.names.lock)? || !built.fresh.place(directory, &location.names)? {
                return Ok(None);
            }
            Ok(Some((built.shared, bell, 0)))
        }
    }
}

/// Takes over a mailbox that exists. An order that may be cut off and repeated.
fn take_over(
    directory: &Directory,
    location: &Location,
    options: &Options,
    lock: &Lock,
    opened: Opened,
) -> Result<(Shared, Bell, u64), Fault> {
    let mode = opened.stat.st_mode & PERMISSIONS;
    if let Some(asked) = options.mode
        && asked != mode
    {
        return Err(Fault::new(
            ErrorKind::InvalidOption,
            format!("it has mode {mode:04o} and not {asked:04o}; to change that, remove it first: mailbox rm"),
        ));
    }
    let is_ours = opened.header.lock == lock.bits();
    let shared = opened.map_to_write(directory)?;
    let bell = Bell::open_or_make(directory, &location.names, bell_mode(mode))?;
    directory.remove(&location.names.new)?;
    if mode & 0o077 != 0 {
        directory.let_others_pass()?;
    }
    let asked = options.capacity.unwrap_or(0) as u64;

    if !is_ours {
        // The file was made under another lock, and a writer that holds that one may be alive: so this file is left to
        // it, and readers go on in a new instance, with the old line as its first message.
        let mut content = Content::of(&shared)?;
        content.number = content.number.min(1);
        let capacity = shared.geometry().capacity.max(asked);
        let geometry = Geometry::new(random_bits()?, capacity, shared.geometry().banks, page_size());
        let successor = succeed(directory, location, geometry, lock, &content, &shared, &bell)?;
        return Ok((successor, bell, content.number));
    }

    let number = seqlock::recover(&*shared).map_err(|damage| {
        Fault::new(
            ErrorKind::Damaged,
            format!(
                "damaged: bank {} has sequence {} where the newest message is {}; to start afresh: mailbox rm",
                damage.bank, damage.sequence, damage.latest
            ),
        )
    })?;
    // A `leaving` whose rename or unlink never came: its maker was killed, or it would hold the lock. (If it is the one
    // of a `rm --force`, which holds none, the file loses its name all the same, and that is looked at last.)
    call_off_leaving(&shared, &bell);
    wake_all(&shared, &bell);
    if shared.is_lost() {
        return Err(shared.damaged());
    }
    if asked > shared.geometry().capacity {
        let larger = grow(directory, location, asked, lock, &shared, &bell)?;
        return Ok((larger, bell, number));
    }
    Ok((shared, bell, number))
}

impl Hold {
    /// Writes into the header what people and readers may want to know of this writer.
    fn introduce(&self, options: &Options) {
        self.shared.writer_pid().store(std::process::id(), Relaxed);
        self.shared.always_wake().store(options.always_wake.into(), Relaxed);
    }

    /// Moves to a larger file, at least twice as large.
    pub fn grow(&mut self, location: &Location, options: &Options, capacity: usize) -> Result<(), Fault> {
        let directory = Directory::open(location, false)?;
        if !self.lock.is_current(&directory, &location.names.lock)? {
            return Err(removed());
        }
        self.shared = grow(&directory, location, capacity as u64, &self.lock, &self.shared, &self.bell)?;
        self.introduce(options);
        Ok(())
    }

    /// Clears a `leaving` that its maker left behind.
    pub fn call_off_leaving(&self) {
        call_off_leaving(&self.shared, &self.bell);
    }

    /// Whether any of the three files has lost its name: by three looks at descriptors.
    pub fn has_lost_a_name(&self) -> bool {
        self.shared.has_lost_its_name() || self.lock.has_lost_its_name() || self.bell.has_lost_its_name()
    }

    /// The same by the names themselves, which also tells when the directory was moved away.
    pub fn is_misnamed(&self, location: &Location) -> Result<bool, Fault> {
        let directory = Directory::open(location, true)?;
        let names = &location.names;
        Ok(!self.lock.is_current(&directory, &names.lock)?
            || !directory.look_up(&names.mailbox)?.is_some_and(|stat| self.shared.is(&stat))
            || !directory.look_up(&names.bell)?.is_some_and(|stat| self.bell.is(&stat)))
    }

    /// Puts back what strangers have swept away.
    ///
    /// # Errors
    ///
    /// `Removed` if another writer has taken the name.
    pub fn keep(&mut self, location: &Location, options: &Options) -> Result<(), Fault> {
        let directory = Directory::open(location, true)?;
        let names = &location.names;
        let mode = self.shared.stat()?.st_mode & PERMISSIONS;
        let is_named = || -> Result<bool, Fault> {
            Ok(directory.look_up(&names.mailbox)?.is_some_and(|stat| self.shared.is(&stat)))
        };
        if mode & 0o077 != 0 {
            directory.let_others_pass()?;
        }
        if !self.lock.is_current(&directory, &names.lock)? {
            // With bits of its own, so that whoever gets this new lock before us knows the file for another writer's.
            match Lock::acquire(&directory, &names.lock, lock_mode(mode)) {
                Ok(lock) => self.lock = lock,
                Err(fault) if fault.kind == ErrorKind::Busy => return Err(removed()),
                Err(fault) => return Err(fault),
            }
            if is_named()? {
                record_lock(&self.shared, self.lock.bits());
            }
        }
        if !directory.look_up(&names.bell)?.is_some_and(|stat| self.bell.is(&stat)) {
            self.bell = Bell::open_or_make(&directory, names, bell_mode(mode))?;
        }
        if is_named()? {
            return Ok(());
        }
        let (shared, number) = match Opened::open(&directory, &location.names.mailbox)? {
            Some(opened) => {
                let options = Options { mode: None, capacity: None, ..options.clone() };
                let (shared, bell, number) = take_over(&directory, location, &options, &self.lock, opened)?;
                self.bell = bell;
                (shared, number)
            }
            None => {
                let content = Content::of(&self.shared)?;
                let geometry = Geometry { page: page_size(), ..*self.shared.geometry() };
                let built = build(&directory, location, geometry, &self.lock, &content)?;
                keep_owner_and_mode(&built.fresh, &self.shared)?;
                if !self.lock.is_current(&directory, &location.names.lock)?
                    || !built.fresh.place(&directory, &location.names)?
                {
                    return Err(removed());
                }
                (built.shared, self.number)
            }
        };
        set_leaving(&self.shared);
        wake_all(&self.shared, &self.bell);
        self.shared = shared;
        self.number = number;
        self.introduce(options);
        Ok(())
    }
}

/// The final word to a writer that has lost its mailbox.
pub fn removed() -> Fault {
    Fault::new(ErrorKind::Removed, "it was removed, or another writer has taken its name")
}

/// Removes the files of a mailbox and wakes its readers; says whether there was anything.
pub fn remove(location: &Location, force: bool) -> Result<bool, Fault> {
    let directory = match Directory::open(location, false) {
        Err(fault) if fault.kind == ErrorKind::NotFound && location.is_default => return Ok(false),
        directory => directory?,
    };
    let names = &location.names;
    let mut there = false;
    for name in [&names.mailbox, &names.bell, &names.lock, &names.new, &names.new_bell] {
        there |= directory.look_up(name)?.is_some();
    }
    if !there {
        return Ok(false);
    }
    open_to_remove(&directory, location)?;
    match Lock::acquire(&directory, &names.lock, 0o600) {
        Ok(lock) => {
            if !force && made_under_another(&directory, location, &lock)? {
                directory.remove(&names.lock)?;
                let why = "its lock file is gone, so whether it has a live writer cannot be known; with --force it is \
                           removed all the same";
                return Err(Fault::new(ErrorKind::Busy, why));
            }
            directory.remove(&names.new)?;
            remove_name(&directory, location, false)?;
            remove_companions(&directory, location)?;
        }
        Err(fault) if fault.kind == ErrorKind::Busy && force => {
            // Its writer may be growing it, or putting it back, and sees `leaving` only with its next line.
            let end = Deadline::after(Duration::from_millis(100));
            loop {
                directory.remove(&names.new)?;
                // The bell first: once the name is gone another writer may come, and the bell may be its own.
                remove_name(&directory, location, true)?;
                std::thread::sleep(Duration::from_millis(10));
                if directory.look_up(&names.mailbox)?.is_none() || end.is_none_or(Deadline::has_passed) {
                    break;
                }
            }
            directory.remove(&names.new)?;
        }
        Err(fault) if fault.kind == ErrorKind::Busy => {
            return Err(Fault::new(ErrorKind::Busy, "it has a live writer; with --force it is removed all the same"));
        }
        Err(fault) => return Err(fault),
    }
    Ok(true)
}

/// Whether the mailbox was made under another lock file than this one, whose holder may be alive.
fn made_under_another(directory: &Directory, location: &Location, lock: &Lock) -> Result<bool, Fault> {
    Ok(open_to_remove(directory, location)?.is_some_and(|opened| opened.header.lock != lock.bits()))
}

/// Opens what is to be removed; `None` if there is nothing to tell anybody in: nothing at all, or something damaged.
/// What is no mailbox is not ours to remove.
fn open_to_remove(directory: &Directory, location: &Location) -> Result<Option<Opened>, Fault> {
    match Opened::open(directory, &location.names.mailbox) {
        Err(fault) if matches!(fault.kind, ErrorKind::Damaged | ErrorKind::UnsupportedLayout) => Ok(None),
        opened => opened,
    }
}

/// Removes NAME, before it the bell if `with_bell`, and wakes its readers.
fn remove_name(directory: &Directory, location: &Location, with_bell: bool) -> Result<(), Fault> {
    let name = &location.names.mailbox;
    // Whatever can be refused, before anything is changed.
    let bell = Bell::open(directory, &location.names.bell)?;
    let unlink = || -> Result<(), Fault> {
        if with_bell {
            directory.remove(&location.names.bell)?;
        }
        directory.remove(name).map(drop)
    };
    let shared = loop {
        let Some(opened) = open_to_remove(directory, location)? else { return unlink() };
        let shared = opened.map_to_write(directory)?;
        set_leaving(&shared);
        // A growth may have put another file there meanwhile, which would be removed in the place of this one.
        if directory.look_up(name)?.is_none_or(|named| shared.is(&named)) {
            break shared;
        }
    };
    // Before the epoch moves: a reader that sees `leaving` and still finds the file's name waits for the epoch.
    unlink()?;
    set_leaving_for_good(&shared);
    shared.eventcount().notify_all(&futex::Shared);
    if let Some(bell) = bell {
        bell.ring();
    }
    Ok(())
}

/// Removes all but NAME.
fn remove_companions(directory: &Directory, location: &Location) -> Result<(), Fault> {
    let names = &location.names;
    for name in [&names.new, &names.new_bell, &names.bell, &names.lock] {
        directory.remove(name)?;
    }
    Ok(())
}

/// The bell's mode: the mailbox's, without rights for those who may not write it. A reader of a FIFO can keep its
/// writer waiting, by reading into a page that never arrives.
fn bell_mode(mode: u32) -> u32 {
    if mode & 0o020 != 0 { 0o660 } else { 0o600 }
}

/// The lock's mode: for those who may write the mailbox.
fn lock_mode(mode: u32) -> u32 {
    bell_mode(mode)
}

fn page_size() -> u32 {
    // Cannot fail: the name is known since POSIX.1.
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |size| size as u32)
}

fn set_leaving(shared: &Shared) {
    // ORDERING: Relaxed. A reader that must see this knows that something has happened after it: a message in the next
    // file, by means that carry the order; or the new epoch, whose step is a Release ([bump]) that pairs with the
    // reader's [key].
    shared.leaving().store(1, Relaxed);
}

/// Sets `leaving` again once the name is gone: a live writer clears one that seems to be of somebody who was killed
/// before that.
fn set_leaving_for_good(shared: &Shared) {
    // ORDERING [gone]: SeqCst fence, pairs with [called-off] in `call_off_leaving`. The name went before this, and
    // `leaving` is set after it; there it is cleared, then the name looked at. Without either fence both can come to
    // nothing, the last word on `leaving` is 0, and readers stay. (The system calls between may order it all the same;
    // no manual says so.)
    sync::core_fence(SeqCst);
    set_leaving(shared);
}

/// Clears a `leaving` after which no name went, as it seems; says whether the file has its name.
///
/// Whoever set it may remove the name all the same, at any moment. So the name is looked at again after the store: if
/// it is gone, `leaving` has to be set for good, for the remover's own store may have come before ours.
/// (`docs/models/leaving.pml`, and `leave.c`, there with a weak memory.)
fn call_off_leaving(shared: &Shared, bell: &Bell) -> bool {
    shared.leaving().store(0, Relaxed);
    // ORDERING [called-off]: SeqCst fence, pairs with [gone] in `set_leaving_for_good`. The look at the name must not
    // come before the store is seen: even on x86-64 that waits in the store buffer.
    sync::core_fence(SeqCst);
    let is_named = !shared.has_lost_its_name();
    // In memory that was lost the word is an alarm, which the store may have wiped.
    if !is_named || shared.is_lost() {
        set_leaving(shared);
        wake_all(shared, bell);
    }
    is_named
}

fn wake_all(shared: &Shared, bell: &Bell) {
    shared.eventcount().notify_all(&futex::Shared);
    bell.ring();
}

fn record_lock(shared: &Shared, bits: [u8; 16]) {
    let (halves, _) = bits.as_chunks::<8>();
    for (word, half) in shared.lock().into_iter().zip(halves) {
        // ORDERING: Relaxed. Read by the holder of the lock only, and locking orders them.
        word.store(u64::from_le_bytes(*half), Relaxed);
    }
}

/// What goes from one file to the next.
struct Content {
    /// Number of the newest message.
    number: u64,
    /// It, with its time; missing if there is none, and after a kill in the middle of the only bank.
    line: Option<(Vec<u8>, u64)>,
}

impl Content {
    const EMPTY: Self = Self { number: 0, line: None };

    fn of(shared: &Shared) -> Result<Self, Fault> {
        let mut bytes = Vec::new();
        match seqlock::read_newest(&**shared, 0, true, &mut bytes, &mut 0) {
            Reading::Nothing | Reading::Unfinished if shared.is_lost() => Err(shared.damaged()),
            Reading::Line { number, length, time } => {
                bytes.truncate(length);
                Ok(Self { number, line: Some((bytes, time)) })
            }
            Reading::Nothing => Ok(Self::EMPTY),
            Reading::Unfinished => Ok(Self { number: seqlock::announced(&**shared), line: None }),
            Reading::Damaged => Err(shared.damaged()),
            Reading::NoRoom(length) => Err(Fault::no_memory(length)),
        }
    }

    fn put(&self, shared: &Shared) {
        match &self.line {
            Some((bytes, time)) => {
                // The banks before it say that their messages have been: a reader that holds an older one, or none,
                // goes by the bank that comes next for it, and passes on from there. Nobody reads their content.
                let first = self.number.saturating_sub(shared.banks() - 1).max(1);
                for passed in first..self.number {
                    seqlock::end_write(shared.bank(passed), passed);
                }
                seqlock::publish(&**shared, self.number, *time, bytes);
            }
            None if self.number > 0 => {
                // As in the file that it comes from: the line is gone, its number is not used again.
                seqlock::begin_write(shared.bank(self.number + 1), self.number + 1);
                seqlock::announce(&**shared, self.number);
            }
            None => {}
        }
    }
}

struct Built {
    fresh: Fresh,
    shared: Shared,
}

/// Builds a file, complete but for its name, owner and mode.
fn build(
    directory: &Directory,
    location: &Location,
    geometry: Geometry,
    lock: &Lock,
    content: &Content,
) -> Result<Built, Fault> {
    let fresh = Fresh::new(directory, &location.names, geometry.footprint())?;
    let unwritten = |e: io::Error| Fault::system("the new file cannot be written", e);
    let header: [u8; HEADER] = geometry.encode(lock.bits());
    fresh.file().write_all_at(&header[MAGIC.len()..], MAGIC.len() as u64).map_err(unwritten)?;
    let shared = shm::map_whole(fresh.file().try_clone().map_err(unwritten)?, geometry)?;
    content.put(&shared);
    fresh.file().write_all_at(&MAGIC, 0).map_err(unwritten)?;
    Ok(Built { fresh, shared })
}

fn grow(
    directory: &Directory,
    location: &Location,
    capacity: u64,
    lock: &Lock,
    old: &Shared,
    bell: &Bell,
) -> Result<Shared, Fault> {
    let geometry = old.geometry();
    let capacity = capacity.max(geometry.capacity.saturating_mul(2).min(DOUBLED_TO));
    let larger = Geometry::new(geometry.instance, capacity, geometry.banks, page_size());
    succeed(directory, location, larger, lock, &Content::of(old)?, old, bell)
}

/// Puts a new file in the place of `old`, whose readers go on in it.
fn succeed(
    directory: &Directory,
    location: &Location,
    geometry: Geometry,
    lock: &Lock,
    content: &Content,
    old: &Shared,
    bell: &Bell,
) -> Result<Shared, Fault> {
    let built = build(directory, location, geometry, lock, content)?;
    if let Err(fault) = install(&built, directory, location, lock, old, bell) {
        _ = directory.remove(&location.names.new);
        return Err(fault);
    }
    wake_all(old, bell);
    Ok(built.shared)
}

fn install(
    built: &Built,
    directory: &Directory,
    location: &Location,
    lock: &Lock,
    old: &Shared,
    bell: &Bell,
) -> Result<(), Fault> {
    let names = &location.names;
    keep_owner_and_mode(&built.fresh, old)?;
    built.fresh.stage(directory, names)?;
    // Removed meanwhile by a `rm --force`, which has to be the end of it. (A sweep sets no `leaving`.)
    let is_removed = || old.leaving().load(Relaxed) != 0 && old.has_lost_its_name();
    if !lock.is_current(directory, &names.lock)? || is_removed() {
        return Err(removed());
    }
    set_leaving(old);
    // The rename comes before the epoch moves: see `remove_name`.
    if let Err(fault) = shm::replace(directory, names) {
        return Err(if call_off_leaving(old, bell) { fault } else { removed() });
    }
    set_leaving_for_good(old);
    Ok(())
}

fn keep_owner_and_mode(fresh: &Fresh, old: &Shared) -> Result<(), Fault> {
    let was = old.stat()?;
    let file = fresh.file();
    let refused = |e: nix::Error| Fault::system("a new file in its place would not have the same owner and mode", e);
    let is = nix::sys::stat::fstat(file.as_fd()).map_err(refused)?;
    if (is.st_uid, is.st_gid) != (was.st_uid, was.st_gid) {
        fchown(file, Some(Uid::from_raw(was.st_uid)), Some(Gid::from_raw(was.st_gid))).map_err(refused)?;
    }
    let mode = nix::sys::stat::Mode::from_bits_truncate(was.st_mode & PERMISSIONS);
    nix::sys::stat::fchmod(file, mode).map_err(refused)
}
