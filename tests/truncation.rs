//! A mailbox that is cut short while it is in use, with the guard and without.
//!
//! | who | cases | asserted |
//! |---|---|---|
//! | nobody guarded | a reader looks | dies by SIGBUS: the library installs nothing unasked |
//! | reader | each call; cut at each page; asleep in `read`; may only read | `Damaged`, no line that is not whole; goes on when made anew |
//! | writer | publish, grow, check | `Damaged`, for good; `Removed` once it is removed |
//! | other faults | another mapping, `kill`; default, ignored, handlers of both types before | as without the guard |
//! | the program | `watch`, `put` | says so and ends with 2 |

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Child, LIMIT, NAME, Parent, Place, is_line, line};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use shm_mailbox::{Error, ErrorKind, Options, Reader, guard_against_truncation};
use std::os::unix::process::ExitStatusExt;

roles!(unguarded, cut_reader, several, cut_sleeper, cut_writer, faulty);

const CAPACITY: usize = 20_000;

/// A child that plays `role` ends well, or by this signal.
#[track_caller]
fn plays(role: &'static str, arguments: &[&dyn std::fmt::Display], signal: Option<i32>) {
    let place = Place::new();
    let mut child = Child::start(role, &place, arguments);
    let status = child.wait();
    assert_eq!(status.signal(), signal, "{role}: {status}");
    assert!(signal.is_some() || status.success(), "{role}: {status}");
}

fn cut(length: u64) {
    cut_named(NAME, length);
}

fn cut_named(name: &str, length: u64) {
    let path = std::path::Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()).join(name);
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// A file of which nothing is left is no mailbox to `remove`.
fn remove(options: &Options) {
    match options.remove(NAME, true) {
        Ok(was_there) => assert!(was_there),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotAMailbox, "{error}");
            std::fs::remove_file(error.mailbox()).unwrap();
        }
    }
}

#[track_caller]
fn is_damaged(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("cut short"), "{error}");
}

#[test]
fn without_the_guard_a_reader_dies() {
    plays("unguarded", &[], Some(libc::SIGBUS));
}

fn unguarded(_: &mut Parent) {
    let mut writer = Options::new().create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    let mut reader = Options::new().open(NAME).unwrap();
    cut(0);
    _ = reader.try_read();
}

#[test]
fn a_reader_says_so_at_the_next_call_and_goes_on_with_the_next_mailbox() {
    plays("cut_reader", &[&0o600], None);
}

/// One that is read-only has one mapping and not two.
#[test]
fn so_does_a_reader_that_may_not_write() {
    if !common::is_root() {
        return common::skip("only root can become another user");
    }
    plays("cut_reader", &[&0o644], None);
}

fn cut_reader(parent: &mut Parent) {
    guard_against_truncation();
    guard_against_truncation();
    let mode = parent.argument(0);
    type Call = fn(&mut Reader) -> Result<Option<(u64, Vec<u8>)>, Error>;
    let calls: [(&str, Call); 5] = [
        ("try_read", |reader| Ok(reader.try_read()?.map(|message| (message.number, message.bytes.to_vec())))),
        ("read_timeout", |reader| {
            Ok(reader.read_timeout(Duration::from_secs(1))?.map(|message| (message.number, message.bytes.to_vec())))
        }),
        ("read", |reader| reader.read().map(|message| Some((message.number, message.bytes.to_vec())))),
        ("latest", |reader| Ok(reader.latest()?.map(|message| (message.number, message.bytes.to_vec())))),
        ("poll", |reader| {
            _ = reader.doorbell()?;
            Ok(reader.try_read()?.map(|message| (message.number, message.bytes.to_vec())))
        }),
    ];
    let options = Options::new().capacity(CAPACITY).mode(mode);
    for (name, call) in calls {
        // To one byte, so that what is left reads as it was, or to nothing, or to somewhere between.
        for pages in 0..8 {
            for has_read in [false, true] {
                let mut writer = options.create(NAME).unwrap();
                writer.publish(&line(1, 0, CAPACITY)).unwrap();
                let mut reader =
                    if mode == 0o644 { as_other(|| options.open(NAME)) } else { options.open(NAME) }.unwrap();
                if has_read {
                    assert_eq!(reader.read().unwrap().number, 1);
                }
                writer.publish(&line(2, 0, CAPACITY)).unwrap();
                cut(pages * 4096);
                // The first page alone may serve a call that has nothing to do with the rest.
                let mut results = Vec::new();
                while !matches!(results.last(), Some(Err(_))) {
                    assert!(results.len() < 3, "{name}, cut to {pages} pages: {results:?}");
                    results.push(call(&mut reader));
                    if let Some(Ok(Some((number, bytes)))) = results.last() {
                        assert!(is_line(bytes, *number, 0), "{name}, cut to {pages} pages: not whole");
                    }
                }
                is_damaged(results.last().unwrap().as_ref().unwrap_err());
                is_damaged(&call(&mut reader).unwrap_err());
                drop(writer);
                remove(&options);
                assert!(reader.try_read().unwrap().is_none(), "{name}: it is gone now, and that is no error");
                options.create(NAME).unwrap().publish(&line(1, 7, 9)).unwrap();
                let message = reader.read_timeout(LIMIT).unwrap().unwrap();
                assert!(message.number == 1 && is_line(message.bytes, 1, 7), "{message:?}");
                remove(&options);
            }
        }
    }
}

