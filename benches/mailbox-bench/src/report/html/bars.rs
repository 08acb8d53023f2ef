//! How far everyone is from the limit: a bar begins at 1, so that its length is the logarithm of the ratio.

use std::iter::once;

use crate::report::Figure;

use super::group::{Group, compared, quartiles, ratio};
use super::markup::{Element, Markup, element, line};
use super::row::{self, Tick};
use super::scale::{self, Logarithmic};

/// Pixels of a bar's height, of half the mark at its end, and of half a whisker's end.
const BAR: f64 = 14.0;
const END: f64 = 9.0;
const CAP: f64 = 4.5;
/// Decades that an axis shows at least, so that 3 % do not look like a world.
const DECADES: f64 = 0.5;
const TICKS: usize = 7;

/// One bar for each row that is compared with the floor.
pub fn bars(group: &Group) -> Element {
    let values = group.rows.iter().flat_map(|row| {
        let (low, high) = quartiles(row.figure).unzip();
        [ratio(row.figure), low, high]
    });
    let axis = Axis::around(values.flatten());
    let wanted = group.rows.iter().filter(|row| compared(row.figure) || row.figure.skipped.is_some());
    let rows = row::rows(group, wanted, |figure| compared(figure).then(|| (bar(figure, &axis), numbers(figure))));
    let caption = "Times the limit, on a logarithmic axis; the shorter the bar, the nearer. The whisker is the middle \
                   half, the time that of one operation.";
    element("figure")
        .class("rows")
        .add(element("figcaption").add(element("b").text("Ratio to the limit. ")).text(caption))
        .add(axis.head())
        .add(rows)
        .add(axis.foot())
}

/// A logarithmic axis of ratios, around the limit.
pub struct Axis {
    scale: Logarithmic,
    ticks: Vec<Tick>,
}

impl Axis {
    pub fn around(ratios: impl Iterator<Item = f64>) -> Self {
        let scale = Logarithmic::around(ratios.chain(once(1.0)), DECADES).expect("1 is one of them");
        let ticks = scale.ticks(TICKS).into_iter().map(|tick| (scale.share(tick), format!("{}×", scale::tick(tick))));
        Self { ticks: ticks.collect(), scale }
    }

    /// Where a ratio lies, as a share of the width.
    pub fn at(&self, ratio: f64) -> f64 {
        self.scale.share(ratio)
    }

    /// A row's picture, with the line of the limit below it.
    pub fn picture(&self, middle: impl Into<Markup>) -> Element {
        row::picture(row::grid(&self.ticks).chain([row::upright(self.at(1.0)).class("limit")]), middle)
    }

    pub fn head(&self) -> Element {
        row::above(self.at(1.0), "limit", "the limit")
    }

    pub fn foot(&self) -> Element {
        row::axis(&self.ticks)
    }
}

fn bar(figure: &Figure, axis: &Axis) -> Element {
    let bar = ratio(figure).map(|ratio| row::bar(axis.at(1.0), axis.at(ratio), BAR).class("bar"));
    // Where the bar is too short to be seen, this still is.
    let end = ratio(figure).map(|ratio| row::stroke(axis.at(ratio), END).class("end"));
    let whisker = quartiles(figure).map(|(low, high)| {
        let (low, high) = (axis.at(low), axis.at(high));
        let along = line((low, 0.0), (high, 0.0));
        element("g").class("whisker").add(along).add(row::stroke(low, CAP)).add(row::stroke(high, CAP))
    });
    axis.picture(Markup::from_iter([bar, end, whisker]))
}

/// Ratio and time, and what to hold against them.
fn numbers(figure: &Figure) -> Element {
    let ratio = ratio(figure).map_or("–".to_owned(), |ratio| format!("{}×", scale::ratio(ratio)));
    let time = figure.nanos.map_or("–".to_owned(), scale::time);
    let numbers = element("span").class("numbers").add(element("b").text(ratio)).add(element("span").text(time));
    numbers.add(doubt(figure).map(|doubt| element("span").class("doubt").text(doubt)))
}

/// Why a figure may be worth little.
fn doubt(figure: &Figure) -> Option<String> {
    match (figure.turns, figure.dropped) {
        (0, 0) => Some("not measured".into()),
        (turns, dropped) if dropped >= turns => Some(format!("{dropped} of {} turns dropped", turns + dropped)),
        _ => None,
    }
}
