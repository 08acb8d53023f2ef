//! The mailboxes that are damaged, and everybody who tries them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shm_mailbox::{ErrorKind, Message, Options, Reader};

use crate::at;
use crate::damaged::{OUTCOMES, Outcome, Shape, reads, what, writes};
use crate::input::{CAPACITY, Input};

const NAME: &str = "box";
/// Of so many files one is tried by those from before and by `inspect` as well, and of so many one by a writer.
const MORE_EVERY: u8 = 8;
const WRITER_EVERY: u8 = 32;

/// The specimens, and what their files came to.
pub struct Trial {
    specimens: Vec<Specimen>,
    pub tried: u64,
    pub outcomes: [u64; OUTCOMES.len()],
}

impl Trial {
    /// With mailboxes of 1, 2, 4 and 8 banks, with lines and without, each in a directory of its own below `directory`.
    pub fn new(directory: &Path) -> Self {
        let kinds = [false, true].into_iter().flat_map(|is_empty| [1, 2, 4, 8].map(|banks| (banks, is_empty)));
        let specimens = (0..).zip(kinds).map(|(which, (banks, is_empty))| {
            Specimen::new(&directory.join(format!("{which}")), which, banks, is_empty)
        });
        Self { specimens: specimens.collect(), tried: 0, outcomes: [0; OUTCOMES.len()] }
    }

    /// The inputs that make the files as they were.
    pub fn seeds(&self) -> impl Iterator<Item = &Input> {
        self.specimens.iter().map(|specimen| &specimen.good)
    }

    /// Everybody tries the file that `input` makes.
    pub fn run(&mut self, input: &Input) {
        let which = input.which(self.specimens.len());
        self.tried += 1;
        self.specimens[which].try_out(input, &mut |outcome: Outcome| self.outcomes[outcome as usize] += 1);
    }
}

struct Specimen {
    options: Options,
    path: PathBuf,
    file: File,
    /// The input that makes the file as it was.
    good: Input,
    shape: Shape,
}

impl Specimen {
    fn new(directory: &Path, which: u8, banks: u32, is_empty: bool) -> Self {
        fs::create_dir(directory).unwrap();
        let options = Options::new().dir(directory).capacity(CAPACITY).banks(banks);
        let mut writer = options.create(NAME).unwrap();
        for line in ["one", "two", "three"].iter().filter(|_| !is_empty) {
            writer.publish(line.as_bytes()).unwrap();
        }
        drop(writer);
        let path = directory.join(NAME);
        let bytes = fs::read(&path).unwrap();
        let mut good = Input::of(&bytes, which);
        // What differs from one mailbox to the next, which would make an input mean something else in the next run.
        let lock = *b"bits of its lock";
        fs::write(directory.join(format!("{NAME}.lock")), lock).unwrap();
        good.set_header(at::LOCK, &lock);
        good.set_header(at::INSTANCE, b"of this instance");
        good.set_header(at::WRITER_PID, &[0; 4]);
        let shape = Shape::claimed(&bytes);
        Self { options, file: make_anew(&path), path, good, shape }
    }

    /// Makes the file, and says how long it is.
    fn put(&self, input: &Input) -> u64 {
        let (length, stretches) = input.file(self.shape);
        // Of the file before nothing is left.
        self.file.set_len(0).unwrap();
        self.file.set_len(length).unwrap();
        for (at, bytes) in stretches {
            self.file.write_all_at(bytes, at).unwrap();
        }
        length
    }

