//! Who may do what: who may write the file is trusted; who may only read it can neither change it nor delay the writer.
//!
//! | what | cases |
//! |---|---|
//! | modes | five, of all three files, whatever the umask; another mode than the one that is there |
//! | another user who may read | reads, waits, polls, through growth and re-creation, always woken or not; cannot write; leaves no trace |
//! | another user who may not | refused, with what to type |
//! | owners | files and directories of others, with and without `owner`; root in another user's directory |
//! | places | writable by everybody, by the group; links, FIFOs, sockets, directories under the three names |

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use common::{Child, NAME, Parent, Place, is_root, skip};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, mkfifo, setgroups, setresgid, setresuid};
use shm_mailbox::{ErrorKind, Options, Reader, WriterState};

roles!(masked, follower, stranger, poller);

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

// Modes. ----------------------------------------------------------------------------------------------------------------

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

// Another user. ---------------------------------------------------------------------------------------------------------

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
    // One who names the owner waits for what is not there yet, and that includes what may not be read yet.
    let mut waiting = options.clone().wait_for_mailbox(true).open("private").unwrap();
    assert!(waiting.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    parent.say("done");
}

// Owners. ---------------------------------------------------------------------------------------------------------------

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

/// The user whose directory it is puts a link where root is about to make a file, so that root changes what the link leads to.
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

// Places. ---------------------------------------------------------------------------------------------------------------

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
    let before = place.entries();
    for (name, text) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("fifo", "FIFO"),
        ("directory", "directory"),
        ("socket", "socket"),
    ] {
        untrusted(&place, name, ErrorKind::NotAMailbox, text);
    }
    assert_eq!(place.entries(), before);
    assert_eq!(fs::read(place.path("file")).unwrap(), b"text");
}

#[test]
fn companions_of_another_kind_are_refused_by_writers_and_do_no_harm_to_readers() {
    type Plant = fn(&std::path::Path);
    let plants: [(&str, Plant); 4] = [
        ("a regular file", |path| fs::write(path, "text").unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a symbolic link", |path| symlink("/dev/null", path).unwrap()),
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
            assert!(error.to_string().contains(companion), "{companion}, {what}: {error}");
            let mut reader: Reader = place.options().open(NAME).unwrap();
            _ = reader.doorbell().unwrap();
            assert_eq!(reader.read().unwrap().bytes, b"a", "{companion}, {what}");
            assert!(reader.try_read().unwrap().is_none());
        }
    }
}
