//! Where a result comes from, and why it may not be worth much.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What a figure depends on besides the code.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// When the run began, RFC 3339 in UTC.
    pub date: String,
    pub kernel: String,
    pub cpu: String,
    /// Processors online, and those that were used.
    pub cpus: usize,
    pub used: Vec<usize>,
    pub clock: String,
    pub compiler: String,
    pub commit: String,
    pub profile: &'static str,
}

impl Environment {
    pub fn find(used: &[usize]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpu_info = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpu_info.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cpu = match (field("model name"), field("cpu family"), field("model\t")) {
            (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
            (Some(name), ..) => name,
            _ => "unknown".into(),
        };
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu,
            cpus: online(),
            used: used.to_vec(),
            clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            compiler: said(Command::new("rustc").arg("--version")),
            commit: commit(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    /// What makes a reader of the result doubt it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.profile != "release" {
            warnings.push("a debug build: run it with `cargo run --release -p mailbox-bench`".into());
        }
        if self.used.len() < 2 {
            warnings.push("one processor: two processes take turns on it, and nothing here shows a hop".into());
        }
        if let Some(load) = load() {
            // Ours has not begun yet.
            if load > 0.5 {
                warnings.push(format!("the machine was busy before: {load:.1} processes wanted to run"));
            }
        }
        let governors = (self.used.iter())
            .filter_map(|cpu| {
                fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")).ok()
            })
            .collect::<Vec<_>>();
        if let Some(governor) = governors.iter().map(|governor| governor.trim()).find(|g| *g != "performance") {
            warnings.push(format!("the processors' clock is not fixed: their governor is `{governor}`"));
        }
        warnings
    }
}

/// How many processors this process may use.
pub fn online() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The load of the last minute.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn commit() -> String {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let commit = said(Command::new("git").args(["-C", manifest, "describe", "--always", "--dirty", "--abbrev=12"]));
    if commit.is_empty() { "unknown".into() } else { commit }
}

/// What a command prints, or nothing.
fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => String::new(),
    }
}
