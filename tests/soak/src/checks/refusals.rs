//! B7: every system call of every call of the library, and of every verb of the program, fails with each plausible
//! error, and is killed at.
//!
//! A process is led from system call to system call by ptrace. One run records them; then each of them, in a run of its
//! own, is not made and returns an error instead, once or from then on; or the process is killed before it. Afterwards:
//! the call was done all the same, or says clearly what failed on which mailbox; nothing half-made is left; a reader
//! that was there has its line; the same call works when it is tried again; and so do the next `put`, `get` and `rm`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use shm_mailbox::{Error, ErrorKind, Options, Reader, Writer};

use crate::aftermath::{Promise, newest};
use crate::check::{Check, Skip, Tally};
use crate::common::trace::{Stop, Traced};
use crate::common::{NAME, Parent, Place, Role, line, mix};
use crate::stepper::{mark, ready, start, to_mark};

const CALLS: &str = "system calls made to fail";
const PAIRS: &str = "different pairs of system call and error";
const ERRORS: &str = "errors reported";
const DONE: &str = "done all the same";
const AGAIN: &str = "tried again with success";
const KILLS: &str = "kills at a system call";

pub const B7: Check = Check {
    id: "B7",
    fault: "every system call fails, and is killed at",
    unit: "faults",
    ci: 15_000,
    soak: 100_000,
    turn: 30_000,
    evidence: &[CALLS, PAIRS, ERRORS, DONE, AGAIN, KILLS],
    run,
};

pub const ROLES: &[Role<'static>] = &[("caller", caller)];

const ERRNOS: [Errno; 9] = [
    Errno::ENOSPC,
    Errno::EMFILE,
    Errno::ENOMEM,
    Errno::EINTR,
    Errno::EACCES,
    Errno::EIO,
    Errno::EPERM,
    Errno::ENOSYS,
    Errno::EOPNOTSUPP,
];

/// How long a process may take until it counts as hanging, in seconds.
const HANGS: libc::c_uint = 20;

const LINES: u64 = 6;
const LENGTH: usize = 32;

// What is done. -------------------------------------------------------------------------------------------------------

/// What a process has in its hands.
#[derive(Default)]
struct Hands {
    writer: Option<Writer>,
    reader: Option<Reader>,
}

type Outcome = Result<(), Error>;

/// A call of the library.
struct Call {
    name: &'static str,
    /// What is there before.
    before: fn(&Place),
    /// What the process does before.
    prepare: fn() -> Hands,
    call: fn(&mut Hands) -> Outcome,
    kind: Kind,
}

/// What may be left where it fails.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// What was there before.
    Makes,
    /// Some of the files, by a live writer that tries again within a second.
    PutsBack,
    /// Some of the files.
    Removes,
    /// What was there before; and a descriptor, since nix's `Dir` forgets it where `fdopendir` fails.
    Lists,
}

const CREATE: Call = Call {
    name: "create",
    before: |_| {},
    prepare: Hands::default,
    call: |hands| {
        hands.writer = Some(Options::new().create(NAME)?);
        Ok(())
    },
    kind: Kind::Makes,
};
const REMOVE: Call = Call { name: "remove", before: leave, kind: Kind::Removes, ..CREATE };
const WRITER: Call =
    Call { before: |_| {}, prepare: || Hands { writer: Some(publish_some(Options::new())), reader: None }, ..CREATE };
const READER: Call = Call {
    before: leave,
    prepare: || {
        let mut reader = Options::new().open(NAME).unwrap();
        reader.read().unwrap();
        Hands { writer: None, reader: Some(reader) }
    },
    ..CREATE
};

