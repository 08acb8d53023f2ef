//! The mailbox itself, by its library.

use shm_mailbox::{Reader, Writer};

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// A mailbox for each direction.
pub struct Mailbox {
    writer: Writer,
    reader: Reader,
}

impl Channel for Mailbox {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("there", "back"),
            Side::There => ("back", "there"),
        };
        let options = place.options().capacity(size).wait_for_mailbox(true);
        Ok(Self { writer: options.create(out)?, reader: options.open(back)? })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        self.writer.publish(line)?;
        Ok(())
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        Ok(self.reader.read()?.bytes)
    }
}
