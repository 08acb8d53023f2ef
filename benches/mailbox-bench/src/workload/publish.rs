//! What does a publish cost its writer when nobody waits? In one process, against the machine's own work for the same
//! bytes.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use shm_mailbox::Writer;

use crate::Outcome;
use crate::block::measure;
use crate::partner::pin;
use crate::place::{Memory, Place};
use crate::report::Figure;
use crate::workload::{Settings, by_size};

const OPERATION: &str = "one publish, nobody waiting";
pub const EXCHANGE: &str = "one `xchg`, which a publish needs";
pub const COPY: &str = "a `memcpy` of the same bytes, into four buffers in turn";
/// Up to so many bytes the copy costs less than the exchange.
pub const SHORT: usize = 64;

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    pin(settings.cpus[0])?;
    by_size("publish", &settings.sizes, settings.duration, of_size)
}

fn of_size(size: usize, duration: Duration, progress: &dyn Fn(f64)) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let line = vec![b'x'; size];
    let banks = Banks::new(&place, size)?;
    let word = AtomicU64::new(0);
    let mut contenders = mailboxes(&place, &line)?;
    let all = measure(
        contenders.len(),
        duration,
        |who, times| match who {
            None if size <= SHORT => Ok(exchanges(&word, times)),
            None => Ok(banks.copy(&line, times)),
            Some(index) => (contenders[index].run)(times),
        },
        progress,
    )?;
    let floor = if size <= SHORT { EXCHANGE } else { COPY };
    Ok(contenders
        .iter()
        .zip(&all)
        .map(|(contender, series)| {
            Figure::new("publish", contender.title, format!("{size} bytes"), (OPERATION, floor), series)
        })
        .collect())
}

/// Something to do so many times.
pub struct Solo<'a> {
    pub title: &'static str,
    pub run: Box<dyn FnMut(u64) -> Outcome<Duration> + 'a>,
}

fn mailboxes<'a>(place: &Place, line: &'a [u8]) -> Outcome<Vec<Solo<'a>>> {
    let options = place.options().capacity(line.len());
    let plain = mailbox("mailbox", options.create("plain")?, line);
    let timed = mailbox("mailbox, lines with a time", options.timestamps(true).create("timed")?, line);
    Ok(vec![plain, timed])
}

/// A mailbox whose writer publishes this line again and again.
pub fn mailbox<'a>(title: &'static str, mut writer: Writer, line: &'a [u8]) -> Solo<'a> {
    Solo { title, run: Box::new(move |times| publishes(&mut writer, line, times)) }
}

/// How long so many publishes take.
pub fn publishes(writer: &mut Writer, line: &[u8], times: u64) -> Outcome<Duration> {
    let start = Instant::now();
    for _ in 0..times {
        writer.publish(black_box(line))?;
    }
    Ok(start.elapsed())
}

/// How long so many bare exchanges take.
pub fn exchanges(word: &AtomicU64, times: u64) -> Duration {
    each(times, || _ = black_box(word.swap(black_box(1), SeqCst)))
}

/// How long so many calls take.
pub fn each(times: u64, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        call();
    }
    start.elapsed()
}

/// Four buffers in shared memory, as far apart as the banks of a mailbox.
pub struct Banks {
    memory: Memory,
    stride: usize,
}

impl Banks {
    pub fn new(place: &Place, size: usize) -> Outcome<Self> {
        let stride = (size + 128).next_multiple_of(128);
        Ok(Self { memory: Memory::open(place.path(), "copies", 4 * stride)?, stride })
    }

    /// How long so many copies of a line take, into each of them in turn.
    pub fn copy(&self, line: &[u8], times: u64) -> Duration {
        let mut index = 0;
        each(times, || {
            index = (index + 1) % 4;
            // SAFETY: the memory has four strides, each longer than the line; nobody else uses it.
            let to = unsafe { self.memory.bytes().add(index * self.stride) };
            let (from, length) = (black_box(line.as_ptr()), black_box(line.len()));
            // SAFETY: as above; black boxes keep the copies apart, and a call of the C library's `memcpy` each.
            unsafe { to.copy_from_nonoverlapping(from, length) };
            black_box(to);
        })
    }
}