const LIBRARY: &[Call] = &[
    CREATE,
    Call {
        name: "create for others to read",
        call: |hands| {
            hands.writer = Some(Options::new().mode(0o644).create(NAME)?);
            Ok(())
        },
        ..CREATE
    },
    Call { name: "take over", before: leave, ..CREATE },
    Call {
        name: "take over with a larger capacity",
        before: leave,
        call: |hands| {
            hands.writer = Some(Options::new().capacity(1000).create(NAME)?);
            Ok(())
        },
        ..CREATE
    },
    Call {
        name: "take over without the lock",
        before: |place| {
            leave(place);
            fs::remove_file(place.path("box.lock")).unwrap();
        },
        ..CREATE
    },
    Call { name: "publish", call: publish, ..WRITER },
    Call {
        name: "publish where somebody sleeps and polls",
        before: leave,
        prepare: || {
            let writer = Options::new().create(NAME).unwrap();
            let mut reader = Options::new().open(NAME).unwrap();
            reader.doorbell().unwrap();
            while reader.try_read().unwrap().is_some() {}
            _ = reader.read_timeout(Duration::from_millis(1)).unwrap();
            Hands { writer: Some(writer), reader: Some(reader) }
        },
        call: publish,
        ..CREATE
    },
    Call {
        name: "publish the 1024th message",
        prepare: || {
            let mut hands = (WRITER.prepare)();
            let writer = hands.writer.as_mut().unwrap();
            while writer.number() < 1023 {
                writer.publish(&[0; 8]).unwrap();
            }
            hands
        },
        call: publish,
        ..WRITER
    },
    Call {
        name: "check after a sweep",
        prepare: || {
            let hands = (WRITER.prepare)();
            for name in ["box", "box.bell", "box.lock"] {
                fs::remove_file(hands.writer.as_ref().unwrap().path().with_file_name(name)).unwrap();
            }
            hands
        },
        call: |hands| hands.writer.as_mut().unwrap().check(),
        kind: Kind::PutsBack,
        ..WRITER
    },
    Call {
        name: "check by name",
        prepare: || {
            let hands = (WRITER.prepare)();
            thread::sleep(Duration::from_millis(1010));
            hands
        },
        call: |hands| hands.writer.as_mut().unwrap().check(),
        ..WRITER
    },
    Call { name: "grow", call: |hands| hands.writer.as_mut().unwrap().grow(1000), ..WRITER },
    Call {
        name: "drop a writer",
        call: |hands| {
            hands.writer = None;
            Ok(())
        },
        ..WRITER
    },
    Call {
        name: "open",
        before: leave,
        prepare: Hands::default,
        call: |hands| {
            hands.reader = Some(Options::new().open(NAME)?);
            Ok(())
        },
        ..CREATE
    },
    Call {
        name: "open before there is a mailbox",
        call: |hands| {
            hands.reader = Some(Options::new().wait_for_mailbox(true).open(NAME)?);
            Ok(())
        },
        ..CREATE
    },
    Call { name: "try_read", call: |hands| hands.reader.as_mut().unwrap().try_read().map(drop), ..READER },
    Call { name: "latest", call: |hands| hands.reader.as_mut().unwrap().latest().map(drop), ..READER },
    Call { name: "read_timeout", call: read_for_a_moment, ..READER },
    Call {
        name: "read_timeout before there is a mailbox",
        prepare: || Hands { writer: None, reader: Some(Options::new().wait_for_mailbox(true).open(NAME).unwrap()) },
        call: read_for_a_moment,
        ..CREATE
    },
    Call {
        name: "read in the next file",
        prepare: || {
            let mut hands = (READER.prepare)();
            let mut writer = Options::new().create(NAME).unwrap();
            writer.grow(1000).unwrap();
            writer.publish(b"next").unwrap();
            hands.writer = Some(writer);
            hands
        },
        call: |hands| {
            // With a limit: a reader that is not told whether its file has its name, however often it asks, waits on.
            if let Some(message) = hands.reader.as_mut().unwrap().read_timeout(Duration::from_millis(150))? {
                assert_eq!(message.bytes, b"next");
            }
            // So that it can be tried again.
            hands.writer.as_mut().unwrap().publish(b"next")?;
            Ok(())
        },
        ..READER
    },
    Call { name: "doorbell", call: |hands| hands.reader.as_mut().unwrap().doorbell().map(drop), ..READER },
    Call {
        name: "try_read with a doorbell",
        prepare: || {
            let mut hands = (READER.prepare)();
            hands.reader.as_mut().unwrap().doorbell().unwrap();
            hands
        },
        call: |hands| hands.reader.as_mut().unwrap().try_read().map(drop),
        ..READER
    },
    Call {
        name: "try_read with a doorbell before there is a mailbox",
        prepare: || {
            let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
            reader.doorbell().unwrap();
            Hands { writer: None, reader: Some(reader) }
        },
        call: |hands| hands.reader.as_mut().unwrap().try_read().map(drop),
        ..CREATE
    },
    Call {
        name: "writer_state",
        call: |hands| {
            _ = hands.reader.as_mut().unwrap().writer_state();
            Ok(())
        },
        ..READER
    },
    Call { name: "inspect", before: leave, call: |_| Options::new().inspect(NAME).map(drop), ..CREATE },
    Call { name: "list", before: leave, call: |_| Options::new().list().map(drop), kind: Kind::Lists, ..CREATE },
    Call { call: |_| Options::new().remove(NAME, false).map(drop), ..REMOVE },
    Call { name: "remove by force", call: |_| Options::new().remove(NAME, true).map(drop), ..REMOVE },
    Call {
        name: "remove beside its writer",
        call: |_| Options::new().remove(NAME, true).map(drop),
        kind: Kind::Removes,
        ..WRITER
    },
];

