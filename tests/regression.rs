//! One test for each fault that was found and mended, so that it stays mended.

mod common;

use std::fs::{self, File};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use common::{Child, NAME, Parent, Place, at, wait_until};
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shm_mailbox::{ErrorKind, Options, Reader, Writer};

roles!(daemon, hoarder);

/// A writer can be handed to another thread, and is not for two at once; a reader can be handed on too.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Writer>();
    can_be_sent::<Reader>();

    /// Two ways to know `Writer`, if it is `Sync`; then this is ambiguous and does not compile.
    trait AmbiguousIfSync<A> {
        fn is_not_sync() {}
    }
    impl<T> AmbiguousIfSync<()> for T {}
    impl<T: Sync> AmbiguousIfSync<u8> for T {}
    _ = <Writer as AmbiguousIfSync<_>>::is_not_sync;
};

/// All files of a mailbox are gone, and nobody has told its readers.
fn sweep(place: &Place) {
    for file in place.entries() {
        fs::remove_file(place.path(&file)).unwrap();
    }
}

/// A file that carried another's line on had one bank filled and the others empty; readers that held none or an older
/// line took the empty ones for proof that there was nothing.
#[test]
fn a_grown_mailbox_has_its_line_for_readers_that_come_late_or_held_an_older_one() {
    for banks in [1, 2, 4, 8] {
        let place = Place::new();
        let mut writer = place.options().banks(banks).capacity(8).create(NAME).unwrap();
        let mut behind: Vec<Reader> = Vec::new();
        for number in 1..=20u64 {
            behind.push(place.options().open(NAME).unwrap());
            writer.publish(&number.to_le_bytes()).unwrap();
            behind.last_mut().unwrap().read().unwrap();
        }
        for round in 0..3 {
            writer.grow(writer.capacity() + 1).unwrap();
            let mut late = place.options().open(NAME).unwrap();
            assert_eq!(late.try_read().unwrap().unwrap().number, 20, "{banks} banks, growth {round}");
            assert_eq!(place.options().inspect(NAME).unwrap().number, 20);
        }
        for (held, reader) in (1..).zip(&mut behind) {
            let message = reader.try_read().unwrap();
            match message {
                Some(message) => assert_eq!((message.number, message.missed), (20, 19 - held)),
                None => assert_eq!(held, 20),
            }
        }
        drop(writer);
        assert_eq!(place.options().create(NAME).unwrap().publish(b"next").unwrap(), 21);
    }
}

/// Only a sleeper whose slice ran out undisturbed looked at the name.
#[test]
fn a_reader_that_never_sleeps_finds_the_file_that_took_the_place_of_a_swept_one() {
    type Look = fn(&mut Reader) -> Option<Vec<u8>>;
    let latest: Look = |reader| reader.latest().unwrap().map(|message| message.bytes.to_vec());
    let try_read: Look = |reader| reader.try_read().unwrap().map(|message| message.bytes.to_vec());
    for look in [latest, try_read] {
        let place = Place::new();
        place.options().create(NAME).unwrap().publish(b"old").unwrap();
        let mut reader = place.options().open(NAME).unwrap();
        assert_eq!(look(&mut reader).unwrap(), b"old");
        sweep(&place);
        place.options().create(NAME).unwrap().publish(b"new").unwrap();
        // Asked in a tight loop, and asked now and then.
        wait_until("the new line is there", || (0..100).any(|_| look(&mut reader) == Some(b"new".to_vec())));
    }
}

#[test]
fn a_reader_of_a_bank_left_in_the_middle_finds_the_file_that_took_its_place() {
    let place = Place::new();
    let mut writer = place.options().banks(1).create(NAME).unwrap();
    writer.publish(b"old").unwrap();
    drop(writer);
    // As a kill in the middle of message 2 leaves it.
    let raw = place.raw();
    raw.put_u64(raw.bank(0), 3);
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.retries(), 0);
    assert!(reader.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert!(reader.retries() > 1);
    sweep(&place);
    place.options().create(NAME).unwrap().publish(b"new").unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"new");
}

