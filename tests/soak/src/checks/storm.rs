//! D3: 64 processes at once create, publish, remove (also by force, also NAME.lock alone, by hand) and open one
//! mailbox. Never do two writers have one file: each takes an flock on the file that it has mapped, of a kind that the
//! library does not use, and must get it. When the storm is over there is one writer, and all readers are with it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use shm_mailbox::{Error, ErrorKind, Options};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words, mix};
use crate::random::Random;

pub const D3: Check = Check {
    id: "D3",
    fault: "64 processes create, remove and open at once",
    unit: "storms",
    ci: 500,
    soak: 100_000,
    turn: 500,
    evidence: COUNTED.split_at(DISTURBED).0,
    run,
};

pub const ROLES: &[Role<'static>] = &[("stormy_writer", stormy_writer), ("stormy_reader", stormy_reader)];

const WRITERS: usize = 48;
const READERS: usize = 16;
const ACTIONS: u64 = 3;

/// Shared words: the counts.
const COUNTED: [&str; 8] = [
    "writers alone on their file",
    "writers whose file was gone by then",
    "busy",
    "removed",
    "removed by force",
    "locks removed by hand",
    "lines read meanwhile",
    "disturbed, after a lock was removed by hand",
];
const ALONE: usize = 0;
const GONE: usize = 1;
const BUSY: usize = 2;
const REMOVED: usize = 3;
const FORCED: usize = 4;
const UNLOCKED: usize = 5;
const LINES: usize = 6;
const DISTURBED: usize = 7;
const fn word(what: usize) -> usize {
    8 * what
}

fn stormy_writer(parent: &mut Parent) {
    let words = Words::of_parent();
    let dir = std::env::var_os("MAILBOX_DIR").unwrap();
    let path = Path::new(&dir).join(NAME);
    let options = Options::new();
    let count = |what: usize| words.add(word(what), 1);
    loop {
        let Ok(seed) = parent.hear().parse() else { return };
        let mut random = Random::new(seed);
        for _ in 0..ACTIONS {
            match random.below(8) {
                0..5 => match options.create(NAME) {
                    Ok(mut writer) => {
                        let held = alone_on_its_file(&path);
                        count(if held.is_some() { ALONE } else { GONE });
                        for _ in 0..random.below(4) {
                            if let Err(error) = writer.publish(&random.next().to_le_bytes()) {
                                assert!(error.kind() == ErrorKind::Removed || why(&error) == DISTURBED, "{error}");
                            }
                        }
                        drop(held);
                    }
                    Err(error) => count(why(&error)),
                },
                5 => match options.remove(NAME, false) {
                    Ok(was_there) => words.add(word(REMOVED), was_there.into()),
                    Err(error) => count(why(&error)),
                },
                6 => match options.remove(NAME, true) {
                    Ok(was_there) => words.add(word(FORCED), was_there.into()),
                    Err(error) => count(why(&error)),
                },
                _ => words.add(word(UNLOCKED), fs::remove_file(path.with_extension("lock")).is_ok().into()),
            }
        }
        parent.say("calm");
    }
}

/// Why a call failed. Two who hold a lock file each, because one was removed by hand, may remove each other's NAME.new:
/// then one of them says so, and may try again.
#[track_caller]
fn why(error: &Error) -> usize {
    match error.kind() {
        ErrorKind::Busy => BUSY,
        ErrorKind::NotFound | ErrorKind::Io => DISTURBED,
        other => panic!("{other:?}: {error}"),
    }
}

/// Locks the file that this process has mapped as its writer. `None` if it has lost its name, so that nobody can come
/// to it any more.
fn alone_on_its_file(path: &Path) -> Option<Flock<File>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // Address, rights, offset, device, inode, path (proc_pid_maps(5)): of a writer it is the whole file, writable.
    let inode: u64 = maps.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_ours = fields.get(1) == Some(&"rw-s") && fields.get(2) == Some(&"00000000") && fields.len() > 5;
        (is_ours && fields[5] == path.to_str().unwrap()).then(|| fields[4].parse().unwrap())
    })?;
    let file = File::open(path).ok()?;
    if file.metadata().unwrap().ino() != inode {
        return None;
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Some(held),
        Err((_, errno)) => panic!("two writers on one file: {errno}"),
    }
}

fn stormy_reader(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    loop {
        let said = parent.hear();
        if let Some(line) = said.strip_prefix("find ") {
            while reader.read_timeout(LIMIT).unwrap().expect("the last writer's line").bytes != line.as_bytes() {}
            parent.say("found");
            continue;
        }
        let Ok(seed) = said.parse() else { return };
        let mut random = Random::new(seed);
        for _ in 0..20 {
            match random.below(4) {
                0 => reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap(),
                1 => words.add(word(LINES), reader.latest().unwrap().is_some().into()),
                _ => words.add(word(LINES), reader.try_read().unwrap().is_some().into()),
            }
        }
        parent.say("calm");
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let start = |role, count| (0..count).map(|_| Child::start(role, &place, &[])).collect::<Vec<_>>();
    let (mut writers, mut readers) = (start("stormy_writer", WRITERS), start("stormy_reader", READERS));
    let mut tally = Tally::default();
    for storm in 1..=amount {
        for (nth, child) in (0..).zip(writers.iter_mut().chain(&mut readers)) {
            child.say(mix(seed ^ mix(storm << 8 | nth)));
        }
        writers.iter_mut().chain(&mut readers).for_each(|child| child.expect("calm"));
        // A lock file that was removed by hand last of all leaves one file too many, which the next writer puts right.
        let mut last = place.options().create(NAME).unwrap();
        let line = format!("after storm {storm}");
        last.publish(line.as_bytes()).unwrap();
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy, "one writer");
        readers.iter_mut().for_each(|child| child.say(format!("find {line}")));
        readers.iter_mut().for_each(|child| child.expect("found"));
        assert_eq!(last.publish(b"and after it").unwrap(), last.number());
        assert_eq!(place.entries(), ["box", "box.bell", "box.lock", "words"], "nothing is left over");
        tally.done += 1;
    }
    writers.iter_mut().chain(&mut readers).for_each(|child| child.say("end"));
    writers.into_iter().chain(readers).for_each(Child::end);
    for (nth, name) in COUNTED.into_iter().enumerate() {
        tally.add(name, words.get(word(nth)));
    }
    Ok(tally)
}