fn publish_some(options: Options) -> Writer {
    let mut writer = options.capacity(64).create(NAME).unwrap();
    for number in 1..=LINES {
        writer.publish(&line(number, 0, LENGTH)).unwrap();
    }
    writer
}

fn leave(place: &Place) {
    drop(publish_some(place.options()));
}

fn publish(hands: &mut Hands) -> Outcome {
    hands.writer.as_mut().unwrap().publish(b"one more").map(drop)
}

fn read_for_a_moment(hands: &mut Hands) -> Outcome {
    hands.reader.as_mut().unwrap().read_timeout(Duration::from_millis(5)).map(drop)
}

/// Makes a call between two marks, says how it went, and makes it again if it is told to. Arguments: the call's place
/// in the list.
fn caller(parent: &mut Parent) {
    let call = &LIBRARY[parent.argument::<usize>(0)];
    let mut hands = (call.prepare)();
    // SAFETY: a system call that takes a number.
    unsafe { libc::alarm(HANGS) };
    ready(parent);
    mark();
    let outcome = catch_unwind(AssertUnwindSafe(|| (call.call)(&mut hands)));
    mark();
    let says = |outcome: thread::Result<Outcome>| match outcome {
        Ok(Ok(())) => "done".into(),
        Ok(Err(error)) => format!("{:?}: {error}", error.kind()),
        Err(_) => "panicked".to_owned(),
    };
    parent.say(says(outcome));
    while parent.hear() == "again" {
        parent.say(says(catch_unwind(AssertUnwindSafe(|| (call.call)(&mut hands)))));
    }
}

/// A call of the program.
struct Verb {
    arguments: &'static [&'static str],
    /// What is there before.
    before: fn(&Place),
    input: &'static str,
    /// Standard output, where it is the same each time.
    output: Option<&'static str>,
    /// Its exit code.
    code: i32,
}

const GET: Verb = Verb { arguments: &["get", NAME], before: leave_text, input: "", output: Some("text\n"), code: 0 };
const PUT: Verb = Verb { arguments: &["put", NAME, "more"], before: |_| {}, output: Some(""), ..GET };

const PROGRAM: &[Verb] = &[
    PUT,
    Verb { before: leave_text, ..PUT },
    Verb {
        arguments: &["put", NAME],
        input: "a\nb\nand one that is longer than sixty-four bytes, so that it has to grow\n",
        before: leave_text,
        ..PUT
    },
    Verb { arguments: &["put", NAME, "--raw"], input: "all of it", ..PUT },
    GET,
    Verb { arguments: &["get", NAME, "--json"], output: None, ..GET },
    Verb { arguments: &["get", NAME, "--wait", "1s"], ..GET },
    Verb { arguments: &["get", NAME, "--wait", "5ms"], before: |_| {}, output: Some(""), code: 124, ..GET },
    Verb { arguments: &["watch", NAME, "-n", "1"], ..GET },
    Verb { arguments: &["watch", NAME, "--timeout", "5ms"], code: 124, ..GET },
    Verb { arguments: &["list"], output: None, ..GET },
    Verb { arguments: &["list", "--json"], output: None, ..GET },
    Verb { arguments: &["stat", NAME], output: None, ..GET },
    Verb { arguments: &["stat", NAME, "--json"], output: None, ..GET },
    Verb { arguments: &["rm", NAME], output: Some(""), ..GET },
    Verb { arguments: &["rm", NAME, "--force"], output: Some(""), ..GET },
];

