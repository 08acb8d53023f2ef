//! Files that no writer has made, and places where none can be made: each is an error that says why, and nothing is
//! lost.
//!
//! | what | cases | asserted |
//! |---|---|---|
//! | header | wrong magic, unfinished, other version | kind of error, path; file as it was; what `list` says |
//! | its numbers | at their extremes, just past the file's end; random bytes | the same |
//! | length | every length from 0 to full | the same |
//! | banks | sequences and lengths that no writer leaves, `latest` ahead | `Damaged`; a line ends at the capacity |
//! | banks | random; readers that are new, and that have read before | no call panics, hangs or spins |
//! | removal | damaged, cut short, of another version; foreign | goes; stays as it is |
//! | directory | files, FIFOs, sockets, links, odd names | only mailboxes are listed |
//! | memory | a full tmpfs: creation, growth | `NoSpace`; no half-made file; the old mailbox goes on |
//! | descriptors | none left | an error; a live writer goes on; all is well afterwards |

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Child, NAME, Parent, Place, Raw, at};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use proptest::prelude::*;
use shm_mailbox::{Error, ErrorKind, Message, Options, Reader};

roles!(cramped, exhausted);

const CAPACITY: usize = 64;

/// A mailbox with three lines and no writer.
fn mailbox(banks: u32) -> Place {
    let place = Place::new();
    let mut writer = place.options().capacity(CAPACITY).banks(banks).create(NAME).unwrap();
    for line in ["one", "two", "three"] {
        writer.publish(line.as_bytes()).unwrap();
    }
    place
}

/// Everybody refuses the mailbox, for a reason of this kind, and leaves it as it is.
#[track_caller]
fn refused(place: &Place, what: &str, is_right: impl Fn(ErrorKind) -> bool) {
    let before = fs::read(place.path(NAME)).unwrap();
    let entries = place.entries();
    let options = place.options();
    let check = |who: &str, error: Error| {
        assert!(is_right(error.kind()), "{what}: {who}: {:?}: {error}", error.kind());
        assert!(error.to_string().contains(place.path(NAME).to_str().unwrap()), "{what}: {who}: {error}");
    };
    check("open", options.open(NAME).unwrap_err());
    check("open, patient", options.clone().wait_for_mailbox(true).open(NAME).unwrap_err());
    check("inspect", options.inspect(NAME).unwrap_err());
    check("create", options.create(NAME).unwrap_err());
    // A list names what is damaged, which `rm` can remove, and not what is none of ours.
    let listed = options.list().unwrap();
    let is_ours = options.inspect(NAME).unwrap_err().kind() != ErrorKind::NotAMailbox;
    assert_eq!(listed, if is_ours { vec![NAME] } else { vec![] }, "{what}");
    assert!(fs::read(place.path(NAME)).unwrap() == before, "{what}: the file was changed");
    assert_eq!(place.entries(), entries, "{what}");
}

// Headers. ------------------------------------------------------------------------------------------------------------

