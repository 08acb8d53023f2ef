//! The program `mailbox`, as a shell sees it: output, standard error, exit codes, signals.
//!
//! | verb | cases |
//! |---|---|
//! | put | every kind of line; growth; `--capacity`, `--raw`, `-0`, `--mode`, `--wait`; second writer; removed; swept, and no room to put it back |
//! | get | nothing there; `--wait`, `--max-age`, `--json`, `-N`; a terminal |
//! | watch | current and newer; slow consumer of a pipe, of a socket; pipe full before; consumer leaves; restarts; the four ways to end; signals |
//! | list, stat, rm | people and programs; damaged, missing, live writer |
//! | demo | to its end, and cut off |
//! | all | usage, names, directories |

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;
use shm_mailbox::Options;
use tempfile::TempDir;

/// A directory of its own in shared memory, and the program in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("mailbox-test-").tempdir_in("/dev/shm").unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn options(&self) -> Options {
        Options::new().dir(self.0.path())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailbox"));
        command.args(arguments).env("MAILBOX_DIR", self.0.path()).stdin(Stdio::null());
        // Whoever runs the tests may ignore signals (nohup), and what is ignored is inherited.
        // SAFETY: only signal(2) is called between fork and exec, which is allowed (signal-safety(7)).
        unsafe {
            command.pre_exec(|| {
                for asked in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE] {
                    signal(asked, SigHandler::SigDfl)?;
                }
                Ok(())
            });
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).output().unwrap())
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self.start(self.command(arguments).stdin(Stdio::piped()));
        let mut stdin = child.0.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = thread::spawn(move || _ = stdin.write_all(&input));
        let ran = child.end();
        feeder.join().unwrap();
        ran
    }

    fn start(&self, command: &mut Command) -> Running {
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn number(&self, name: &str) -> u64 {
        self.options().inspect(name).map_or(0, |info| info.number)
    }
}

/// A program that has ended.
struct Ran(Output);

