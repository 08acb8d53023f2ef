//! What does a publish cost its writer when readers wait? By how they wait and how many they are: asleep or polling, in
//! turns with one that has a single reader waiting in the same way; spinning, in turns with one that has none.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{Reader, Writer};

use crate::Outcome;
use crate::block::{Series, measure};
use crate::contender::{Contender, Side};
use crate::partner::{Partner, pin, ready, serve};
use crate::place::{Memory, Place};
use crate::report::{Figure, Percentiles};
use crate::workload::publish::publishes;
use crate::workload::{Progress, Settings};

/// How readers wait: as on the partner's command line, for people, and the floor's name.
const WAYS: [(&str, &str, &str); 2] = [
    ("asleep", "asleep in `read`", "a publish with one reader asleep"),
    ("polling", "polling the doorbell", "a publish with one reader polling"),
];
const OPERATION: &str = "one publish";
/// What is published while readers spin.
const LINE: &[u8] = &[b'x'; 32];
/// Long enough to fall asleep, shorter than a time slice.
const TO_SLEEP: Duration = Duration::from_millis(30);
const LEAST: usize = 20;
/// After so long somebody must have been forgotten.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("scale");
    let part = settings.duration / (1 + WAYS.len() * settings.readers.len()) as u32;
    let mut figures = spinning(settings, part, |within| progress.show(within, "spinning"))?;
    progress.show(0.0, "");
    figures.extend(waiting(settings, part, &progress)?);
    Ok(figures)
}

// Asleep and polling. -------------------------------------------------------------------------------------------------

fn waiting(settings: &Settings, part: Duration, progress: &Progress) -> Outcome<Vec<Figure>> {
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
        let end = Instant::now() + part;
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
    match arguments {
        [name, way, count] => wait(place, name, way, count.parse()?),
        counts => serve(place, &mut spinners(place, Side::There, counts)?),
    }
}

fn wait(place: &Place, name: &str, way: &str, count: usize) -> Outcome {
    let arrived = Arc::new(Memory::open(place.path(), &format!("{name}.arrived"), 4096)?);
    let take: fn(&mut Reader, &AtomicU64) -> Outcome = if way == "polling" { poll_and_take } else { block_and_take };
    let mut threads = Vec::new();
    for _ in 0..count {
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

// Spinning. -----------------------------------------------------------------------------------------------------------

fn spinning(settings: &Settings, duration: Duration, progress: impl FnMut(f64)) -> Outcome<Vec<Figure>> {
    const FLOOR: &str = "a publish that nobody reads";
    let place = Place::new()?;
    let many = settings.readers.iter().copied().min().unwrap_or(1).max(2);
    let counts = ["1".to_owned(), many.to_string()];
    let mut alone = place.options().create("alone")?;
    let mut contenders = spinners(&place, Side::Here, &counts)?;
    let partner = Partner::start(settings, &place, "scale", &[&counts[0], &counts[1]])?;
    pin(settings.cpus[0])?;
    let all = measure(
        contenders.len(),
        duration,
        |who, times| match who {
            None => publishes(&mut alone, LINE, times),
            Some(index) => {
                partner.ask(index, times);
                contenders[index].bounce(times)
            }
        },
        progress,
    )?;
    let cases = ["1 spinning".to_owned(), format!("{many} spinning on one processor")];
    let figure =
        |(case, series)| Figure::new("scale", "mailbox", case, ("one publish, as fast as it can", FLOOR), series);
    Ok(cases.into_iter().zip(&all).map(figure).collect())
}

fn spinners(place: &Place, side: Side, counts: &[String]) -> Outcome<Vec<Box<dyn Contender>>> {
    counts.iter().map(|count| Ok(Box::new(Spinners::open(place, side, count.parse()?)?) as Box<_>)).collect()
}

/// A mailbox, its writer here, and threads there that ask for a new line without a pause.
struct Spinners {
    /// Of this side, the other one has none.
    writer: Option<Writer>,
    readers: Vec<Reader>,
    count: u64,
    /// Counts readers that have begun, over all rounds.
    begun: Memory,
    rounds: u64,
    /// The number of the last line of a round.
    last: u64,
}

impl Spinners {
    fn open(place: &Place, side: Side, count: u64) -> Outcome<Self> {
        let name = format!("spinning-{count}");
        let begun = Memory::open(place.path(), &format!("{name}.begun"), 4096)?;
        let (mut writer, mut readers) = (None, Vec::new());
        match side {
            Side::Here => writer = Some(place.options().create(name)?),
            Side::There => {
                for _ in 0..count {
                    readers.push(place.options().open(&name)?);
                }
            }
        }
        Ok(Self { writer, readers, count, begun, rounds: 0, last: 0 })
    }
}

impl Contender for Spinners {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        self.rounds += 1;
        while self.begun.word(0).load(Acquire) != self.rounds * self.count {
            std::hint::spin_loop();
        }
        publishes(self.writer.as_mut().ok_or("a reader publishes nothing")?, LINE, times)
    }

    /// Reads until the last line has come, in all threads.
    fn echo(&mut self, times: u64) -> Outcome {
        self.last += times;
        let (begun, last) = (self.begun.word(0), self.last);
        thread::scope(|scope| {
            let spin = |reader: &mut Reader| -> shm_mailbox::Result<()> {
                begun.fetch_add(1, AcqRel);
                while reader.try_read()?.is_none_or(|message| message.number < last) {}
                Ok(())
            };
            let threads: Vec<_> = self.readers.iter_mut().map(|reader| scope.spawn(move || spin(reader))).collect();
            for thread in threads {
                thread.join().map_err(|_| "a reader has panicked")??;
            }
            Ok(())
        })
    }
}