    fn try_out(&mut self, input: &Input, count: &mut impl FnMut(Outcome)) {
        let is_more = input.who().is_multiple_of(MORE_EVERY);
        let mut early = is_more.then(|| {
            self.put(&self.good);
            let mut reader = self.options.open(NAME).unwrap();
            // Every second one has read before.
            let held = match input.who() & MORE_EVERY {
                0 => 0,
                _ => reader.try_read().unwrap().map_or(0, |message| message.number),
            };
            (reader, held)
        });
        let length = self.put(input);
        if length < 2 * self.shape.page + self.shape.banks * self.shape.stride {
            // What is cut from under a reader is another check (C3).
            early = None;
        }
        let in_file = |at: u64, length: usize| {
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        let shape = Shape::of(&input.header(), length);
        let mut opened = self.options.open(NAME);
        match (&mut opened, shape) {
            (Ok(reader), Ok(shape)) => {
                let is_possible = |message: Message<'_>| shape.check(&message, in_file);
                let first = reader.try_read().map(|message| u64::from(message.map(is_possible).is_some()));
                // The other calls not always where there is no line, which each finds out by trying for some time.
                if is_more || matches!(first, Ok(1)) {
                    reads_into(reader, usize::from(input.who()) % (CAPACITY + 2), is_possible);
                    count(Outcome::of(reads(reader, is_possible)));
                } else {
                    count(Outcome::of(first));
                }
                if is_more {
                    _ = reader.doorbell().unwrap();
                    _ = reads(reader, is_possible);
                    self.looks(shape, is_possible);
                }
            }
            (Err(error), Err(expected)) => {
                assert_eq!(what(error), expected, "{error}");
                count(expected);
                if is_more {
                    assert_eq!(what(&self.options.inspect(NAME).unwrap_err()), expected);
                }
            }
            (opened, expected) => panic!("{opened:?}, where it must be {expected:?}"),
        }
        if is_more {
            if let Some((early, held)) = &mut early {
                let is_possible = |message: Message<'_>| {
                    assert!(message.number >= *held, "message {} after {held}", message.number);
                    self.shape.check(&message, in_file);
                };
                _ = reads(early, is_possible);
                reads_into(early, 2, is_possible);
            }
            // Also what is damaged; a name of nothing that we have made is none of ours.
            let is_ours = !matches!(shape, Err(Outcome::Foreign));
            assert_eq!(self.options.list().unwrap().is_empty(), !is_ours);
        }
        if input.who().is_multiple_of(WRITER_EVERY) {
            match self.options.clone().capacity(1).create(NAME) {
                Ok(writer) => {
                    let capacity = shape.expect("who may write may read").capacity;
                    writes(writer, capacity as usize, &mut opened.expect("as the shape says"));
                    count(Outcome::Taken);
                }
                Err(error) => {
                    assert_eq!(what(&error), shape.err().unwrap_or(Outcome::Damaged), "{error}");
                    count(Outcome::Refused);
                }
            }
            self.file = make_anew(&self.path);
        }
    }

    /// Those who only look at one that can be opened.
    fn looks(&self, shape: Shape, is_possible: impl Fn(Message<'_>)) {
        match self.options.inspect(NAME) {
            Ok(info) => assert_eq!((info.capacity, u64::from(info.banks)), (shape.capacity, shape.banks)),
            Err(error) => assert_eq!(what(&error), Outcome::Damaged, "{error}"),
        }
        match self.options.clone().skip_current(true).open(NAME) {
            Ok(mut reader) => _ = reader.try_read().map(|message| message.map(is_possible)),
            Err(error) => assert_eq!(what(&error), Outcome::Damaged, "{error}"),
        }
    }
}

/// The calls that read into a buffer of the caller's, here one that may be too small.
fn reads_into(reader: &mut Reader, room: usize, is_possible: impl Fn(Message<'_>)) {
    let mut buffer = [0; CAPACITY + 1];
    for call in [Reader::latest_into, Reader::try_read_into] {
        match call(reader, &mut buffer[..room]) {
            Ok(message) => _ = message.map(&is_possible),
            Err(error) => match error.kind() {
                ErrorKind::BufferTooSmall { length, room: is } => assert!(length > room && is == room, "{error}"),
                _ => _ = what(&error),
            },
        }
    }
}

/// An empty file in the place of what is there.
fn make_anew(path: &Path) -> File {
    fs::remove_file(path).unwrap();
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path).unwrap()
}
