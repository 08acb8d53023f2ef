//! What holds for every file that somebody has damaged: for those who make them, C1 of the soak and libFuzzer.

use std::time::Duration;

use super::at;
use shm_mailbox::{Error, ErrorKind, Message, Options, Reader, Writer};

/// What a damaged file comes to: once for a reader, and once more if a writer tries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Foreign,
    Layout,
    Damaged,
    Lines,
    Nothing,
    Taken,
    Refused,
}

/// The names of the outcomes.
pub const OUTCOMES: [&str; 7] = [
    "not a mailbox",
    "of another layout",
    "damaged",
    "lines read",
    "nothing read",
    "taken by a writer",
    "refused to a writer",
];

impl Outcome {
    /// Of [`reads`].
    #[track_caller]
    pub fn of(lines: Result<u64, Error>) -> Self {
        match lines {
            Ok(0) => Self::Nothing,
            Ok(_) => Self::Lines,
            Err(error) => what(&error),
        }
    }
}

/// What a header says of the file, as far as it goes for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub page: u64,
    pub capacity: u64,
    pub stride: u64,
    pub banks: u64,
}

impl Shape {
    /// What a file is that begins with `header`, all of it or up to byte 512, and has `length` bytes: by the words of
    /// `docs/protocol.md`, and not by the library's.
    pub fn of(header: &[u8], length: u64) -> Result<Self, Outcome> {
        if length < 512 || !header.starts_with(b"MAILBOX\0") {
            return Err(Outcome::Foreign);
        }
        if header[at::VERSION as usize..][..4] != [1, 0, 0, 0] {
            return Err(Outcome::Layout);
        }
        let shape = Self::claimed(header);
        let bytes = 2 * u128::from(shape.page) + u128::from(shape.banks) * u128::from(shape.stride);
        let is_possible = (12..=20).any(|shift| shape.page == 1 << shift)
            && [1, 2, 4, 8].contains(&shape.banks)
            && (1..=1 << 40).contains(&shape.capacity)
            && shape.stride.is_multiple_of(64)
            && u128::from(shape.stride) >= 24 + u128::from(shape.capacity).next_multiple_of(8)
            && u128::from(length) >= bytes;
        if is_possible { Ok(shape) } else { Err(Outcome::Damaged) }
    }

    /// What `header` says, be it possible or not.
    pub fn claimed(header: &[u8]) -> Self {
        let number = |at: u64, length: usize| {
            let mut word = [0; 8];
            word[..length].copy_from_slice(&header[at as usize..][..length]);
            u64::from_le_bytes(word)
        };
        Self {
            page: number(at::PAGE, 4),
            capacity: number(at::CAPACITY, 8),
            stride: number(at::STRIDE, 8),
            banks: number(at::BANKS, 4),
        }
    }

    /// Panics if no file of this shape can hold the line, or if it is another than `read` finds in the file, from an
    /// offset on: a bank begins with twice the number of its message, which the file must have to be read.
    pub fn check(&self, message: &Message<'_>, read: impl Fn(u64, usize) -> Vec<u8>) {
        let length = message.bytes.len();
        assert!(length as u64 <= self.capacity, "{length} bytes of {}", self.capacity);
        let bank = read(2 * self.page + message.number % self.banks * self.stride, 24 + length);
        let sequence = u64::from_le_bytes(bank[..8].try_into().unwrap());
        assert_eq!(sequence, 2 * message.number, "the sequence of message {}", message.number);
        assert_eq!(&bank[24..], message.bytes, "message {}", message.number);
    }
}

/// What kind of file it is, by an error that a damaged file may cause.
#[track_caller]
pub fn what(error: &Error) -> Outcome {
    match error.kind() {
        ErrorKind::NotAMailbox => Outcome::Foreign,
        ErrorKind::UnsupportedLayout => Outcome::Layout,
        ErrorKind::Damaged => Outcome::Damaged,
        other => panic!("a damaged file is {other:?}: {error}"),
    }
}

/// Every call ends, and what it returns is possible. How many lines there were.
pub fn reads(reader: &mut Reader, is_possible: impl Fn(Message<'_>)) -> Result<u64, Error> {
    let is_line = |message: Option<Message<'_>>| u64::from(message.map(&is_possible).is_some());
    let first = reader.try_read().map(is_line);
    let again = reader.latest().map(is_line);
    let waited = reader.read_timeout(Duration::ZERO).map(is_line);
    Ok(first? + again? + waited?)
}

/// A writer goes on with it as with any other, and `reader`, which was there before it, follows.
pub fn writes(mut writer: Writer, capacity: usize, reader: &mut Reader) {
    assert_eq!(writer.capacity(), capacity);
    let path = writer.path();
    let line = vec![b'x'; capacity];
    for _ in 0..2 {
        let number = writer.number() + 1;
        assert_eq!(writer.publish(&line).unwrap(), number);
        for reader in [&mut Options::new().open(&path).unwrap(), &mut *reader] {
            let message = reader.try_read().unwrap().expect("just published");
            assert_eq!((message.number, message.bytes), (number, &line[..]));
        }
    }
    writer.grow(capacity + 1).unwrap();
    writer.publish(b"!").unwrap();
    assert_eq!(Options::new().open(&path).unwrap().read().unwrap().bytes, b"!");
    assert_eq!(reader.try_read().unwrap().expect("just published").bytes, b"!");
}
