//! A file that is replaced.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// A file for each direction: a line is written to a new file, which is renamed over the old one, so that readers find
/// a whole line at any time. They look again and again; here without a pause, and in memory, not on a disk.
pub struct Rename {
    new: PathBuf,
    out: PathBuf,
    back: PathBuf,
    received: Vec<u8>,
    /// The first word of the line that came last; it tells the next one from it.
    last: [u8; 8],
}

impl Channel for Rename {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("rename.there", "rename.back"),
            Side::There => ("rename.back", "rename.there"),
        };
        let path = |name: &str| place.path().join(name);
        Ok(Self {
            new: path(&format!("{out}.new")),
            out: path(out),
            back: path(back),
            received: vec![0; size],
            last: [0; 8],
        })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        fs::write(&self.new, line)?;
        Ok(fs::rename(&self.new, &self.out)?)
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        loop {
            match File::open(&self.back) {
                Ok(mut file) => file.read_exact(&mut self.received)?,
                // The first line has not come yet.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            }
            let first = *self.received.first_chunk().expect("a line holds its number");
            if first != self.last {
                self.last = first;
                return Ok(&self.received);
            }
        }
    }
}
