//! A table for people.

use crate::report::{Figure, Report};

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let environment = &report.environment;
    let mut text = format!(
        "{}: Linux {}, {}, processors {:?} of {}, clock {}\n{}, commit {}\n",
        environment.date,
        environment.kernel,
        environment.cpu,
        environment.used,
        environment.cpus,
        environment.clock,
        environment.compiler,
        environment.commit
    );
    let mut last = None;
    for figure in &report.figures {
        let group = (figure.workload, &figure.case);
        if last != Some(group) {
            let against = if figure.floor.is_empty() { String::new() } else { format!(", against {}", figure.floor) };
            text += &format!(
                "\n{}, {}: {}{against}\n{:34} {:>9} {:>15} {:>12} {:>13}   {}\n",
                figure.workload,
                figure.case,
                figure.operation,
                "",
                "ratio",
                "middle half",
                "ns",
                "turns (not)",
                "single ones: p50, p90, p99, p99.9, max",
            );
            last = Some(group);
        }
        text += &row(figure);
    }
    for warning in &report.warnings {
        text += &format!("\nwarning: {warning}");
    }
    if !report.warnings.is_empty() {
        text.push('\n');
    }
    text
}

fn row(figure: &Figure) -> String {
    if let Some(why) = &figure.skipped {
        return format!("{:34} skipped: {why}\n", figure.who);
    }
    let ratio = figure
        .ratio
        .map_or("-".into(), |ratio| if ratio < 0.01 { format!("{ratio:.5}") } else { format!("{ratio:.2}") });
    let quartiles = figure.quartiles.map_or(String::new(), |(low, high)| format!("{low:.2} - {high:.2}"));
    let nanos = figure.nanos.map_or("-".into(), nanos);
    let turns = match (figure.turns, figure.dropped) {
        (0, 0) => String::new(),
        (turns, dropped) => format!("{turns} ({dropped})"),
    };
    let singles = figure
        .percentiles
        .as_ref()
        .map_or(String::new(), |p| [p.p50, p.p90, p.p99, p.p99_9, p.max].map(nanos_of).join(", "));
    format!("{:34} {ratio:>9} {quartiles:>15} {nanos:>12} {turns:>13}   {singles}", figure.who).trim_end().to_owned()
        + "\n"
}

fn nanos(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn nanos_of(value: u64) -> String {
    if value < 10_000 {
        value.to_string()
    } else if value < 10_000_000 {
        format!("{:.0}k", value as f64 / 1e3)
    } else {
        format!("{:.0}M", value as f64 / 1e6)
    }
}
