//! C5: another user, who may only read the mailbox, does all that such a one can do to hold up its writer and readers.
//!
//! | what it does | what must be |
//! |---|---|
//! | read lock and flock on the mailbox, lease; tries to open lock and bell, to write, to cut short | a writer starts, at once; each refused |
//! | moves sleepers to a futex of its own, by thousands of `FUTEX_CMP_REQUEUE` | a line is late by one slice at most |
//! | wakes everybody, by the thousand | lines arrive |
//!
//! Times are judged by the best of ten, since other programs only add to them; those of lines whose wake was missed on
//! purpose, by three quarters of all.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use shm_mailbox::Options;

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role, Words, read_lock};
use crate::second_user::{become_other, open_to_others, possible};

pub const C5: Check = Check {
    id: "C5",
    fault: "another user, who may only read, tries to hold up the others",
    unit: "restarts, each with a line to a reader asleep",
    ci: 2_000,
    soak: 100_000,
    turn: 5_000,
    evidence: &["read locks", "flocks", "refused to them", "sleepers moved", "needless wakes", UNWOKEN],
    run,
};

const UNWOKEN: &str = "lines whose wake they missed";

pub const ROLES: &[Role<'static>] =
    &[("locking_stranger", locker), ("requeueing_stranger", requeuer), ("sleeper", sleeper)];

/// Shared words: set to end; the restart, which is the text of its line, and the last that the sleeper has; and counts.
const STOP: usize = 0;
const SENT: usize = 8;
const HAD: usize = 16;
const READ_LOCKS: usize = 24;
const FLOCKS: usize = 25;
const REFUSED: usize = 26;
const MOVED: usize = 32;
const WAKES: usize = 40;

/// A start takes some dozens of system calls; with patience for a lock that is held, 50 ms.
const START: Duration = Duration::from_millis(10);
/// One slice of a wait, and something for the processors.
const SLICE: Duration = Duration::from_millis(110);
const BEST_OF: u64 = 10;

fn directory() -> PathBuf {
    std::env::var_os("MAILBOX_DIR").unwrap().into()
}

/// Takes every lock that it can get on the present file, and holds it until there is another.
fn locker(parent: &mut Parent) {
    let words = Words::of_parent();
    become_other();
    parent.say("ready");
    let path = directory().join(NAME);
    while words.get(STOP) == 0 {
        let restart = words.get(SENT);
        let Ok(file) = File::open(&path) else { continue };
        words.add(READ_LOCKS, u64::from(read_lock(&file).is_ok()));
        words.add(REFUSED, u64::from(refusals(&path, &file)));
        let flocked = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusiveNonblock);
        words.add(FLOCKS, u64::from(flocked.is_ok()));
        // Held over the next restart.
        while words.get(SENT) < restart + 2 && words.get(STOP) == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// What is for those only who may write. How many of them were refused: all.
#[track_caller]
fn refusals(path: &Path, file: &File) -> u32 {
    let open = |path: &Path, write: bool| File::options().read(!write).write(write).open(path).map(drop);
    let of_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // SAFETY: a lease and a length are numbers, the descriptor is open.
    let lease = match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let name = path.to_str().unwrap();
    let tries = [
        ("to write to it", open(path, true)),
        ("to write by its descriptor", open(&of_descriptor, true)),
        ("to cut it short", file.set_len(0)),
        ("a lease", lease),
        ("the lock", open(Path::new(&format!("{name}.lock")), false)),
        ("the bell", open(Path::new(&format!("{name}.bell")), false)),
        ("to ring", open(Path::new(&format!("{name}.bell")), true)),
        ("to remove it", std::fs::remove_file(path)),
        // SAFETY: the arguments are numbers; what is mapped is not used. A mapping would be the failure.
        ("to map it for writing", unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            match libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) {
                libc::MAP_FAILED => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        }),
    ];
    for (what, result) in &tries {
        assert!(result.is_err(), "another user was allowed {what}");
    }
    tries.len() as u32
}

/// Moves whoever sleeps on the present file's futex to a word of its own, where nobody wakes them, and wakes those
/// whom it does not move.
fn requeuer(parent: &mut Parent) {
    let words = Words::of_parent();
    become_other();
    parent.say("ready");
    let path = directory().join(NAME);
    let own = MmapRaw::from(memmap2::MmapMut::map_anon(4096).unwrap());
    while words.get(STOP) == 0 {
        let restart = words.get(SENT);
        let Ok(file) = File::open(&path) else { continue };
        let mapping: MmapRaw = MmapOptions::new().map_raw_read_only(&file).unwrap();
        // SAFETY: the epoch of docs/protocol.md, in a page that is mapped and that nobody cuts off here.
        let epoch = unsafe { &*mapping.as_ptr().add(4096 + 128).cast::<std::sync::atomic::AtomicU32>() };
        // Around every so many lines it moves them and wakes nobody, so that they miss that line's wake.
        let is_robbing = (restart + 1).is_multiple_of(ROBBED_EVERY);
        let watched = if is_robbing { HAD } else { SENT };
        while words.get(watched) == restart && words.get(STOP) == 0 {
            for turn in 0..64 {
                let word = epoch.load(std::sync::atomic::Ordering::Relaxed);
                // SAFETY: both words are mapped; the kernel uses their addresses, and reads the first.
                let moved = unsafe {
                    let (none, all) = (0, i32::MAX as usize);
                    libc::syscall(
                        libc::SYS_futex,
                        epoch.as_ptr(),
                        libc::FUTEX_CMP_REQUEUE,
                        none,
                        all,
                        own.as_mut_ptr(),
                        word,
                    )
                };
                words.add(MOVED, moved.max(0) as u64);
                if turn == 0 && !is_robbing {
                    // SAFETY: as above.
                    let woken = unsafe { libc::syscall(libc::SYS_futex, own.as_mut_ptr(), libc::FUTEX_WAKE, 0) };
                    assert!(woken >= 0);
                    // SAFETY: as above.
                    unsafe { libc::syscall(libc::SYS_futex, epoch.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
                    words.add(WAKES, 1);
                }
            }
        }
    }
}

/// Reads each line, asleep until it comes.
fn sleeper(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    parent.say("ready");
    loop {
        let message = reader.read().unwrap();
        let line = u64::from_le_bytes(message.bytes.try_into().unwrap());
        words.set(HAD, line);
        if line == u64::MAX {
            return;
        }
    }
}

/// Of so many lines the sleeper is robbed of one's wake.
const ROBBED_EVERY: u64 = 20;
/// Later than this, nobody woke it.
const WOKEN: Duration = Duration::from_millis(20);

/// The lowest of each [`BEST_OF`] times stays below a limit.
struct Best {
    what: &'static str,
    limit: Duration,
    times: Vec<Duration>,
}

impl Best {
    fn add(&mut self, time: Duration) {
        self.times.push(time);
        if self.times.len() as u64 == BEST_OF {
            let best = self.times.iter().min().unwrap();
            assert!(*best <= self.limit, "{}: {:?}, and at best {best:?}", self.what, self.times);
            self.times.clear();
        }
    }
}

fn run(amount: u64, _seed: u64) -> Result<Tally, Skip> {
    possible()?;
    let place = Place::new();
    let words = Words::new(place.dir());
    open_to_others(&place);
    let options = place.options().mode(0o644);
    drop(options.create(NAME).unwrap());
    let mut children =
        ["locking_stranger", "requeueing_stranger", "sleeper"].map(|role| Child::start(role, &place, &[]));
    children.iter_mut().for_each(|child| child.expect("ready"));
    let mut starts = Best { what: "a writer's start", limit: START, times: Vec::new() };
    let mut arrivals = Best { what: "a line's way", limit: SLICE, times: Vec::new() };
    let mut robbed = Vec::new();
    let mut tally = Tally::default();
    for restart in 1..=amount {
        children.iter_mut().for_each(Child::assert_alive);
        let started = Instant::now();
        let mut writer = options.create(NAME).unwrap();
        starts.add(started.elapsed());
        // Grown now and then, so that the strangers have another file to begin with.
        if restart.is_multiple_of(16) {
            writer.grow(writer.capacity() + 1).unwrap();
            if writer.capacity() > 1 << 20 {
                drop(writer);
                assert!(options.remove(NAME, false).unwrap());
                writer = options.create(NAME).unwrap();
            }
        }
        let line = if restart == amount { u64::MAX } else { restart };
        let published = Instant::now();
        writer.publish(&line.to_le_bytes()).unwrap();
        words.set(SENT, restart);
        crate::common::wait_until("the line has come", || words.get(HAD) == line);
        let time = published.elapsed();
        if restart.is_multiple_of(ROBBED_EVERY) {
            robbed.push(time);
        } else {
            arrivals.add(time);
        }
        tally.done += 1;
    }
    robbed.sort();
    // Told by most of them, since a busy machine is late.
    let most = robbed[robbed.len() * 3 / 4];
    assert!(most <= SLICE, "a quarter of the lines without a wake took more than {most:?}");
    tally.add(UNWOKEN, robbed.iter().filter(|&&time| time > WOKEN).count() as u64);
    words.set(STOP, 1);
    children.into_iter().for_each(Child::end);
    tally.add("read locks", words.get(READ_LOCKS));
    tally.add("flocks", words.get(FLOCKS));
    tally.add("refused to them", words.get(REFUSED));
    tally.add("sleepers moved", words.get(MOVED));
    tally.add("needless wakes", words.get(WAKES));
    Ok(tally)
}