fn leave_text(place: &Place) {
    let mut writer = place.options().capacity(64).create(NAME).unwrap();
    writer.publish(b"text").unwrap();
}

/// The program, beside this one.
fn program() -> Result<PathBuf, Skip> {
    let path = std::env::current_exe().unwrap().with_file_name("mailbox");
    if path.exists() { Ok(path) } else { Err(Skip("the program is not built: cargo build --bin mailbox".into())) }
}

// What is done to it. -------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Plan {
    /// Only look.
    Record,
    /// The system call of this place in the record fails; if `on`, every later one of its number does too.
    Fail { at: usize, errno: Errno, on: bool },
    /// The process is killed before it.
    Kill { at: usize },
}

impl Plan {
    fn goes_on(self) -> bool {
        matches!(self, Self::Fail { on: true, .. })
    }
}

/// How a process was led through its marked part.
struct Led {
    /// Numbers of the system calls.
    calls: Vec<i64>,
    /// Numbers of those that were made to fail.
    failed: Vec<i64>,
    /// Whether it stands at the system call to be killed at.
    is_to_be_killed: bool,
    end: Option<WaitStatus>,
}

/// Leads a process to its next mark, or its end.
fn lead(traced: &Traced, plan: Plan, mut is_counting: impl FnMut(i64) -> bool) -> Result<Led, String> {
    let mut led = Led { calls: Vec::new(), failed: Vec::new(), is_to_be_killed: false, end: None };
    let mut signal = None;
    loop {
        match traced.next(signal.take()) {
            Stop::Call(libc::SYS_getppid) => return Ok(led),
            Stop::Call(number) => {
                if !is_counting(number) {
                    continue;
                }
                let here = led.calls.len();
                led.calls.push(number);
                match plan {
                    Plan::Fail { at, errno, on } => {
                        let is_meant = here == at || on && here > at && led.calls[at] == number;
                        if is_meant && is_plausible(number, errno) {
                            led.failed.push(number);
                            traced.fail(errno);
                        }
                    }
                    Plan::Kill { at } if here == at => {
                        led.is_to_be_killed = true;
                        return Ok(led);
                    }
                    _ => {}
                }
            }
            Stop::Returned => {}
            Stop::Signal(Signal::SIGALRM) => return Err("hangs".into()),
            Stop::Signal(
                crash @ (Signal::SIGABRT | Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGTRAP),
            ) => {
                return Err(format!("ends by {crash}"));
            }
            Stop::Signal(other) => signal = Some(other),
            Stop::Ended(status) => {
                led.end = Some(status);
                return Ok(led);
            }
        }
    }
}

/// What a run came to, for the count.
#[derive(Default)]
struct Ran {
    calls: Vec<i64>,
    /// That the process had open in the end.
    descriptors: usize,
    failed: Vec<i64>,
    is_error: bool,
    is_again: bool,
    is_killed: bool,
}

/// One call of the library under a plan.
fn run_call(index: usize, plan: Plan) -> Result<Result<Ran, String>, Skip> {
    let call = &LIBRARY[index];
    let place = Place::new();
    (call.before)(&place);
    let (mut child, traced) = start("caller", &place, &[&index])?;
    to_mark(&traced);
    let was = place.entries();
    let mut witness = Witness::new(&place);
    let led = match lead(&traced, plan, |_| true) {
        Ok(led) => led,
        Err(bad) => {
            child.signal(Signal::SIGKILL);
            return Ok(Err(bad));
        }
    };
    let mut ran = Ran { calls: led.calls, failed: led.failed, ..Ran::default() };
    if led.is_to_be_killed {
        traced.kill(child);
        ran.is_killed = true;
        return Ok(witness.after_kill(&place, call.kind).map(|()| ran));
    }
    if let Some(status) = led.end {
        return Ok(Err(format!("ended: {status:?}")));
    }
    drop(traced);
    let check = || -> Result<Ran, String> {
        let said = child.hear();
        ran.is_error = said != "done";
        if ran.is_error {
            check_error(&said, &place)?;
        }
        witness.after_end(&place, &was, call.kind, &ran)?;
        if ran.is_error {
            child.say("again");
            let said = child.hear();
            ensure(said == "done", || format!("again: {said}"))?;
            ran.is_again = true;
        }
        if call.kind != Kind::Lists {
            ran.descriptors = descriptors(child.pid());
        }
        child.kill();
        witness.at_last(&place)?;
        Ok(ran)
    };
    Ok(check())
}