#[test]
fn what_is_no_mailbox_is_told_from_what_is_none_yet_and_from_what_comes_later() {
    let place = mailbox(4);
    let raw = place.raw();
    raw.put(at::MAGIC, b"MAILBOX\x01");
    refused(&place, "wrong magic", |kind| kind == ErrorKind::NotAMailbox);
    assert_eq!(place.options().remove(NAME, true).unwrap_err().kind(), ErrorKind::NotAMailbox);
    raw.put(at::MAGIC, &[0; 8]);
    refused(&place, "unfinished", |kind| kind == ErrorKind::NotAMailbox);
    raw.put(at::MAGIC, b"MAILBOX\0");
    for version in [0, 2, u32::MAX] {
        raw.put_u32(at::VERSION, version);
        refused(&place, "version", |kind| kind == ErrorKind::UnsupportedLayout);
    }
    // One that is a mailbox, damaged or unknown, can be removed.
    assert!(place.options().remove(NAME, false).unwrap());
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let length = fs::metadata(mailbox(4).path(NAME)).unwrap().len();
    let wide = [
        0,
        1 << 40 | 1,
        1 << 41,
        1 << 62,
        1 << 63,
        u64::MAX / 4,
        u64::MAX / 2,
        u64::MAX - 4096,
        u64::MAX - 1,
        u64::MAX,
    ];
    for value in wide.into_iter().chain([length, length + 1, 2 * length]) {
        for field in [at::CAPACITY, at::STRIDE] {
            let place = mailbox(4);
            place.raw().put_u64(field, value);
            refused(&place, &format!("{value} at {field}"), |kind| kind == ErrorKind::Damaged);
            assert!(place.options().remove(NAME, false).unwrap());
        }
    }
    for value in [0, 3, 5, 6, 7, 9, 16, 1 << 31, u32::MAX] {
        let place = mailbox(4);
        place.raw().put_u32(at::BANKS, value);
        refused(&place, &format!("{value} banks"), |kind| kind == ErrorKind::Damaged);
    }
    for value in [0, 1, 512, 2048, 4095, 4097, 1 << 21, 1 << 31, u32::MAX] {
        let place = mailbox(4);
        place.raw().put_u32(at::PAGE, value);
        refused(&place, &format!("pages of {value}"), |kind| kind == ErrorKind::Damaged);
    }
    // Possible, each by itself, but more than the file has.
    let place = mailbox(4);
    let raw = place.raw();
    let (page, stride) = (raw.u32(at::PAGE), raw.u64(at::STRIDE));
    for value in [stride + 64, stride + 128, (1 << 41) - 64, 1 << 41] {
        raw.put_u64(at::STRIDE, value);
        refused(&place, &format!("stride {value}"), |kind| kind == ErrorKind::Damaged);
    }
    raw.put_u64(at::STRIDE, stride);
    raw.put_u32(at::BANKS, 8);
    refused(&place, "8 banks of 4", |kind| kind == ErrorKind::Damaged);
    raw.put_u32(at::BANKS, 4);
    for value in [2 * page, 1 << 20] {
        raw.put_u32(at::PAGE, value);
        refused(&place, &format!("pages of {value}"), |kind| kind == ErrorKind::Damaged);
    }
    raw.put_u32(at::PAGE, page);
    // The greatest capacity that the header may name, in banks as far apart as they may be: 16 TiB.
    raw.put_u64(at::CAPACITY, 1 << 40);
    raw.put_u64(at::STRIDE, 1 << 41);
    raw.put_u32(at::BANKS, 8);
    refused(&place, "16 TiB", |kind| kind == ErrorKind::Damaged);
    // A capacity that does not fit between the banks by one word.
    raw.put_u32(at::BANKS, 4);
    raw.put_u64(at::STRIDE, stride);
    for value in [stride - 23, stride, u32::MAX.into(), 1 << 40] {
        raw.put_u64(at::CAPACITY, value);
        refused(&place, &format!("capacity {value}"), |kind| kind == ErrorKind::Damaged);
    }
    // A stride that is no multiple of a cache line, or too small for a bank.
    for value in [1, 8, 63, 64, 65, 100, 127, 129] {
        let place = mailbox(4);
        place.raw().put_u64(at::STRIDE, value);
        refused(&place, &format!("stride {value}"), |kind| kind == ErrorKind::Damaged);
    }
}

#[test]
fn a_file_of_any_other_length_is_refused() {
    let place = mailbox(1);
    let raw = place.raw();
    let whole = fs::read(place.path(NAME)).unwrap();
    for length in (0..whole.len()).rev() {
        raw.file().set_len(length as u64).unwrap();
        refused(&place, &format!("{length} bytes"), |kind| {
            kind == if length < 512 { ErrorKind::NotAMailbox } else { ErrorKind::Damaged }
        });
    }
    // Longer is nobody's concern.
    fs::write(place.path(NAME), [&whole[..], b"surplus"].concat()).unwrap();
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"three");
}

