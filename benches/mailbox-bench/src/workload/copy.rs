//! How fast are long lines copied, by where they lie in their page? Processors and the C library's `memcpy` have odd
//! places there: a source and a destination at nearly the same offset, say.

use std::time::Duration;

use crate::Outcome;
use crate::block::measure;
use crate::partner::pin;
use crate::place::Place;
use crate::report::Figure;
use crate::workload::publish::{Banks, COPY, publishes};
use crate::workload::{Settings, by_size};

const OPERATION: (&str, &str) = ("one publish, nobody waiting", COPY);
const PAGE: usize = 4096;
const OFFSETS: [usize; 3] = [0, 64, 2048];

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    pin(settings.cpus[0])?;
    let sizes: Vec<usize> = settings.sizes.iter().copied().filter(|&size| size >= PAGE).collect();
    by_size("copy", &sizes, settings.duration, of_size)
}

fn of_size(size: usize, duration: Duration, progress: &dyn Fn(f64)) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let banks = Banks::new(&place, size)?;
    let mut writer = place.options().capacity(size).create("long")?;
    let source = vec![b'x'; size + 2 * PAGE];
    let page = source.as_ptr().align_offset(PAGE);
    let mut figures = Vec::new();
    for (index, offset) in OFFSETS.into_iter().enumerate() {
        let line = &source[page + offset..][..size];
        let all = measure(
            1,
            duration / OFFSETS.len() as u32,
            |who, times| match who {
                None => Ok(banks.copy(line, times)),
                Some(_) => publishes(&mut writer, line, times),
            },
            |within| progress((index as f64 + within) / OFFSETS.len() as f64),
        )?;
        let case = format!("{size} bytes, from {offset} bytes into a page");
        figures.push(Figure::new("copy", "mailbox", case, OPERATION, &all[0]));
    }
    Ok(figures)
}
