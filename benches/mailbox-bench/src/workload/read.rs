//! What does a read cost its reader? Of nothing new and of a line that is in the reader's cache, in one process; and
//! *cold*, of a line that another processor has published meanwhile.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use shm_mailbox::{Reader, Writer};

use crate::Outcome;
use crate::block::measure;
use crate::contender::{Contender, Side};
use crate::floor::Turns;
use crate::partner::{Partner, pin, serve};
use crate::place::{Memory, Place};
use crate::report::Figure;
use crate::workload::publish::{each, exchanges};
use crate::workload::{Progress, Settings};

const NOTHING: (&str, &str) = ("one look that finds nothing new", "one `xchg`, for scale");
const HOT: (&str, &str) = ("one read of the newest line, again", "a `memcpy` of the same bytes");
const COLD: (&str, &str) = ("one read of a line that was published meanwhile", "a read-modify-write by turns (T)");
/// Lines that a cold reader is behind: one that keeps up, and one that takes a sample now and then.
const BEHIND: [(u64, &str); 2] = [(1, "cold, 32 bytes, one line behind"), (9, "cold, 32 bytes, nine lines behind")];

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    pin(settings.cpus[0])?;
    let progress = Progress::new("read");
    let parts = settings.sizes.len() as u32 + 2;
    let duration = settings.duration / parts;
    let show = |part: u32, within: f64, what: &str| progress.show((f64::from(part) + within) / f64::from(parts), what);
    let mut figures = vec![nothing_new(duration, |within| show(0, within, "nothing new"))?];
    figures.extend(cold(settings, duration, |within| show(1, within, "cold"))?);
    for (part, &size) in (2..).zip(&settings.sizes) {
        figures.push(hot(size, duration, |within| show(part, within, &format!("{size} bytes")))?);
    }
    Ok(figures)
}

fn nothing_new(duration: Duration, progress: impl FnMut(f64)) -> Outcome<Figure> {
    let place = Place::new()?;
    place.options().create("quiet")?.publish(b"nothing after this")?;
    let mut reader = place.options().open("quiet")?;
    reader.read()?;
    let word = AtomicU64::new(0);
    let all = measure(
        1,
        duration,
        |who, times| match who {
            None => Ok(exchanges(&word, times)),
            Some(_) => {
                let start = Instant::now();
                for _ in 0..times {
                    if black_box(reader.try_read()?).is_some() {
                        return Err("a line that nobody published".into());
                    }
                }
                Ok(start.elapsed())
            }
        },
        progress,
    )?;
    Ok(Figure::new("read", "mailbox, try_read", "nothing new", NOTHING, &all[0]))
}

fn hot(size: usize, duration: Duration, progress: impl FnMut(f64)) -> Outcome<Figure> {
    let place = Place::new()?;
    let line = vec![b'x'; size];
    place.options().capacity(size).create("hot")?.publish(&line)?;
    let mut reader = place.options().open("hot")?;
    let mut copy = vec![0; size];
    let all = measure(
        1,
        duration,
        |who, times| match who {
            None => Ok(each(times, || {
                let from = black_box(line.as_slice());
                copy[..from.len()].copy_from_slice(from);
                black_box(copy.as_mut_ptr());
            })),
            Some(_) => {
                let start = Instant::now();
                for _ in 0..times {
                    let message = black_box(reader.latest()?).ok_or("no line")?;
                    if message.bytes.len() != size {
                        return Err("another line".into());
                    }
                }
                Ok(start.elapsed())
            }
        },
        progress,
    )?;
    Ok(Figure::new("read", "mailbox, latest", format!("{size} bytes"), HOT, &all[0]))
}

