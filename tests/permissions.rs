//! Who may do what: who may write the file is trusted; who may only read it can neither change it nor delay the writer.
//!
//! | what | cases |
//! |---|---|
//! | modes | five, of all three files, whatever the umask, kept by growth; any other; another than what is there |
//! | another user who may read | reads, waits, polls, through growth and re-creation, always woken or not; writes not |
//! | the same | waits from before there is a mailbox, and gets nothing private meanwhile |
//! | the same | leaves no trace, costs the writer nothing, keeps no writer from starting |
//! | another user who may not | refused, with what to type |
//! | another user in the group | 0640: reads; 0660: writes, wakes, knows the writer's state; cannot make it larger |
//! | owners | files and directories of others, with and without `owner`; root in another user's directory |
//! | a user's own directory | closed until a mailbox in it is for others; what others have put in its place |
//! | that user against root | links under the four names, also put there between any two system calls of root's |
//! | places | writable by everybody, by the group; links, FIFOs, sockets, directories under the three names |
//! | in use | each of the three files replaced: an error for the writer, for readers, and on with it afterwards |

mod common;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::trace::Traced;
use common::{Child, LIMIT, NAME, Parent, Place, Words, at, is_root, read_lock, skip, woken_and_not_timed_out};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, mknod, umask};
use nix::unistd::{Gid, Pid, Uid, gettid, mkfifo, setgroups, setresgid, setresuid};
use shm_mailbox::{ErrorKind, Options, Reader, WriterState};

roles!(masked, follower, stranger, poller, commoner, early, locker, grouped, guest, stepped_maker);

/// A user who is nobody else.
const OTHER: u32 = 65_534;

fn mode(place: &Place, name: &str) -> u32 {
    fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets others into the directory.
fn open_to_others(place: &Place) {
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o711)).unwrap();
}

/// From now on this process is another user's.
fn become_other() {
    setgroups(&[]).unwrap();
    let (gid, uid) = (Gid::from_raw(OTHER), Uid::from_raw(OTHER));
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
}

#[track_caller]
fn untrusted(place: &Place, name: &str, kind: ErrorKind, text: &str) {
    for error in [place.options().open(name).unwrap_err(), place.options().create(name).unwrap_err()] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is missing in: {error}");
    }
}

// Modes. --------------------------------------------------------------------------------------------------------------

#[test]
fn files_have_the_mode_that_was_asked_for_whatever_the_umask() {
    for mask in ["0", "77", "777"] {
        let place = Place::new();
        let mut child = Child::start("masked", &place, &[&mask]);
        child.expect("done");
        child.end();
        for asked in [0o600, 0o640, 0o644, 0o660, 0o664] {
            let name = format!("{asked:o}");
            let companion = if asked & 0o020 != 0 { 0o660 } else { 0o600 };
            assert_eq!(mode(&place, &name), asked, "umask {mask}");
            assert_eq!(mode(&place, &format!("{name}.bell")), companion, "umask {mask}");
            assert_eq!(mode(&place, &format!("{name}.lock")), companion, "umask {mask}");
        }
    }
}

fn masked(parent: &mut Parent) {
    umask(Mode::from_bits_truncate(u32::from_str_radix(&parent.argument::<String>(0), 8).unwrap()));
    for mode in [0o600, 0o640, 0o644, 0o660, 0o664] {
        let mut writer = Options::new().mode(mode).create(format!("{mode:o}")).unwrap();
        // Growth keeps it.
        writer.grow(10_000).unwrap();
    }
    parent.say("done");
}

#[test]
fn a_lock_made_anew_has_the_mode_that_the_first_one_had() {
    for (asked, companions) in [(0o600, 0o600), (0o640, 0o600), (0o660, 0o660)] {
        let place = Place::new();
        drop(place.options().mode(asked).create(NAME).unwrap());
        for companion in ["box.lock", "box.bell"] {
            assert_eq!(mode(&place, companion), companions, "{companion} of {asked:o}");
            fs::remove_file(place.path(companion)).unwrap();
        }
        let mut writer = place.options().create(NAME).unwrap();
        let modes = || ["box", "box.lock", "box.bell"].map(|name| mode(&place, name));
        assert_eq!(modes(), [asked, companions, companions], "by the next writer");
        ["box.lock", "box.bell"].iter().for_each(|name| fs::remove_file(place.path(name)).unwrap());
        writer.check().unwrap();
        assert_eq!(modes(), [asked, companions, companions], "by the same");
    }
}

#[test]
fn another_mode_than_the_one_that_is_there_is_an_error() {
    let place = Place::new();
    drop(place.options().mode(0o640).create(NAME).unwrap());
    let error = place.options().mode(0o644).create(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("0640") && error.to_string().contains("0644"), "{error}");
    drop(place.options().mode(0o640).create(NAME).unwrap());
    drop(place.options().create(NAME).unwrap());
    assert_eq!(mode(&place, NAME), 0o640);
}

