//! Single operations that are compared with nothing, timed or counted: from the ordinary to the extreme.

use crate::report::Percentiles;

use super::group::{Group, singles};
use super::markup::{Element, circle, element, line};
use super::row::{self, Tick};
use super::scale::{Logarithmic, thousands, tick, tick_time, time};

/// Pixels of half a mark, and of the thick part.
const MARK: f64 = 6.0;
const BAR: f64 = 8.0;
const TICKS: usize = 7;
/// Decades that an axis shows at least.
const DECADES: f64 = 0.6;

/// One span for each row.
pub fn spans(group: &Group) -> Option<Element> {
    let all: Vec<&Percentiles> = group.rows.iter().filter_map(|row| singles(row.figure)).collect();
    let axis = if group.keyed() { Axis::of_times(&all)? } else { Axis::of_counts(&all) };
    let rows = row::rows(group, &group.rows, |figure| {
        let some = singles(figure)?;
        Some((row::picture(row::grid(&axis.ticks), span(some, &axis)), axis.numbers(some)))
    });
    let caption = "From the median to the greatest, on a logarithmic axis: the thick part ends at the 99th percentile, \
                   the stroke is the 99.9th, the circle the greatest of all.";
    Some(
        element("figure")
            .class("rows spans")
            .add(element("figcaption").add(element("b").text("Single operations. ")).text(caption))
            .add(row::heads(["p50", "p99.9", "max"]))
            .add(rows)
            .add(row::axis(&axis.ticks)),
    )
}

struct Axis {
    scale: Logarithmic,
    ticks: Vec<Tick>,
    /// What is added to each value, so that zero has a logarithm, too.
    shift: f64,
    write: fn(f64) -> String,
}

impl Axis {
    /// `None` if no time can be drawn.
    fn of_times(all: &[&Percentiles]) -> Option<Self> {
        let scale =
            Logarithmic::around(all.iter().flat_map(|some| [some.p50, some.max]).map(|nanos| nanos as f64), DECADES)?;
        let ticks = scale.ticks(TICKS).into_iter().map(|nanos| (scale.share(nanos), tick_time(nanos))).collect();
        Some(Self { scale, ticks, shift: 0.0, write: time })
    }

    fn of_counts(all: &[&Percentiles]) -> Self {
        let largest = all.iter().map(|some| some.max).max().unwrap_or(0).max(1) as f64;
        let around = |range| Logarithmic::around(range, DECADES).expect("both have logarithms");
        let (scale, round) = (around([1.0, largest + 1.0]), around([1.0, largest]).ticks(TICKS - 1));
        let whole = round.into_iter().filter(|value| value.fract() == 0.0 && *value <= largest);
        let ticks = [0.0].into_iter().chain(whole).map(|value| (scale.share(value + 1.0), tick(value))).collect();
        Self { scale, ticks, shift: 1.0, write: |count| thousands(count as u64) }
    }

    fn at(&self, value: u64) -> f64 {
        self.scale.share(value as f64 + self.shift)
    }

    fn numbers(&self, some: &Percentiles) -> Element {
        let numbers = [some.p50, some.p99_9, some.max].map(|value| (self.write)(value as f64));
        element("span").class("numbers").add_all(numbers.map(|number| element("span").text(number)))
    }
}

fn span(some: &Percentiles, axis: &Axis) -> Element {
    let [p50, p99, p99_9, max] = [some.p50, some.p99, some.p99_9, some.max].map(|value| axis.at(value));
    element("g")
        .class("span")
        .add(line((p50, 0.0), (max, 0.0)))
        .add(row::bar(p50, p99, BAR).class("bar"))
        .add(row::stroke(p50, MARK).class("end"))
        .add(row::stroke(p99_9, MARK))
        .add(circle((max, 0.0), 4.5))
}
