//! Files that no writer has made, and places where none can be made: each is an error that says why, and nothing is lost.
//!
//! | what | cases | asserted |
//! |---|---|---|
//! | header | wrong magic, unfinished, other version, each number at its extremes, random bytes | kind of error; file as it was |
//! | length | every length from 0 to full | the same |
//! | banks | random sequences, lengths, `latest` | every call ends, no panic, no line beyond the capacity |
//! | memory | a full tmpfs: creation, growth | `NoSpace`; no half-made file; the old mailbox goes on |
//! | descriptors | none left | an error; all is well afterwards |

mod common;

use std::fs::{self, File};
use std::time::Duration;

use common::{Child, NAME, Parent, Place, Raw, at};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use proptest::prelude::*;
use shm_mailbox::{Error, ErrorKind, Message, Options};

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
    options.list().unwrap();
    assert!(fs::read(place.path(NAME)).unwrap() == before, "{what}: the file was changed");
    assert_eq!(place.entries(), entries, "{what}");
}

// Headers. --------------------------------------------------------------------------------------------------------------

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
    // A stride that is no multiple of a cache line, or too small for a bank.
    for value in [1, 8, 63, 64, 65, 100, 127, 129] {
        let place = mailbox(4);
        place.raw().put_u64(at::STRIDE, value);
        refused(&place, &format!("stride {value}"), |kind| kind == ErrorKind::Damaged);
    }
}

#[test]
fn a_file_of_any_other_length_is_refused() {
    let place = mailbox(2);
    let whole = fs::read(place.path(NAME)).unwrap();
    for length in (0..whole.len()).filter(|length| *length < 600 || length % 61 == 0 || whole.len() - length < 300) {
        fs::write(place.path(NAME), &whole[..length]).unwrap();
        refused(&place, &format!("{length} bytes"), |kind| {
            kind == if length < 512 { ErrorKind::NotAMailbox } else { ErrorKind::Damaged }
        });
    }
    // Longer is nobody's concern.
    fs::write(place.path(NAME), [&whole[..], b"surplus"].concat()).unwrap();
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"three");
}

/// Every call ends, and what it returns is possible.
fn everybody_tries(place: &Place) {
    let options = place.options();
    _ = options.inspect(NAME);
    _ = options.list();
    if let Ok(mut reader) = options.open(NAME) {
        for _ in 0..2 {
            let is_possible = |message: Option<Message<'_>>| {
                assert!(message.is_none_or(|message| message.bytes.len() <= 1 << 20));
            };
            _ = reader.try_read().map(is_possible);
            _ = reader.latest().map(is_possible);
            _ = reader.read_timeout(Duration::from_millis(2)).map(is_possible);
        }
        _ = reader.doorbell();
        _ = reader.try_read().map(|message| message.is_some());
    }
    if let Ok(mut writer) = options.create(NAME)
        && writer.capacity() < 1 << 20
    {
        let number = writer.publish(b"a line").unwrap();
        assert_eq!(number, writer.number());
        let mut reader = options.open(NAME).unwrap();
        let message = reader.read().unwrap();
        assert_eq!((message.number, message.bytes), (number, &b"a line"[..]));
        writer.grow(writer.capacity() + 1).unwrap();
        assert_eq!(reader.latest().unwrap().unwrap().bytes, b"a line");
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
        everybody_tries(&place);
    }

    #[test]
    fn banks_of_random_content_harm_nobody(
        latest in number(),
        sequences in prop::collection::vec(number(), 8),
        lengths in prop::collection::vec(number(), 8),
        words in any::<[u32; 4]>(),
        banks in prop::sample::select(vec![1u32, 2, 4, 8]),
    ) {
        let place = mailbox(banks);
        let raw = place.raw();
        raw.put_u64(at::LATEST, latest);
        for index in 0..u64::from(banks) {
            raw.put_u64(raw.bank(index), sequences[index as usize]);
            raw.put_u64(raw.bank(index) + 8, lengths[index as usize]);
        }
        raw.put_u32(at::LEAVING, words[0] % 2);
        raw.put_u32(at::ALWAYS_WAKE, words[1]);
        raw.put_u32(raw.page(), words[2]);
        raw.put_u32(raw.page() + 128, words[3]);
        everybody_tries(&place);
    }
}

/// Numbers near what can be, and near where arithmetic ends.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..20, 0u64..20, any::<u64>(), (u64::MAX - 20)..=u64::MAX, ((1 << 62) - 20)..((1u64 << 62) + 20)]
}

#[test]
fn junk_is_not_listed() {
    let place = mailbox(4);
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("empty"), "").unwrap();
    fs::write(place.path("text"), "x".repeat(10_000)).unwrap();
    fs::write(place.path("bad.lock"), "").unwrap();
    std::os::unix::fs::symlink(NAME, place.path("link")).unwrap();
    let damaged = place.path("damaged");
    fs::copy(place.path(NAME), &damaged).unwrap();
    Raw::open(&damaged).put_u32(at::BANKS, 3);
    assert_eq!(place.options().list().unwrap(), [NAME, "damaged"]);
}

// No room. --------------------------------------------------------------------------------------------------------------

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

fn cramped(parent: &mut Parent) {
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

/// A tmpfs of 192 KiB, which only this process sees.
fn mount_small(directory: &str) -> Result<(), String> {
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !common::is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    // A user namespace is refused to a process with several threads, as a test is.
    unshare(flags).map_err(|errno| format!("unshare: {errno}"))?;
    let mount = |kind: &std::ffi::CStr, at: &str, flags, data: &std::ffi::CStr| {
        let at = std::ffi::CString::new(at).unwrap();
        // SAFETY: four strings that end with NUL and live through the call; the mounts are seen in this namespace alone.
        let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
        if result == 0 { Ok(()) } else { Err(format!("mount: {}", std::io::Error::last_os_error())) }
    };
    mount(c"none", "/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    mount(c"tmpfs", directory, 0, c"size=192k,mode=700")
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
        let number = writer.publish(b"a").unwrap();
        assert_eq!(reader.read().unwrap().number, number);
        hoard.pop();
    }
    assert!(made > 0 && refused > 0, "{made} {refused}");
    Options::new().create("other").unwrap();
    assert!(Options::new().remove("other", false).unwrap());
    parent.say("done");
}