#[test]
fn a_mode_that_is_none_of_the_five_is_an_error() {
    let place = Place::new();
    for mode in [0, 0o400, 0o606, 0o622, 0o640 | 0o4000, 0o666, 0o700, 0o777, 0o10600] {
        let error = place.options().mode(mode).create(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{mode:o}: {error}");
        assert!(error.to_string().contains("0664"), "{error}");
    }
    assert_eq!(place.entries(), [""; 0]);
}

// Another user. -------------------------------------------------------------------------------------------------------

#[test]
fn another_user_reads_and_leaves_no_trace() {
    if !is_root() {
        return skip("only root can become another user");
    }
    for always_wake in [false, true] {
        let place = Place::new();
        open_to_others(&place);
        let mut writer = place.options().mode(0o644).always_wake(always_wake).create(NAME).unwrap();
        let mut readers = ["follower", "follower", "poller", "poller"].map(|role| Child::start(role, &place, &[]));
        readers.iter_mut().for_each(|reader| reader.expect("ready"));
        let mut everybody_gets = |line: &str| readers.iter_mut().for_each(|reader| reader.expect(line));
        for round in 0..20 {
            let line = format!("line {round}");
            writer.publish(line.as_bytes()).unwrap();
            everybody_gets(&line);
            assert_eq!(place.raw().waiters(), 0, "a trace");
        }
        // To a larger file, and to one made anew.
        writer.grow(100_000).unwrap();
        assert_eq!(writer.publish(b"grown").unwrap(), 21);
        everybody_gets("grown");
        drop(writer);
        assert!(place.options().remove(NAME, false).unwrap());
        let mut writer = place.options().mode(0o644).create(NAME).unwrap();
        writer.publish(b"anew").unwrap();
        everybody_gets("anew");
    }
}

/// As another user: tells each line as it comes.
fn follower(parent: &mut Parent) {
    become_other();
    let mut reader = Options::new().owner(0).dir(directory()).open(NAME).unwrap();
    assert_eq!(reader.writer_state(), WriterState::Unknown);
    parent.say("ready");
    loop {
        let message = reader.read().unwrap();
        parent.say(message.bytes.escape_ascii());
    }
}

/// The same, by polling its doorbell.
fn poller(parent: &mut Parent) {
    become_other();
    let mut reader = Options::new().owner(0).dir(directory()).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    parent.say("ready");
    loop {
        poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        while let Some(message) = reader.try_read().unwrap() {
            parent.say(message.bytes.escape_ascii());
        }
    }
}

fn directory() -> String {
    std::env::var("MAILBOX_DIR").unwrap()
}

#[test]
fn another_user_cannot_write_nor_read_what_is_not_for_others() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    open_to_others(&place);
    let mut readable = place.options().mode(0o644).create("readable").unwrap();
    readable.publish(b"a").unwrap();
    let mut private = place.options().create("private").unwrap();
    private.publish(b"a").unwrap();
    let before = (place.entries(), fs::read(place.path("readable")).unwrap());
    let mut child = Child::start("stranger", &place, &[]);
    child.expect("done");
    child.end();
    assert_eq!((place.entries(), fs::read(place.path("readable")).unwrap()), before);
}