/// One call of the program under a plan.
fn run_verb(index: usize, program: &Path, plan: Plan) -> Result<Ran, String> {
    let verb = &PROGRAM[index];
    let kind = if verb.arguments[0] == "rm" { Kind::Removes } else { Kind::Makes };
    let place = Place::new();
    (verb.before)(&place);
    let was = place.entries();
    let mut witness = Witness::new(&place);
    let mut command = Command::new(program);
    command.args(verb.arguments).env("MAILBOX_DIR", place.dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: system calls and nothing else, so allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::alarm(HANGS);
            Errno::result(libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize))?;
            Ok(())
        });
    }
    let mut process = command.spawn().map_err(|e| e.to_string())?;
    let traced = Traced::from_start(Pid::from_raw(process.id() as i32));
    process.stdin.take().unwrap().write_all(verb.input.as_bytes()).unwrap();
    // The runtime's own preparations end with the second of these: from there on it is the program's.
    let mut stacks = 0;
    let led = lead(&traced, plan, |number| {
        stacks += i32::from(number == libc::SYS_sigaltstack);
        stacks >= 2 && number != libc::SYS_sigaltstack
    });
    let is_ended = led.as_ref().is_ok_and(|led| led.end.is_some());
    if !is_ended {
        process.kill().unwrap();
        drop(traced);
        let status = process.wait().unwrap();
        ensure(std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL), || format!("{status}"))?;
    } else {
        std::mem::forget(traced);
    }
    let (mut output, mut errors) = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let led = led.map_err(|bad| format!("{bad}: {errors}"))?;
    let mut ran = Ran { calls: led.calls, failed: led.failed, ..Ran::default() };
    let Some(status) = led.end else {
        ran.is_killed = true;
        return witness.after_kill(&place, kind).map(|()| ran);
    };
    let WaitStatus::Exited(_, code) = status else { return Err(format!("ended: {status:?}: {errors}")) };
    let is_silenced = ran.failed.contains(&libc::SYS_write);
    ran.is_error = code != verb.code;
    if ran.is_error {
        ensure(matches!(code, 1 | 2), || format!("exit code {code}: {errors}"))?;
        if !is_silenced {
            check_text(&errors, &place)?;
        }
    } else {
        ensure(verb.output.is_none_or(|wanted| output == wanted), || format!("says {output:?}; {errors}"))?;
        ensure(code != 0 || verb.output.is_some() || output.contains(NAME), || format!("says {output:?}; {errors}"))?;
    }
    witness.after_end(&place, &was, kind, &ran)?;
    witness.at_last(&place)?;
    Ok(ran)
}

// What has to be so afterwards. ---------------------------------------------------------------------------------------

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A reader that was there before.
struct Witness {
    reader: Reader,
    had: Option<(u64, Vec<u8>)>,
}

impl Witness {
    fn new(place: &Place) -> Self {
        let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
        let had = newest(&mut reader);
        Self { reader, had }
    }

    /// A line that was there is there, or a newer one.
    fn has_its_line(&mut self) -> Result<(), String> {
        let Some((number, bytes)) = &self.had else { return Ok(()) };
        match self.reader.latest().map_err(|e| format!("a reader: {e}"))? {
            Some(now) if now.number == *number && now.bytes != bytes => Err(format!("another line {number}")),
            Some(now) if now.number < *number && now.bytes != bytes => Err(format!("{} after {number}", now.number)),
            Some(_) => Ok(()),
            None => Err("a reader has lost its line".into()),
        }
    }

