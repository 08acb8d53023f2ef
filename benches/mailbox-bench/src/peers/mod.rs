//! Who is measured: one adapter each.

mod bare;
mod mailbox;

use crate::Outcome;
use crate::contender::{Bouncer, Contender, Side};
use crate::place::Place;

/// Something that carries lines between two processes.
pub struct Peer {
    /// As on the command line.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The largest line it carries.
    pub largest: usize,
    open: fn(&Place, Side, usize) -> Outcome<Box<dyn Contender>>,
}

impl Peer {
    pub fn open(&self, place: &Place, side: Side, size: usize) -> Outcome<Box<dyn Contender>> {
        (self.open)(place, side, size).map_err(|error| format!("{}: {error}", self.name).into())
    }
}

macro_rules! peer {
    ($name:literal, $title:literal, $largest:expr, $channel:ty) => {
        Peer {
            name: $name,
            title: $title,
            largest: $largest,
            open: |place, side, size| Ok(Box::new(Bouncer::<$channel>::open(place, side, size)?)),
        }
    };
}

/// The mailbox first, then the machine's limit, then those whom people use instead.
pub const ALL: &[Peer] = &[
    peer!("mailbox", "mailbox", 1 << 30, mailbox::Mailbox),
    peer!("bare", "flag and memcpy (the limit)", bare::LARGEST, bare::Bare),
];
