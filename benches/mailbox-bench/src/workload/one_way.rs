//! How old is a line when its reader has it, at a given pace? The writer keeps to a schedule, and each line carries the
//! time for which it was *intended*: a writer that is held up cannot hide it, since its lines grow old meanwhile.

use std::sync::atomic::Ordering::*;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};

use crate::Outcome;
use crate::contender::{Channel, Contender, Side};
use crate::floor::Flags;
use crate::partner::{Partner, pin, serve};
use crate::peers::{Peer, named};
use crate::place::{Memory, Place};
use crate::report::{Figure, Percentiles};
use crate::workload::{Progress, Settings};

/// Lines a second.
const PACES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const OPERATION: (&str, &str) = ("age of a line when it is read, by its schedule", "ns");
/// The bytes of a line: when it is due, and whether it is the last one.
const SIZE: usize = 32;
/// What the partner serves; the peers follow.
const FLAGS: usize = 0;

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("one-way");
    let mut figures = Vec::new();
    for (index, &pace) in PACES.iter().enumerate() {
        progress.show(index as f64 / PACES.len() as f64, &format!("{pace} lines a second"));
        figures.extend(at(settings, pace, settings.duration / PACES.len() as u32)?);
    }
    Ok(figures)
}

fn at(settings: &Settings, pace: u64, duration: Duration) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let case = format!("{pace} lines a second, 32 bytes");
    let (peers, skipped) = settings.choose("one-way", &case, |peer| peer.paced(SIZE));
    pin(settings.cpus[0])?;
    let mut flags = Flags::open(&place)?;
    let schedule = Schedule { pace, duration: duration / peers.len() as u32 };
    let mut contenders = contenders(&place, Side::Here, schedule, &peers)?;
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let partner = Partner::start(settings, &place, "one-way", &names)?;

    let mut hops = Histogram::<u64>::new(3)?;
    let mut floor = || -> Outcome {
        const TIMES: u64 = 20_000;
        partner.ask(FLAGS, TIMES);
        hops.record((flags.bounce(TIMES)?.as_nanos() as u64) / (2 * TIMES))?;
        Ok(())
    };
    let mut figures = Vec::new();
    floor()?;
    for (index, (peer, contender)) in peers.iter().zip(&mut contenders).enumerate() {
        partner.ask(1 + index, 1);
        contender.bounce(1)?;
        // The partner takes the next command only when it has the last line.
        floor()?;
        let ages = Ages::open(&place, peer.name)?.collect()?;
        figures.push(Figure::singles("one-way", peer.title, &case, OPERATION, Percentiles::from(&ages)));
    }
    figures.push(Figure::singles("one-way", "a hop of a bare flag, meanwhile", &case, OPERATION, (&hops).into()));
    figures.extend(skipped);
    Ok(figures)
}

/// Nanoseconds of a clock that all processes share.
fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// When lines are due.
#[derive(Clone, Copy, Default)]
pub struct Schedule {
    /// Lines a second.
    pace: u64,
    duration: Duration,
}

fn contenders(place: &Place, side: Side, schedule: Schedule, peers: &[&Peer]) -> Outcome<Vec<Box<dyn Contender>>> {
    peers.iter().map(|peer| peer.open_paced(place, side, schedule)).collect()
}

/// The readers, in a process of their own.
pub fn partner(place: &Place, names: &[String]) -> Outcome {
    let peers = named(names);
    let mut served: Vec<Box<dyn Contender>> = vec![Box::new(Flags::open(place)?)];
    served.extend(contenders(place, Side::There, Schedule::default(), &peers)?);
    serve(place, &mut served)
}

/// A channel by which lines go one way, on a schedule. Counts are of whole schedules.
pub struct Paced<C> {
    channel: C,
    ages: Ages,
    schedule: Schedule,
}

impl<C: Channel> Paced<C> {
    pub fn open(place: &Place, side: Side, name: &str, schedule: Schedule) -> Outcome<Self> {
        Ok(Self { channel: C::open(place, side, SIZE)?, ages: Ages::open(place, name)?, schedule })
    }

    fn send(&mut self, due: u64, is_last: bool) -> Outcome {
        let mut line = [b'x'; SIZE];
        line[..8].copy_from_slice(&due.to_ne_bytes());
        line[8] = is_last.into();
        self.channel.send(&line)
    }
}

/// Due at no time: the first line, by which the two sides meet.
const GREETING: u64 = 0;

impl<C: Channel> Contender for Paced<C> {
    fn bounce(&mut self, _: u64) -> Outcome<Duration> {
        self.send(GREETING, false)?;
        let step = 1_000_000_000 / self.schedule.pace;
        let duration = self.schedule.duration.as_nanos() as u64;
        let lines = (duration / step).max(100);
        let start = now() + 1_000_000;
        // Who cannot keep up is not waited for until all its lines are through.
        let enough = start + 2 * duration.max(lines * step);
        for index in 0..lines {
            let due = start + index * step;
            let mut time = now();
            while time < due {
                std::hint::spin_loop();
                time = now();
            }
            let is_last = index + 1 == lines || time > enough;
            self.send(due, is_last)?;
            if is_last {
                break;
            }
        }
        Ok(Duration::ZERO)
    }

    fn echo(&mut self, _: u64) -> Outcome {
        loop {
            let line = self.channel.receive()?;
            let time = now();
            let due = u64::from_ne_bytes(*line.first_chunk().ok_or("a short line")?);
            if due != GREETING {
                self.ages.count(time.saturating_sub(due));
            }
            if line[8] == 1 {
                return Ok(());
            }
        }
    }
}

/// Ages, counted in memory that both processes have.
struct Ages(Memory);

/// Words of the memory, counts by age.
const BUCKETS: usize = 4096;

impl Ages {
    fn open(place: &Place, name: &str) -> Outcome<Self> {
        Memory::open(place.path(), &format!("{name}.ages"), BUCKETS * 256).map(Self)
    }

    /// Sixty-four buckets for each doubling, from 64 ns on: none is wider than a sixty-fourth of its age.
    fn bucket(age: u64) -> usize {
        let age = age.max(64);
        let doublings = age.ilog2() - 6;
        let within = (age >> doublings) - 64;
        ((u64::from(doublings) * 64 + within) as usize).min(BUCKETS - 1)
    }

    fn age(bucket: usize) -> u64 {
        (64 + bucket as u64 % 64) << (bucket / 64)
    }

    fn count(&self, age: u64) {
        self.0.word(Self::bucket(age)).fetch_add(1, Relaxed);
    }

    fn collect(&self) -> Outcome<Histogram<u64>> {
        let mut histogram = Histogram::new(3)?;
        for bucket in 0..BUCKETS {
            let count = self.0.word(bucket).load(Acquire);
            if count > 0 {
                histogram.record_n(Self::age(bucket), count)?;
            }
        }
        Ok(histogram)
    }
}