/// `try_read` failed before it consumed the event, and a loop that reports the error and polls again never slept.
#[test]
fn a_doorbell_is_not_ready_for_ever_where_reading_fails() {
    let place = Place::new();
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    fs::write(place.path(NAME), "no mailbox").unwrap();
    let mut is_ever_quiet = false;
    for _ in 0..100 {
        assert_eq!(reader.try_read().unwrap_err().kind(), ErrorKind::NotAMailbox);
        is_ever_quiet |= poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], 0u8).unwrap() == 0;
    }
    assert!(is_ever_quiet);
}

#[test]
fn a_doorbell_without_a_bell_is_ready_when_made() {
    let place = Place::new();
    place.options().create(NAME).unwrap().publish(b"a").unwrap();
    fs::remove_file(place.path("box.bell")).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    // A nanosecond may not be over yet.
    assert_eq!(poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], 9u8).unwrap(), 1);
}

/// `latest` ahead of its bank kept a reader awake for ever, and let a writer go on from there.
#[test]
fn a_latest_ahead_of_its_bank_is_damage() {
    for latest in [1, 5, 1 << 40, u64::MAX] {
        let place = Place::new();
        drop(place.options().create(NAME).unwrap());
        place.raw().put_u64(at::LATEST, latest);
        let mut reader = place.options().open(NAME).unwrap();
        assert_eq!(reader.read().unwrap_err().kind(), ErrorKind::Damaged, "{latest}");
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Damaged, "{latest}");
    }
    // With a sequence to match, and no number after it.
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    let raw = place.raw();
    raw.put_u64(at::LATEST, u64::MAX);
    raw.put_u64(raw.bank(3), u64::MAX - 1);
    assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Damaged);
}

/// One who removes by force sets `leaving`, and was killed before it removed the name: each publish asked the kernel
/// for ever, and a later sweep was taken for a removal.
#[test]
fn a_leaving_that_its_maker_left_behind_is_called_off() {
    let place = Place::new();
    let mut writer = place.options().timestamps(true).create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    place.raw().put_u32(at::LEAVING, 1);
    wait_until("it is called off", || {
        writer.publish(b"b").unwrap();
        place.raw().u32(at::LEAVING) == 0
    });
    sweep(&place);
    wait_until("the files are put back", || {
        writer.publish(b"c").unwrap();
        place.path(NAME).exists()
    });
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"c");
}

/// A writer's publish failed, and its line was lost, because the names could not be looked at.
#[test]
fn a_look_at_the_names_that_fails_costs_no_line() {
    let place = Place::new();
    let mut child = Child::start("hoarder", &place, &[]);
    assert_eq!(child.hear(), "every line");
    child.end();
}

fn hoarder(parent: &mut Parent) {
    let mut writer = Options::new().timestamps(true).create(NAME).unwrap();
    let mut reader = Reader::open(NAME).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 50, 50).unwrap();
    let hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!hoard.is_empty());
    let started = Instant::now();
    // Longer than the second after which the names are looked at.
    while started.elapsed() < Duration::from_millis(1500) {
        let number = writer.publish(b"a").unwrap();
        assert_eq!(reader.try_read().unwrap().unwrap().number, number);
    }
    parent.say("every line");
}

/// The fork handler went through the list of inherited descriptors in grandchildren too, when their numbers were
/// others' by then.
#[test]
fn a_grandchild_keeps_what_its_parent_opened() {
    let place = Place::new();
    let mut child = Child::start("daemon", &place, &[]);
    child.expect("kept");
    child.end();
}

fn daemon(parent: &mut Parent) {
    let mut writer = Writer::create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    let directory = std::env::var("MAILBOX_DIR").unwrap();
    // SAFETY: this process has one thread that matters, and the child does nothing that needs the others.
    let daemon = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // As a daemon does: everything is closed, and the numbers go to files of its own.
            for fd in 3..100 {
                // SAFETY: closes descriptors that nothing in this process uses again.
                unsafe { libc::close(fd) };
            }
            let files: Vec<_> = (0..20)
                .map(|index| {
                    let file = File::create(format!("{directory}/{index}")).unwrap();
                    (file.metadata().unwrap().ino(), file.into_raw_fd())
                })
                .collect();
            // SAFETY: as above.
            let grandchild = match unsafe { fork() }.unwrap() {
                ForkResult::Parent { child } => child,
                ForkResult::Child => {
                    let kept = files.iter().all(|&(inode, fd)| {
                        fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|metadata| metadata.ino() == inode)
                    });
                    // SAFETY: ends this process without running what belongs to its parents.
                    unsafe { libc::_exit(if kept { 0 } else { 1 }) };
                }
            };
            let status = waitpid(grandchild, None).unwrap();
            // SAFETY: as above.
            unsafe { libc::_exit(if matches!(status, WaitStatus::Exited(_, 0)) { 0 } else { 1 }) };
        }
    };
    let status = waitpid(daemon, None).unwrap();
    parent.say(if matches!(status, WaitStatus::Exited(_, 0)) { "kept" } else { "lost" });
    drop(writer);
}