fn stranger(parent: &mut Parent) {
    become_other();
    let options = Options::new().owner(0).dir(directory());
    assert_eq!(options.open("readable").unwrap().read().unwrap().bytes, b"a");
    for error in [
        options.create("readable").unwrap_err(),
        options.create("private").unwrap_err(),
        options.create("new").unwrap_err(),
        options.remove("readable", true).unwrap_err(),
        options.open("private").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert!(options.open("private").unwrap_err().to_string().contains("--mode 0644"));
    assert!(options.create("readable").unwrap_err().to_string().contains("has mode 0644: it can be read, not written"));
    let info = options.inspect("readable").unwrap();
    assert_eq!((info.number, info.mode, info.uid, info.writer), (1, 0o644, 0, WriterState::Unknown));
    assert_eq!(options.list().unwrap_err().kind(), ErrorKind::PermissionDenied);
    // Nor by the files themselves.
    for file in ["readable.bell", "readable.lock", "private", "private.bell", "private.lock"] {
        let error = File::open(Path::new(&directory()).join(file)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{file}");
    }
    let file = File::options().write(true).open(Path::new(&directory()).join("readable"));
    assert_eq!(file.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    // One who names the owner waits for what is not there yet, and that includes what may not be read yet.
    let mut waiting = options.clone().wait_for_mailbox(true).open("private").unwrap();
    assert!(waiting.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    parent.say("done");
}

#[test]
fn another_user_asleep_costs_the_writer_nothing() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    open_to_others(&place);
    let mut writer = place.options().mode(0o644).create(NAME).unwrap();
    let mut readers = ["follower", "poller", "follower"].map(|role| Child::start(role, &place, &[]));
    readers.iter_mut().for_each(|reader| reader.expect("ready"));
    let raw = place.raw();
    let wait_page = || raw.bytes::<4096>(raw.page());
    let before = wait_page();
    for round in 0..20 {
        readers.iter().for_each(Child::wait_until_asleep);
        assert!(wait_page() == before, "a trace of those who sleep");
        let line = format!("line {round}");
        writer.publish(line.as_bytes()).unwrap();
        assert!(wait_page() == before, "the writer did something for them");
        readers.iter_mut().for_each(|reader| reader.expect(&line));
    }
    assert!(place.options().inspect(NAME).unwrap().writer == WriterState::Alive);
    readers.into_iter().for_each(Child::kill);
    assert!(wait_page() == before);
    assert_eq!(writer.publish(b"").unwrap(), 21);
}

/// One that the writer does not wake looks every few milliseconds, and one that it wakes sleeps.
#[test]
fn another_user_looks_now_and_then_or_sleeps_until_it_is_woken() {
    if !is_root() {
        return skip("only root can become another user");
    }
    for (role, always_wake) in [("follower", false), ("follower", true), ("poller", false)] {
        let place = Place::new();
        open_to_others(&place);
        let mut writer = place.options().mode(0o644).always_wake(always_wake).create(NAME).unwrap();
        let mut reader = Child::start(role, &place, &[]);
        reader.expect("ready");
        woken_and_not_timed_out(|| {
            let rounds = (0..30).map(|round| {
                reader.wait_until_asleep();
                std::thread::sleep(Duration::from_millis(round % 20));
                let published = Instant::now();
                writer.publish(b"a").unwrap();
                reader.expect("a");
                published.elapsed()
            });
            rounds.collect()
        });
        let before = sleeps(reader.pid());
        std::thread::sleep(Duration::from_millis(500));
        // A slice at a time, or naps of ten milliseconds; on a busy machine fewer.
        let slept = sleeps(reader.pid()) - before;
        assert!(slept < if always_wake { 25 } else { 200 }, "{role}, {always_wake}: {slept} times");
    }
}

/// How often the threads of a process went to sleep.
fn sleeps(pid: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            count.trim().parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn another_user_waits_for_a_mailbox_that_it_may_read() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    open_to_others(&place);
    let mut child = Child::start("early", &place, &[]);
    child.expect("waiting");
    let mut private = place.options().create(NAME).unwrap();
    private.publish(b"private").unwrap();
    child.wait_until_asleep();
    drop(private);
    assert!(place.options().remove(NAME, false).unwrap());
    let mut writer = place.options().mode(0o644).create(NAME).unwrap();
    writer.publish(b"public").unwrap();
    child.expect("public");
    child.end();
}

fn early(parent: &mut Parent) {
    become_other();
    let options = Options::new().owner(0).dir(directory());
    assert_eq!(options.open(NAME).unwrap_err().kind(), ErrorKind::NotFound);
    let mut reader = options.wait_for_mailbox(true).open(NAME).unwrap();
    parent.say("waiting");
    let message = reader.read().unwrap();
    parent.say(message.bytes.escape_ascii());
}

#[test]
fn another_users_locks_keep_no_writer_from_starting() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    open_to_others(&place);
    place.options().mode(0o644).create(NAME).unwrap().publish(b"a").unwrap();
    let mut child = Child::start("locker", &place, &[]);
    child.expect("locked");
    let mut writer = place.options().create(NAME).unwrap();
    assert_eq!(writer.publish(b"b").unwrap(), 2);
    writer.grow(100_000).unwrap();
    drop(writer);
    assert!(place.options().remove(NAME, false).unwrap());
    child.kill();
}

/// Takes all locks that a file opened for reading gives.
fn locker(parent: &mut Parent) {
    become_other();
    let file = File::open(Path::new(&directory()).join(NAME)).unwrap();
    read_lock(&file).unwrap();
    let again = File::open(Path::new(&directory()).join(NAME)).unwrap();
    let _held = Flock::lock(again, FlockArg::LockExclusiveNonblock).unwrap();
    parent.say("locked");
    parent.hear();
}

#[test]
fn another_user_in_the_group_may_what_the_mode_says() {
    if !is_root() {
        return skip("only root can become another user");
    }
    for asked in [0o640, 0o660, 0o664] {
        for directory_mode in [0o711, 0o770] {
            let place = Place::new();
            place.options().mode(asked).create(NAME).unwrap().publish(b"a").unwrap();
            for name in ["box", "box.bell", "box.lock"] {
                chown(place.path(name), None, Some(OTHER)).unwrap();
            }
            chown(place.dir(), None, Some(OTHER)).unwrap();
            fs::set_permissions(place.dir(), fs::Permissions::from_mode(directory_mode)).unwrap();
            let mut reader = place.options().open(NAME).unwrap();
            assert_eq!(reader.read().unwrap().number, 1);
            let mut child = Child::start("grouped", &place, &[&asked]);
            if asked != 0o640 {
                let message = reader.read().unwrap();
                assert_eq!((message.number, message.bytes), (2, &b"b"[..]));
                child.expect("published");
                assert_eq!(reader.writer_state(), WriterState::Alive);
                assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy);
                child.say("go on");
            }
            child.expect("done");
            child.end();
            // All is as it was, and still root's.
            assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);
            let metadata = fs::metadata(place.path(NAME)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, OTHER, asked));
        }
    }
}

