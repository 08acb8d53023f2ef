//! Does a reader get its lines against a writer in a tight loop? Counts retries, and takes no time.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};

use crate::Outcome;
use crate::partner::{Partner, pin, ready};
use crate::place::Place;
use crate::report::{Figure, Percentiles};
use crate::workload::{Progress, Settings};

const NAME: &str = "tight";
const UNDISTURBED: &str = "mailbox";
const PREEMPTED: &str = "mailbox, reads that were preempted";

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("starve");
    let cases: Vec<(usize, u32)> =
        settings.sizes.iter().flat_map(|&size| settings.banks.iter().map(move |&banks| (size, banks))).collect();
    let mut figures = Vec::new();
    for (index, &(size, banks)) in cases.iter().enumerate() {
        progress.show(index as f64 / cases.len() as f64, &format!("{size} bytes, {banks} banks"));
        figures.extend(of(settings, size, banks, settings.duration / cases.len() as u32)?);
    }
    Ok(figures)
}

fn of(settings: &Settings, size: usize, banks: u32, duration: Duration) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let _writer = Partner::start(settings, &place, "starve", &[&size.to_string(), &banks.to_string()])?;
    let mut reader = place.options().wait_for_mailbox(true).open(NAME)?;
    pin(settings.cpus[0])?;
    let (mut undisturbed, mut preempted) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let (retries, switches) = (reader.retries(), switches());
        // With one bank a reader may get nothing for as long as it likes.
        let came = reader.read_deadline(end)?.is_some();
        let histogram = if switches == self::switches() { &mut undisturbed } else { &mut preempted };
        if came || reader.retries() > retries {
            histogram.record(reader.retries() - retries)?;
        }
    }
    let case = format!("{size} bytes, {banks} {}", if banks == 1 { "bank (the textbook seqlock)" } else { "banks" });
    Ok([(UNDISTURBED, undisturbed), (PREEMPTED, preempted)]
        .into_iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(who, histogram)| {
            Figure::singles("starve", who, &case, ("retries of one read", "retries"), Percentiles::from(&histogram))
        })
        .collect())
}

fn switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// The writer, in a process of its own.
pub fn partner(place: &Place, arguments: &[String]) -> Outcome {
    let [size, banks] = arguments else { return Err("a partner without a size".into()) };
    let size = size.parse()?;
    let mut writer = place.options().capacity(size).banks(banks.parse()?).create(NAME)?;
    ready()?;
    let line = vec![b'x'; size];
    loop {
        writer.publish(&line)?;
    }
}
