//! What goes to standard output, each line at once, and to standard error.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use shm_mailbox::{Info, Message, WriterState};

use crate::exit_code::{Failure, Result};

/// How messages are shown.
#[derive(Clone, Copy)]
pub enum Format {
    /// The bytes, then this.
    Plain(&'static [u8]),
    /// One JSON object a line.
    Json,
}

/// Standard output.
pub struct Output {
    is_terminal: bool,
    /// Holds a line with its ending, so that both go out in one write.
    buffer: Vec<u8>,
}

impl Output {
    pub fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), buffer: Vec::new() }
    }

    /// Writes one message of mailbox `name`.
    pub fn message(&mut self, name: &OsStr, message: &Message<'_>, format: Format) -> Result<()> {
        self.buffer.clear();
        match format {
            Format::Json => self.object(&Line::new(name, message)),
            Format::Plain(ending) => {
                if self.is_terminal {
                    self.buffer.extend_from_slice(escape(message.bytes).as_bytes());
                } else {
                    self.buffer.extend_from_slice(message.bytes);
                }
                self.buffer.extend_from_slice(ending);
                write(&self.buffer)
            }
        }
    }

    /// Writes one JSON object.
    pub fn object(&mut self, object: &impl Serialize) -> Result<()> {
        self.buffer.clear();
        if self.is_terminal {
            let json = serde_json::to_string(object).expect("plain data, and memory takes it");
            self.buffer.extend_from_slice(spell_out(&json).as_bytes());
        } else {
            serde_json::to_writer(&mut self.buffer, object).expect("plain data, and memory takes it");
        }
        self.buffer.push(b'\n');
        write(&self.buffer)
    }

    /// Writes text for people.
    pub fn text(&mut self, text: &str) -> Result<()> {
        write(text.as_bytes())
    }
}

/// All of `bytes`, with no buffer of our own in between.
fn write(mut bytes: &[u8]) -> Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(&stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE) => return Err(Failure::reader_left()),
            // Somebody has made it non-blocking.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&stdout), PollFlags::POLLOUT)];
                _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(errno) => return Err(Failure::system("cannot write to standard output", errno)),
        }
    }
    Ok(())
}

/// Says something on standard error, in one line.
pub fn talk(text: &str) {
    // Nobody may be there to hear it, which changes nothing.
    _ = writeln!(io::stderr(), "mailbox: {}", escape(text.as_bytes()).replace('\n', "\\n"));
}

/// Text that does nothing to a terminal but appear on it: line feeds and tabs stay, other control characters, those
/// that change the direction of writing, and bytes that are not UTF-8 are spelt out.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' | '\t' => text.push(char),
                _ if char.is_control() => text.extend(char.escape_default()),
                _ if acts_on_terminal(char) => text.extend(char.escape_unicode()),
                _ => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Control characters, and those that change the direction of writing.
fn acts_on_terminal(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON text, which spells out the control characters of ASCII alone, for a terminal: with the others spelt out too.
fn spell_out(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        if acts_on_terminal(char) {
            _ = write!(text, "\\u{:04x}", char as u32);
        } else {
            text.push(char);
        }
    }
    text
}

/// A message as JSON.
#[derive(Serialize)]
struct Line<'a> {
    name: String,
    number: u64,
    missed: u64,
    time: Option<String>,
    age_s: Option<f64>,
    len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> Line<'a> {
    fn new(name: &OsStr, message: &Message<'a>) -> Self {
        let data = str::from_utf8(message.bytes).ok();
        Self {
            name: file_name(name),
            number: message.number,
            missed: message.missed,
            time: message.age.map(time),
            age_s: message.age.map(|age| age.as_secs_f64()),
            len: message.bytes.len(),
            data,
            data_base64: data.is_none().then(|| BASE64_STANDARD.encode(message.bytes)),
        }
    }
}

/// A mailbox's name, of what was typed, which may be a path.
fn file_name(typed: &OsStr) -> String {
    Path::new(typed).file_name().unwrap_or(typed).to_string_lossy().into_owned()
}

/// A mailbox as JSON.
#[derive(Serialize)]
pub struct Mailbox {
    schema: u32,
    name: String,
    path: String,
    instance: String,
    capacity: u64,
    banks: u32,
    number: u64,
    writer: &'static str,
    writer_pid: Option<u32>,
    mode: String,
    uid: u32,
    time: Option<String>,
    age_s: Option<f64>,
    footprint_bytes: u64,
}

impl Mailbox {
    pub fn new(name: &OsStr, info: &Info) -> Self {
        Self {
            schema: 1,
            name: file_name(name),
            path: info.path.to_string_lossy().into_owned(),
            instance: info.instance.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
            capacity: info.capacity,
            banks: info.banks,
            number: info.number,
            writer: writer_state(info.writer),
            writer_pid: info.writer_pid,
            mode: format!("{:04o}", info.mode),
            uid: info.uid,
            time: info.age.map(time),
            age_s: info.age.map(|age| age.as_secs_f64()),
            footprint_bytes: info.footprint,
        }
    }
}

pub fn writer_state(state: WriterState) -> &'static str {
    match state {
        WriterState::Alive => "alive",
        WriterState::Gone => "gone",
        WriterState::Unknown => "unknown",
    }
}

/// When something so old was new, by RFC 3339 in UTC with nanoseconds: now minus age. (Lines carry the time of a clock
/// that nobody sets.)
pub fn time(age: Duration) -> String {
    let now = jiff::Timestamp::now();
    now.checked_sub(age).unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_that_acts_on_it() {
        assert_eq!(escape(b"a\tb\nc"), "a\tb\nc");
        assert_eq!(escape(b"\x1b[31m\r\x07\x00\x7f"), "\\u{1b}[31m\\r\\u{7}\\u{0}\\u{7f}");
        assert_eq!(escape(b"\xff\xc3"), "\\xff\\xc3");
        assert_eq!(escape("caf\u{e9} \u{9b}31m \u{202e}".as_bytes()), "caf\u{e9} \\u{9b}31m \\u{202e}");
    }

    #[test]
    fn nor_does_json() {
        let json = serde_json::to_string("a\x1b\u{9b}31m\u{202e}caf\u{e9}\u{7f}").unwrap();
        let shown = spell_out(&json);
        assert_eq!(shown, "\"a\\u001b\\u009b31m\\u202ecaf\u{e9}\\u007f\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), serde_json::from_str::<String>(&json).unwrap());
    }

    #[test]
    fn a_time_has_nanoseconds_and_is_in_utc() {
        let time = time(Duration::ZERO);
        assert_eq!(time.len(), "2026-01-01T00:00:00.000000000Z".len(), "{time}");
        assert!(time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }
}
