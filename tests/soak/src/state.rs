//! The counts, kept in a file from one run to the next.
//!
//! Counts of different sources are never added: the file says of which commit they are, and with another commit, or
//! with changes that are not committed, they begin anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Check, Tally};

/// What a change of counts: the library, the checks, the packages.
const SOURCES: [&str; 6] = ["src", "tests/soak", "tests/common", "tests/sanitizers", "Cargo.toml", "Cargo.lock"];

#[derive(Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    path: PathBuf,
    /// The last commit that changed a source; a `+` after it for changes that are not committed.
    pub commit: String,
    counts: BTreeMap<String, Counts>,
}

/// What the turns of a check came to.
#[derive(Default, Serialize, Deserialize)]
pub struct Counts {
    pub done: u64,
    pub turns: u64,
    /// Turns in which a promise was broken, or in which the fault did not happen.
    pub bad: u64,
    pub seconds: f64,
    /// By name, in the order in which they came first.
    pub evidence: Vec<(String, u64)>,
}

impl State {
    /// The counts in the file, if they are of this source; else none.
    pub fn load(path: PathBuf) -> Result<Self, Box<dyn std::error::Error>> {
        let fresh = Self { path, commit: commit(), counts: BTreeMap::new() };
        let text = match fs::read(&fresh.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(fresh),
            text => text.map_err(|error| format!("{}: {error}", fresh.path.display()))?,
        };
        let found: Self =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", fresh.path.display()))?;
        if found.commit != fresh.commit || fresh.commit.ends_with('+') {
            eprintln!("the counts in {} are of {}: begun anew", fresh.path.display(), found.commit);
            return Ok(fresh);
        }
        Ok(Self { path: fresh.path, ..found })
    }

    /// Writes the file, so that it is always a whole one.
    pub fn save(&self) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, &self.path)
    }

    pub fn of(&self, check: &Check) -> &Counts {
        static NONE: Counts = Counts { done: 0, turns: 0, bad: 0, seconds: 0.0, evidence: Vec::new() };
        self.counts.get(check.id).unwrap_or(&NONE)
    }

    pub fn add(&mut self, check: &Check, tally: Tally, took: Duration) {
        let counts = self.turn(check, took);
        counts.done += tally.done;
        for (name, count) in tally.evidence {
            match counts.evidence.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => counts.evidence.push((name.into(), count)),
            }
        }
    }

    pub fn add_bad(&mut self, check: &Check, took: Duration) {
        self.turn(check, took).bad += 1;
    }

    fn turn(&mut self, check: &Check, took: Duration) -> &mut Counts {
        let counts = self.counts.entry(check.id.into()).or_default();
        counts.turns += 1;
        counts.seconds += took.as_secs_f64();
        counts
    }
}

fn commit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).arg("--").args(SOURCES).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let last = git(&["log", "-1", "--format=%h", "--abbrev=12"]).filter(|commit| !commit.is_empty());
    let changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    format!("{}{}", last.as_deref().unwrap_or("unknown"), if changed { "+" } else { "" })
}