#[test]
fn what_is_damaged_can_be_removed_and_what_is_foreign_cannot() {
    for force in [false, true] {
        for damage in [
            |raw: &Raw| raw.put_u32(at::BANKS, 3),
            |raw: &Raw| raw.put_u32(at::VERSION, 2),
            |raw: &Raw| raw.put_u64(at::STRIDE, 1 << 41),
            |raw: &Raw| raw.put_u64(at::LATEST, u64::MAX),
            |raw: &Raw| raw.put_u64(raw.bank(1), u64::MAX),
            |raw: &Raw| raw.file().set_len(512).unwrap(),
            |raw: &Raw| raw.file().set_len(raw.file().metadata().unwrap().len() - 1).unwrap(),
        ] {
            let place = mailbox(4);
            damage(&place.raw());
            assert!(place.options().remove(NAME, force).unwrap());
            assert_eq!(place.entries(), [""; 0]);
            // And made anew.
            assert_eq!(place.options().create(NAME).unwrap().publish(b"afresh").unwrap(), 1);
        }
        for content in [&b""[..], b"MAILBOX", b"MAILBOX\0", b"#!/bin/sh\n", &[0; 10_000], &[b'x'; 10_000]] {
            let place = Place::new();
            fs::write(place.path(NAME), content).unwrap();
            let error = place.options().remove(NAME, force).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotAMailbox, "{error}");
            assert!(error.to_string().contains(place.path(NAME).to_str().unwrap()), "{error}");
            assert_eq!(fs::read(place.path(NAME)).unwrap(), content);
            assert_eq!(place.entries(), [NAME]);
        }
    }
}

