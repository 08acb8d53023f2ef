//! `mailbox demo`: the whole idea in five seconds, on a real mailbox with real processes. Every count it prints is
//! measured.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use shm_mailbox::{Options, Reader, WriterState};

use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::{Output, writer_state};
use crate::signals;
use crate::units::span;

const NAME: &str = "clock";
/// What the slow reader does with each line.
const STEP: Duration = Duration::from_millis(500);
/// The pace of the writer, until it runs as fast as it can.
const PACE: Duration = Duration::from_millis(1);

pub fn run(place: &crate::cli::Place) -> Result {
    signals::watch_for_end();
    let place = Place::new(place.dir.as_deref())?;
    let stage = Stage {
        place: &place,
        output: Mutex::new(Output::new()),
        end: AtomicU64::new(u64::MAX),
        taken: AtomicU64::new(0),
    };
    let told = stage.play();
    drop(place);
    if let Some(signal) = signals::asked_to_end() {
        signals::end_by(signal);
    }
    told.map(|()| ExitCode::Done)
}

/// A directory for this once.
struct Place(PathBuf);

impl Place {
    fn new(directory: Option<&Path>) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = match directory {
            Some(directory) => directory.into(),
            None if memory.is_dir() => memory.into(),
            None => std::env::temp_dir(),
        };
        match nix::unistd::mkdtemp(&parent.join("mailbox-demo-XXXXXX")) {
            Ok(path) => Ok(Self(path)),
            Err(errno) => Err(Failure::system("cannot make a directory for the demo", errno)),
        }
    }

    fn options(&self) -> Options {
        Options::new().dir(&self.0).wait_for_mailbox(true)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

struct Stage<'a> {
    place: &'a Place,
    output: Mutex<Output>,
    /// Number of the very last line, when it is known; 0 to end at once.
    end: AtomicU64,
    /// Lines that the reader that keeps up has taken.
    taken: AtomicU64,
}

impl Stage<'_> {
    fn play(&self) -> Result<()> {
        self.say(&format!(
            "A mailbox holds one line: the newest. This one is real, and every count below\n\
             was taken just now. From another terminal:\n\n  \
             mailbox watch {}/{NAME}\n\n",
            self.place.0.display()
        ))?;
        thread::scope(|scope| {
            let eager = scope.spawn(|| self.read(None));
            let slow = scope.spawn(|| self.read(Some(STEP)));
            let played = self.acts(scope);
            self.end.store(played.as_ref().map_or(0, |&published| published), Relaxed);
            let (eager, slow) = (eager.join().expect("no panic"), slow.join().expect("no panic"));
            let published = played?;
            self.say(&format!(
                "\n   writers {:>12} published\n{}{}",
                with_commas(published),
                eager?.report("eager"),
                slow?.report("slow"),
            ))?;
            self.say("\nLast line wins: nobody waited for the slow reader, and all it got was new.\n")
        })
    }

    /// Returns how many lines were published.
    fn acts<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Result<u64> {
        self.say(&format!(
            "1. A writer process publishes a line about every millisecond. One reader is\n   \
             eager and takes lines as they come, another is slow: {} for each.\n",
            span(STEP)
        ))?;
        let writer = Process::start(scope, self.place, Some(PACE))?;
        pause(Duration::from_millis(1900))?;

        self.say(
            "\n2. The writer is killed by SIGKILL. Its last line stays, also for a reader\n   that comes late.\n",
        )?;
        drop(writer);
        // Its lock is the kernel's, which frees it before the process can be waited for.
        let mut late = self.place.options().open(NAME)?;
        let state = late.writer_state();
        let Some(last) = late.latest()?.map(|message| message.number) else {
            return Err(Failure::new(ExitCode::Failed, "the demo's writer published nothing"));
        };
        self.say(&format!(
            "   writer: {}; a reader that comes only now gets line {}\n",
            writer_state(state),
            with_commas(last)
        ))?;
        if state != WriterState::Gone {
            return Err(Failure::new(ExitCode::Failed, "the demo's writer outlived SIGKILL"));
        }
        pause(Duration::from_millis(400))?;

        self.say("\n3. Another writer takes its place. Nobody has told the readers.\n")?;
        let writer = Process::start(scope, self.place, Some(PACE))?;
        let next = match late.read_timeout(Duration::from_secs(10))? {
            Some(message) => message.number - message.missed,
            None => return Err(Failure::new(ExitCode::Failed, "the demo's second writer published nothing")),
        };
        self.say(&format!("   it goes on with line {}\n", with_commas(next)))?;
        pause(Duration::from_millis(1050))?;
        drop(writer);
        pause(Duration::from_millis(50))?;
        let (taken, published) = (self.taken.load(Relaxed), self.number()?);
        self.say(&format!("   the eager reader took {} of {} lines\n", with_commas(taken), with_commas(published)))?;

        self.say("\n4. Now as fast as it can: numbers as text through a pipe, for a second.\n")?;
        let before = self.number()?;
        let started = Instant::now();
        let writer = Process::start(scope, self.place, None)?;
        pause(Duration::from_secs(1))?;
        drop(writer);
        let taken = started.elapsed();
        let published = self.number()?;
        let rate = (published - before) as f64 / taken.as_secs_f64();
        self.say(&format!("   {} lines a second\n", with_commas(rate as u64)))?;
        Ok(published)
    }

    fn number(&self) -> Result<u64> {
        Ok(self.place.options().inspect(NAME)?.number)
    }

    /// A reader, until it has the very last line; takes so long for each, and says what it sees.
    fn read(&self, step: Option<Duration>) -> Result<Tally> {
        let mut reader: Reader = self.place.options().open(NAME)?;
        let mut tally = Tally::default();
        while tally.last < self.end.load(Relaxed) {
            let Some(message) = reader.read_timeout(Duration::from_millis(50))? else { continue };
            tally.count(message.number, message.bytes);
            if let Some(step) = step {
                let (number, missed) = (with_commas(message.number), with_commas(message.missed));
                let age = message.age.map_or("?".into(), span);
                let text = format!("   slow reader: line {number}, {age} old, {missed} passed over\n");
                self.say(&text)?;
                thread::sleep(step);
            } else {
                self.taken.store(tally.lines, Relaxed);
            }
        }
        Ok(tally)
    }

    fn say(&self, text: &str) -> Result<()> {
        self.output.lock().expect("no panic").text(text)
    }
}