fn grouped(parent: &mut Parent) {
    become_other();
    let options = Options::new().owner(0).dir(directory());
    if parent.argument::<u32>(0) == 0o640 {
        let mut reader = options.open(NAME).unwrap();
        assert_eq!(reader.read().unwrap().bytes, b"a");
        assert_eq!(reader.writer_state(), WriterState::Unknown);
        assert_eq!(options.create(NAME).unwrap_err().kind(), ErrorKind::PermissionDenied);
    } else {
        let mut writer = options.create(NAME).unwrap();
        assert_eq!(writer.publish(b"b").unwrap(), 2);
        parent.say("published");
        parent.hear();
        // A larger file would be its own and not the owner's.
        let capacity = writer.capacity();
        let error = writer.grow(100_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert_eq!(writer.capacity(), capacity);
        assert_eq!(writer.publish(b"c").unwrap(), 3);
        assert_eq!(options.open(NAME).unwrap().read().unwrap().bytes, b"c");
        assert_eq!(options.inspect(NAME).unwrap().writer, WriterState::Alive);
    }
    parent.say("done");
}

// Owners. -------------------------------------------------------------------------------------------------------------

#[test]
fn what_belongs_to_others_is_refused_unless_they_are_named() {
    if !is_root() {
        return skip("only root can give files away");
    }
    // The file.
    let place = Place::new();
    place.options().create(NAME).unwrap().publish(b"a").unwrap();
    chown(place.path(NAME), Some(OTHER), None).unwrap();
    untrusted(&place, NAME, ErrorKind::Untrusted, "--owner 65534");
    let named = place.options().owner(OTHER);
    assert_eq!(named.open(NAME).unwrap().read().unwrap().bytes, b"a");
    // The directory.
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    chown(place.dir(), Some(OTHER), None).unwrap();
    untrusted(&place, NAME, ErrorKind::Untrusted, "--owner 65534");
    place.options().owner(OTHER).open(NAME).unwrap();
    // Its companions.
    for companion in ["box.bell", "box.lock"] {
        let place = Place::new();
        drop(place.options().create(NAME).unwrap());
        chown(place.path(companion), Some(OTHER), None).unwrap();
        let error = place.options().create(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains(companion), "{error}");
    }
}

#[test]
fn root_in_another_users_directory_makes_that_users_files() {
    if !is_root() {
        return skip("only root can give files away");
    }
    let place = Place::new();
    chown(place.dir(), Some(OTHER), Some(OTHER)).unwrap();
    let options = place.options().owner(OTHER);
    let mut writer = options.create(NAME).unwrap();
    let owners = || {
        ["box", "box.bell", "box.lock"].map(|name| fs::metadata(place.path(name)).unwrap()).map(|m| (m.uid(), m.gid()))
    };
    assert_eq!(owners(), [(OTHER, OTHER); 3]);
    writer.grow(100_000).unwrap();
    assert_eq!(owners(), [(OTHER, OTHER); 3]);
}

/// The user whose directory it is puts a link where root is about to make a file, so that root changes what the link
/// leads to.
#[test]
fn a_file_has_its_makers_group_and_not_its_directorys() {
    if !is_root() {
        return skip("only root can give a directory to a group that it is not in");
    }
    let place = Place::new();
    chown(place.dir(), None, Some(OTHER)).unwrap();
    drop(place.options().create(NAME).unwrap());
    for name in ["box", "box.bell", "box.lock"] {
        let metadata = fs::metadata(place.path(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, nix::unistd::getegid().as_raw()), "{name}");
    }
}

#[test]
fn root_in_another_users_directory_follows_no_link() {
    if !is_root() {
        return skip("only root can give files away");
    }
    for planted in ["box.new", "box.bell", "box.lock", "box"] {
        let place = Place::new();
        fs::write(place.path("victim"), "root's").unwrap();
        set_mode(&place, "victim", 0o604);
        chown(place.dir(), Some(OTHER), Some(OTHER)).unwrap();
        symlink("victim", place.path(planted)).unwrap();
        // It works where the link is in nobody's way, and is refused elsewhere.
        let made = place.options().owner(OTHER).create(NAME);
        assert_eq!(made.is_ok(), planted == "box.new", "{planted}: {made:?}");
        let victim = fs::metadata(place.path("victim")).unwrap();
        assert_eq!((victim.uid(), victim.permissions().mode() & 0o7777, victim.len()), (0, 0o604, 6), "{planted}");
    }
}

#[test]
fn a_third_users_directory_is_refused_unless_that_user_is_named() {
    if !is_root() {
        return skip("only root can become another user");
    }
    const THIRD: u32 = OTHER - 1;
    let place = Place::new();
    chown(place.dir(), Some(THIRD), Some(THIRD)).unwrap();
    open_to_others(&place);
    place.options().owner(THIRD).mode(0o644).create(NAME).unwrap().publish(b"a").unwrap();
    let mut child = Child::start("guest", &place, &[&THIRD]);
    child.expect("read");
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    child.say("closed");
    child.end();
}

fn guest(parent: &mut Parent) {
    become_other();
    let third = parent.argument(0);
    for options in [Options::new(), Options::new().owner(OTHER), Options::new().owner(0)].map(|o| o.dir(directory())) {
        for error in [options.open(NAME).unwrap_err(), options.create(NAME).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
            assert!(error.to_string().contains(&format!("--owner {third}")), "{error}");
        }
    }
    let named = Options::new().owner(third).dir(directory());
    assert_eq!(named.open(NAME).unwrap().read().unwrap().bytes, b"a");
    parent.say("read");
    parent.hear();
    let error = named.open(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("has mode 0700, which does not let this user in"), "{error}");
}

/// Root's files are everybody's to trust, and so are one's own.
#[test]
fn another_user_has_mailboxes_of_its_own() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    chown(place.dir(), Some(OTHER), Some(OTHER)).unwrap();
    let mut child = Child::start("commoner", &place, &[]);
    child.expect("read");
    child.end();
}

