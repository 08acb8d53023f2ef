//! C4: root works in the directory of another user, by `Options::owner`, while that user replaces `box` and the files
//! beside it (`.bell`, `.lock`, `.new`, `.bell.new`) as fast as it can: by links, symbolic and hard, to root's own
//! mailbox, its lock and a FIFO of root's, by directories, FIFOs, sockets, empty files and mailboxes of its own.
//!
//! A race would be won if root changed a file of its own on that user's behalf, returned a line of root's mailbox as
//! one of that user's, or waited for ever. The kernel's protection of links in shared directories
//! (`/proc/sys/fs/protected_*`) does not apply: the directory is not sticky.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use shm_mailbox::{Error, ErrorKind, Options};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words};
use crate::random::Random;
use crate::second_user::{OTHER, become_other, open_to_others, possible};

pub const C4: Check = Check {
    id: "C4",
    fault: "files swapped between check and use, by another user",
    unit: "calls beside a swapper",
    ci: 100_000,
    soak: 10_000_000,
    turn: 200_000,
    evidence: &["swaps", "refused: not trusted", "refused: no mailbox", "refused: busy", "went through", "lines read"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("swapper", swapper), ("lured", lured)];

/// Shared words: set to end, swaps, calls, and what became of them.
const STOP: usize = 0;
const SWAPS: usize = 8;
const CALLS: usize = 16;
const COUNTS: usize = 24;
const OUTCOMES: [&str; 6] =
    ["refused: not trusted", "refused: no mailbox", "refused: busy", "refused otherwise", "went through", "lines read"];
const UNTRUSTED: usize = 0;
const FOREIGN: usize = 1;
const BUSY: usize = 2;
const OTHERWISE: usize = 3;
const WENT_THROUGH: usize = 4;
const LINES: usize = 5;

/// What root's own mailbox holds.
const SECRET: &[u8] = b"root's own";
const THEIRS: &[u8] = b"of that user";

/// Arguments: the directory, root's, seed.
fn swapper(parent: &mut Parent) {
    let words = Words::of_parent();
    let (dir, roots): (PathBuf, PathBuf) = (parent.argument(0), parent.argument(1));
    let mut random = Random::new(parent.argument(2));
    become_other();
    // A mailbox that is as it should be, to be put back again and again: without one, root would hardly get beyond its
    // first look.
    let spare = dir.join("spare");
    fs::create_dir(&spare).unwrap();
    parent.say("ready");
    while words.get(STOP) == 0 {
        for _ in 0..64 {
            let entry = random.pick(&["box", "box", "box.bell", "box.lock", "box.new", "box.bell.new"]);
            let (path, aside) = (dir.join(entry), dir.join("aside"));
            remove(&aside);
            let target = roots.join(random.pick(&["box", "box.bell", "box.lock", "fifo", "file", "."]));
            let is_made = match random.below(10) {
                0 => symlink(&target, &aside).is_ok(),
                1 => symlink(roots.join(entry), &aside).is_ok(),
                // Refused where the kernel protects hard links.
                2 | 3 => fs::hard_link(&target, &aside).is_ok(),
                4 => mkfifo(&aside, Mode::S_IRUSR | Mode::S_IWUSR).is_ok(),
                5 => random.below(2) == 0 && fs::create_dir(&aside).is_ok(),
                6 => random.below(8) == 0 && UnixListener::bind(&aside).is_ok(),
                7 => File::create(&aside).is_ok(),
                8 => theirs(&spare).is_ok() && fs::rename(spare.join(entry), &aside).is_ok(),
                // Nothing there: root makes it.
                _ => {
                    remove(&path);
                    false
                }
            };
            if is_made {
                // In one step, unless a directory is in the way.
                if fs::rename(&aside, &path).is_err() {
                    remove(&path);
                    _ = fs::rename(&aside, &path);
                }
                words.add(SWAPS, 1);
            }
        }
        // A pause now and then, in which root gets somewhere.
        thread::sleep(Duration::from_micros(random.below(200)));
    }
}

/// Makes all of a mailbox of that user's.
fn theirs(spare: &Path) -> Result<(), Error> {
    for entry in ["box", "box.bell", "box.lock", "box.new", "box.bell.new"] {
        remove(&spare.join(entry));
    }
    let mut writer = Options::new().dir(spare).create(NAME)?;
    writer.publish(THEIRS).map(drop)
}

fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        _ = fs::remove_dir(path);
    }
}

