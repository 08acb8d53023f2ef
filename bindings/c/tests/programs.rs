//! Programs in C that do what programs do: `tests/programs/api.c`, which brings about everything that the header
//! promises, and the examples.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod toolchain;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{NAME, Place, skip};
use toolchain::{Linked, compile, is_there, run};

#[test]
fn everything_is_as_the_header_says_with_the_shared_library() {
    let place = Place::new();
    run(Command::new(compile("tests/programs/api.c", Linked::Shared)).env("MAILBOX_DIR", place.dir()));
}

#[test]
fn everything_is_as_the_header_says_with_the_static_library() {
    let place = Place::new();
    run(Command::new(compile("tests/programs/api.c", Linked::Static)).env("MAILBOX_DIR", place.dir()));
}

#[test]
fn valgrind_finds_nothing() {
    if !is_there("valgrind") {
        return skip("there is no valgrind");
    }
    let place = Place::new();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    run(valgrind.arg(compile("tests/programs/api.c", Linked::Shared)).env("MAILBOX_DIR", place.dir()));
}

// The examples. -------------------------------------------------------------------------------------------------------

/// A running example; killed when dropped.
struct Example {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Example {
    fn start(name: &str, place: &Place, arguments: &[&str]) -> Self {
        let mut command = Command::new(compile(&format!("examples/{name}.c"), Linked::Shared));
        command.args(arguments).env("MAILBOX_DIR", place.dir());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "it has ended");
        line.trim_end().to_owned()
    }

    /// Waits for its end; its exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.process.stdin.take());
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < common::LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        };
        let mut error = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (status.code(), error)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn the_reader_may_come_first_and_has_room_for_every_line() {
    let place = Place::new();
    let mut reader = Example::start("reader", &place, &[NAME]);
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"one").unwrap();
    assert_eq!(reader.line(), "one");
    let long = "long ".repeat(800);
    writer.publish(long.as_bytes()).unwrap();
    assert_eq!(reader.line(), long.trim_end());

    let hasty = Example::start("reader", &place, &["nobody", "0.05"]);
    assert_eq!(hasty.end(), (Some(0), String::new()), "time ran out");
}

#[test]
fn the_writer_publishes_the_time_and_is_the_only_one() {
    let place = Place::new();
    let _writer = Example::start("writer", &place, &[NAME]);
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    for _ in 0..3 {
        let message = reader.read().unwrap();
        assert_eq!(message.bytes.len(), "12:00:00.000".len(), "{message:?}");
        assert!(message.age.is_some());
    }
    let (code, error) = Example::start("writer", &place, &[NAME]).end();
    assert_eq!(code, Some(1));
    assert!(error.contains("another writer"), "{error}");
}

#[test]
fn the_poll_loop_sees_two_mailboxes_and_the_end_of_its_input() {
    let place = Place::new();
    let mut poll = Example::start("poll", &place, &["left", "right"]);
    let mut left = place.options().create("left").unwrap();
    left.publish(b"one").unwrap();
    assert_eq!(poll.line(), "left: one");
    let mut right = place.options().create("right").unwrap();
    right.publish(b"two").unwrap();
    assert_eq!(poll.line(), "right: two");
    left.publish(b"three").unwrap();
    assert_eq!(poll.line(), "left: three");
    assert_eq!(poll.end(), (Some(0), String::new()));
}