#[test]
fn each_mailbox_of_a_process_is_guarded_by_itself() {
    plays("several", &[], None);
}

fn several(_: &mut Parent) {
    guard_against_truncation();
    let open = |name: &str| {
        let mut writer = Options::new().create(name).unwrap();
        writer.publish(name.as_bytes()).unwrap();
        (name.to_owned(), Options::new().open(name).unwrap(), writer)
    };
    let mut others = ["first", "second"].map(open);
    let (_, mut reader, mut writer) = open(NAME);
    let mut third = open("third");
    cut(0);
    is_damaged(&reader.try_read().unwrap_err());
    is_damaged(&writer.publish(b"").unwrap_err());
    for (name, reader, writer) in others.iter_mut().chain([&mut third]) {
        assert_eq!(reader.try_read().unwrap().unwrap().bytes, name.as_bytes());
        writer.publish(b"next").unwrap();
    }
    cut_named("first", 0);
    is_damaged(&others[0].1.try_read().unwrap_err());
    assert_eq!(others[1].1.try_read().unwrap().unwrap().bytes, b"next");
}

/// Does it as another user, in whose eyes the directory is to be open.
fn as_other<T>(work: impl FnOnce() -> T) -> T {
    const OTHER: u32 = 65534;
    let directory = std::env::var_os("MAILBOX_DIR").unwrap();
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    nix::unistd::seteuid(OTHER.into()).unwrap();
    let result = work();
    nix::unistd::seteuid(0.into()).unwrap();
    result
}

#[test]
fn a_sleeper_says_so_within_a_slice() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    let mut child = Child::start("cut_sleeper", &place, &[]);
    child.expect("reading");
    child.wait_until_asleep();
    place.raw().file().set_len(0).unwrap();
    child.expect("damaged");
    child.end();
    // The writer is not to touch it any more: this process is not guarded.
    std::mem::forget(writer);
}

fn cut_sleeper(parent: &mut Parent) {
    guard_against_truncation();
    let mut reader = Options::new().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().number, 1);
    parent.say("reading");
    is_damaged(&reader.read().unwrap_err());
    parent.say("damaged");
}

#[test]
fn a_writer_says_so_and_publishes_nothing_more() {
    plays("cut_writer", &[], None);
}

fn cut_writer(_: &mut Parent) {
    guard_against_truncation();
    let options = Options::new().capacity(CAPACITY);
    for pages in 0..8 {
        for first in ["publish", "grow", "check"] {
            let mut writer = options.create(NAME).unwrap();
            writer.publish(&line(1, 0, CAPACITY)).unwrap();
            cut(pages * 4096);
            let mut published = 0;
            let error = loop {
                let result = match first {
                    // What is left of the file holds one bank, or two: a publish in these does not touch the rest.
                    "publish" => writer.publish(&line(2, 0, CAPACITY)).map(|_| published += 1),
                    "grow" => writer.grow(2 * CAPACITY).map(|()| unreachable!("the old line is gone")),
                    _ => writer.check().and_then(|()| writer.publish(&line(2, 0, CAPACITY)).map(|_| published += 1)),
                };
                assert!(published < 3, "cut to {pages} pages, {first}");
                if let Err(error) = result {
                    break error;
                }
            };
            is_damaged(&error);
            for error in [
                writer.publish(b"b").unwrap_err(),
                writer.check().unwrap_err(),
                writer.grow(100_000).unwrap_err(),
                writer.publish(b"c").unwrap_err(),
            ] {
                is_damaged(&error);
            }
            remove(&options);
            assert_eq!(writer.publish(b"d").unwrap_err().kind(), ErrorKind::Removed);
        }
    }
}

// Other faults. -------------------------------------------------------------------------------------------------------

