//! The classic answer: `echo line > fifo` on one side and `cat fifo` on the other.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// A FIFO for each direction, opened, written and closed for each line, and read to its end on the other side, as shell
/// scripts do. Each open waits for the other side's. It works by turns only: a second line that is written before the
/// first one's reader has closed joins the first, or is lost.
pub struct Fifo {
    out: PathBuf,
    back: PathBuf,
    /// A byte longer than a line, so that there is room to see the end in.
    received: Vec<u8>,
}

impl Channel for Fifo {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (there, back) = (place.path().join("fifo.there"), place.path().join("fifo.back"));
        let (out, back) = match side {
            Side::Here => {
                mkfifo(&there, Mode::S_IRUSR | Mode::S_IWUSR)?;
                mkfifo(&back, Mode::S_IRUSR | Mode::S_IWUSR)?;
                (there, back)
            }
            Side::There => (back, there),
        };
        Ok(Self { out, back, received: vec![0; size + 1] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        Ok(OpenOptions::new().write(true).open(&self.out)?.write_all(line)?)
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        let mut file = File::open(&self.back)?;
        let mut length = 0;
        loop {
            match file.read(&mut self.received[length..])? {
                0 => return Ok(&self.received[..length]),
                count => length += count,
            }
        }
    }
}