/// The lock file is gone, and with it what keeps a live writer's mailbox from being removed.
#[test]
fn a_mailbox_without_its_lock_file_is_removed_by_force_only() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    fs::remove_file(place.path("box.lock")).unwrap();
    assert_eq!(place.options().remove(NAME, false).unwrap_err().kind(), ErrorKind::Busy);
    assert!(place.path(NAME).exists() && !place.path("box.lock").exists());
    assert!(place.options().remove(NAME, true).unwrap());
    assert_eq!(writer.publish(b"b").unwrap_err().kind(), ErrorKind::Removed);
}

/// A sparse file that claims a line of a terabyte made its reader abort.
#[test]
fn a_length_beyond_memory_is_an_error() {
    let place = Place::new();
    let mut writer = place.options().banks(1).create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    drop(writer);
    let raw = place.raw();
    let (capacity, stride) = (1u64 << 40, (1u64 << 40) + 4096);
    let bank = raw.bank(0);
    raw.put_u64(at::CAPACITY, capacity);
    raw.put_u64(at::STRIDE, stride);
    raw.put_u64(bank + 8, u64::MAX);
    raw.file().set_len(bank + stride).unwrap();
    // Where the system promises more memory than it has, nothing can be refused, and a test would use it all.
    let overcommits = fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|policy| policy.trim() == "1");
    if overcommits {
        common::skip("this system refuses no memory");
        return;
    }
    let mut reader = place.options().open(NAME).unwrap();
    let error = reader.try_read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("no memory"), "{error}");
}

/// Counting on from the greatest number of all began again below what the reader held: it saw something new for ever,
/// and got nothing.
#[test]
fn a_reader_says_so_where_numbers_begin_again() {
    for latest in [u64::MAX, u64::MAX - 1, (1 << 62) + 1, (1 << 63) + 1] {
        let place = Place::new();
        let mut writer = place.options().create(NAME).unwrap();
        for _ in 0..5 {
            writer.publish(b"line").unwrap();
        }
        drop(writer);
        let mut reader = place.options().open(NAME).unwrap();
        assert_eq!(reader.read().unwrap().number, 5);
        let raw = place.raw();
        raw.put_u64(at::LATEST, latest);
        for index in 0..4 {
            // Banks as a writer leaves them around `latest`, as far as arithmetic goes; the next of the reader's, 6,
            // is ahead of it in any case.
            let number = latest.wrapping_sub(latest.wrapping_sub(index) & 3);
            raw.put_u64(raw.bank(index), if index == 2 { 14 } else { number.wrapping_mul(2) });
        }
        let error = reader.read_timeout(common::LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{latest}: {error}");
        let late = place.options().skip_current(true).open(NAME);
        let error = late.and_then(|mut reader| reader.read_timeout(common::LIMIT).map(drop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{latest}, the newest passed over: {error}");
    }
}

/// It was allocated piece by piece, until no process of the machine had memory left. (In a mailbox that is grown, too.)
#[test]
fn a_capacity_that_cannot_fit_is_refused_before_anything_is_taken() {
    let place = Place::new();
    let system = nix::sys::statvfs::statvfs(place.dir()).unwrap();
    if system.blocks() == 0 {
        return common::skip("this file system has no limit");
    }
    let too_much = (system.blocks_available() * system.fragment_size() + (64 << 30)) as usize;
    let options = place.options().banks(1);
    assert_eq!(options.clone().capacity(too_much).create(NAME).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(place.entries(), [""; 0]);
    let mut writer = options.create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    assert_eq!(writer.grow(too_much).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(writer.publish(b"b").unwrap(), 2);
}
