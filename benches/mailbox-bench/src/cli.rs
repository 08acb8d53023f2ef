//! What can be typed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::Outcome;
use crate::environment::{Environment, online};
use crate::peers::ALL;
use crate::report::{self, Figure, Report, html, table};
use crate::workload::{Settings, copy, in_process, latency, one_way, publish, read, scale, shell, starve, wake};

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
    /// Numbers of banks, where they matter.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    banks: Vec<u32>,
    /// Numbers of waiting readers.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1000])]
    readers: Vec<usize>,
    /// How long each workload runs, in seconds.
    #[arg(long, default_value_t = 1.4)]
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
    /// Also writes the report as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Ping-pong between two processes, by size.
    Latency,
    /// The age of lines when they are read, at a given pace.
    OneWay,
    /// The cost of a publish when nobody waits, by size.
    Publish,
    /// The cost of a read: of nothing new, of a cold line, of a hot one by size.
    Read,
    /// The speed of long copies, by their place in a page.
    Copy,
    /// A write and a read beside crates that hand over values between threads.
    InProcess,
    /// Retries against a writer in a tight loop, by size and number of banks.
    Starve,
    /// The time until a sleeper has the line, by the length of its sleep.
    Wake,
    /// The cost of a publish when readers wait, by their number.
    Scale,
    /// `mailbox put` beside `wc -l`.
    Shell,
    /// Everything.
    All,
}

type Run = fn(&Settings) -> Outcome<Vec<Figure>>;

const WORKLOADS: [(Workload, Run); 10] = [
    (Workload::Latency, latency::run),
    (Workload::OneWay, one_way::run),
    (Workload::Publish, publish::run),
    (Workload::Read, read::run),
    (Workload::Copy, copy::run),
    (Workload::InProcess, in_process::run),
    (Workload::Starve, starve::run),
    (Workload::Wake, wake::run),
    (Workload::Scale, scale::run),
    (Workload::Shell, shell::run),
];

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
        let mut warnings = environment.warnings();
        let settings = Settings {
            sizes: self.sizes.clone(),
            peers: self.peers.clone(),
            banks: self.banks.clone(),
            readers: self.readers.clone(),
            duration: Duration::try_from_secs_f64(self.duration)?,
            cpus,
        };
        let mut figures = Vec::new();
        for (workload, run) in WORKLOADS {
            if [workload, Workload::All].contains(&self.workload) {
                figures.extend(run(&settings)?);
            }
        }
        warnings.extend(report::doubts(&figures));
        let report = Report { schema: 1, environment, warnings, figures };
        print!("{}", table::text(&report));
        if let Some(path) = &self.json {
            let mut file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::to_writer_pretty(&mut file, &report)?;
            writeln!(file)?;
        }
        if let Some(path) = &self.html {
            std::fs::write(path, html::page(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
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
