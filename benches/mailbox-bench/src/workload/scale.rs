//! What does a publish cost its writer when readers wait? By how they wait and how many they are, in turns with one
//! that has a single reader waiting in the same way.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{Reader, Writer};

use crate::Outcome;
use crate::block::Series;
use crate::partner::{Partner, pin, ready};
use crate::place::{Memory, Place};
use crate::report::{Figure, Percentiles};
use crate::workload::{Progress, Settings};

/// How readers wait: as on the partner's command line, for people, and the floor's name.
const WAYS: [(&str, &str, &str); 2] = [
    ("asleep", "asleep in `read`", "a publish with one reader asleep"),
    ("polling", "polling the doorbell", "a publish with one reader polling"),
];
const OPERATION: &str = "one publish";
/// Long enough to fall asleep, shorter than a time slice.
const TO_SLEEP: Duration = Duration::from_millis(30);
const LEAST: usize = 20;
/// After so long somebody must have been forgotten.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("scale");
    let cases: Vec<_> = WAYS.iter().flat_map(|way| settings.readers.iter().map(move |&count| (way, count))).collect();
    let mut figures = Vec::new();
    for (index, &(&(way, title, floor), count)) in cases.iter().enumerate() {
        progress.show(index as f64 / cases.len() as f64, &format!("{count} {title}"));
        let place = Place::new()?;
        let mut one = Crowd::start(settings, &place, "one", way, 1)?;
        let mut many = Crowd::start(settings, &place, "many", way, count)?;
        pin(settings.cpus[0])?;
        let mut series = Series::default();
        let (mut publishes, mut arrivals) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
        let end = Instant::now() + settings.duration / cases.len() as u32;
        while Instant::now() < end || series.ratios.len() < LEAST {
            let (floor, _) = one.wake()?;
            let (publish, all) = many.wake()?;
            series.ratios.push(publish.as_nanos() as f64 / floor.as_nanos() as f64);
            series.nanos.push(publish.as_nanos() as f64);
            publishes.record(publish.as_nanos() as u64)?;
            arrivals.record(all.as_nanos() as u64)?;
        }
        let case = format!("{count} {title}");
        let mut figure = Figure::new("scale", "mailbox", &case, (OPERATION, floor), &series);
        figure.percentiles = Some(Percentiles::from(&publishes));
        figures.push(figure);
        let all = ("until all have the line", "ns");
        figures.push(Figure::singles("scale", "until all have the line", &case, all, Percentiles::from(&arrivals)));
    }
    Ok(figures)
}

/// A mailbox, its writer here, and its readers in a process of their own.
struct Crowd {
    writer: Writer,
    arrived: Memory,
    count: u64,
    total: u64,
    _partner: Partner,
}

impl Crowd {
    fn start(settings: &Settings, place: &Place, name: &str, way: &str, count: usize) -> Outcome<Self> {
        let writer = place.options().create(name)?;
        let arrived = Memory::open(place.path(), &format!("{name}.arrived"), 4096)?;
        let _partner = Partner::start(settings, place, "scale", &[name, way, &count.to_string()])?;
        Ok(Self { writer, arrived, count: count as u64, total: 0, _partner })
    }

    /// Publishes one line when all wait; returns how long that took, and how long until all had it.
    fn wake(&mut self) -> Outcome<(Duration, Duration)> {
        thread::sleep(TO_SLEEP);
        self.total += self.count;
        let start = Instant::now();
        self.writer.publish(b"wake up")?;
        let published = start.elapsed();
        loop {
            let arrived = self.arrived.word(0).load(Acquire);
            if arrived == self.total {
                return Ok((published, start.elapsed()));
            }
            if arrived > self.total || start.elapsed() > PATIENCE {
                return Err(format!("{arrived} lines arrived where {} were published", self.total).into());
            }
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// The readers.
pub fn partner(place: &Place, arguments: &[String]) -> Outcome {
    let [name, way, count] = arguments else { return Err("a partner without a mailbox".into()) };
    let arrived = Arc::new(Memory::open(place.path(), &format!("{name}.arrived"), 4096)?);
    let take: fn(&mut Reader, &AtomicU64) -> Outcome = if way == "polling" { poll_and_take } else { block_and_take };
    let mut threads = Vec::new();
    for _ in 0..count.parse()? {
        let mut reader = place.options().open(name)?;
        let arrived = Arc::clone(&arrived);
        threads.push(thread::Builder::new().stack_size(64 << 10).spawn(move || {
            if let Err(error) = take(&mut reader, arrived.word(0)) {
                eprintln!("mailbox-bench: a reader ended: {error}");
                std::process::exit(1);
            }
        })?);
    }
    ready()?;
    for thread in threads {
        _ = thread.join();
    }
    Ok(())
}

fn block_and_take(reader: &mut Reader, arrived: &AtomicU64) -> Outcome {
    loop {
        reader.read()?;
        arrived.fetch_add(1, AcqRel);
    }
}

fn poll_and_take(reader: &mut Reader, arrived: &AtomicU64) -> Outcome {
    let doorbell = reader.doorbell()?;
    loop {
        while reader.try_read()?.is_some() {
            arrived.fetch_add(1, AcqRel);
        }
        poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
    }
}
