//! `mailbox list`: the mailboxes of a directory.

use std::ffi::OsStr;

use shm_mailbox::{Error, ErrorKind, Info, WriterState};

use crate::cli::{List, Place};
use crate::exit_code::{ExitCode, Failure, Result};
use crate::output::{Mailbox, Output, escape, writer_state};
use crate::units::span;

const HEADINGS: [&str; 6] = ["NAME", "NUMBER", "AGE", "WRITER", "CAPACITY", "MODE"];

pub fn run(arguments: &List, place: &Place) -> Result {
    let options = place.options();
    let mut output = Output::new();
    let mut rows = vec![HEADINGS.map(String::from)];
    let mut failures: Vec<Error> = Vec::new();
    for name in options.list()? {
        match options.inspect(&name) {
            Ok(info) if arguments.json => output.object(&Mailbox::new(&name, &info))?,
            Ok(info) => rows.push(row(&name, &info)),
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => failures.push(error),
        }
    }
    if rows.len() > 1 {
        output.text(&table(&rows))?;
    }
    let code = if failures.is_empty() { ExitCode::Done } else { ExitCode::Failed };
    failures.into_iter().for_each(|error| Failure::from(error).report());
    Ok(code)
}

fn row(name: &OsStr, info: &Info) -> [String; 6] {
    use std::os::unix::ffi::OsStrExt;
    let writer = match (info.writer, info.writer_pid) {
        (WriterState::Alive, Some(pid)) => format!("alive ({pid})"),
        (state, _) => writer_state(state).into(),
    };
    [
        escape(name.as_bytes()),
        info.number.to_string(),
        info.age.map_or("-".into(), span),
        writer,
        info.capacity.to_string(),
        format!("{:04o}", info.mode),
    ]
}

/// In columns as wide as they must be; numbers are aligned to the right.
fn table(rows: &[[String; 6]]) -> String {
    let widths: [usize; 6] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(at, (cell, width))| {
                if matches!(HEADINGS[at], "NUMBER" | "AGE" | "CAPACITY") {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}