fn commoner(parent: &mut Parent) {
    become_other();
    let options = Options::new().dir(directory());
    options.create(NAME).unwrap().publish(b"a").unwrap();
    assert_eq!(options.open(NAME).unwrap().read().unwrap().bytes, b"a");
    // Of one who has no directory: neither to be made for that user nor an error to wait for.
    // SAFETY: of this process only this thread does anything; the other waits for it.
    unsafe { std::env::remove_var("MAILBOX_DIR") };
    let nobodys = Options::new().owner(2_000_000_000 + std::process::id());
    for error in [nobodys.open(NAME).unwrap_err(), nobodys.create(NAME).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no such mailbox"), "{error}");
    }
    let mut waiting = nobodys.wait_for_mailbox(true).open(NAME).unwrap();
    assert!(waiting.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    parent.say("read");
}

/// A user's own directory, found by the user's number and by no option.
struct OwnDirectory(PathBuf);

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0).or_else(|_| fs::remove_file(&self.0));
    }
}

#[test]
fn a_users_own_directory_is_closed_until_a_mailbox_in_it_is_for_others() {
    if !is_root() {
        return skip("only root can give files away");
    }
    // A user that nobody is.
    let uid = 2_000_000_000 + std::process::id();
    let own = OwnDirectory(format!("/dev/shm/mailbox-{uid}").into());
    let options = Options::new().owner(uid);
    let state = || fs::symlink_metadata(&own.0).map(|metadata| (metadata.uid(), metadata.mode() & 0o7777)).ok();
    assert_eq!(options.open(NAME).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!options.remove(NAME, false).unwrap());
    assert_eq!(options.list().unwrap(), [""; 0]);
    for (name, mode, directory_mode) in [("a", 0o600, 0o700), ("b", 0o640, 0o711), ("c", 0o600, 0o711)] {
        drop(options.clone().mode(mode).create(name).unwrap());
        assert_eq!(state(), Some((uid, directory_mode)), "{mode:o}");
        assert_eq!(fs::metadata(own.0.join(name)).unwrap().uid(), uid);
    }
    // And so for the writers that come later, and for one that has to put back everything.
    for (name, mode, directory_mode) in [("a", 0o600, 0o700), ("b", 0o640, 0o711)] {
        drop(options.clone().mode(mode).create(name).unwrap());
        fs::set_permissions(&own.0, fs::Permissions::from_mode(0o700)).unwrap();
        let mut writer = options.create(name).unwrap();
        assert_eq!(state(), Some((uid, directory_mode)), "{mode:o}");
        fs::remove_dir_all(&own.0).unwrap();
        writer.check().unwrap();
        assert_eq!(state(), Some((uid, directory_mode)), "{mode:o}");
        assert_eq!(fs::metadata(own.0.join(name)).unwrap().mode() & 0o7777, mode);
    }
    // One that its group may pass already.
    fs::set_permissions(&own.0, fs::Permissions::from_mode(0o710)).unwrap();
    drop(options.clone().mode(0o644).create("d").unwrap());
    assert_eq!(state(), Some((uid, 0o711)));
    // What others have put there meanwhile.
    fs::remove_dir_all(&own.0).unwrap();
    let place = Place::new();
    let plants: [(&dyn Fn(), &str); 3] = [
        (&|| symlink(place.dir(), &own.0).unwrap(), "is not a directory"),
        (&|| fs::write(&own.0, "").unwrap(), "is not a directory"),
        (&|| fs::create_dir(&own.0).and_then(|()| chown(&own.0, Some(OTHER), None)).unwrap(), "belongs to user 65534"),
    ];
    for (plant, text) in plants {
        plant();
        let before = state();
        for error in [options.create(NAME).unwrap_err(), options.open(NAME).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
            assert!(error.to_string().contains(text), "`{text}` is missing in: {error}");
        }
        assert_eq!(state(), before);
        fs::remove_file(&own.0).or_else(|_| fs::remove_dir(&own.0)).unwrap();
    }
    assert_eq!(place.entries(), [""; 0]);
}

