//! D6: opening and closing by the hundred thousand leaves no descriptor, no mapping and no memory.

use std::fs;
use std::time::Duration;

use shm_mailbox::Options;

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, mix};

pub const D6: Check = Check {
    id: "D6",
    fault: "leaks",
    unit: "openings and closings",
    ci: 100_000,
    soak: 10_000_000,
    turn: 200_000,
    evidence: &["readers", "readers with a doorbell", "readers without a mailbox", "writers", "growths", "removals"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("opener", opener)];

/// Of pages: what an allocator arranges differently from time to time.
const SLACK_OF_PAGES: u64 = 1 << 20;

/// What the GNU allocator keeps at hand for a thread counts as allocated, and is there only once a size was given back:
/// some kilobytes, at a moment that chance decides.
const NO_CACHE: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// Where each kind is counted, in the order of `D6.evidence`.
const COUNTS: usize = 0;

/// What this process holds: descriptors, mappings, bytes of its own.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    mappings: usize,
    pages: u64,
    /// Bytes that are allocated, where the C library tells.
    allocated: u64,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let pages = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    Held {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        pages: pages.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10,
        allocated: allocated(),
    }
}

#[cfg(target_env = "gnu")]
fn allocated() -> u64 {
    // SAFETY: it reads the allocator's own figures; this process has one thread.
    unsafe { nix::libc::mallinfo2() }.uordblks as u64
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> u64 {
    0
}

/// Opens and closes. Arguments: how many times, seed.
fn opener(parent: &mut Parent) {
    let (times, seed): (u64, u64) = (parent.argument(0), parent.argument(1));
    let words = Words::of_parent();
    // Until all that is made once, and every kind's buffers, are there.
    (0..1000).for_each(|time| open_and_close(&words, mix(seed ^ !time)));
    (0..D6.evidence.len()).for_each(|kind| words.set(COUNTS + kind, 0));
    let before = held();
    (0..times).for_each(|time| open_and_close(&words, mix(seed ^ time)));
    let after = held();
    assert_eq!(after.descriptors, before.descriptors, "descriptors");
    assert!(after.mappings <= before.mappings + 2, "{before:?}, then {after:?}");
    assert_eq!(after.allocated, before.allocated, "bytes that are allocated");
    assert!(after.pages <= before.pages + SLACK_OF_PAGES, "{before:?}, then {after:?}");
}

fn open_and_close(words: &Words, random: u64) {
    let kind = match random % 100 {
        0..60 => 0,
        60..80 => 1,
        80..90 => 2,
        90..97 => 3,
        97..99 => 4,
        _ => 5,
    };
    let options = Options::new().wait_for_mailbox(true);
    match kind {
        0 => assert_eq!(options.open(NAME).unwrap().try_read().unwrap().unwrap().bytes, b"line"),
        1 => {
            let mut reader = options.open(NAME).unwrap();
            let _doorbell = reader.doorbell().unwrap();
            _ = reader.try_read().unwrap().unwrap();
            assert!(reader.try_read().unwrap().is_none());
        }
        2 => assert!(options.open("none").unwrap().read_timeout(Duration::from_nanos(1)).unwrap().is_none()),
        3 => _ = options.create(NAME).unwrap().publish(b"line").unwrap(),
        4 => {
            let mut writer = options.create("other").unwrap();
            let mut reader = options.open("other").unwrap();
            writer.publish(b"line").unwrap();
            writer.grow(writer.capacity() + 1).unwrap();
            assert_eq!(reader.read().unwrap().bytes, b"line");
            drop(writer);
            options.remove("other", false).unwrap();
        }
        _ => {
            drop(options.create("other").unwrap());
            options.remove("other", false).unwrap();
        }
    }
    words.add(COUNTS + kind, 1);
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    place.options().create(NAME).unwrap().publish(b"line").unwrap();
    let mut opener = Child::start_with("opener", &place, &[&amount, &seed], &[NO_CACHE]);
    // As long as it takes.
    while opener.is_running() {
        std::thread::sleep(Duration::from_millis(5));
    }
    opener.end();
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock", "words"], "left in the directory");
    let mut tally = Tally::default();
    for (kind, name) in D6.evidence.iter().enumerate() {
        let count = words.get(COUNTS + kind);
        tally.done += count;
        tally.add(name, count);
    }
    Ok(tally)
}
