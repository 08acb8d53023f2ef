//! A named pipe that stays open.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// A named pipe for each direction, opened once by both sides, as programs do that have a line to each other all the
/// time. Lines are kept apart by their size, which both sides know.
pub struct Pipe {
    out: File,
    back: File,
    received: Vec<u8>,
}

impl Channel for Pipe {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (there, back) = (place.path().join("pipe.there"), place.path().join("pipe.back"));
        // Opened for both reading and writing, so that it does not wait for the other side (fifo(7)).
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let (out, back) = match side {
            Side::Here => {
                mkfifo(&there, Mode::S_IRUSR | Mode::S_IWUSR)?;
                mkfifo(&back, Mode::S_IRUSR | Mode::S_IWUSR)?;
                (open(there)?, open(back)?)
            }
            Side::There => (open(back)?, open(there)?),
        };
        Ok(Self { out, back, received: vec![0; size] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        Ok(self.out.write_all(line)?)
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        self.back.read_exact(&mut self.received)?;
        Ok(&self.received)
    }
}
