//! D1: a tmpfs of its own with 0 to 64 free pages. Whatever is made, grown, taken over or published there works or is
//! an error that says so, nothing half-made stays, and nobody dies of SIGBUS; a mailbox from before goes on at every
//! number.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::fstatvfs;
use shm_mailbox::{Error, ErrorKind, Options};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, fill, is_line, is_root};
use crate::random::Random;

pub const D1: Check = Check {
    id: "D1",
    fault: "a tmpfs with 0 to 64 free pages",
    unit: "tries",
    ci: 1_300,
    soak: 100_000,
    turn: 2_600,
    evidence: &OUTCOMES,
    run,
};

pub const ROLES: &[Role<'static>] = &[("cramped", cramped)];

const PAGE: u64 = 4096;
const PAGES: u64 = 160;
const MOST_FREE: u64 = 64;
const OUTCOMES: [&str; 4] = ["made", "no room to make", "grown", "no room to grow"];
const MADE: usize = 0;
const NOT_MADE: usize = 1;
const GROWN: usize = 2;
const NOT_GROWN: usize = 3;
/// Shared words: tries, then the counts.
const TRIES: usize = 0;
const COUNTS: usize = 8;

/// Arguments: how many tries, seed.
fn cramped(parent: &mut Parent) {
    let words = Words::of_parent();
    let (amount, mut random) = (parent.argument::<u64>(0), Random::new(parent.argument(1)));
    let dir = PathBuf::from(std::env::var_os("MAILBOX_DIR").unwrap()).join("small");
    fs::create_dir(&dir).unwrap();
    if let Err(why) = apart().and_then(|()| mount(&dir)) {
        return parent.say(why);
    }
    let options = Options::new().dir(&dir);
    let count = |what: usize| words.add(COUNTS + what, 1);
    let room = Room(File::create(dir.join("room")).unwrap());
    let mut before = options.create(NAME).unwrap();
    let mut reader = options.open(NAME).unwrap();
    for nth in 0..amount {
        room.leave(nth % (MOST_FREE + 1));
        let capacity = 1 + random.below(40_000) as usize;
        match options.clone().capacity(capacity).create("other") {
            Ok(mut writer) => {
                count(MADE);
                let mut other = options.open("other").unwrap();
                let mut line = vec![0; capacity];
                fill(&mut line, 1, nth);
                // Round the banks, so that each page of each has been written to.
                for number in 1..=4 {
                    assert_eq!(writer.publish(&line).unwrap(), number);
                    assert!(is_line(other.try_read().unwrap().unwrap().bytes, 1, nth));
                }
                match writer.grow(capacity + 1 + random.below(40_000) as usize) {
                    Ok(()) => count(GROWN),
                    Err(error) => {
                        says_no_room(&error);
                        count(NOT_GROWN);
                    }
                }
                line.resize(writer.capacity(), 0);
                fill(&mut line, 5, nth);
                assert_eq!(writer.publish(&line).unwrap(), 5);
                assert!(is_line(other.read().unwrap().bytes, 5, nth));
                drop(writer);
                drop(options.create("other").unwrap());
                assert!(options.remove("other", false).unwrap());
            }
            Err(error) => {
                says_no_room(&error);
                count(NOT_MADE);
            }
        }
        let mut entries: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        assert_eq!(entries, ["box", "box.bell", "box.lock", "room"], "with {} free pages", nth % (MOST_FREE + 1));
        let mut line = [0; 4096];
        fill(&mut line, nth, nth);
        before.publish(&line).unwrap();
        assert!(is_line(reader.try_read().unwrap().unwrap().bytes, nth, nth));
        if nth.is_multiple_of(7) {
            drop(before);
            before = options.create(NAME).unwrap();
        }
        words.set(TRIES, nth + 1);
    }
    parent.say("done");
}

#[track_caller]
fn says_no_room(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("no room"), "{error}");
}

/// The file that takes what is not to be free.
struct Room(File);

impl Room {
    fn leave(&self, pages: u64) {
        self.0.set_len(0).unwrap();
        let free = fstatvfs(&self.0).unwrap().blocks_available();
        let taken = free.checked_sub(pages).expect("the file system is large enough");
        if taken > 0 {
            posix_fallocate(&self.0, 0, (taken * PAGE) as i64).unwrap();
        }
        assert_eq!(fstatvfs(&self.0).unwrap().blocks_available(), pages);
    }
}

/// From now on, mounts of this process are its own. (It has one thread: the kernel gives no user namespace to more.)
fn apart() -> Result<(), String> {
    let refused = |what: &str, error: &dyn std::fmt::Display| format!("no namespace of its own: {what}: {error}");
    let mut flags = CloneFlags::CLONE_NEWNS;
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|error| refused("unshare", &error))?;
    if !uid.is_root() {
        for (path, map) in
            [("setgroups", "deny".into()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
        {
            fs::write(format!("/proc/self/{path}"), map).map_err(|error| refused(path, &error))?;
        }
    }
    Ok(())
}

fn mount(dir: &Path) -> Result<(), String> {
    let mount = |kind: &CStr, at: &Path, flags, data: &str| {
        let at = CString::new(at.to_str().unwrap()).unwrap();
        let data = CString::new(data).unwrap();
        // SAFETY: four strings that end with NUL and live through the call; only this process sees the mounts.
        let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
        if result == 0 { Ok(()) } else { Err(format!("mount: {}", std::io::Error::last_os_error())) }
    };
    mount(c"none", Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount(c"tmpfs", dir, 0, &format!("size={},mode=700", PAGES * PAGE))
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut child = Child::start("cramped", &place, &[&amount, &seed]);
    match child.hear().as_str() {
        "done" => child.end(),
        why => return Err(Skip(why.into())),
    }
    let mut tally = Tally { done: words.get(TRIES), ..Tally::default() };
    for (nth, name) in OUTCOMES.into_iter().enumerate() {
        tally.add(name, words.get(COUNTS + nth));
    }
    Ok(tally)
}
