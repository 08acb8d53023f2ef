//! Who is measured: one adapter each.

mod bare;
mod datagram;
mod fifo;
pub mod futex;
#[cfg(feature = "peers")]
pub mod iceoryx;
#[cfg(feature = "peers")]
pub mod in_process;
mod mailbox;
mod mqueue;
mod pipe;
mod rename;
#[cfg(feature = "peers")]
mod zeromq;

use crate::Outcome;
use crate::contender::{Bouncer, Contender, Side};
use crate::place::Place;
use crate::workload::one_way::{Paced, Schedule};

/// Opens one side's end of a peer, told what its lines are like.
type Open<Lines> = fn(&Place, Side, Lines) -> Outcome<Box<dyn Contender>>;

/// Something that carries lines between two processes.
pub struct Peer {
    /// As on the command line.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The largest line it carries.
    pub largest: usize,
    available: fn(usize) -> Result<(), String>,
    open: Open<usize>,
    /// For lines on a schedule; not for those that go by turns alone.
    paced: Option<Open<Schedule>>,
}

impl Peer {
    /// Whether it can carry lines of this size on this machine; else why not, for people.
    pub fn available(&self, size: usize) -> Result<(), String> {
        (self.available)(size)?;
        if size > self.largest { Err(format!("carries {} bytes at most", self.largest)) } else { Ok(()) }
    }

    pub fn open(&self, place: &Place, side: Side, size: usize) -> Outcome<Box<dyn Contender>> {
        (self.open)(place, side, size).map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// As [`available`](Self::available), for lines on a schedule.
    pub fn paced(&self, size: usize) -> Result<(), String> {
        self.available(size)?;
        self.paced.map(|_| ()).ok_or_else(|| "carries a line only when the one before was taken".into())
    }

    pub fn open_paced(&self, place: &Place, side: Side, schedule: Schedule) -> Outcome<Box<dyn Contender>> {
        let open = self.paced.ok_or("carries no lines on a schedule")?;
        open(place, side, schedule).map_err(|error| format!("{}: {error}", self.name).into())
    }
}

/// One of those that carry lines by turns and at any pace; the word `turns` before its channel means by turns alone.
macro_rules! peer {
    ($name:literal, $title:literal, $largest:expr, turns $channel:ty) => {
        Peer {
            name: $name,
            title: $title,
            largest: $largest,
            available: |_| Ok(()),
            open: |place, side, size| Ok(Box::new(Bouncer::<$channel>::open(place, side, size)?)),
            paced: None,
        }
    };
    ($name:literal, $title:literal, $largest:expr, $channel:ty) => {
        peer!($name, $title, $largest, $channel, |_| Ok(()))
    };
    ($name:literal, $title:literal, $largest:expr, $channel:ty, $available:expr) => {
        Peer {
            available: $available,
            paced: Some(|place, side, schedule| {
                Ok(Box::new(Paced::<$channel>::open(place, side, $name, schedule)?))
            }),
            ..peer!($name, $title, $largest, turns $channel)
        }
    };
}

/// One that was left out when this program was built.
#[cfg(not(feature = "peers"))]
macro_rules! absent {
    ($name:literal, $title:literal) => {
        Peer {
            name: $name,
            title: $title,
            largest: 0,
            available: |_| Err("needs a build with `--features peers`".into()),
            open: |_, _, _| Err("needs a build with `--features peers`".into()),
            paced: None,
        }
    };
}

/// The mailbox first, then the machine's limit, then those whom people use instead.
pub const ALL: &[Peer] = &[
    peer!("mailbox", "mailbox", 1 << 30, mailbox::Mailbox),
    peer!("bare", "flag and memcpy (the limit)", bare::LARGEST, turns bare::Bare),
    peer!("futex", "futex and memcpy", futex::LARGEST, turns futex::Futex),
    peer!("pipe", "named pipe, kept open", 1 << 30, pipe::Pipe),
    peer!("fifo", "FIFO, opened for each line", 1 << 30, turns fifo::Fifo),
    peer!("datagram", "Unix datagram socket", datagram::LARGEST, datagram::Datagram, datagram::available),
    peer!("mqueue", "POSIX message queue", mqueue::LARGEST, mqueue::Mqueue, mqueue::available),
    peer!("rename", "file written and renamed", 1 << 30, rename::Rename),
    #[cfg(feature = "peers")]
    peer!("iceoryx2", "iceoryx2 publish-subscribe", iceoryx::LARGEST, iceoryx::Iceoryx),
    #[cfg(not(feature = "peers"))]
    absent!("iceoryx2", "iceoryx2 publish-subscribe"),
    #[cfg(feature = "peers")]
    peer!("zmq", "ZeroMQ PUB and SUB, CONFLATE", zeromq::LARGEST, zeromq::ZeroMq),
    #[cfg(not(feature = "peers"))]
    absent!("zmq", "ZeroMQ PUB and SUB, CONFLATE"),
];

/// The peers of these names; a name that there is none of is passed over.
pub fn named(names: &[String]) -> Vec<&'static Peer> {
    names.iter().filter_map(|name| ALL.iter().find(|peer| peer.name == name)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    const TIMES: u64 = 50;

    #[test]
    fn each_carries_lines_of_each_size_there_and_back_and_leaves_nothing() {
        for peer in ALL {
            for size in [8, 64, 65, 4096, 100_000] {
                match peer.available(size) {
                    Ok(()) => there_and_back(peer, size),
                    Err(why) => eprintln!("{}, {size} bytes: skipped: {why}", peer.name),
                }
            }
        }
    }

    fn there_and_back(peer: &'static Peer, size: usize) {
        let place = Place::new().unwrap();
        let path = place.path().to_owned();
        let mut here = peer.open(&place, Side::Here, size).unwrap();
        let both = Arc::new(Barrier::new(2));
        let there = thread::spawn({
            let (both, path) = (Arc::clone(&both), path.clone());
            move || {
                // Whoever waits for a partner that has failed would wait for ever.
                echo(peer, &path, size, &both).unwrap_or_else(|error| {
                    eprintln!("{error}");
                    std::process::exit(1);
                });
            }
        });
        both.wait();
        here.bounce(TIMES).unwrap();
        both.wait();
        there.join().unwrap();
        drop((here, place));
        let name = path.file_name().unwrap().as_encoded_bytes();
        let is_ours = |entry: fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(name);
        assert!(!fs::read_dir("/dev/shm").unwrap().flatten().any(is_ours), "{} has left something", peer.name);
    }

    fn echo(peer: &Peer, place: &Path, size: usize, both: &Barrier) -> Outcome {
        let mut there = peer.open(&Place::at(place), Side::There, size)?;
        both.wait();
        there.echo(TIMES)?;
        // Some lose what the other side has not taken yet when they are closed.
        both.wait();
        Ok(())
    }
}
