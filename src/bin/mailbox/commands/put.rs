//! `mailbox put`: one line, or every line of standard input.

use std::io::{self, Stdin};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{Error, ErrorKind, Timestamp, Writer};

use crate::cli::{Place, Put};
use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::talk;

/// Most that is asked of standard input at once: more than a pipe holds.
const READ: usize = 256 << 10;
/// Most bytes in a line, unless said otherwise.
const MOST: usize = 64 << 20;
/// How long without input until the mailbox's files are looked after, in milliseconds.
const IDLE: u16 = 1000;
/// So many lines are complained about one by one; the others are counted.
const COMPLAINTS: u64 = 10;

pub fn run(arguments: &Put, place: &Place) -> Result {
    let writer = open(arguments, place)?;
    let mut publisher = Publisher {
        limit: arguments.capacity.unwrap_or(MOST.max(writer.capacity())),
        writer,
        grows: arguments.capacity.is_none(),
        lines: 0,
        refused: 0,
        is_troubled: false,
    };
    match &arguments.line {
        Some(line) => publisher.publish(line.as_bytes(), Timestamp::now())?,
        None => feed(&mut publisher, if arguments.raw { None } else { Some(if arguments.null { 0 } else { b'\n' }) })?,
    }
    Ok(publisher.end())
}

/// Opens the mailbox; waits for another writer to leave, if asked to.
fn open(arguments: &Put, place: &Place) -> Result<Writer> {
    let mut options = place.options();
    if let Some(capacity) = arguments.capacity {
        options = options.capacity(capacity);
    }
    if let Some(mode) = arguments.mode {
        options = options.mode(mode);
    }
    let started = Instant::now();
    loop {
        match options.create(&arguments.name) {
            Ok(writer) => return Ok(writer),
            // Each attempt takes some time of its own before it says so.
            Err(error) if error.kind() == ErrorKind::Busy => match arguments.wait {
                Some(wait) if started.elapsed() < wait => {}
                Some(_) => return Err(Failure::new(ExitCode::TimedOut, error.to_string())),
                None => return Err(Failure::new(ExitCode::Busy, format!("{error}; --wait DUR waits for its end"))),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Publishes standard input: each line that ends with `ending`, and what follows the last; or all of it as one message.
fn feed(publisher: &mut Publisher, ending: Option<u8>) -> Result<()> {
    let stdin = io::stdin();
    // The beginning of a line whose end has not come yet: `buffer[..held]`. If it is too long already it is forgotten,
    // and its bytes are counted.
    let mut buffer = vec![0; READ];
    let (mut held, mut forgotten) = (0, 0);
    let mut time = Timestamp::now();
    loop {
        if buffer.len() < held + READ {
            let length = (2 * held).max(held + READ);
            if buffer.try_reserve_exact(length - buffer.len()).is_err() {
                return Err(Failure::new(ExitCode::Failed, format!("no memory for a line of {held} bytes and more")));
            }
            buffer.resize(length, 0);
        }
        wait_for_input(&stdin, publisher)?;
        let count = match nix::unistd::read(&stdin, &mut buffer[held..]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(errno) => return Err(Failure::system("cannot read standard input", errno)),
        };
        // One clock reading for all lines that came together.
        time = Timestamp::now();
        let end = held + count;
        let mut start = 0;
        if let Some(ending) = ending {
            for at in memchr::memchr_iter(ending, &buffer[held..end]) {
                let line = &buffer[start..held + at];
                if forgotten == 0 {
                    publisher.publish(line, time)?;
                } else {
                    publisher.refuse(forgotten + line.len());
                    forgotten = 0;
                }
                start = held + at + 1;
            }
        }
        held = end - start;
        if forgotten > 0 || held > publisher.limit {
            forgotten += held;
            held = 0;
        } else {
            buffer.copy_within(start..end, 0);
        }
    }
    if forgotten > 0 {
        publisher.refuse(forgotten);
    } else if held > 0 || ending.is_none() {
        publisher.publish(&buffer[..held], time)?;
    }
    Ok(())
}

/// Waits for standard input; looks after the mailbox's files meanwhile, which publishing does by itself.
fn wait_for_input(stdin: &Stdin, publisher: &mut Publisher) -> Result<()> {
    while let Ok(0) = poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::from(IDLE)) {
        publisher.look_after()?;
    }
    Ok(())
}

/// Whether a writer that says so will never publish again.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Removed | ErrorKind::Forked)
}

/// The writer, and what became of the lines.
struct Publisher {
    writer: Writer,
    /// Most bytes in a line.
    limit: usize,
    /// Whether the mailbox may grow up to the limit.
    grows: bool,
    /// Lines that have come.
    lines: u64,
    /// Those of them that were not published.
    refused: u64,
    /// Whether the mailbox's files are gone and could not be put back, and that was said.
    is_troubled: bool,
}

impl Publisher {
    fn publish(&mut self, line: &[u8], time: Timestamp) -> Result<()> {
        if line.len() > self.limit {
            self.refuse(line.len());
            return Ok(());
        }
        self.lines += 1;
        match self.writer.publish_at(line, time) {
            Ok(_) => Ok(()),
            Err(error) if self.grows && matches!(error.kind(), ErrorKind::TooLong { .. }) => self.grow(line, time),
            Err(error) if is_final(&error) => Err(error.into()),
            // Files that were swept away could not be put back, which is tried again later; until then those who are
            // attached already get the lines.
            Err(error) => {
                self.trouble(error);
                if let Err(error) = self.writer.publish_at(line, time) {
                    self.complain(&format!("line {} was not published: {}", self.lines, Failure::from(error)));
                }
                Ok(())
            }
        }
    }

    /// Looks whether the mailbox's files are still there.
    fn look_after(&mut self) -> Result<()> {
        match self.writer.check() {
            Ok(()) => self.is_troubled = false,
            Err(error) if is_final(&error) => return Err(error.into()),
            Err(error) => self.trouble(error),
        }
        Ok(())
    }

    /// Says once that something does not work at the moment.
    #[cold]
    fn trouble(&mut self, error: Error) {
        if !self.is_troubled {
            talk(&format!("{}; this is tried again", Failure::from(error)));
        }
        self.is_troubled = true;
    }

    #[cold]
    fn grow(&mut self, line: &[u8], time: Timestamp) -> Result<()> {
        match self.writer.grow(line.len()).and_then(|()| self.writer.publish_at(line, time)) {
            Ok(_) => Ok(()),
            // The next line may be shorter.
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.complain(&format!("line {} was not published: {}", self.lines, Failure::from(error)));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Says that a line is too long; the rest goes on.
    #[cold]
    fn refuse(&mut self, length: usize) {
        self.lines += 1;
        let (line, limit) = (self.lines, self.limit);
        let remedy = if self.grows { "the most without --capacity" } else { "as --capacity says" };
        self.complain(&format!(
            "line {line} was not published to {}: it has {length} bytes, and the capacity is {limit} bytes, {remedy}",
            self.writer.path().display()
        ));
    }

    fn complain(&mut self, text: &str) {
        self.refused += 1;
        if self.refused <= COMPLAINTS {
            talk(text);
        }
    }

    fn end(&self) -> ExitCode {
        if self.refused > COMPLAINTS {
            talk(&format!("{} more lines were not published", self.refused - COMPLAINTS));
        }
        if self.refused == 0 { ExitCode::Done } else { ExitCode::Failed }
    }
}
