//! What can be typed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::Outcome;
use crate::environment::{Environment, online};
use crate::peers::ALL;
use crate::report::{Report, table};
use crate::workload::{Settings, latency};

/// Measures the mailbox, its peers and the machine's own limit, in turns within one run.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// What to measure.
    #[arg(value_enum, default_value_t = Workload::All)]
    workload: Workload,
    /// Bytes of a line, each 8 or more.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 256, 4096, 65536])]
    sizes: Vec<usize>,
    /// How long each workload runs, in seconds.
    #[arg(long, default_value_t = 12.0)]
    duration: f64,
    /// The two processors to use.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Whom to measure beside the mailbox; else all.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    peers: Vec<String>,
    /// Also writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Ping-pong between two processes, by size.
    Latency,
    /// Everything.
    All,
}

impl Cli {
    pub fn run(&self) -> Outcome {
        let cpus = self.cpus()?;
        if let Some(size) = self.sizes.iter().find(|size| !(8..=1 << 30).contains(*size)) {
            return Err(format!("a line of {size} bytes: 8 bytes to 1 GiB can be measured").into());
        }
        if let Some(name) = self.peers.iter().find(|name| !ALL.iter().any(|peer| peer.name == **name)) {
            let known: Vec<&str> = ALL.iter().map(|peer| peer.name).collect();
            return Err(format!("there is no peer `{name}`; there are {}", known.join(", ")).into());
        }
        let environment = Environment::find(&cpus);
        let warnings = environment.warnings();
        let settings = Settings {
            sizes: self.sizes.clone(),
            peers: self.peers.clone(),
            duration: Duration::try_from_secs_f64(self.duration)?,
            cpus,
        };
        let figures = match self.workload {
            Workload::Latency | Workload::All => latency::run(&settings)?,
        };
        let report = Report { schema: 1, environment, warnings, figures };
        print!("{}", table::text(&report));
        if let Some(path) = &self.json {
            let mut file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::to_writer_pretty(&mut file, &report)?;
            writeln!(file)?;
        }
        Ok(())
    }

    /// The processors that were asked for, or the first two.
    fn cpus(&self) -> Outcome<Vec<usize>> {
        match self.cpus.len() {
            0 => Ok((0..online().min(2)).collect()),
            1 | 2 => Ok(self.cpus.clone()),
            count => Err(format!("{count} processors: two are used").into()),
        }
    }
}