    fn after_end(&mut self, place: &Place, was: &[String], kind: Kind, ran: &Ran) -> Result<(), String> {
        let entries = place.entries();
        // What fails again and again keeps it from tidying up.
        let could_tidy = !ran.failed.contains(&libc::SYS_unlinkat) && ran.failed.len() < 2;
        if ran.is_error && could_tidy {
            let is_as_before = entries == was || was.len() < 3 && entries.len() == 3;
            let is_partly_there = matches!(kind, Kind::PutsBack | Kind::Removes);
            let is_good = is_as_before || is_partly_there && !entries.iter().any(|name| name.ends_with(".new"));
            ensure(is_good, || format!("{entries:?}, before: {was:?}"))?;
        }
        if kind == Kind::Removes { Ok(()) } else { self.has_its_line() }
    }

    fn after_kill(&mut self, place: &Place, kind: Kind) -> Result<(), String> {
        if kind != Kind::Removes {
            self.has_its_line()?;
        }
        self.at_last(place)
    }

    /// The next `put`, `get` and `rm` work.
    fn at_last(&mut self, place: &Place) -> Result<(), String> {
        let failed = |what: &str, error: Error| format!("{what} afterwards: {error}");
        let mut writer = place.options().create(NAME).map_err(|e| failed("create", e))?;
        let line = line(writer.number() + 1, 0, 20);
        let number = writer.publish(&line).map_err(|e| failed("publish", e))?;
        let mut late = place.options().open(NAME).map_err(|e| failed("open", e))?;
        for reader in [&mut self.reader, &mut late] {
            let now = newest(reader);
            ensure(now == Promise::line(number, &line), || format!("{now:?} instead of line {number}"))?;
        }
        let entries = place.entries();
        ensure(entries == ["box", "box.bell", "box.lock"], || format!("afterwards: {entries:?}"))?;
        drop(writer);
        place.options().remove(NAME, false).map_err(|e| failed("remove", e))?;
        let entries = place.entries();
        ensure(entries.is_empty(), || format!("removed: {entries:?}"))
    }
}

/// A failure of the system is reported as one, and names the mailbox.
fn check_error(said: &str, place: &Place) -> Result<(), String> {
    let (kind, text) = said.split_once(": ").ok_or(said)?;
    let kinds = [ErrorKind::Io, ErrorKind::PermissionDenied, ErrorKind::NoSpace].map(|kind| format!("{kind:?}"));
    ensure(kinds.iter().any(|known| known == kind), || said.into())?;
    check_text(text, place)
}

/// One line, which names the mailbox, or the directory, or the standard stream that failed.
fn check_text(text: &str, place: &Place) -> Result<(), String> {
    let names = place.dir().to_str().unwrap();
    let is_named = text.contains(names) || text.contains("standard output") || text.contains("standard input");
    ensure(is_named && !text.contains("panicked"), || format!("says {text:?}"))
}

fn descriptors(process: Pid) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

// All of it. ----------------------------------------------------------------------------------------------------------

/// Runs at once: some wait for a lock, or for a second to pass.
const AT_ONCE: usize = 8;

#[derive(Clone, Copy)]
enum Case {
    Call(usize),
    Verb(usize),
}

impl Case {
    fn name(self) -> String {
        match self {
            Self::Call(index) => LIBRARY[index].name.into(),
            Self::Verb(index) => format!("mailbox {}", PROGRAM[index].arguments.join(" ")),
        }
    }

    fn run(self, program: &Path, plan: Plan) -> Result<Result<Ran, String>, Skip> {
        match self {
            Self::Call(index) => run_call(index, plan),
            Self::Verb(index) => Ok(run_verb(index, program, plan)),
        }
    }
}

/// One fault, at one system call of one case.
struct Job {
    case: Case,
    plan: Plan,
    /// The system call, by the record.
    number: i64,
    /// Descriptors that the process has open in the end where nothing fails.
    descriptors: usize,
}

impl Job {
    fn run(&self, program: &Path) -> Result<Result<Ran, String>, Skip> {
        Ok(self.case.run(program, self.plan)?.and_then(|ran| ran.leaks_nothing(self.descriptors)))
    }

