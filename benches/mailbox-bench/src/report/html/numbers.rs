//! All numbers of a group, for those who want to read or copy them.

use crate::report::{Figure, Percentiles};

use super::group::{By, Group, Row, singles};
use super::markup::{Element, element};
use super::scale::thousands;

/// Columns of what was measured in turns, and of single operations.
const TURNS: [&str; 5] = ["ratio", "middle half", "ns", "turns", "dropped"];
const SINGLES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "max", "of"];

/// A table that opens on request.
pub fn table(group: &Group) -> Option<Element> {
    if group.rows.iter().all(|row| row.figure.skipped.is_some()) {
        return None;
    }
    let shown = Shown {
        keys: group.keyed(),
        turns: group.compared(),
        singles: group.rows.iter().any(|row| singles(row.figure).is_some()),
    };
    let first = if group.by == By::Contender { "contender" } else { "case" };
    let head = |name| element("th").with("scope", "col").text(name);
    let heads = shown.columns([head("")], [head(first).class("who")], TURNS.map(head), SINGLES.map(head));
    let rows = group.rows.iter().filter(|row| row.figure.skipped.is_none()).map(|row| line(group, row, &shown));
    let table = element("table").add(element("thead").add(element("tr").add_all(heads)));
    let table = table.add(element("tbody").add_all(rows));
    let note = match (shown.singles, shown.keys) {
        (false, _) => None,
        (true, false) => Some("Percentiles, the greatest, and of how many."),
        (true, true) => Some("p50 to max: of single operations, in nanoseconds, and of how many."),
    };
    let details = element("details")
        .add(element("summary").text("The numbers"))
        .add(element("div").class("scrolls").with("tabindex", 0).add(table))
        .add(note.map(|note| element("p").class("note").text(note)));
    Some(details)
}

/// Which columns a table has.
struct Shown {
    keys: bool,
    turns: bool,
    singles: bool,
}

impl Shown {
    fn columns<T>(
        &self,
        key: [T; 1],
        name: [T; 1],
        turns: [T; TURNS.len()],
        singles: [T; SINGLES.len()],
    ) -> impl Iterator<Item = T> {
        let key = key.into_iter().filter(|_| self.keys);
        let turns = turns.into_iter().filter(|_| self.turns);
        key.chain(name).chain(turns).chain(singles.into_iter().filter(|_| self.singles))
    }
}

fn line(group: &Group, row: &Row, shown: &Shown) -> Element {
    let cell = |text| element("td").text(text);
    let key = element("td").add(row.look.badge());
    let name = element("th").with("scope", "row").class("who").text(row.full_name());
    let cells = shown.columns([key], [name], of_turns(row.figure).map(cell), of_singles(row.figure).map(cell));
    let class = if row.own() && group.by == By::Contender { "own" } else { "other" };
    element("tr").class(class).add_all(cells)
}

fn of_turns(figure: &Figure) -> [String; TURNS.len()] {
    [
        figure.ratio.map_or_else(none, decimals),
        figure.quartiles.map_or_else(none, |(low, high)| format!("{} – {}", decimals(low), decimals(high))),
        figure.nanos.map_or_else(none, |nanos| if nanos < 1000.0 { format!("{nanos:.1}") } else { whole(nanos) }),
        thousands(figure.turns as u64),
        thousands(figure.dropped as u64),
    ]
}

fn of_singles(figure: &Figure) -> [String; SINGLES.len()] {
    match singles(figure) {
        Some(&Percentiles { p50, p90, p99, p99_9, max, count, .. }) => {
            [p50, p90, p99, p99_9, max, count].map(thousands)
        }
        None => SINGLES.map(|_| none()),
    }
}

fn none() -> String {
    "–".to_owned()
}

fn decimals(value: f64) -> String {
    format!("{value:.2}")
}

/// Rounded, in groups of three digits.
fn whole(value: f64) -> String {
    if value.is_finite() { thousands(value.round() as u64) } else { value.to_string() }
}
