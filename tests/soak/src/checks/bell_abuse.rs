//! C6: what others who may write can do to the doorbell's FIFO: fill it, empty it, remove it, put something else there.
//! Each ring returns and raises no SIGPIPE (which would end the process that rings), and wakes the poller if the FIFO
//! is still the one that both have open.

use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use shm_mailbox::{Options, Reader};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, LIMIT, NAME, Parent, Place, Role, Words};
use crate::random::Random;

pub const C6: Check = Check {
    id: "C6",
    fault: "the doorbell's FIFO is full, empty, removed or replaced",
    unit: "rings",
    ci: 100_000,
    soak: 10_000_000,
    turn: 200_000,
    evidence: &["filled", "emptied", "removed", "another FIFO", "another kind of file", "pollers woken at once"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("ringer", ringer)];

/// What happened to the FIFO before the ring.
const FATES: [&str; 7] =
    ["as it was", "filled", "emptied", "removed", "another FIFO", "another kind of file", "nobody there"];
/// Shared words: rings, then the counts.
const RINGS: usize = 0;
const COUNTS: usize = 8;
const WOKEN: usize = 24;

/// Arguments: how many rings, seed.
fn ringer(parent: &mut Parent) {
    let words = Words::of_parent();
    let (amount, mut random) = (parent.argument::<u64>(0), Random::new(parent.argument(1)));
    // Rust ignores it.
    // SAFETY: no handler, the default action.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
    let path = std::path::Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(NAME);
    let bell = path.with_extension("bell");
    let mut reader = None;
    let mut writer = Options::new().create(NAME).unwrap();
    // Whether the FIFO that bears the name is the one that the writer has open.
    let mut is_named = true;
    for ring in 1..=amount {
        // What was done to the name is undone now and then, by the writer itself.
        if !is_named && random.below(8) == 0 {
            if fs::symlink_metadata(&bell).is_ok() && !is_fifo(&bell) {
                remove(&bell);
            }
            drop(writer);
            writer = Options::new().create(NAME).unwrap();
            (reader, is_named) = (None, true);
        }
        let fate = random.below(FATES.len() as u64) as usize;
        // To poll a FIFO, a reader has to have found it.
        if fate == 6 {
            reader = None;
        } else if reader.is_none() && is_named {
            let mut new = Options::new().open(NAME).unwrap();
            _ = new.doorbell().unwrap();
            reader = Some(new);
        }
        match fate {
            1 if is_named => fill(&bell),
            2 if is_named => empty(&bell),
            3 => remove(&bell),
            4 => {
                remove(&bell);
                mkfifo(&bell, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            }
            5 => {
                remove(&bell);
                match random.below(3) {
                    0 => fs::write(&bell, "").unwrap(),
                    1 => symlink("/dev/full", &bell).unwrap(),
                    _ => fs::create_dir(&bell).unwrap(),
                }
            }
            _ => {}
        }
        is_named &= !matches!(fate, 3..6);
        let is_watched = reader.as_mut().is_some_and(drain);
        let number = writer.number() + 1;
        // An idle look at the names would be an error where something else bears the bell's, and is said then; the line
        // is published all the same, by the next call at the latest.
        while writer.publish(b"rung").is_err() {}
        assert!(writer.number() >= number);
        if let Some(reader) = &mut reader {
            let doorbell = reader.doorbell().unwrap();
            if is_watched && is_named {
                let mut polled = [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)];
                let ready = poll(&mut polled, PollTimeout::ZERO).unwrap();
                assert_eq!(ready, 1, "ring {ring}: the FIFO was {}, and nobody woke", FATES[fate]);
                words.add(WOKEN, 1);
            }
            assert_eq!(reader.try_read().unwrap().map(|message| message.number), Some(writer.number()));
        }
        words.add(COUNTS + fate, 1);
        words.set(RINGS, ring);
    }
    parent.say("done");
}

/// Reads until nothing is new, which arms the doorbell; whether it is silent then, so that a ring shows.
fn drain(reader: &mut Reader) -> bool {
    while reader.try_read().unwrap().is_some() {}
    let doorbell = reader.doorbell().unwrap();
    poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 0
}

fn open(bell: &std::path::Path) -> File {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(bell).unwrap()
}

fn fill(bell: &std::path::Path) {
    let mut fifo = open(bell);
    // By pages, and then by bytes: the last page has room for some that a whole page does not fit in.
    for length in [4096, 1] {
        let refused = loop {
            if let Err(error) = fifo.write(&vec![b'x'; length]) {
                break error;
            }
        };
        assert_eq!(refused.kind(), IoErrorKind::WouldBlock);
    }
}

fn empty(bell: &std::path::Path) {
    let mut fifo = open(bell);
    while fifo.read(&mut [0; 65536]).is_ok_and(|read| read > 0) {}
}

fn is_fifo(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn remove(path: &std::path::Path) {
    if fs::remove_file(path).is_err() {
        _ = fs::remove_dir(path);
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut child = Child::start("ringer", &place, &[&amount, &seed]);
    let (mut seen, mut moved) = (0, Instant::now());
    while words.get(RINGS) < amount {
        child.assert_alive();
        let rings = words.get(RINGS);
        if rings != seen {
            (seen, moved) = (rings, Instant::now());
        }
        assert!(moved.elapsed() < LIMIT, "a ring blocks, after {rings}");
        thread::sleep(Duration::from_millis(2));
    }
    child.expect("done");
    child.end();
    let mut tally = Tally { done: words.get(RINGS), ..Tally::default() };
    for (nth, fate) in FATES.into_iter().enumerate() {
        tally.add(fate, words.get(COUNTS + nth));
    }
    tally.add("pollers woken at once", words.get(WOKEN));
    Ok(tally)
}