fn cold(settings: &Settings, duration: Duration, progress: impl FnMut(f64)) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let mut contenders = contenders(&place, Side::Here)?;
    let partner = Partner::start(settings, &place, "read", &[])?;
    let all = measure(
        BEHIND.len(),
        duration,
        |who, times| {
            let who = who.map_or(0, |index| 1 + index);
            partner.ask(who, times);
            let time = contenders[who].bounce(times)?;
            // A floor's exchange is two hops.
            Ok(if who == 0 { time / 2 } else { time })
        },
        progress,
    )?;
    Ok(BEHIND
        .iter()
        .zip(&all)
        .map(|(&(_, case), series)| Figure::new("read", "mailbox, try_read", case, COLD, series))
        .collect())
}

/// The floor, then one for each of [`BEHIND`].
fn contenders(place: &Place, side: Side) -> Outcome<Vec<Box<dyn Contender>>> {
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Turns::open(place)?)];
    for (behind, _) in BEHIND {
        contenders.push(Box::new(Chain::open(place, side, behind)?));
    }
    Ok(contenders)
}

/// The writers of the cold lines, in a process of their own.
pub fn partner(place: &Place) -> Outcome {
    serve(place, &mut contenders(place, Side::There)?)
}

/// Mailboxes in a chain: the line in each names the one to read next, so that no read begins before the one before it
/// has ended.
struct Chain {
    /// Of this side, the other list is empty.
    readers: Vec<Reader>,
    writers: Vec<Writer>,
    /// Counts rounds: those asked for, and those whose lines are published.
    memory: Memory,
    behind: u64,
}

/// How many: so few that the processor keeps the addresses of all of them.
const LENGTH: usize = 16;
const ASKED: usize = 0;
const PUBLISHED: usize = 1;

impl Chain {
    fn open(place: &Place, side: Side, behind: u64) -> Outcome<Self> {
        let names = (0..LENGTH).map(|index| format!("cold-{behind}-{index}"));
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for name in names {
            match side {
                Side::Here => readers.push(place.options().wait_for_mailbox(true).open(name)?),
                Side::There => writers.push(place.options().create(name)?),
            }
        }
        let memory = Memory::open(place.path(), &format!("cold-{behind}.rounds"), 4096)?;
        Ok(Self { readers, writers, memory, behind })
    }

    /// Once around.
    fn read(&mut self) -> Outcome {
        let mut at = 0;
        for _ in 0..LENGTH {
            let message = self.readers[at].try_read()?.ok_or("no line")?;
            at = usize::from(*message.bytes.first().ok_or("an empty line")?);
        }
        if at == 0 { Ok(()) } else { Err("the chain did not close".into()) }
    }

    fn publish(&mut self, round: u64) -> Outcome {
        // Odd, so that it visits all of them, and another one each time: a processor may guess what it has seen before.
        let step = (round as usize * 2 + 1) % LENGTH;
        for _ in 0..self.behind {
            for (index, writer) in self.writers.iter_mut().enumerate() {
                let mut line = [b'x'; 32];
                line[0] = ((index + step) % LENGTH) as u8;
                writer.publish(&line)?;
            }
        }
        Ok(())
    }
}

impl Contender for Chain {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        let rounds = times.div_ceil(LENGTH as u64);
        let mut total = Duration::ZERO;
        for _ in 0..rounds {
            let round = self.memory.word(ASKED).load(Relaxed) + 1;
            self.memory.word(ASKED).store(round, Release);
            while self.memory.word(PUBLISHED).load(Acquire) != round {}
            let start = Instant::now();
            self.read()?;
            total += start.elapsed();
        }
        // Whole rounds were made; the caller divides by what it asked for.
        Ok(total.mul_f64(times as f64 / (rounds * LENGTH as u64) as f64))
    }

    fn echo(&mut self, times: u64) -> Outcome {
        for _ in 0..times.div_ceil(LENGTH as u64) {
            let round = self.memory.word(PUBLISHED).load(Relaxed) + 1;
            while self.memory.word(ASKED).load(Acquire) != round {}
            self.publish(round)?;
            self.memory.word(PUBLISHED).store(round, Release);
        }
        Ok(())
    }
}