/// A file of root's that must stay as it is: out of reach of the user whose directory it is tempted in.
struct Victim {
    place: Place,
    before: (u32, u32, u32, u64),
}

impl Victim {
    fn new(make: fn(&Path)) -> Self {
        let place = Place::new();
        let path = place.path("victim");
        make(&path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o604)).unwrap();
        let mut victim = Self { place, before: (0, 0, 0, 0) };
        victim.before = victim.state();
        victim
    }

    fn state(&self) -> (u32, u32, u32, u64) {
        let metadata = fs::symlink_metadata(self.place.path("victim")).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode(), metadata.len())
    }

    #[track_caller]
    fn check(&self, when: &str) {
        assert_eq!(self.state(), self.before, "{when}");
    }
}

#[test]
fn links_to_a_file_of_roots_do_it_no_harm() {
    if !is_root() {
        return skip("only root can give files away");
    }
    type Link = fn(&Path, &Path);
    let links: [(&str, Link); 2] = [
        ("symlink", |victim, path| symlink(victim, path).unwrap()),
        ("hard link", |victim, path| fs::hard_link(victim, path).unwrap()),
    ];
    for (kind, link) in links {
        for planted in ["box.new", "box.bell", "box.lock", "box"] {
            let victim = Victim::new(|path| fs::write(path, "root's").unwrap());
            let place = Place::new();
            chown(place.dir(), Some(OTHER), Some(OTHER)).unwrap();
            let options = place.options().owner(OTHER);
            let path = place.path(planted);
            // Before it is made, before it is removed, before it is made larger.
            link(&victim.place.path("victim"), &path);
            let made = options.create(NAME);
            assert_eq!(made.is_ok(), planted == "box.new", "{kind}, {planted}: {made:?}");
            victim.check(kind);
            _ = options.remove(NAME, true);
            victim.check(kind);
            drop(made);
            _ = fs::remove_file(&path);
            let mut writer = options.create(NAME).unwrap();
            _ = fs::remove_file(&path);
            link(&victim.place.path("victim"), &path);
            _ = writer.grow(100_000);
            victim.check(kind);
            _ = writer.check();
            _ = options.open(NAME).map(|mut reader| reader.doorbell().map(drop));
            _ = options.remove(NAME, true);
            victim.check(kind);
        }
    }
}

const GO: usize = 0;
const DONE: usize = 1;

