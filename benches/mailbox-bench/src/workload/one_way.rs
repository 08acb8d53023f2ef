//! How old is a line when its reader has it, at a given pace? The writer keeps to a schedule, and each line carries the
//! time for which it was *intended*: a writer that is held up cannot hide it, since its lines grow old meanwhile.

use std::sync::atomic::Ordering::*;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use shm_mailbox::Reader;

use crate::Outcome;
use crate::contender::Contender;
use crate::floor::Flags;
use crate::partner::{Partner, pin, serve};
use crate::place::{Memory, Place};
use crate::report::{Figure, Percentiles};
use crate::workload::{Progress, Settings};

/// Lines a second.
const PACES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const OPERATION: (&str, &str) = ("age of a line when it is read, by its schedule", "ns");
const NAME: &str = "paced";
/// What the partner serves.
const FLAGS: usize = 0;
const AGES: usize = 1;
/// Words of the memory, counts by age.
const BUCKETS: usize = 4096;

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
    let mut flags = Flags::open(&place)?;
    let mut writer = place.options().create(NAME)?;
    let ages = Ages::open(&place)?;
    let partner = Partner::start(settings, &place, "one-way", &[])?;
    pin(settings.cpus[0])?;

    let mut hops = Histogram::<u64>::new(3)?;
    let mut floor = || -> Outcome {
        const TIMES: u64 = 20_000;
        partner.ask(FLAGS, TIMES);
        hops.record((flags.bounce(TIMES)?.as_nanos() as u64) / (2 * TIMES))?;
        Ok(())
    };
    floor()?;
    let step = 1_000_000_000 / pace;
    let lines = (duration.as_nanos() as u64 / step).max(100);
    partner.ask(AGES, lines);
    let start = now() + 1_000_000;
    for index in 0..lines {
        let intended = start + index * step;
        while now() < intended {
            std::hint::spin_loop();
        }
        let mut line = [b'x'; 32];
        line[..8].copy_from_slice(&intended.to_ne_bytes());
        line[8..16].copy_from_slice(&u64::from(index + 1 == lines).to_ne_bytes());
        writer.publish(&line)?;
    }
    // The partner takes the next command only when it has the last line.
    floor()?;
    let case = format!("{pace} lines a second, 32 bytes");
    let mut figures =
        vec![Figure::singles("one-way", "mailbox", &case, OPERATION, Percentiles::from(&ages.collect()?))];
    figures.push(Figure::singles(
        "one-way",
        "a hop of a bare flag, before and after",
        &case,
        OPERATION,
        (&hops).into(),
    ));
    Ok(figures)
}

/// Nanoseconds of a clock that all processes share.
fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// The partner: takes each line that comes and counts its age.
struct Taking {
    reader: Reader,
    ages: Ages,
}

impl Contender for Taking {
    fn bounce(&mut self, _: u64) -> Outcome<Duration> {
        Err("a reader sends nothing".into())
    }

    fn echo(&mut self, _: u64) -> Outcome {
        loop {
            let line: [u8; 32] = self.reader.read()?.bytes.try_into()?;
            let (intended, is_last) = (&line[..8], &line[8..16]);
            self.ages.count(now().saturating_sub(u64::from_ne_bytes(intended.try_into()?)));
            if is_last != [0; 8] {
                return Ok(());
            }
        }
    }
}

/// Ages, counted in memory that both processes have.
struct Ages(Memory);

impl Ages {
    fn open(place: &Place) -> Outcome<Self> {
        Memory::open(place.path(), "ages", BUCKETS * 256).map(Self)
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

/// The reader, in a process of its own.
pub fn partner(place: &Place) -> Outcome {
    let taking = Taking { reader: place.options().open(NAME)?, ages: Ages::open(place)? };
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Flags::open(place)?), Box::new(taking)];
    serve(place, &mut contenders)
}
