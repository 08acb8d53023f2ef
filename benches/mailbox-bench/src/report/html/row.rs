//! Rows of a chart: a name, what is drawn, and numbers; on a narrow page the picture is below the words.

use crate::report::Figure;

use super::group::{By, Group, Row, singles};
use super::markup::{Element, Markup, element, label, line, percent, prose};

/// A number along the rows: where it is, as a share of the width, and how it is written.
pub type Tick = (f64, String);

/// The rows of a group that are wanted: a picture and numbers each, or nothing to draw.
pub fn rows<'a>(
    group: &Group,
    wanted: impl IntoIterator<Item = &'a Row<'a>>,
    drawn: impl Fn(&Figure) -> Option<(Element, Element)>,
) -> Element {
    let mut last = None;
    element("ul").add_all(wanted.into_iter().map(|row| {
        // The same name is not said twice.
        let first = row.detail.is_none() || last.replace(row.name) != Some(row.name);
        let class = match (row.own(), group.by) {
            (true, By::Contender) => "row own chosen",
            (true, By::Case) => "row own",
            (false, _) => "row",
        };
        let item = element("li").class(class).add(name(group, row, first));
        match drawn(row.figure) {
            Some((picture, numbers)) => item.add(picture).add(numbers),
            None => item.add(reason(row.figure)),
        }
    }))
}

/// Why there is nothing to draw.
fn reason(figure: &Figure) -> Element {
    let reason = element("span").class("why");
    match &figure.skipped {
        Some(why) => reason.add(element("span").text("Skipped: ")).add(prose(why)),
        None => reason.text("Not measured."),
    }
}

fn name(group: &Group, row: &Row, first: bool) -> Element {
    let badge = (group.keyed() && singles(row.figure).is_some()).then(|| row.look.badge());
    let name = first.then(|| element("span").class("what").add(prose(row.name)));
    let detail = row.detail.map(|detail| element("span").class("detail").add(prose(detail)));
    element("span").class("name").add(badge).add(element("span").add(name).add(detail))
}

/// What is drawn in a row: lines through all of it, however high its words make it, and something in its middle, whose
/// height is 0.
pub fn picture(lines: impl IntoIterator<Item = Element>, middle: impl Into<Markup>) -> Element {
    let middle = element("svg").with("y", "50%").with("overflow", "visible").add(middle);
    track(element("svg").add_all(lines).add(middle))
}

/// Lines through a row, one at each number.
pub fn grid(ticks: &[Tick]) -> impl Iterator<Item = Element> {
    ticks.iter().map(|&(at, _)| upright(at).class("grid"))
}

/// A line through a whole row.
pub fn upright(at: f64) -> Element {
    let [at, all] = [at, 1.0].map(percent);
    element("line").with("x1", &at).with("y1", 0).with("x2", &at).with("y2", all)
}

/// A rectangle between two shares of the width, as high as this.
pub fn bar(from: f64, to: f64, height: f64) -> Element {
    element("rect")
        .with("x", percent(from.min(to)))
        .with("y", -height / 2.0)
        .with("width", percent((to - from).abs()))
        .with("height", height)
}

/// A short line across the middle, by this much up and down.
pub fn stroke(at: f64, half: f64) -> Element {
    line((at, -half), (at, half))
}

/// The numbers below the rows.
pub fn axis(ticks: &[Tick]) -> Element {
    beside("axis", ticks.iter().map(|(at, text)| label((*at, 14.0), 0.0, text).with("text-anchor", "middle")).collect())
}

/// What is written above the rows, around a share of the width.
pub fn above(at: f64, class: &str, text: &str) -> Element {
    let anchor = match at {
        at if at < 0.15 => "start",
        at if at > 0.85 => "end",
        _ => "middle",
    };
    beside("top", label((at, 14.0), 0.0, text).class(class).with("text-anchor", anchor).into())
}

/// What is written above the numbers.
pub fn heads<const N: usize>(names: [&str; N]) -> Element {
    let names = names.map(|name| element("span").text(name));
    element("div").class("row heads").add(element("span").class("numbers").add_all(names))
}

/// A row without a name and numbers.
fn beside(class: &str, labels: Markup) -> Element {
    element("div").class(format_args!("row {class}")).add(track(element("svg").add(labels)))
}

/// The numbers are beside the picture as text, so those who do not see it miss nothing.
fn track(picture: Element) -> Element {
    element("span").class("track").add(picture.with("aria-hidden", "true"))
}