impl Ran {
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(code), "standard error: {}", self.said());
        self
    }

    #[track_caller]
    fn prints(&self, bytes: impl AsRef<[u8]>) -> &Self {
        assert_eq!(self.0.stdout.escape_ascii().to_string(), bytes.as_ref().escape_ascii().to_string());
        self
    }

    /// Says all of this on standard error, in one line.
    #[track_caller]
    fn says(&self, parts: &[&str]) -> &Self {
        let said = self.said();
        assert!(said.starts_with("mailbox: ") && said.lines().count() == 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is missing in: {said}");
        }
        self
    }

    fn says_nothing(&self) -> &Self {
        assert_eq!(self.said(), "");
        self
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

/// A program that runs; killed when the test is over.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    fn end(mut self) -> Ran {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let errors = thread::spawn(move || all_of(stderr));
        let stdout = all_of(stdout);
        let status = self.0.wait().unwrap();
        Ran(Output { status, stdout, stderr: errors.join().unwrap() })
    }

    /// Standard output, byte by byte, so that nothing is taken before it is asked for.
    fn line(&mut self) -> String {
        line_of(self.0.stdout.as_mut().unwrap())
    }

    fn feed(&mut self, text: &str) {
        self.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn all_of(source: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        source.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

fn line_of(source: &mut impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while source.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Waits until something has happened that will.
#[track_caller]
fn until(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never happened");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A pipe whose ends no other program inherits.
fn pipe() -> (File, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    (read.into(), write)
}

fn pipe_size(pipe: &impl AsFd) -> i32 {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ).unwrap()
}

nix::ioctl_read_bad!(
    /// Bytes waiting to be read (ioctl_tty(2), pipe(7)).
    bytes_in_pipe, nix::libc::FIONREAD, nix::libc::c_int);

fn bytes_in(pipe: &File) -> i32 {
    let mut count = 0;
    // SAFETY: FIONREAD writes one int, to a variable of ours.
    unsafe { bytes_in_pipe(pipe.as_raw_fd(), &mut count) }.unwrap();
    count
}

// put -----------------------------------------------------------------------------------------------------------------

#[test]
fn put_takes_every_kind_of_line() {
    let place = Place::new();
    type Case<'a> = (&'a [&'a str], &'a [u8], &'a [u8], u64);
    let cases: [Case<'_>; 14] = [
        (&[], b"a\nb\n", b"b", 2),
        (&[], b"a\nlast line without LF", b"last line without LF", 2),
        (&[], b"a\n\n", b"", 2),
        (&[], b"\n", b"", 1),
        (&[], b"CR stays\r\n", b"CR stays\r", 1),
        (&[], b"a\0b\n", b"a\0b", 1),
        (&[], b"\xff\xfe\n", b"\xff\xfe", 1),
        (&["-0"], b"a\nb\0c\nd\0", b"c\nd", 2),
        (&["--null"], b"a\0b", b"b", 2),
        (&["--raw"], b"a\nb\n", b"a\nb\n", 1),
        (&["--raw"], b"", b"", 1),
        (&["one line"], b"", b"one line", 1),
        (&["--", "-12.5"], b"", b"-12.5", 1),
        (&["--", "--raw"], b"", b"--raw", 1),
    ];
    for (at, (arguments, input, line, number)) in cases.into_iter().enumerate() {
        let name = format!("case{at}");
        let put = [&["put", &name], arguments].concat();
        place.run_with(&put, input).exits(0).prints("").says_nothing();
        place.run(&["get", "-N", &name]).exits(0).prints(line);
        assert_eq!(place.number(&name), number, "{put:?}");
    }
    place.run_with(&["put", "empty"], b"").exits(0).says_nothing();
    assert_eq!(place.number("empty"), 0);
}

#[test]
fn put_publishes_each_line_as_it_comes() {
    let place = Place::new();
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    let mut reader = place.options().wait_for_mailbox(true).open("n").unwrap();
    for line in ["a", "bc", "def"] {
        put.feed(line);
        put.feed("\n");
        assert_eq!(reader.read().unwrap().bytes, line.as_bytes());
    }
    // In pieces, over several reads.
    put.feed("gh");
    put.feed("ij\nk");
    assert_eq!(reader.read().unwrap().bytes, b"ghij");
    drop(put.0.stdin.take());
    assert_eq!(reader.read().unwrap().bytes, b"k");
    put.end().exits(0).says_nothing();
}

#[test]
fn put_counts_every_line_of_a_long_input() {
    let place = Place::new();
    let input: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    place.run_with(&["put", "n"], input.as_bytes()).exits(0);
    let message = place.run(&["get", "n", "--json"]).json();
    assert_eq!((&message["number"], &message["data"]), (&100_000.into(), &"100000".into()));
}

#[test]
fn put_grows_the_mailbox_for_a_longer_line() {
    let place = Place::new();
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    let mut reader = place.options().wait_for_mailbox(true).open("n").unwrap();
    put.feed("short\n");
    assert_eq!(reader.read().unwrap().bytes, b"short");
    let mut length = 5000;
    for number in 2..=8 {
        put.feed(&"x".repeat(length));
        put.feed("\n");
        let message = reader.read().unwrap();
        assert_eq!((message.number, message.missed, message.bytes.len()), (number, 0, length));
        length *= 3;
    }
    drop(put.0.stdin.take());
    put.end().exits(0).says_nothing();
}

#[test]
fn put_with_a_capacity_refuses_longer_lines_and_goes_on() {
    let place = Place::new();
    let mut input = "a\n".to_string() + &"x".repeat(11) + "\n0123456789\n";
    place.run_with(&["put", "n", "--capacity", "10"], input.as_bytes()).exits(2).says(&[
        "line 2",
        "11 bytes",
        "the capacity is 10 bytes",
        "--capacity",
    ]);
    place.run(&["get", "n"]).prints("0123456789\n");
    assert_eq!(place.number("n"), 2);

    // Also in an existing mailbox that is larger; also longer than anything that is read at once; also at the end.
    place.run(&["put", "large", "--capacity", "1M", "x"]).exits(0);
    input = "y\n".to_string() + &"x".repeat(1_000_000) + "\nz\n" + &"x".repeat(999_999);
    let ran = place.run_with(&["put", "large", "--capacity", "10"], input.as_bytes());
    ran.exits(2);
    let said = ran.said();
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("line 2") && said[0].contains("1000000 bytes"), "{}", said[0]);
    assert!(said[1].contains("line 4") && said[1].contains("999999 bytes"), "{}", said[1]);
    place.run(&["get", "large"]).prints("z\n");
    assert_eq!(place.number("large"), 3);

    place.run(&["put", "n", "--capacity", "3", "1234"]).exits(2).says(&["line 1", "4 bytes", "3 bytes"]);
    place.run_with(&["put", "n", "--raw", "--capacity", "3"], b"1234").exits(2).says(&["4 bytes"]);
    // Not a line of complaint for each of a million.
    let said = place.run_with(&["put", "n", "--capacity", "3"], &b"1234\n".repeat(1000)).said();
    assert_eq!(said.lines().count(), 11);
    assert!(said.ends_with("990 more lines were not published\n"), "{said}");
}

#[test]
fn put_has_a_longest_line() {
    let place = Place::new();
    let input = [vec![b'x'; (64 << 20) + 1], b"\nnext\n".to_vec()].concat();
    place.run_with(&["put", "n"], &input).exits(2).says(&["line 1", "67108865 bytes", "67108864 bytes"]);
    place.run(&["get", "n"]).prints("next\n");
}

#[test]
fn put_is_refused_beside_another_writer() {
    let place = Place::new();
    let mut first = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    first.feed("a\n");
    until(|| place.number("n") == 1);
    let pid = first.0.id().to_string();
    place.run(&["put", "n", "b"]).exits(3).says(&["another writer", &pid]);
    place.run(&["put", "n", "b", "--wait", "100ms"]).exits(124).says(&["another writer"]);
    place.run(&["get", "n"]).prints("a\n");

    let second = place.start(&mut place.command(&["put", "n", "b", "--wait", "60"]));
    first.signal(Signal::SIGKILL);
    second.end().exits(0).says_nothing();
    place.run(&["get", "n"]).prints("b\n");
    assert_eq!(place.number("n"), 2);
}

#[test]
fn put_sets_the_mode_of_a_new_mailbox_only() {
    let place = Place::new();
    place.run(&["put", "n", "--mode", "0644", "a"]).exits(0);
    assert_eq!(fs::metadata(place.path("n")).unwrap().permissions().mode() & 0o7777, 0o644);
    place.run(&["put", "n", "b"]).exits(0);
    assert_eq!(fs::metadata(place.path("n")).unwrap().permissions().mode() & 0o7777, 0o644);
    place.run(&["put", "n", "--mode", "0600", "c"]).exits(2).says(&["0644", "0600"]);
    place.run(&["put", "other", "--mode", "0666", "c"]).exits(2).says(&["0666", "0644"]);
    assert!(!place.path("other").exists());
    place.run(&["get", "n"]).prints("b\n");
}

#[test]
fn put_ends_when_its_mailbox_is_removed() {
    let place = Place::new();
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    put.feed("a\n");
    until(|| place.number("n") == 1);
    place.run(&["rm", "--force", "n"]).exits(0);
    assert!(!place.path("n").exists());
    put.feed("b\n");
    put.end().exits(2).says(&["removed"]);
    place.run(&["get", "n"]).exits(1);
}

#[test]
fn put_puts_swept_files_back_while_idle() {
    let place = Place::new();
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    put.feed("a\n");
    until(|| place.number("n") == 1);
    let before = place.options().inspect("n").unwrap();
    for file in ["n", "n.bell", "n.lock"] {
        fs::remove_file(place.path(file)).unwrap();
    }
    place.run(&["get", "n"]).exits(1);
    until(|| place.path("n").exists() && place.path("n.bell").exists() && place.path("n.lock").exists());
    let after = place.options().inspect("n").unwrap();
    assert_eq!((after.instance, after.number), (before.instance, 1));
    put.feed("b\n");
    until(|| place.number("n") == 2);
    drop(put.0.stdin.take());
    put.end().exits(0).says_nothing();
}

// get -----------------------------------------------------------------------------------------------------------------

#[test]
fn get_says_what_is_not_there() {
    let place = Place::new();
    place.run(&["get", "n"]).exits(1).prints("").says(&["there is no such mailbox", "/n"]);
    place.run_with(&["put", "n"], b"").exits(0);
    place.run(&["get", "n"]).exits(1).prints("").says(&["no line yet"]);
    place.run(&["get", "n", "--wait", "50ms"]).exits(124).prints("").says(&["no line", "50 ms"]);
    place.run(&["get", "other", "--wait", "0"]).exits(124);
}

#[test]
fn get_waits_for_a_first_line_and_for_a_fresh_one() {
    let place = Place::new();
    let get = place.start(&mut place.command(&["get", "n", "--wait", "60"]));
    place.run(&["put", "n", "a"]).exits(0);
    get.end().exits(0).prints("a\n");

    place.run(&["get", "n", "--max-age", "1h"]).exits(0).prints("a\n");
    thread::sleep(Duration::from_millis(20));
    place.run(&["get", "n", "--max-age", "10ms"]).exits(1).prints("").says(&["old"]);
    place.run(&["get", "n", "--max-age", "10ms", "--wait", "50ms"]).exits(124).says(&["no fresh line"]);
    // `a` is older than what will count, whenever `get` starts; `b` is not.
    let age = place.options().inspect("n").unwrap().age.unwrap();
    let fresh = format!("{}s", age.as_secs_f64() / 2.0);
    let get = place.start(&mut place.command(&["get", "n", "--max-age", &fresh, "--wait", "60"]));
    let mut writer = place.options().timestamps(true).create("n").unwrap();
    let mut get = Some(get);
    until(|| {
        writer.publish(b"b").unwrap();
        get.as_mut().unwrap().0.try_wait().unwrap().is_some()
    });
    get.take().unwrap().end().exits(0).prints("b\n");

    let mut writer = place.options().create("timeless").unwrap();
    writer.publish(b"a").unwrap();
    place.run(&["get", "timeless"]).exits(0).prints("a\n");
    place.run(&["get", "timeless", "--max-age", "1h"]).exits(1).says(&["no time"]);
}

#[test]
fn get_prints_json() {
    let place = Place::new();
    place.run_with(&["put", "n"], "a\nna\u{ef}ve \"x\"\n".as_bytes()).exits(0);
    let ran = place.run(&["get", "n", "--json"]);
    assert_eq!(ran.0.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1);
    let message = ran.json();
    let keys: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["age_s", "data", "len", "missed", "name", "number", "time"]);
    assert_eq!(message["name"], "n");
    assert_eq!(message["number"], 2);
    assert_eq!(message["missed"], 0);
    assert_eq!(message["len"], 10);
    assert_eq!(message["data"], "na\u{ef}ve \"x\"");
    let age = message["age_s"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    let time = message["time"].as_str().unwrap();
    assert!(time.len() == 30 && time.ends_with('Z'), "{time}");

    place.run_with(&["put", "n"], b"\xff\x00\n").exits(0);
    let message = place.run(&["get", "n", "--json"]).json();
    assert_eq!((&message["data"], &message["data_base64"]), (&Value::Null, &"/wA=".into()));
    assert!(message.get("data").is_none());

    place.options().create("timeless").unwrap().publish(b"").unwrap();
    let message = place.run(&["get", "timeless", "--json"]).json();
    assert!(message["time"].is_null() && message["age_s"].is_null());
    assert_eq!((&message["len"], &message["data"]), (&0.into(), &"".into()));
}

#[test]
fn a_terminal_gets_no_control_characters() {
    let place = Place::new();
    place.run_with(&["put", "n"], b"red \x1b[31m\xff\n").exits(0);
    place.run(&["get", "n"]).prints(b"red \x1b[31m\xff\n");
    for verb in [&["get", "n"][..], &["watch", "n", "-n1"]] {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut child = Running(place.command(verb).stdout(terminal.slave.try_clone().unwrap()).spawn().unwrap());
        let mut shown = [0; 100];
        let mut master = File::from(terminal.master);
        let count = master.read(&mut shown).unwrap();
        assert_eq!(String::from_utf8_lossy(&shown[..count]), "red \\u{1b}[31m\\xff\r\n");
        assert!(child.0.wait().unwrap().success());
    }
}

#[test]
fn output_that_fails_is_an_error_and_a_reader_that_left_is_none() {
    let place = Place::new();
    place.run(&["put", "n", "a"]).exits(0);
    for verb in [&["get", "n"][..], &["watch", "n"], &["list"], &["stat", "n"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran =
            Ran(place.command(verb).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap());
        ran.exits(2).says(&["standard output", "No space left"]);
        let (read, write) = pipe();
        drop(read);
        let ran =
            Ran(place.command(verb).stdout(write).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap());
        ran.exits(0).says_nothing();
    }
}

// watch ---------------------------------------------------------------------------------------------------------------

#[test]
fn watch_shows_the_current_line_and_each_newer_one() {
    let place = Place::new();
    let mut writer = place.options().create("n").unwrap();
    writer.publish(b"a").unwrap();
    writer.publish(b"b").unwrap();
    let mut watch = place.start(&mut place.command(&["watch", "n", "-n", "4"]));
    assert_eq!(watch.line(), "b");
    for line in ["c", "", "d"] {
        writer.publish(line.as_bytes()).unwrap();
        assert_eq!(watch.line(), line);
    }
    watch.end().exits(0).prints("").says_nothing();
}

#[test]
fn watch_has_null_endings_json_and_new_only() {
    let place = Place::new();
    let mut writer = place.options().timestamps(true).create("n").unwrap();
    writer.publish(b"a\nb").unwrap();
    place.run(&["watch", "n", "-n1", "-0"]).exits(0).prints(b"a\nb\0");
    let mut watch = place.start(&mut place.command(&["watch", "n", "--json", "--new-only"]));
    // How soon it is there to see a line as new cannot be known: the first that it shows is not `a\nb`.
    let mut number = 1;
    let mut output = watch.0.stdout.take().unwrap();
    let mut fds = [nix::poll::PollFd::new(output.as_fd(), nix::poll::PollFlags::POLLIN)];
    until(|| {
        number = writer.publish(b"new").unwrap();
        nix::poll::poll(&mut fds, 10u8).unwrap() == 1
    });
    let first: Value = serde_json::from_str(&line_of(&mut output)).unwrap();
    assert_eq!((&first["data"], &first["missed"], &first["name"]), (&"new".into(), &0.into(), &"n".into()));
    assert!(first["number"].as_u64().unwrap() >= 2);
    writer.publish(b"end").unwrap();
    let mut counted = first["number"].as_u64().unwrap();
    loop {
        let next: Value = serde_json::from_str(&line_of(&mut output)).unwrap();
        counted += next["missed"].as_u64().unwrap() + 1;
        assert_eq!(next["number"], counted);
        if next["data"] == "end" {
            break;
        }
    }
    assert_eq!(counted, number + 1);
}

#[test]
fn watch_waits_for_the_mailbox_and_goes_on_through_restarts() {
    let place = Place::new();
    let mut watch = place.start(&mut place.command(&["watch", "n"]));
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    put.feed("first\n");
    assert_eq!(watch.line(), "first");
    for round in 0..5 {
        put.signal(Signal::SIGKILL);
        assert_eq!(put.0.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
        put.feed(&format!("round {round}\n"));
        assert_eq!(watch.line(), format!("round {round}"));
    }
    drop(put);
    place.run(&["rm", "n"]).exits(0);
    place.run(&["put", "n", "a new instance"]).exits(0);
    assert_eq!(watch.line(), "a new instance");
    let long = "x".repeat(100_000);
    place.run_with(&["put", "n"], long.as_bytes()).exits(0);
    assert_eq!(watch.line(), long);
}

#[test]
fn a_slow_consumer_is_never_more_than_one_step_behind() {
    let place = Place::new();
    let mut writer = place.options().create("n").unwrap();
    writer.publish(b"0").unwrap();
    let (mut read, write) = pipe();
    let normal = pipe_size(&read);
    let mut watch = Running(place.command(&["watch", "n"]).stdout(write.try_clone().unwrap()).spawn().unwrap());
    until(|| bytes_in(&read) == 2);
    assert!(pipe_size(&read) < normal, "the pipe was not made smaller");
    for step in 1..=20 {
        for part in 0..50 {
            writer.publish(format!("{step}.{part}").as_bytes()).unwrap();
        }
        // What is in the pipe came before this step's lines; all that follows is the newest there is.
        let expected = if step == 1 { "0".into() } else { format!("{}.49", step - 1) };
        assert_eq!(line_of(&mut read), expected);
        until(|| bytes_in(&read) > 0);
        assert_eq!(bytes_in(&read) as usize, format!("{step}.49\n").len());
    }
    assert_eq!(line_of(&mut read), "20.49");

    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.0.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(pipe_size(&read), normal, "the pipe has its size back");
}

#[test]
fn a_pipe_that_is_full_before_is_waited_for() {
    let place = Place::new();
    let mut writer = place.options().create("n").unwrap();
    let (mut read, write) = pipe();
    let normal = pipe_size(&read);
    let mut other = File::from(write.try_clone().unwrap());
    other.write_all(&[b'x'; 20_000]).unwrap();
    let mut watch = Running(place.command(&["watch", "n", "-n1"]).stdout(write).spawn().unwrap());
    for n in 0..100 {
        writer.publish(format!("{n}").as_bytes()).unwrap();
    }
    // It shows that it is at work by its doorbell: it sleeps in the kernel until the pipe is empty.
    let mut before = vec![0; 20_000];
    read.read_exact(&mut before).unwrap();
    assert_eq!(before, [b'x'; 20_000], "nothing in between");
    assert_eq!(line_of(&mut read), "99");
    assert!(watch.0.wait().unwrap().success());
    assert_eq!(pipe_size(&read), normal, "the pipe has its size back");
}

#[test]
fn watch_ends_when_its_consumer_leaves_though_nothing_is_published() {
    let place = Place::new();
    let mut writer = place.options().create("n").unwrap();
    writer.publish(b"a").unwrap();
    for taken in [false, true] {
        let mut watch = place.start(&mut place.command(&["watch", "n"]));
        if taken {
            assert_eq!(watch.line(), "a");
        }
        drop(watch.0.stdout.take());
        watch.end().exits(0).says_nothing();
    }
    // And before there is a mailbox.
    let mut watch = place.start(&mut place.command(&["watch", "other"]));
    drop(watch.0.stdout.take());
    watch.end().exits(0).says_nothing();
}

#[test]
fn watch_ends_after_a_time_without_a_new_line() {
    let place = Place::new();
    place.run(&["watch", "n", "--timeout", "50ms"]).exits(124).says(&["no new line", "50 ms"]);
    place.run(&["put", "n", "a"]).exits(0);
    place.run(&["watch", "n", "--timeout", "50ms"]).exits(124).prints("a\n");
    place.run(&["watch", "n", "--timeout", "0", "--new-only"]).exits(124).prints("");
    // A consumer that takes nothing does not keep it from ending.
    let (read, write) = pipe();
    let mut watch = Running(place.command(&["watch", "n", "--timeout", "50ms"]).stdout(write).spawn().unwrap());
    assert_eq!(watch.0.wait().unwrap().code(), Some(124));
    assert_eq!(bytes_in(&read), 2);
}

#[test]
fn watch_ends_with_the_writer() {
    let place = Place::new();
    // Waits for a first writer, although the mailbox is there and has none.
    place.run(&["put", "n", "old"]).exits(0);
    let mut watch = place.start(&mut place.command(&["watch", "n", "--until-writer-exits"]));
    assert_eq!(watch.line(), "old");
    place.run_with(&["put", "n"], b"a\nb\nlast\n").exits(0);
    let ran = watch.end();
    ran.exits(0).says_nothing();
    assert!(ran.0.stdout.ends_with(b"last\n"), "{}", ran.0.stdout.escape_ascii());

    // A writer that stays; killed.
    let mut put = place.start(place.command(&["put", "n"]).stdin(Stdio::piped()));
    let mut watch = place.start(&mut place.command(&["watch", "n", "--new-only", "--until-writer-exits"]));
    put.feed("x\n");
    let mut tries = 0;
    let mut fds = [nix::poll::PollFd::new(watch.0.stdout.as_ref().unwrap().as_fd(), nix::poll::PollFlags::POLLIN)];
    until(|| {
        tries += 1;
        put.feed(&format!("{tries}\n"));
        nix::poll::poll(&mut fds, 10u8).unwrap() == 1
    });
    _ = watch.line();
    put.signal(Signal::SIGKILL);
    watch.end().exits(0).says_nothing();

    // A writer that comes to its end while the consumer takes nothing.
    let mut put = place.start(place.command(&["put", "slow"]).stdin(Stdio::piped()));
    put.feed("x\n");
    until(|| place.number("slow") == 1);
    let watch = place.start(&mut place.command(&["watch", "slow", "--until-writer-exits"]));
    let mut fds = [nix::poll::PollFd::new(watch.0.stdout.as_ref().unwrap().as_fd(), nix::poll::PollFlags::POLLIN)];
    until(|| nix::poll::poll(&mut fds, 10u8).unwrap() == 1);
    drop(put.0.stdin.take());
    put.end().exits(0);
    watch.end().exits(0).prints("x\n").says_nothing();

    // One that comes and goes without a line.
    let watch = place.start(&mut place.command(&["watch", "short", "--until-writer-exits"]));
    let descriptors = format!("/proc/{}/fd", watch.0.id());
    until(|| {
        let links = fs::read_dir(&descriptors).unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        links.into_iter().any(|link| link.to_string_lossy().contains("inotify"))
    });
    place.run(&["put", "short"]).exits(0);
    watch.end().exits(0).prints("").says_nothing();

    // It cannot be known, and that is said before anything else.
    fs::remove_file(place.path("n.lock")).unwrap();
    place.run(&["watch", "n", "--until-writer-exits"]).exits(2).prints("").says(&["cannot be known"]);
}

#[test]
fn signals_end_the_program_by_themselves() {
    let place = Place::new();
    place.run(&["put", "n", "a"]).exits(0);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut watch = place.start(&mut place.command(&["watch", "n"]));
        assert_eq!(watch.line(), "a");
        watch.signal(signal);
        let ran = watch.end();
        assert_eq!(ran.0.status.signal(), Some(signal as i32));
        ran.says_nothing();
    }
    // A shell shows it as 128 and the signal's number.
    let shell = Command::new("sh")
        .args(["-c", "\"$MAILBOX\" watch n >/dev/null & sleep 0.2; kill -TERM $!; wait $!"])
        .env("MAILBOX", env!("CARGO_BIN_EXE_mailbox"))
        .env("MAILBOX_DIR", place.0.path())
        .status()
        .unwrap();
    assert_eq!(shell.code(), Some(143));
}

// list, stat, rm ------------------------------------------------------------------------------------------------------

#[test]
fn list_shows_each_mailbox() {
    let place = Place::new();
    place.run(&["list"]).exits(0).prints("").says_nothing();
    place.run(&["list", "--json"]).exits(0).prints("");
    place.run(&["put", "b", "x"]).exits(0);
    let _writer = place.options().create("a").unwrap();
    fs::write(place.path("other.txt"), "not a mailbox").unwrap();
    let ran = place.run(&["list"]);
    ran.exits(0).says_nothing();
    let table = String::from_utf8(ran.0.stdout.clone()).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "NUMBER", "AGE", "WRITER", "CAPACITY", "MODE"]);
    assert_eq!(rows[1], ["a", "0", "-", "alive", &format!("({})", std::process::id()), "4096", "0600"]);
    assert_eq!((rows[2][0], rows[2][1], rows[2][4]), ("b", "1", "gone"));
    assert_eq!(rows.len(), 3);
    let ran = place.run(&["list", "--json"]);
    let names: Vec<Value> = ran
        .0
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap()["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);

    // One that is damaged is said to be, and does not hide the others.
    place.run(&["put", "damaged", "x"]).exits(0);
    File::options().write(true).open(place.path("damaged")).unwrap().set_len(5000).unwrap();
    let ran = place.run(&["list"]);
    ran.exits(2).says(&["/damaged", "5000 bytes", "mailbox rm"]);
    assert_eq!(ran.0.stdout.iter().filter(|&&byte| byte == b'\n').count(), 3);
}

#[test]
fn stat_shows_everything() {
    let place = Place::new();
    place.run(&["stat", "n"]).exits(1).says(&["there is no such mailbox"]);
    let mut writer = place.options().capacity(100).mode(0o644).timestamps(true).create("n").unwrap();
    let stat = place.run(&["stat", "n", "--json"]).json();
    assert!(stat["time"].is_null() && stat["age_s"].is_null());
    assert_eq!(stat["number"], 0);
    writer.publish(b"a").unwrap();
    let stat = place.run(&["stat", "n", "--json"]).json();
    let info = place.options().inspect("n").unwrap();
    let keys: Vec<&str> = stat.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "schema",
        "name",
        "path",
        "instance",
        "capacity",
        "banks",
        "number",
        "writer",
        "writer_pid",
        "mode",
        "uid",
        "time",
        "age_s",
        "footprint_bytes",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(stat["schema"], 1);
    assert_eq!(stat["name"], "n");
    assert_eq!(stat["path"], place.path("n").to_str().unwrap());
    assert_eq!(stat["instance"].as_str().unwrap().len(), 32);
    assert_eq!(stat["capacity"], 100);
    assert_eq!(stat["banks"], 4);
    assert_eq!(stat["number"], 1);
    assert_eq!((&stat["writer"], &stat["writer_pid"]), (&"alive".into(), &std::process::id().into()));
    assert_eq!(stat["mode"], "0644");
    assert_eq!(stat["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(stat["footprint_bytes"], info.footprint);
    assert_eq!(fs::metadata(place.path("n")).unwrap().len(), info.footprint);
    let sheet = String::from_utf8(place.run(&["stat", "n"]).0.stdout).unwrap();
    for part in ["capacity   100 bytes", "banks      4", "number     1", "writer     alive", "mode       0644"] {
        assert!(sheet.contains(part), "`{part}` is missing in {sheet}");
    }
    drop(writer);
    let stat = place.run(&["stat", "n", "--json"]).json();
    assert_eq!((&stat["writer"], &stat["writer_pid"]), (&"gone".into(), &Value::Null));
    fs::remove_file(place.path("n.lock")).unwrap();
    assert_eq!(place.run(&["stat", "n", "--json"]).json()["writer"], "unknown");
}

#[test]
fn rm_removes_what_has_no_writer() {
    let place = Place::new();
    place.run(&["put", "a", "x"]).exits(0);
    place.run(&["put", "b", "x"]).exits(0);
    let _writer = place.options().create("live").unwrap();
    place.run(&["rm", "a", "nothing", "b"]).exits(1).says(&["no mailbox", place.path("nothing").to_str().unwrap()]);
    place.run(&["rm", "live"]).exits(3).says(&["live writer", "--force"]);
    assert!(place.path("live").exists());
    place.run(&["rm", "--force", "live"]).exits(0).says_nothing();
    assert!(!place.path("live").exists());
    let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["live.lock"], "its live writer's lock stays");
    // What is no mailbox is left alone.
    fs::write(place.path("text"), "not a mailbox at all").unwrap();
    place.run(&["rm", "text"]).exits(2).says(&["not a mailbox"]);
    assert!(place.path("text").exists());
}

#[test]
fn a_consumer_by_a_socket_gets_the_newest_line_too() {
    let place = Place::new();
    let mut writer = place.options().create("n").unwrap();
    writer.publish(b"1").unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = place.command(&["watch", "n"]);
    let watch = Running(command.stdout(OwnedFd::from(theirs)).stderr(Stdio::piped()).spawn().unwrap());
    drop(command);
    let mut fds = [nix::poll::PollFd::new(ours.as_fd(), nix::poll::PollFlags::POLLIN)];
    until(|| nix::poll::poll(&mut fds, 10u8).unwrap() == 1);
    // Slowly, so that one who wrote each of them would have the time to.
    for number in 2..=20 {
        writer.publish(number.to_string().as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(line_of(&mut ours), "1");
    assert_eq!(line_of(&mut ours), "20");
    drop(ours);
    watch.end().exits(0).says_nothing();
}

#[test]
fn put_outlives_a_time_without_its_directory() {
    let place = Place::new();
    let directory = place.path("in");
    fs::create_dir(&directory).unwrap();
    let options = place.options().dir(&directory);
    let mut put = place.start(place.command(&["put", "n", "--dir", directory.to_str().unwrap()]).stdin(Stdio::piped()));
    put.feed("before\n");
    until(|| options.inspect("n").is_ok_and(|info| info.number == 1));
    let mut reader = options.open("n").unwrap();
    fs::remove_dir_all(&directory).unwrap();
    // Enough for it to notice, at full speed.
    put.feed(&"meanwhile\n".repeat(10_000));
    // Those who are attached go on.
    until(|| reader.latest().unwrap().is_some_and(|message| message.number == 10_001));
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    until(|| {
        put.feed("after\n");
        options.inspect("n").is_ok_and(|info| info.number > 10_001)
    });
    drop(put.0.stdin.take());
    let ran = put.end();
    ran.exits(0).says(&["there is no directory", "tried again"]);
    assert_eq!(ran.said().lines().count(), 1, "{}", ran.said());
    assert_eq!(reader.read().unwrap().bytes, b"after");
}

#[test]
fn a_line_that_fits_an_existing_mailbox_is_taken_whatever_its_length() {
    let place = Place::new();
    let most = 64 << 20;
    drop(place.options().capacity(most + 100).banks(1).create("large").unwrap());
    let mut line = vec![b'x'; most + 100];
    place.run_with(&["put", "large", "--raw"], &line).exits(0).says_nothing();
    assert_eq!(place.number("large"), 1);
    line.push(b'x');
    place.run_with(&["put", "large", "--raw"], &line).exits(2).says(&["67108965 bytes", "--capacity", "large"]);
    assert_eq!(place.number("large"), 1);
}

#[test]
fn a_name_in_json_is_a_name_however_it_was_typed() {
    let place = Place::new();
    place.run(&["put", "n", "x"]).exits(0);
    let path = place.path("n");
    for verb in ["get", "stat"] {
        assert_eq!(place.run(&[verb, path.to_str().unwrap(), "--json"]).json()["name"], "n", "{verb}");
    }
}

// demo ----------------------------------------------------------------------------------------------------------------

#[test]
fn demo_shows_the_whole_idea_and_leaves_nothing() {
    let place = Place::new();
    let ran = place.run(&["demo"]);
    ran.exits(0).says_nothing();
    let text = String::from_utf8(ran.0.stdout.clone()).unwrap();
    assert_eq!(text.matches("0 torn, 0 out of order").count(), 2, "{text}");
    for part in ["SIGKILL", "writer: gone", "it goes on with line", "passed over", "lines a second", "Last line wins"] {
        assert!(text.contains(part), "`{part}` is missing in {text}");
    }
    assert!(!directory_of_demo(&text).exists());
    // All lines are accounted for.
    let numbers = |line: &str| -> Vec<u64> {
        line.split_whitespace().filter_map(|word| word.trim_matches(',').replace(',', "").parse().ok()).collect()
    };
    let row = |who: &str| numbers(text.lines().rfind(|line| line.trim_start().starts_with(who)).unwrap());
    let published = row("writers")[0];
    for who in ["eager", "slow"] {
        let row = row(who);
        assert_eq!(row[0] + row[1], published, "{who}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains("mailbox watch")), "{text}");

    let ran = place.run(&["demo", "--dir", "/nonexistent"]);
    ran.exits(2).prints("").says(&["cannot make a directory for the demo"]);

    let mut demo = place.start(&mut place.command(&["demo"]));
    let mut text = String::new();
    while !text.contains("slow reader") {
        text += &demo.line();
    }
    let directory = directory_of_demo(&text);
    assert!(directory.exists());
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.end().0.status.signal(), Some(Signal::SIGINT as i32));
    assert!(!directory.exists());
}

fn directory_of_demo(text: &str) -> &Path {
    let at = text.find("/dev/shm/mailbox-demo-").unwrap();
    Path::new(&text[at..at + "/dev/shm/mailbox-demo-XXXXXX".len()])
}

// All verbs -----------------------------------------------------------------------------------------------------------

#[test]
fn usage() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["put"],
        &["get"],
        &["get", "a", "b"],
        &["put", "n", "--capacity", "x"],
        &["put", "n", "--capacity", "0", "x"],
        &["put", "n", "--mode", "9", "x"],
        &["get", "n", "--wait", "soon"],
        &["watch", "n", "-n", "0"],
        &["put", "n", "line", "--raw"],
        &["put", "n", "-0", "line"],
        &["rm"],
        &["get", "n", "--owner", "no such user"],
    ] {
        let ran = place.run(arguments);
        ran.exits(2).prints("");
        assert!(!ran.said().is_empty());
    }
    for arguments in [&["--help"][..], &["-V"], &["put", "--help"], &["help", "watch"]] {
        assert!(!place.run(arguments).exits(0).says_nothing().0.stdout.is_empty());
    }
}

#[test]
fn bad_names_are_refused_with_the_reason() {
    let place = Place::new();
    let long = "n".repeat(201);
    for (name, reason) in [
        ("", "empty"),
        (".", "cannot be `.`"),
        ("..", "cannot be `.` or `..`"),
        ("a/..", "cannot be"),
        ("a/", "empty"),
        (&long, "201 bytes"),
        ("x.bell", "`.bell`"),
        ("x.lock", "`.lock`"),
        ("x.new", "`.new`"),
        ("a\nb", "0x0a"),
        ("\x1b[31m", "0x1b"),
    ] {
        for verb in [&["put", name, "x"][..], &["get", name], &["watch", name], &["stat", name], &["rm", name]] {
            let ran = place.run(verb);
            ran.exits(2).says(&[reason]);
            assert!(!ran.said().contains('\x1b'), "a name acts on the terminal");
        }
    }
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0);
}

#[test]
fn directories() {
    let place = Place::new();
    let missing = place.path("missing");
    let missing = missing.to_str().unwrap();
    for verb in [&["put", "n", "x"][..], &["get", "n"], &["watch", "n"], &["stat", "n"], &["list"], &["rm", "n"]] {
        let arguments = [verb, &["--dir", missing]].concat();
        let ran = place.run(&arguments);
        ran.exits(2).prints("").says(&["there is no directory", missing]);
        // Advice for the one who makes something; another has mistyped.
        assert_eq!(ran.said().contains("mkdir -m 700"), ["put", "watch"].contains(&verb[0]), "{}", ran.said());
    }
    // Trusting somebody does not lead elsewhere.
    place.run(&["put", "trusting", "x", "--owner", "0"]).exits(0);
    assert!(place.path("trusting").exists());
    // None is named by an empty word.
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailbox"));
    let output = command.args(["stat", "trusting, and not there"]).env("MAILBOX_DIR", "").output().unwrap();
    let own = format!("/dev/shm/mailbox-{}/trusting, and not there", nix::unistd::geteuid());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&own), "{output:?}");
    // `--dir` goes before MAILBOX_DIR, a path before both.
    fs::create_dir(missing).unwrap();
    place.run(&["put", "--dir", missing, "n", "x"]).exits(0);
    assert!(Path::new(missing).join("n").exists() && !place.path("n").exists());
    let path = place.path("missing/n");
    place.run(&["get", path.to_str().unwrap()]).exits(0).prints("x\n");
    // Writable by everybody.
    fs::set_permissions(missing, fs::Permissions::from_mode(0o777)).unwrap();
    place.run(&["get", "--dir", missing, "n"]).exits(2).says(&["writable by everybody", "mkdir -m 700"]);
}

#[test]
fn what_is_no_mailbox_is_left_alone() {
    let place = Place::new();
    fs::write(place.path("text"), "some text").unwrap();
    fs::create_dir(place.path("directory")).unwrap();
    std::os::unix::fs::symlink("text", place.path("link")).unwrap();
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for (name, reason) in [
        ("text", "not a mailbox"),
        ("directory", "directory"),
        ("link", "symbolic link"),
        ("fifo", "FIFO"),
        ("socket", "socket"),
    ] {
        for verb in [&["put", name, "x"][..], &["get", name], &["watch", name], &["rm", name], &["rm", "-f", name]] {
            place.run(verb).exits(2).says(&[reason, name]);
        }
    }
    let mut left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["directory", "fifo", "link", "socket", "text"]);
    assert_eq!(fs::read(place.path("text")).unwrap(), b"some text");
}
