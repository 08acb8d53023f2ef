//! What does a read cost its reader? In one process, where the writer's lines are in the reader's cache.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::block::measure;
use crate::partner::pin;
use crate::place::Place;
use crate::report::Figure;
use crate::workload::publish::{each, exchanges};
use crate::workload::{Progress, Settings};

const NOTHING: (&str, &str) = ("one look that finds nothing new", "one `xchg`, for scale");
const HOT: (&str, &str) = ("one read of the newest line, again", "a `memcpy` of the same bytes");

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    pin(settings.cpus[0])?;
    let progress = Progress::new("read");
    let parts = settings.sizes.len() as u32 + 1;
    let duration = settings.duration / parts;
    let mut figures = vec![nothing_new(duration, |within| progress.show(within / f64::from(parts), "nothing new"))?];
    for (index, &size) in settings.sizes.iter().enumerate() {
        let share = |within: f64| (index as f64 + 1.0 + within) / f64::from(parts);
        figures.push(hot(size, duration, |within| progress.show(share(within), &format!("{size} bytes")))?);
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
