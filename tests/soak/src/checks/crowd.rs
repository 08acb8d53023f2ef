//! Readers by the dozen, in one process: some sleep, some poll; each tells when it has a line.

use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{Options, Reader};

use crate::canary::now;
use crate::common::{Child, NAME, Parent, Place, Role, Words, wait_until};

pub const ROLES: &[Role<'static>] = &[("crowd", crowd)];

/// Shared words. When the line was published, in nanoseconds; then, for sleepers and pollers, how many times one had a
/// new line, and the longest time that one of them took.
pub const PUBLISHED: usize = 100;
const SLEEPERS: usize = 116;
const POLLERS: usize = 132;

/// The last line of all.
pub const THE_END: &[u8] = b"the end";

/// Arguments: sleepers, pollers.
fn crowd(parent: &mut Parent) {
    let (sleepers, pollers): (usize, usize) = (parent.argument(0), parent.argument(1));
    let words = Arc::new(Words::of_parent());
    let are_there = Arc::new(Barrier::new(sleepers + pollers + 1));
    let start = |is_poller: bool| {
        let (words, are_there) = (Arc::clone(&words), Arc::clone(&are_there));
        let read = move || {
            let reader = Options::new().open(NAME).unwrap();
            are_there.wait();
            read(reader, &words, is_poller);
        };
        thread::Builder::new().stack_size(128 << 10).spawn(read).unwrap()
    };
    let readers: Vec<_> = (0..sleepers + pollers).map(|index| start(index >= sleepers)).collect();
    are_there.wait();
    parent.say("reading");
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

fn read(mut reader: Reader, words: &Words, is_poller: bool) {
    let doorbell = is_poller.then(|| reader.doorbell().unwrap());
    let at = if is_poller { POLLERS } else { SLEEPERS };
    let mut held = 0;
    loop {
        let message = match &doorbell {
            None => Some(reader.read().unwrap()),
            Some(doorbell) => {
                let message = reader.try_read().unwrap();
                if message.is_none() {
                    poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
                }
                message
            }
        };
        let Some(message) = message else { continue };
        assert!(message.number > held, "message {} after {held}", message.number);
        held = message.number;
        let is_last = message.bytes == THE_END;
        words.raise(at + 1, now().saturating_sub(words.get(PUBLISHED)));
        words.add(at, 1);
        if is_last {
            return;
        }
    }
}

/// A crowd, as its parent sees it.
pub struct Crowd {
    child: Child,
    pub sleepers: u64,
    pub pollers: u64,
}

impl Crowd {
    pub fn start(place: &Place, sleepers: u64, pollers: u64) -> Self {
        let mut child = Child::start("crowd", place, &[&sleepers, &pollers]);
        child.expect("reading");
        Self { child, sleepers, pollers }
    }

    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Publishes a last line, and waits for its end.
    pub fn end(crowds: Vec<Self>, place: &Place) {
        place.options().create(NAME).unwrap().publish(THE_END).unwrap();
        crowds.into_iter().for_each(|crowd| crowd.child.end());
    }
}

/// Before a line: nobody has it.
pub fn forget(words: &Words) {
    [SLEEPERS, SLEEPERS + 1, POLLERS, POLLERS + 1].into_iter().for_each(|at| words.set(at, 0));
}

/// Waits until so many sleepers and pollers have the line; returns the longest times.
#[track_caller]
pub fn wait_until_served(words: &Words, sleepers: u64, pollers: u64) -> (Duration, Duration) {
    wait_until("all have the line", || words.get(SLEEPERS) >= sleepers && words.get(POLLERS) >= pollers);
    let time = |at| Duration::from_nanos(words.get(at + 1));
    (time(SLEEPERS), time(POLLERS))
}
