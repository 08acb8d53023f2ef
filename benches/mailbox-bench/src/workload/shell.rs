//! How fast does `mailbox put` take lines from a pipe? In turns with `wc -l` of the same bytes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::block::Series;
use crate::place::Place;
use crate::report::Figure;
use crate::workload::{Progress, Settings};

const LINES: u64 = 5_000_000;
const LEAST: usize = 5;
const CASE: &str = "seq 5000000, short lines";
const OPERATION: (&str, &str) = ("one line through a pipe", "`wc -l` of the same bytes");

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("shell");
    let Some(program) = program() else {
        let why = "there is no program `mailbox` beside this one; build it: cargo build --release".to_owned();
        return Ok(vec![Figure::skipped("shell", "mailbox put", CASE, why)]);
    };
    let place = Place::new()?;
    let put = format!("seq {LINES} | {} put --dir {} lines", quoted(&program), quoted(place.path()));
    let count = format!("seq {LINES} | wc -l");
    let mut series = Series::default();
    let start = Instant::now();
    while start.elapsed() < settings.duration || series.ratios.len() < LEAST {
        progress.show(start.elapsed().as_secs_f64() / settings.duration.as_secs_f64(), "");
        let (count, put) = (time(&count)?, time(&put)?);
        series.ratios.push(put.as_secs_f64() / count.as_secs_f64());
        series.nanos.push(put.as_nanos() as f64 / LINES as f64);
    }
    // The last line is the one that counts.
    let newest = place.options().open("lines")?.read()?.bytes.to_vec();
    if newest != LINES.to_string().as_bytes() {
        return Err("the last line that `mailbox put` read is not the newest one".into());
    }
    Ok(vec![Figure::new("shell", "mailbox put", CASE, OPERATION, &series)])
}

/// The program `mailbox`, where cargo puts it.
fn program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("mailbox");
    path.is_file().then_some(path)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn time(command: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let status = Command::new("sh").args(["-c", command]).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("`{command}` failed: {status}").into());
    }
    Ok(start.elapsed())
}
