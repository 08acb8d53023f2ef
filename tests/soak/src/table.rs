//! Tables for people: plain, and in Markdown.

use std::fmt;
use std::time::Duration;

use crate::check::Check;
use crate::state::State;
use crate::units::span;

pub struct Table {
    above: String,
    rows: Vec<Vec<String>>,
}

/// What there is to check.
pub fn of_checks(checks: &[&Check]) -> Table {
    let mut rows = vec![["id", "fault", "counted", "in the tests", "in a soak"].map(String::from).to_vec()];
    rows.extend(checks.iter().map(|check| {
        let texts = [check.id, check.fault, check.unit].map(String::from);
        texts.into_iter().chain([grouped(check.ci), grouped(check.soak)]).collect()
    }));
    Table { above: String::new(), rows }
}

/// What was counted.
pub fn of_counts(checks: &[&Check], state: &State) -> Table {
    let mut rows = vec![["id", "fault", "made", "bad", "time", "counted meanwhile"].map(String::from).to_vec()];
    let mut total = 0.0;
    for check in checks {
        let counts = state.of(check);
        total += counts.seconds;
        let evidence: Vec<_> =
            counts.evidence.iter().map(|(name, count)| format!("{name}: {}", grouped(*count))).collect();
        let made = format!("{} {}", grouped(counts.done), check.unit);
        let time = span(Duration::from_secs_f64(counts.seconds));
        rows.push(vec![check.id.into(), check.fault.into(), made, counts.bad.to_string(), time, evidence.join(", ")]);
    }
    let above = format!("commit {}, {} in all\n\n", state.commit, span(Duration::from_secs_f64(total)));
    Table { above, rows }
}

impl Table {
    pub fn markdown(&self) -> String {
        let mut text = self.above.clone();
        for (index, row) in self.rows.iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if index == 0 {
                text += &format!("|{}\n", "---|".repeat(row.len()));
            }
        }
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.above)?;
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A number with its thousands apart: `3,072`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