/// Time that this thread has spent on a processor.
fn processor_time() -> Duration {
    nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

/// Waits for as long as a reader of a healthy mailbox would, and proves that a wait is not spent spinning: of several
/// waits that lasted, one is enough, since noise only adds.
#[track_caller]
fn waits_quietly(reader: &mut Reader, capacity: usize) {
    let mut spent = Vec::new();
    for _ in 0..4 {
        let started = processor_time();
        _ = reader.read_timeout(PATIENCE).map(|message| is_possible(message, capacity));
        spent.push(processor_time() - started);
        if spent.last().unwrap() < &(PATIENCE / 2) {
            return;
        }
    }
    panic!("waits of {PATIENCE:?} took {spent:?} of the processor");
}

const PATIENCE: Duration = Duration::from_millis(20);

#[track_caller]
fn is_possible(message: Option<Message<'_>>, capacity: usize) {
    if let Some(message) = message {
        assert!(message.bytes.len() <= capacity, "{} bytes of {capacity}", message.bytes.len());
    }
}

/// Every call ends, and what it returns is possible.
#[track_caller]
fn reads(reader: &mut Reader, capacity: usize) {
    for _ in 0..2 {
        _ = reader.try_read().map(|message| is_possible(message, capacity));
        _ = reader.latest().map(|message| is_possible(message, capacity));
        waits_quietly(reader, capacity);
    }
    _ = reader.doorbell();
    _ = reader.try_read().map(|message| is_possible(message, capacity));
}

/// Everybody tries the mailbox, whose header names `capacity` if it is valid: nobody panics or hangs, and who only
/// looks or is refused changes nothing.
fn everybody_tries(place: &Place, capacity: usize) {
    let options = place.options();
    let content = || fs::read(place.path(NAME)).unwrap();
    let before = content();
    _ = options.inspect(NAME);
    options.list().unwrap();
    let opened = options.open(NAME);
    assert!(content() == before, "a look changed the file");
    if let Ok(mut reader) = opened {
        reads(&mut reader, capacity);
    }
    let before = content();
    match options.create(NAME) {
        Ok(mut writer) => {
            assert_eq!(writer.capacity(), capacity);
            let line = vec![b'x'; capacity];
            let number = writer.publish(&line).unwrap();
            assert_eq!(number, writer.number());
            let mut reader = options.open(NAME).unwrap();
            let message = reader.read_timeout(common::LIMIT).unwrap().expect("published");
            assert_eq!((message.number, message.bytes), (number, &line[..]));
            writer.grow(capacity + 1).unwrap();
            assert_eq!(reader.latest().unwrap().unwrap().bytes, line);
        }
        Err(_) => assert!(content() == before, "one that was refused changed the file"),
    }
    _ = options.remove(NAME, true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_header_of_random_bytes_harms_nobody(
        changes in prop::collection::vec((8u64..64, any::<u8>()), 1..8),
        banks in prop::sample::select(vec![1u32, 2, 4, 8]),
    ) {
        let place = mailbox(banks);
        let raw = place.raw();
        for (at, byte) in changes {
            raw.put(at, &[byte]);
        }
        everybody_tries(&place, raw.u64(at::CAPACITY) as usize);
    }

    #[test]
    fn nor_does_one_that_is_random_from_end_to_end(
        header in prop::collection::vec(any::<u8>(), 512),
        valid in 0usize..64,
    ) {
        // As many fields as `valid` covers are those of a mailbox.
        let place = mailbox(2);
        let raw = place.raw();
        raw.put(valid as u64, &header[valid..]);
        everybody_tries(&place, raw.u64(at::CAPACITY) as usize);
    }

    #[test]
    fn banks_of_random_content_harm_nobody(
        latest in number(),
        sequences in prop::collection::vec(number(), 8),
        lengths in prop::collection::vec(number(), 8),
        words in any::<[u32; 4]>(),
        banks in prop::sample::select(vec![1u32, 2, 4, 8]),
        has_read: bool,
    ) {
        let place = mailbox(banks);
        let raw = place.raw();
        let mut early = place.options().open(NAME).unwrap();
        if has_read {
            assert_eq!(early.read().unwrap().number, 3);
        }
        raw.put_u64(at::LATEST, latest);
        for index in 0..u64::from(banks) {
            raw.put_u64(raw.bank(index), sequences[index as usize]);
            raw.put_u64(raw.bank(index) + 8, lengths[index as usize]);
        }
        raw.put_u32(at::LEAVING, words[0] % 2);
        raw.put_u32(at::ALWAYS_WAKE, words[1]);
        raw.put_u32(raw.page(), words[2]);
        raw.put_u32(raw.page() + 128, words[3]);
        reads(&mut early, CAPACITY);
        everybody_tries(&place, CAPACITY);
    }
}

/// Numbers near what can be, and near where arithmetic ends.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..20, 0u64..20, any::<u64>(), (u64::MAX - 20)..=u64::MAX, ((1 << 62) - 20)..((1u64 << 62) + 20)]
}

#[test]
fn a_latest_ahead_of_the_banks_is_damage_to_those_who_go_by_it() {
    for latest in [4, 5, 100, u32::MAX.into(), 1 << 62, (1 << 62) + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        let place = mailbox(4);
        place.raw().put_u64(at::LATEST, latest);
        let options = place.options();
        assert_eq!(options.inspect(NAME).unwrap().number, 3, "{latest}: the banks alone say what is there");
        let mut reader = options.open(NAME).unwrap();
        assert_eq!(reader.try_read().unwrap().unwrap().number, 3);
        assert_eq!(reader.read_timeout(common::LIMIT).unwrap_err().kind(), ErrorKind::Damaged, "{latest}");
        let before = fs::read(place.path(NAME)).unwrap();
        assert_eq!(options.create(NAME).unwrap_err().kind(), ErrorKind::Damaged, "{latest}");
        assert!(fs::read(place.path(NAME)).unwrap() == before);
    }
}

#[test]
fn sequences_that_no_writer_leaves_are_damage() {
    // Of banks 0 to 3, which held messages none, 1, 2 and 3.
    for (sequences, what) in [
        ([1, 1, 1, 1], "all odd"),
        ([9, 11, 13, 15], "all odd, ahead"),
        ([0, 0, 0, 0], "all empty"),
        ([u64::MAX; 4], "all at the end"),
        ([u64::MAX - 1; 4], "all at the end, even"),
        ([0, 2, 4, 1 << 63], "one far ahead"),
    ] {
        let place = mailbox(4);
        let (raw, options) = (place.raw(), place.options());
        for (index, sequence) in sequences.into_iter().enumerate() {
            raw.put_u64(raw.bank(index as u64), sequence);
        }
        let mut reader = options.open(NAME).unwrap();
        // Whatever it takes for a line at first, soon it says so.
        let error = (0..2).find_map(|_| reader.read_timeout(common::LIMIT).err()).expect(what);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
        assert!(error.to_string().contains(place.path(NAME).to_str().unwrap()), "{what}: {error}");
        assert_eq!(options.create(NAME).unwrap_err().kind(), ErrorKind::Damaged, "{what}");
    }
    // A reader looks only at the banks that it needs; a writer at all of them.
    let place = mailbox(4);
    let raw = place.raw();
    raw.put_u64(raw.bank(1), 4);
    raw.put_u64(raw.bank(2), 2);
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"three");
    assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_length_beyond_the_capacity_ends_there() {
    let place = mailbox(4);
    let raw = place.raw();
    for length in [65, 128, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX] {
        raw.put_u64(raw.bank(3) + 8, length);
        let mut reader = place.options().open(NAME).unwrap();
        let line = reader.try_read().unwrap().unwrap().bytes.to_owned();
        assert_eq!((line.len(), &line[..5]), (CAPACITY, &b"three"[..]));
        assert_eq!(reader.latest().unwrap().unwrap().bytes, line);
    }
    // Nor does a writer that grows carry more than that over.
    let mut writer = place.options().capacity(1000).create(NAME).unwrap();
    assert_eq!(writer.number(), 3);
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes.len(), CAPACITY);
    assert_eq!(writer.publish(b"four").unwrap(), 4);
}

