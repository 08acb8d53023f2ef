//! `docs/models/orderings.md` against the code: a row for every `ORDERING:` comment, and none for any other; every run,
//! litmus test and loom test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_declaration = before.split_whitespace().all(|word| {
        matches!(word, "pub" | "const" | "unsafe" | "extern" | "\"C\"" | "async") || word.starts_with("pub(")
    });
    is_declaration.then(|| after.split(['(', '<']).next().expect("split gives one at least"))
}

/// Label (or `none`), file and function of every comment.
fn in_code() -> BTreeSet<[String; 3]> {
    let mut files = Vec::new();
    rust_files(&Path::new(ROOT).join("src"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut current = "";
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            current = function(line).unwrap_or(current);
            let Some(rest) = line.trim_start().strip_prefix("// ORDERING") else { continue };
            let label =
                rest.strip_prefix(" [").and_then(|rest| rest.split_once(']')).map_or("none", |(label, _)| label);
            found.insert([label, name, current].map(str::to_owned));
        }
    }
    found
}

/// The cells of every row of the table.
fn rows() -> Vec<Vec<String>> {
    let rows = read("docs/models/orderings.md");
    let rows = rows.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| label"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between back-quotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_ordering_in_the_code_has_a_row_and_every_row_an_ordering() {
    let mut table = BTreeSet::new();
    for row in rows() {
        let [file, function] = quoted(&row[1])[..] else { panic!("not a file and a function: {}", row[1]) };
        assert!(table.insert([&row[0], file, function].map(str::to_owned)), "twice: {row:?}");
    }
    let code = in_code();
    assert!(code.len() >= 20, "the comments were not found: {code:?}");
    let missing: Vec<_> = code.difference(&table).collect();
    let stale: Vec<_> = table.difference(&code).collect();
    assert!(missing.is_empty(), "in src/, and not in docs/models/orderings.md: {missing:?}");
    assert!(stale.is_empty(), "in docs/models/orderings.md, and not in src/: {stale:?}");
}

#[test]
fn what_the_table_names_exists() {
    let runs = read("docs/models/run");
    let loom = ["", "/slot", "/eventcount"].map(|file| read(&format!("src/protocol/loom_tests{file}.rs"))).concat();
    let mut checked = 0;
    for row in rows() {
        for run in quoted(&row[2]) {
            // A run is a model and some of its parameters; alone, a parameter's value.
            let mut words = run.split(' ');
            let model = words.next().expect("split gives one at least");
            let is_there = runs.lines().any(|line| {
                let cells: Vec<_> = line.split('|').map(str::trim).collect();
                cells.len() == 5
                    && cells[1] == model
                    && words.clone().all(|word| cells[4].split(' ').any(|w| w == word))
            });
            let alone =
                !run.contains(' ') && (runs.contains(&format!("={run}")) || runs.contains(run) || loom.contains(run));
            let is_pml = run.ends_with(".pml") && Path::new(ROOT).join("docs/models").join(run).exists();
            let is_word = row[2].contains("as `look`") && run == "look";
            assert!(is_there || alone || is_pml || is_word, "no such run: {run} of {row:?}");
            checked += 1;
        }
        for litmus in row.get(3).map(|cell| quoted(cell)).unwrap_or_default() {
            assert!(Path::new(ROOT).join(format!("docs/models/litmus/{litmus}.litmus")).exists(), "{litmus}");
            assert!(
                runs.lines().any(|line| line.split('|').nth(1).is_some_and(|name| name.trim() == litmus)),
                "{litmus}"
            );
            checked += 1;
        }
        for test in row.get(4).map(|cell| quoted(cell)).unwrap_or_default() {
            let text = test.strip_prefix("Site::").map_or(format!("fn {test}("), |site| format!("Site::{site}"));
            assert!(loom.contains(&text), "no loom test {test} of {row:?}");
            checked += 1;
        }
    }
    assert!(checked >= 60, "the table was not read");
}
