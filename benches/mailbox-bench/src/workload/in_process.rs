//! What does a write cost, and a read, beside crates that hand a last value from thread to thread? In one process, in
//! one thread, with everything in its cache: the price of the calls themselves.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::block::measure;
use crate::partner::pin;
use crate::place::Place;
use crate::report::Figure;
use crate::workload::publish::{Banks, COPY, EXCHANGE, SHORT, Solo, exchanges, mailbox};
use crate::workload::{Settings, by_size};

/// Sizes of the values, which those crates must know when they are compiled.
pub const SIZES: [usize; 3] = [32, 256, 4096];
const WRITE: &str = "one write, nobody waiting";
const READ: &str = "one read of what is there";

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    pin(settings.cpus[0])?;
    by_size("in-process", &SIZES, settings.duration, of_size)
}

fn of_size(size: usize, duration: Duration, progress: &dyn Fn(f64)) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let line = vec![b'x'; size];
    let banks = Banks::new(&place, size)?;
    let word = AtomicU64::new(0);
    let options = place.options().capacity(size);
    let writer = options.create("mailbox")?;
    let mut reader = options.open("mailbox")?;
    let mut writers = vec![mailbox("mailbox", writer, &line)];
    let mut readers = vec![Solo {
        title: "mailbox",
        run: Box::new(move |times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(reader.latest()?.ok_or("no line")?.bytes);
            }
            Ok(start.elapsed())
        }),
    }];
    let mut figures = Vec::new();
    #[cfg(feature = "peers")]
    {
        let peers = crate::peers::in_process::all(&place, size)?;
        writers.extend(peers.0);
        readers.extend(peers.1);
    }
    #[cfg(not(feature = "peers"))]
    for title in ["crate seqlock", "crate triple_buffer", "crossbeam AtomicCell", "iceoryx2 blackboard"] {
        let why = "needs a build with `--features peers`".to_owned();
        figures.push(Figure::skipped("in-process", title, format!("{size} bytes, write"), why));
    }
    // Something to read.
    (writers[0].run)(1)?;
    let floor = if size <= SHORT { EXCHANGE } else { COPY };
    for (half, (contenders, operation, what)) in
        [(0.0, (&mut writers, WRITE, "write")), (0.5, (&mut readers, READ, "read"))]
    {
        let all = measure(
            contenders.len(),
            duration / 2,
            |who, times| match who {
                None if size <= SHORT => Ok(exchanges(&word, times)),
                None => Ok(banks.copy(&line, times)),
                Some(index) => (contenders[index].run)(times),
            },
            |within| progress(half + within / 2.0),
        )?;
        figures.extend(contenders.iter().zip(&all).map(|(contender, series)| {
            Figure::new("in-process", contender.title, format!("{size} bytes, {what}"), (operation, floor), series)
        }));
    }
    Ok(figures)
}