#[test]
fn junk_is_not_listed() {
    let place = mailbox(4);
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("empty"), "").unwrap();
    fs::write(place.path("text"), "x".repeat(10_000)).unwrap();
    fs::write(place.path("zeros"), [0; 10_000]).unwrap();
    fs::write(place.path("short"), b"MAILBOX\0").unwrap();
    fs::write(place.path("bad.lock"), "").unwrap();
    fs::write(place.path("bad.new"), "x".repeat(10_000)).unwrap();
    fs::write(place.path(".hidden"), "x").unwrap();
    fs::write(place.path("-a\nb \u{7f}"), "x").unwrap();
    fs::write(place.dir().join(OsStr::from_bytes(b"no\xffutf8")), "x").unwrap();
    fs::write(place.path(&"n".repeat(255)), "x").unwrap();
    std::os::unix::fs::symlink(NAME, place.path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("dangling")).unwrap();
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    let damaged = place.path("damaged");
    fs::copy(place.path(NAME), &damaged).unwrap();
    Raw::open(&damaged).put_u32(at::BANKS, 3);
    assert_eq!(place.options().list().unwrap(), [NAME, "damaged"]);

    // None of it can be used by its name either, and nobody waits for somebody to open the FIFO.
    for name in ["directory", "empty", "text", "zeros", "short", "link", "dangling", "fifo", "socket"] {
        let options = place.options();
        for error in [
            options.open(name).unwrap_err(),
            options.inspect(name).unwrap_err(),
            options.create(name).unwrap_err(),
            options.remove(name, true).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotAMailbox, "{error}");
            assert!(error.to_string().contains(place.path(name).to_str().unwrap()), "{error}");
        }
        assert!(fs::symlink_metadata(place.path(name)).is_ok(), "{name} is still there");
        assert!(!fs::exists(place.path(&format!("{name}.lock"))).unwrap(), "{name}: nothing was left beside it");
    }
}

// No room. ------------------------------------------------------------------------------------------------------------

#[test]
fn a_full_tmpfs_is_an_error_and_nothing_is_left_or_lost() {
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    let mut child = Child::start("cramped", &place, &[]);
    match child.hear().as_str() {
        "done" => child.end(),
        refused => common::skip(&format!("a private mount namespace is refused: {refused}")),
    }
}

