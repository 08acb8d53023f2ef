//! POSIX message queues.

use std::os::fd::AsRawFd;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// The largest line: what the kernel lets everybody send if nobody has set another limit (`msgsize_default`,
/// mq_overview(7)).
pub const LARGEST: usize = 8192;

/// A queue for each direction, one line deep, so that nobody ever finds more than one old line in it.
pub struct Mqueue {
    out: Queue,
    back: Queue,
    received: Vec<u8>,
}

/// Whether queues for such lines can be made here: the kernel may have none, or allow only shorter ones or fewer.
pub fn available(size: usize) -> Result<(), String> {
    let stem = format!("mailbox-bench-{}", std::process::id());
    Queue::create(&stem, "there", size)
        .and_then(|_there| Queue::create(&stem, "back", size))
        .map(drop)
        .map_err(|error| format!("queues for lines of {size} bytes cannot be made here: {error}"))
}

impl Channel for Mqueue {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let stem = place.path().file_name().ok_or("a place without a name")?.to_string_lossy();
        let (out, back) = match side {
            Side::Here => (Queue::create(&stem, "there", size)?, Queue::create(&stem, "back", size)?),
            // Both sides have them now, and their names can go: this side may be ended at any time.
            Side::There => (Queue::take(&stem, "back")?, Queue::take(&stem, "there")?),
        };
        Ok(Self { out, back, received: vec![0; size] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        Ok(mq_send(&self.out.descriptor, line, 0)?)
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        let length = mq_receive(&self.back.descriptor, &mut self.received, &mut 0)?;
        Ok(&self.received[..length])
    }
}

/// An open queue. When dropped it is closed, and its name removed if it still has one.
struct Queue {
    descriptor: MqdT,
    name: String,
}

impl Queue {
    fn name(stem: &str, direction: &str) -> String {
        format!("/{stem}.{direction}")
    }

    fn create(stem: &str, direction: &str, size: usize) -> nix::Result<Self> {
        let name = Self::name(stem, direction);
        let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
        let one_line = MqAttr::new(0, 1, size as _, 0);
        let descriptor = mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&one_line))?;
        Ok(Self { descriptor, name })
    }

    /// Opens a queue and takes its name away.
    fn take(stem: &str, direction: &str) -> nix::Result<Self> {
        let name = Self::name(stem, direction);
        let descriptor = mq_open(name.as_str(), MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC, Mode::empty(), None)?;
        mq_unlink(name.as_str())?;
        Ok(Self { descriptor, name })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        _ = mq_unlink(self.name.as_str());
        // A queue is closed like a file (mq_close(3)); nix's own close wants to own it.
        _ = nix::unistd::close(self.descriptor.as_raw_fd());
    }
}