    fn describe(&self, why: &str) -> String {
        let (case, number) = (self.case.name(), self.number);
        match self.plan {
            Plan::Record => format!("{case}: {why}"),
            Plan::Kill { at } => format!("{case}, killed at system call {at}, number {number}: {why}"),
            Plan::Fail { at, errno, on } => {
                let on = if on { " and on" } else { "" };
                format!("{case}, system call {at}{on}, number {number}: {errno:?}: {why}")
            }
        }
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let program = program()?;
    let cases = (0..LIBRARY.len()).map(Case::Call).chain((0..PROGRAM.len()).map(Case::Verb));
    let mut jobs = Vec::new();
    for case in cases {
        let record = case.run(&program, Plan::Record)?.unwrap_or_else(|bad| panic!("{}: {bad}", case.name()));
        for (at, &number) in record.calls.iter().enumerate() {
            let job = |plan| Job { case, plan, number, descriptors: record.descriptors };
            for errno in ERRNOS.into_iter().filter(|&errno| is_plausible(number, errno)) {
                jobs.push(job(Plan::Fail { at, errno, on: false }));
                // A signal comes once.
                if errno != Errno::EINTR {
                    jobs.push(job(Plan::Fail { at, errno, on: true }));
                }
            }
            jobs.push(job(Plan::Kill { at }));
        }
    }
    // What fails once and the kills, all of them; then what fails again and again, until there are enough. Within each in
    // an order that the seed mixes; how many there are depends on the machine, and all may have a second turn.
    let mut random = seed;
    jobs.sort_by_cached_key(|job| {
        random = mix(random.wrapping_add(1));
        (job.plan.goes_on(), random)
    });

    let next = AtomicUsize::new(0);
    let count = Mutex::new((Tally::default(), BTreeSet::new(), Vec::new(), None));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, SeqCst);
                    let job = &jobs[nth % jobs.len()];
                    if (job.plan.goes_on() || nth >= jobs.len()) && count.lock().unwrap().0.done >= amount {
                        return;
                    }
                    let result = job.run(&program);
                    let (tally, pairs, bad, skip) = &mut *count.lock().unwrap();
                    match result {
                        Ok(Ok(ran)) => ran.count(job.plan, tally, pairs),
                        Ok(Err(why)) => bad.push(job.describe(&why)),
                        Err(why) => {
                            *skip = Some(why);
                            return;
                        }
                    }
                }
            });
        }
    });
    let (mut tally, pairs, bad, skip) = count.into_inner().unwrap();
    if let Some(skip) = skip {
        return Err(skip);
    }
    assert!(bad.is_empty(), "{} answered badly:\n{}", bad.len(), bad.join("\n"));
    tally.add(PAIRS, pairs.len() as u64);
    Ok(tally)
}

impl Ran {
    /// It has no more descriptors open than without a fault; unless they could not be closed.
    fn leaks_nothing(self, usual: usize) -> Result<Self, String> {
        let could_close = !self.failed.contains(&libc::SYS_close);
        ensure(!could_close || self.descriptors <= usual, || {
            format!("{} descriptors instead of {usual}", self.descriptors)
        })?;
        Ok(self)
    }

    fn count(&self, plan: Plan, tally: &mut Tally, pairs: &mut BTreeSet<(i64, i32)>) {
        tally.add(CALLS, self.failed.len() as u64);
        if let Plan::Fail { errno, .. } = plan {
            pairs.extend(self.failed.iter().map(|&number| (number, errno as i32)));
        }
        // A way that had fewer system calls this time has met no fault.
        tally.done += u64::from(self.is_killed || !self.failed.is_empty());
        tally.add(KILLS, self.is_killed.into());
        tally.add(ERRORS, self.is_error.into());
        tally.add(AGAIN, self.is_again.into());
        tally.add(DONE, u64::from(!self.is_killed && !self.is_error));
    }
}

/// Whether a system call can fail so.
fn is_plausible(number: i64, errno: Errno) -> bool {
    match number {
        libc::SYS_exit_group => false,
        // The standard library panics at any other error, which it can only have for a time that is none.
        libc::SYS_clock_nanosleep => errno == Errno::EINTR,
        // A file system without unnamed files says so.
        libc::SYS_openat => true,
        _ => errno != Errno::EOPNOTSUPP,
    }
}