/// Starts itself once more, in namespaces of its own: between fork and exec there is one thread, and the kernel gives
/// no user namespace to more.
fn cramped(parent: &mut Parent) {
    if std::env::var_os(INSIDE).is_none() {
        match apart().env(INSIDE, "1").spawn() {
            Ok(mut inside) => assert!(inside.wait().unwrap().success()),
            Err(why) => parent.say(why),
        }
        return;
    }
    let directory = std::env::var("MAILBOX_DIR").unwrap() + "/small";
    if let Err(why) = mount_small(&directory) {
        parent.say(why);
        return;
    }
    let options = Options::new().dir(&directory);
    let entries = || {
        let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };

    // Made too large: nothing is left.
    let error = options.clone().capacity(1 << 20).create(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("no room"), "{error}");
    assert!(entries().is_empty(), "{:?}", entries());

    // Grown too large: it is as it was, and goes on.
    let mut writer = options.create(NAME).unwrap();
    let mut reader = options.open(NAME).unwrap();
    writer.publish(b"before").unwrap();
    let before = entries();
    assert_eq!(writer.grow(1 << 20).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!((writer.capacity(), entries()), (4096, before));
    assert_eq!(reader.read().unwrap().bytes, b"before");
    assert_eq!(writer.publish(b"after").unwrap(), 2);
    assert_eq!(reader.read().unwrap().bytes, b"after");

    // The rest is filled to the last byte: neither writer nor readers notice, since all pages are there.
    let mut rest = File::create(format!("{directory}/rest")).unwrap();
    std::io::copy(&mut std::io::repeat(1), &mut rest).unwrap_err();
    for number in 3..100 {
        assert_eq!(writer.publish(&[b'x'; 4096]).unwrap(), number);
        assert_eq!(reader.read().unwrap().bytes.len(), 4096);
    }
    let error = options.create("other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(entries().iter().all(|name| !name.to_str().unwrap().starts_with("other")), "{:?}", entries());

    // With room again it can be made, and grown.
    drop(rest);
    fs::remove_file(format!("{directory}/rest")).unwrap();
    options.create("other").unwrap();
    assert!(options.remove("other", false).unwrap());
    writer.grow(8192).unwrap();
    assert_eq!(reader.latest().unwrap().unwrap().number, 99);
    parent.say("done");
}

const INSIDE: &str = "MAILBOX_TEST_INSIDE";

/// This process again, in a mount namespace of its own, and, without the right to that, in a user namespace in which it
/// has it.
fn apart() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(std::env::args_os().skip(1)).stdin(Stdio::null()).stdout(Stdio::null());
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // As root there, or exec would take the rights away again.
    let maps = [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", format!("0 {uid} 1")),
        (c"/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    let is_root = common::is_root();
    // SAFETY: system calls and nothing else, with what was made before, so allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if is_root {
                return Ok(unshare(CloneFlags::CLONE_NEWNS)?);
            }
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER)?;
            for (path, map) in &maps {
                let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if file < 0 || libc::write(file, map.as_ptr().cast(), map.len()) != map.len() as isize {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

/// A tmpfs of 256 KiB, which only this process sees.
fn mount_small(directory: &str) -> Result<(), String> {
    let mount = |kind: &std::ffi::CStr, at: &str, flags, data: &std::ffi::CStr| {
        let at = std::ffi::CString::new(at).unwrap();
        // SAFETY: four strings that end with NUL and live through the call; only this namespace sees the mounts.
        let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
        if result == 0 { Ok(()) } else { Err(format!("mount: {}", std::io::Error::last_os_error())) }
    };
    mount(c"none", "/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    mount(c"tmpfs", directory, 0, c"size=256k,mode=700")
}

#[test]
fn without_descriptors_there_are_errors_and_nothing_worse() {
    let place = Place::new();
    let mut child = Child::start("exhausted", &place, &[]);
    assert_eq!(child.hear(), "done");
    child.end();
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);
}

fn exhausted(parent: &mut Parent) {
    let mut writer = Options::new().create(NAME).unwrap();
    let mut reader = Options::new().open(NAME).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 60, 60).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!hoard.is_empty());
    let directory = std::env::var("MAILBOX_DIR").unwrap();
    let mut poller = None;
    // With none left, then with one more each time, so that each step of each call is the one that fails.
    let (mut made, mut refused) = (0, 0);
    while !hoard.is_empty() {
        let mut count = |error: Option<Error>| match error {
            Some(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                refused += 1;
            }
            None => made += 1,
        };
        count(Options::new().create("other").err());
        count(Options::new().open(NAME).err());
        count(Options::new().inspect(NAME).err());
        count(Options::new().open(NAME).and_then(|mut other| other.doorbell().map(drop)).err());
        // One that was open before them gets its doorbell as soon as there are descriptors for it.
        if poller.is_none() {
            match reader.doorbell() {
                Ok(doorbell) => poller = Some(doorbell),
                Err(error) => count(Some(error)),
            }
        }
        // What was made was made whole, and of what was not nothing is left.
        if !fs::exists(format!("{directory}/other")).unwrap() {
            for companion in ["other.bell", "other.lock", "other.new"] {
                assert!(!fs::exists(format!("{directory}/{companion}")).unwrap(), "{companion}");
            }
        }
        let number = writer.publish(b"a").unwrap();
        assert_eq!(reader.read().unwrap().number, number);
        hoard.pop();
    }
    assert!(made > 0 && refused > 0, "{made} {refused}");
    assert!(reader.try_read().unwrap().is_none());
    writer.publish(b"rung").unwrap();
    let doorbell = poller.expect("made meanwhile");
    let mut polled = [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::try_from(common::LIMIT).unwrap()).unwrap(), 1);
    assert_eq!(reader.try_read().unwrap().unwrap().bytes, b"rung");
    Options::new().create("other").unwrap();
    assert!(Options::new().remove("other", false).unwrap());
    parent.say("done");
}