/// What a reader has seen.
#[derive(Default)]
struct Tally {
    last: u64,
    lines: u64,
    missed: u64,
    torn: u64,
    disordered: u64,
}

impl Tally {
    fn count(&mut self, number: u64, line: &[u8]) {
        self.lines += 1;
        self.torn += u64::from(!is_whole(line));
        self.disordered += u64::from(number <= self.last);
        // With those before it came, so that all that were published are accounted for.
        self.missed += number.saturating_sub(self.last + 1);
        self.last = number;
    }

    fn report(&self, who: &str) -> String {
        format!(
            "   {who:<7} {:>12} taken, {:>11} passed over, {} torn, {} out of order\n",
            with_commas(self.lines),
            with_commas(self.missed),
            self.torn,
            self.disordered
        )
    }
}

/// A line says its number twice.
fn line(number: u64) -> String {
    format!("tick {number} tick {number}")
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    number.is_some_and(|number| text == line(number))
}

/// `mailbox put` in a process of its own; killed when dropped, by SIGKILL.
struct Process(Child);

impl Process {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, place: &Place, pace: Option<Duration>) -> Result<Self> {
        let cannot = |error| Failure::system("cannot start a writer", error);
        let mut child = Command::new(std::env::current_exe().map_err(cannot)?)
            .args(["put", NAME, "--dir"])
            .arg(&place.0)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let input = child.stdin.take().expect("asked for");
        scope.spawn(move || feed(input, pace));
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        // After which its pipe has no reader, and the feeder ends too.
        _ = self.0.wait();
    }
}

/// Writes lines until nobody reads them.
fn feed(mut input: ChildStdin, pace: Option<Duration>) {
    let mut lines = String::new();
    let mut number = 0;
    loop {
        lines.clear();
        for _ in 0..if pace.is_some() { 1 } else { 1000 } {
            number += 1;
            lines.push_str(&line(number));
            lines.push('\n');
        }
        if input.write_all(lines.as_bytes()).is_err() {
            return;
        }
        if let Some(pace) = pace {
            thread::sleep(pace);
        }
    }
}

/// Waits, unless the program is asked to end.
fn pause(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        if signals::asked_to_end().is_some() {
            return Err(Failure::reader_left());
        }
        thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// `1,234,567`
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(with_commas), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_mixed_line_is_not_whole() {
        assert!(is_whole(line(12).as_bytes()));
        assert!(
            !is_whole(b"tick 12 tick 13") && !is_whole(b"tick 12 tick 12 ") && !is_whole(b"") && !is_whole(b"\xff")
        );
    }
}