/// The same, at the worst moment: as soon as there is a file in the making, a bell or a larger mailbox,
/// and at each system call after that.
#[test]
fn what_replaces_the_new_file_between_two_system_calls_does_no_harm() {
    if !is_root() {
        return skip("only root can give files away");
    }
    type Make = fn(&Path);
    type Swap = fn(&Path, &Path);
    let regular: Make = |path| fs::write(path, "root's").unwrap();
    let fifo: Make = |path| mkfifo(path, Mode::S_IRUSR).unwrap();
    let symlinked: Swap = |victim, path| symlink(victim, path).unwrap();
    let linked: Swap = |victim, path| fs::hard_link(victim, path).unwrap();
    for (task, kind, make, link) in [
        ("create", "symlink to a file", regular, symlinked),
        ("create", "symlink to a FIFO", fifo, symlinked),
        ("create", "second name of a FIFO", fifo, linked),
        ("grow", "symlink to a file", regular, symlinked),
        ("grow", "second name of a file", regular, linked),
    ] {
        let mut swaps = 0;
        for moment in 0.. {
            let victim = Victim::new(make);
            let place = Place::new();
            chown(place.dir(), Some(OTHER), Some(OTHER)).unwrap();
            let words = Words::new(victim.place.dir());
            let mut child = Child::start("stepped_maker", &victim.place, &[&task, &place.dir().display()]);
            let thread = Pid::from_raw(child.hear_number() as i32);
            let Some(traced) = Traced::attach(&child, thread) else {
                return skip("this system does not allow to trace a child");
            };
            words.set(GO, 1);
            let new = place.path(if task == "create" { "box.bell.new" } else { "box.new" });
            let (mut seen, mut swapped) = (0, false);
            while words.get(DONE) == 0 {
                if fs::symlink_metadata(&new).is_ok() {
                    seen += 1;
                    if seen == moment + 1 {
                        fs::remove_file(&new).unwrap();
                        link(&victim.place.path("victim"), &new);
                        swapped = true;
                    }
                }
                traced.to_system_call();
            }
            drop(traced);
            let made = child.hear();
            child.end();
            victim.check(&format!("{task}, {kind} at moment {moment}: {made}"));
            if !swapped {
                assert_eq!(made, "true", "nothing was swapped");
                break;
            }
            swaps += 1;
            assert!(fs::symlink_metadata(&new).is_err(), "{task}, {kind} at moment {moment}: {made}");
            // And it can be made afterwards, once there is nothing left of that user's doing.
            _ = fs::remove_file(place.path("box.bell"));
            _ = fs::remove_file(place.path(NAME));
            drop(place.options().owner(OTHER).create(NAME).unwrap());
        }
        assert!(swaps >= 3, "{task}, {kind}: only {swaps} moments");
    }
}

fn stepped_maker(parent: &mut Parent) {
    let grows = parent.argument::<String>(0) == "grow";
    let options = Options::new().owner(OTHER).dir(parent.argument::<String>(1));
    let mut writer = grows.then(|| options.create(NAME).unwrap());
    let words = Words::of_parent();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    let made = match &mut writer {
        Some(writer) => writer.grow(100_000),
        None => options.create(NAME).map(drop),
    };
    words.set(DONE, 1);
    parent.say(made.is_ok());
}

// Places. -------------------------------------------------------------------------------------------------------------

#[test]
fn a_directory_that_everybody_may_write_to_is_refused() {
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(place.dir(), fs::Permissions::from_mode(mode)).unwrap();
        untrusted(&place, NAME, ErrorKind::Untrusted, "mkdir -m 700");
    }
    for mode in [0o770, 0o755, 0o711, 0o700] {
        fs::set_permissions(place.dir(), fs::Permissions::from_mode(mode)).unwrap();
        place.options().open(NAME).unwrap();
    }
}

#[test]
fn a_file_that_everybody_may_write_to_is_refused() {
    for name in ["box", "box.bell", "box.lock"] {
        let place = Place::new();
        drop(place.options().create(NAME).unwrap());
        set_mode(&place, name, 0o666);
        if name == NAME {
            untrusted(&place, NAME, ErrorKind::Untrusted, "writable by everybody");
        }
        let error = place.options().create(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains("writable by everybody"), "{error}");
    }
}

#[test]
fn a_second_name_is_refused() {
    for name in ["box", "box.bell", "box.lock"] {
        let place = Place::new();
        drop(place.options().create(NAME).unwrap());
        fs::hard_link(place.path(name), place.path("second")).unwrap();
        if name == NAME {
            untrusted(&place, NAME, ErrorKind::Untrusted, "2 names");
            untrusted(&place, "second", ErrorKind::Untrusted, "2 names");
            assert_eq!(place.options().remove(NAME, false).unwrap_err().kind(), ErrorKind::Untrusted);
        }
        let error = place.options().create(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains("2 names"), "{error}");
        fs::remove_file(place.path("second")).unwrap();
        drop(place.options().create(NAME).unwrap());
    }
}