/// Root, who does all that a mailbox's user can do. Arguments: the directory, seed.
fn lured(parent: &mut Parent) {
    let words = Words::of_parent();
    let dir: PathBuf = parent.argument(0);
    let mut random = Random::new(parent.argument(1));
    let options = Options::new().dir(&dir).owner(OTHER);
    let count = |what: usize| words.add(COUNTS + what, 1);
    let count_error = |error: &Error| {
        count(match error.kind() {
            ErrorKind::Untrusted => UNTRUSTED,
            ErrorKind::NotAMailbox => FOREIGN,
            ErrorKind::Busy => BUSY,
            _ => OTHERWISE,
        });
    };
    while words.get(STOP) == 0 {
        let mut calls = 1;
        match random.below(8) {
            0..3 => match options.create(NAME) {
                Ok(mut writer) => {
                    let results = [
                        writer.publish(b"by root").map(drop),
                        writer.grow(10_000),
                        writer.check(),
                        writer.publish(b"by root, again").map(drop),
                    ];
                    calls += results.len() as u64;
                    count(WENT_THROUGH);
                    results.iter().for_each(|result| match result {
                        Ok(()) => count(WENT_THROUGH),
                        Err(error) => count_error(error),
                    });
                }
                Err(error) => count_error(&error),
            },
            3..6 => match options.open(NAME) {
                Ok(mut reader) => {
                    count(WENT_THROUGH);
                    _ = reader.doorbell();
                    for _ in 0..3 {
                        calls += 1;
                        match reader.try_read() {
                            Ok(Some(message)) => {
                                assert_ne!(message.bytes, SECRET, "a line of root's own mailbox");
                                count(LINES);
                            }
                            Ok(None) => count(WENT_THROUGH),
                            Err(error) => count_error(&error),
                        }
                    }
                }
                Err(error) => count_error(&error),
            },
            6 => match options.remove(NAME, random.below(2) == 0) {
                Ok(_) => count(WENT_THROUGH),
                Err(error) => count_error(&error),
            },
            _ => match options.inspect(NAME) {
                Ok(_) => count(WENT_THROUGH),
                Err(error) => count_error(&error),
            },
        }
        words.add(CALLS, calls);
    }
}

/// What must not change of root's files: kind and mode, owner, content; for FIFOs, that nothing is in them.
fn state(roots: &Path) -> Vec<(String, u32, u32, u32, u64)> {
    let mut files: Vec<_> = fs::read_dir(roots)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            let content = if metadata.is_file() { checksum(&fs::read(entry.path()).unwrap()) } else { 0 };
            (entry.file_name().into_string().unwrap(), metadata.mode(), metadata.uid(), metadata.gid(), content)
        })
        .collect();
    files.sort();
    files
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum, &byte| crate::common::mix(sum ^ u64::from(byte)))
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    possible()?;
    let place = Place::new();
    let words = Words::new(place.dir());
    // Root's own, which that user can name but neither read nor write.
    let roots = place.path("roots");
    fs::create_dir(&roots).unwrap();
    Options::new().dir(&roots).create(NAME).unwrap().publish(SECRET).unwrap();
    mkfifo(&roots.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    fs::write(roots.join("file"), "text").unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o711)).unwrap();
    let dir = place.path("theirs");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&dir, Some(OTHER), Some(OTHER)).unwrap();
    open_to_others(&place);
    let before = state(&roots);

    let mut swapper = Child::start("swapper", &place, &[&dir.display(), &roots.display(), &seed]);
    swapper.expect("ready");
    let mut lured = Child::start("lured", &place, &[&dir.display(), &!seed]);
    let (mut seen, mut moved) = (0, Instant::now());
    while words.get(CALLS) < amount {
        lured.assert_alive();
        swapper.assert_alive();
        assert_eq!(state(&roots), before, "root's own files were changed");
        let calls = words.get(CALLS);
        if calls != seen {
            (seen, moved) = (calls, Instant::now());
        }
        assert!(moved.elapsed() < LIMIT, "root waits, after {calls} calls");
        thread::sleep(Duration::from_millis(2));
    }
    words.set(STOP, 1);
    lured.end();
    swapper.end();
    assert_eq!(state(&roots), before, "root's own files were changed");
    let mut tally = Tally { done: words.get(CALLS), ..Tally::default() };
    tally.add("swaps", words.get(SWAPS));
    for (nth, name) in OUTCOMES.into_iter().enumerate() {
        tally.add(name, words.get(COUNTS + nth));
    }
    Ok(tally)
}
