//! Writers and readers in C, in processes of their own: a million checked reads, two hundred kills.
//!
//! More of both: `C_LINES=10000000 C_KILLS=2000 cargo test -p shm-mailbox-c --test processes -- --nocapture`.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod toolchain;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{NAME, Place, fill, is_line, mix, wait_until};
use shm_mailbox::WriterState;
use toolchain::{Linked, compile};

fn from_environment(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

/// A program in C; killed when dropped.
struct Program {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(name: &str, place: &Place, arguments: &[&str]) -> Self {
        let mut command = Command::new(compile(&format!("tests/programs/{name}.c"), Linked::Shared));
        command.arg(NAME).args(arguments).env("MAILBOX_DIR", place.dir()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    #[track_caller]
    fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "it has ended: see what it said");
        line.trim_end().to_owned()
    }

    /// Kills it and proves that this was its end.
    #[track_caller]
    fn kill(mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.signal(), Some(nix::libc::SIGKILL), "it ended by itself: {status}");
    }

    /// Waits for its end, proves that it was a good one, and says how many lines it has checked.
    #[track_caller]
    fn end(mut self) -> u64 {
        let checked = self.hear().parse().unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
        checked
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

const WAYS: [&str; 3] = ["read", "try_read", "latest"];

#[test]
fn a_million_lines_are_whole() {
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    let lines = from_environment("C_LINES", 1_000_000).div_ceil(WAYS.len() as u64);
    let readers: Vec<_> = WAYS
        .iter()
        .map(|way| {
            let mut reader = Program::start("reader", &place, &[way, &lines.to_string()]);
            assert_eq!(reader.hear(), "reading");
            reader
        })
        .collect();
    let writer = Program::start("writer", &place, &["7"]);
    let checked: Vec<_> = readers.into_iter().map(Program::end).collect();
    assert_eq!(checked, [lines; WAYS.len()]);
    writer.kill();
    println!("{checked:?} lines checked of {}", place.options().inspect(NAME).unwrap().number);
}

/// Whose line it is; checks that it is whole and of that number.
fn generation_of(number: u64, bytes: &[u8]) -> u64 {
    let (generation, rest) = bytes.split_first_chunk().unwrap();
    let generation = u64::from_le_bytes(*generation);
    assert!(is_line(rest, number, generation), "message {number} is not whole");
    generation
}

#[test]
fn a_writer_killed_anywhere_leaves_its_last_line_and_the_next_goes_on() {
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    let mut witnesses = WAYS.map(|way| Program::start("reader", &place, &[way, &u64::MAX.to_string()]));
    witnesses.iter_mut().for_each(|witness| assert_eq!(witness.hear(), "reading"));
    let mut mine = place.options().open(NAME).unwrap();
    let raw = place.raw();
    let mut published = 0;
    for generation in 0..from_environment("C_KILLS", 200) {
        let mut writer = Program::start("writer", &place, &[&generation.to_string()]);
        let first = writer.hear().parse().unwrap();
        assert_eq!(published + 1, first, "goes on with the next number");
        wait_until("it has published", || raw.latest() >= first + 3);
        // A moment that is another one each time.
        for _ in 0..mix(generation) % 20_000 {
            std::hint::spin_loop();
        }
        writer.kill();
        assert_eq!(place.options().inspect(NAME).unwrap().writer, WriterState::Gone);
        published = raw.sequences().iter().map(|sequence| sequence / 2).max().unwrap();
        let message = mine.latest().unwrap().expect("the last line");
        assert_eq!(message.number, published);
        assert_eq!(generation_of(published, message.bytes), generation);
    }
    // A line that ends them.
    let mut line = u64::MAX.to_le_bytes().repeat(2);
    fill(&mut line[8..], published + 1, u64::MAX);
    place.options().create(NAME).unwrap().publish(&line).unwrap();
    let checked = witnesses.map(Program::end);
    assert!(checked.iter().all(|&checked| checked > 0), "{checked:?}");
    println!("{checked:?} lines checked");
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);
}