#[test]
fn other_faults_go_where_they_went_before() {
    for before in ["default", "ignore"] {
        plays("faulty", &[&before, &"fault"], Some(libc::SIGBUS));
    }
    for before in ["handler", "plain-handler"] {
        plays("faulty", &[&before, &"fault"], None);
        plays("faulty", &[&before, &"raise"], None);
    }
    // Where memory of ours was before.
    plays("faulty", &[&"default", &"fault-in-its-place"], Some(libc::SIGBUS));
    plays("faulty", &[&"default", &"raise"], Some(libc::SIGBUS));
    plays("faulty", &[&"ignore", &"raise"], None);
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

/// Ends well once a fault has come here: it would come for ever.
extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: a handler with SA_SIGINFO gets a siginfo_t.
    let code = unsafe { (*info).si_code };
    if signal == libc::SIGBUS && code == libc::BUS_ADRERR {
        // SAFETY: async-signal-safe (signal-safety(7)).
        unsafe { libc::_exit(0) };
    }
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn plain_handler(signal: libc::c_int) {
    static FAULTS: AtomicU32 = AtomicU32::new(0);
    HANDLED.fetch_add(1, Ordering::Relaxed);
    // The second time it is a fault that has come back.
    if signal == libc::SIGBUS && FAULTS.fetch_add(1, Ordering::Relaxed) == 1 {
        // SAFETY: async-signal-safe (signal-safety(7)).
        unsafe { libc::_exit(0) };
    }
}

fn faulty(parent: &mut Parent) {
    let (before, fault) = (parent.argument::<String>(0), parent.argument::<String>(1));
    let handler = match before.as_str() {
        "ignore" => SigHandler::SigIgn,
        "handler" => SigHandler::SigAction(handler),
        "plain-handler" => SigHandler::Handler(plain_handler),
        _ => SigHandler::SigDfl,
    };
    // SAFETY: the handlers do nothing but what is async-signal-safe.
    unsafe { sigaction(Signal::SIGBUS, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }.unwrap();
    guard_against_truncation();
    // A mailbox in use, so that the handler has something to compare with.
    let mut writer = Options::new().create(NAME).unwrap();
    writer.publish(b"a").unwrap();
    if fault == "raise" {
        raise(Signal::SIGBUS).unwrap();
        assert_eq!(HANDLED.load(Ordering::Relaxed), u32::from(before != "ignore"));
        assert_eq!(writer.publish(b"b").unwrap(), 2);
        return;
    }
    let file = tempfile::tempfile_in(std::env::var_os("MAILBOX_DIR").unwrap()).unwrap();
    file.set_len(4096).unwrap();
    let (place, fixed) = match fault.as_str() {
        "fault" => (std::ptr::null_mut(), 0),
        _ => (of_a_reader_that_was(), libc::MAP_FIXED_NOREPLACE),
    };
    let flags = libc::MAP_SHARED | fixed;
    // SAFETY: the kernel chooses where, or it is where nothing is.
    let mapping = unsafe { libc::mmap(place, 4096, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    assert_ne!(mapping, libc::MAP_FAILED);
    file.set_len(0).unwrap();
    // SAFETY: the mapping is there; reading it is the fault that this is about.
    _ = unsafe { std::ptr::read_volatile(mapping.cast::<u8>()) };
    unreachable!("nobody else's memory is replaced");
}

/// An address at which a mailbox was mapped, by a reader that is gone.
fn of_a_reader_that_was() -> *mut libc::c_void {
    let options = Options::new();
    drop(options.create("other").unwrap());
    let mut reader = options.open("other").unwrap();
    assert!(reader.try_read().unwrap().is_none());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("/other")).expect("it is mapped");
    drop(reader);
    usize::from_str_radix(&line[..line.find('-').unwrap()], 16).unwrap() as *mut libc::c_void
}

// The program. --------------------------------------------------------------------------------------------------------

#[test]
fn the_program_says_so() {
    for arguments in [&["watch", NAME][..], &["put", NAME]] {
        let place = Place::new();
        place.options().create(NAME).unwrap().publish(b"a").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailbox"));
        command.args(arguments).env("MAILBOX_DIR", place.dir());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 2];
        if arguments[0] == "watch" {
            process.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
            assert_eq!(&line, b"a\n");
        } else {
            common::wait_until("it is the writer", || place.raw().u32(common::at::WRITER_PID) == process.id());
        }
        place.raw().file().set_len(0).unwrap();
        if arguments[0] == "put" {
            use std::io::Write;
            // A line that is lost, at worst, and one that is not taken.
            _ = process.stdin.as_mut().unwrap().write_all(b"b\nc\n");
        }
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {} {said}", output.status);
        assert!(said.contains("cut short"), "{arguments:?}: {said}");
    }
}