#[test]
fn another_kind_of_file_is_refused_and_left_alone() {
    let place = Place::new();
    fs::write(place.path("file"), "text").unwrap();
    symlink("file", place.path("link")).unwrap();
    symlink("missing", place.path("dangling")).unwrap();
    mkfifo(&place.path("fifo"), Mode::S_IRUSR).unwrap();
    fs::create_dir(place.path("directory")).unwrap();
    let _socket = UnixListener::bind(place.path("socket")).unwrap();
    let mut kinds = vec![
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("fifo", "a FIFO"),
        ("directory", "a directory"),
        ("socket", "a socket"),
    ];
    if is_root() {
        let null = fs::metadata("/dev/null").unwrap().rdev();
        mknod(&place.path("device"), SFlag::S_IFCHR, Mode::S_IRUSR, null).unwrap();
        kinds.push(("device", "a device"));
    }
    let before = place.entries();
    for (name, text) in kinds {
        untrusted(&place, name, ErrorKind::NotAMailbox, text);
        assert_eq!(place.options().remove(name, true).unwrap_err().kind(), ErrorKind::NotAMailbox);
    }
    assert_eq!(place.entries(), before);
    assert_eq!(fs::read(place.path("file")).unwrap(), b"text");
}

#[test]
fn companions_of_another_kind_are_refused_by_writers_and_do_no_harm_to_readers() {
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 6] = [
        ("a regular file", |path| fs::write(path, "text").unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a symbolic link", |path| symlink("/dev/null", path).unwrap()),
        ("a symbolic link to what it should be", |path| {
            let kept = path.with_extension("kept");
            match path.extension().unwrap().to_str() {
                Some("bell") => mkfifo(&kept, Mode::S_IRUSR | Mode::S_IWUSR).unwrap(),
                _ => fs::write(&kept, [7; 16]).unwrap(),
            }
            symlink(kept, path).unwrap();
        }),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a FIFO", |path| mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap()),
    ];
    for companion in ["box.bell", "box.lock"] {
        for (what, plant) in plants {
            if (companion, what) == ("box.bell", "a FIFO") || (companion, what) == ("box.lock", "a regular file") {
                continue;
            }
            let place = Place::new();
            place.options().create(NAME).unwrap().publish(b"a").unwrap();
            fs::remove_file(place.path(companion)).unwrap();
            plant(&place.path(companion));
            let error = place.options().create(NAME).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{companion}, {what}: {error}");
            let (is, text) = (&what[..what.find(" to what").unwrap_or(what.len())], error.to_string());
            assert!(text.contains(companion) && text.contains(is), "{companion}, {what}: {error}");
            let entries = place.entries();
            let error = place.options().remove(NAME, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{companion}, {what}: {error}");
            assert_eq!((place.entries(), place.raw().u32(at::LEAVING)), (entries, 0), "a refused removal has begun");
            let mut reader: Reader = place.options().open(NAME).unwrap();
            _ = reader.doorbell().unwrap();
            assert_eq!(reader.read().unwrap().bytes, b"a", "{companion}, {what}");
            assert!(reader.try_read().unwrap().is_none());
        }
    }
}

// While it is in use. -------------------------------------------------------------------------------------------------

#[test]
fn a_reader_goes_on_to_nothing_that_it_would_not_open() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().number, 1);
    fs::rename(place.path(NAME), place.path("aside")).unwrap();
    symlink("aside", place.path(NAME)).unwrap();
    assert_eq!(reader.read_timeout(LIMIT).unwrap_err().kind(), ErrorKind::NotAMailbox);
    // What it was attached to is what it stays with.
    fs::rename(place.path("aside"), place.path(NAME)).unwrap();
    writer.publish(b"b").unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"b");
    // Another mailbox, writable by everybody.
    drop(place.options().create("other").unwrap());
    set_mode(&place, "other", 0o666);
    fs::rename(place.path("other"), place.path(NAME)).unwrap();
    assert_eq!(reader.read_timeout(LIMIT).unwrap_err().kind(), ErrorKind::Untrusted);
}

#[test]
fn a_writer_says_what_has_replaced_a_file_of_its_own_and_goes_on_without_it() {
    for replaced in ["box", "box.bell", "box.lock"] {
        let place = Place::new();
        let mut writer = place.options().mode(0o640).create(NAME).unwrap();
        writer.publish(b"a").unwrap();
        fs::write(place.path("file"), "text").unwrap();
        fs::remove_file(place.path(replaced)).unwrap();
        symlink("file", place.path(replaced)).unwrap();
        let error = writer.check().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotAMailbox | ErrorKind::Untrusted), "{replaced}: {error}");
        assert!(error.to_string().contains("symbolic link"), "{replaced}: {error}");
        assert_eq!(writer.publish(b"b").unwrap(), 2, "{replaced}");
        fs::remove_file(place.path(replaced)).unwrap();
        writer.check().unwrap();
        assert_eq!(place.entries(), ["box", "box.bell", "box.lock", "file"], "{replaced}");
        assert_eq!(["box", "box.bell", "box.lock"].map(|name| mode(&place, name)), [0o640, 0o600, 0o600]);
        assert_eq!(fs::read(place.path("file")).unwrap(), b"text");
        assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"b", "{replaced}");
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy);
    }
}
