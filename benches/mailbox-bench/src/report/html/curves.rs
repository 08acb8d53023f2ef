//! What single operations cost: percentiles towards the slowest, and the distribution.

use crate::report::Percentiles;

use super::group::{Group, Row, timed};
use super::look::Look;
use super::markup::{Element, Markup, circle, element, label, line, pixels};
use super::scale::{self, Logarithmic, drawable};

/// Pixels of a picture's height, and between two keys at least.
const HEIGHT: f64 = 260.0;
const GAP: f64 = 15.0;
/// Decades of time that a picture shows at least.
const DECADES: f64 = 0.6;
/// Numbers along an axis, below and at the left.
const ACROSS: usize = 6;
const DOWN: usize = 8;
/// The curve's units across: pictures stretch.
const WIDTH: f64 = 1000.0;
/// The last share on either picture: beyond the one, only the slowest is shown; what is beyond the other, the first
/// shows better.
const LAST: f64 = 0.999;
const MOST: f64 = 0.99;
/// Where the slowest one stands on the scale of 1/(1-p): a decade past the last percentile.
const SLOWEST: f64 = 4.0;
/// Shares of the distribution at which keys stand, taken in turns by neighbours.
const LEVELS: [f64; 4] = [0.8, 0.6, 0.4, 0.2];

/// Both pictures of a group, and whose line is whose; nothing if nothing was timed singly.
pub fn curves(group: &Group) -> Option<Element> {
    let timed: Vec<Timed> = group.rows.iter().filter_map(Timed::of).collect();
    let percentiles = percentiles(group, &timed)?;
    Some(
        element("div")
            .class("singles")
            .add(legend(&timed))
            .add(element("div").class("pair").add(percentiles).add(distribution(group, &timed))),
    )
}

/// A row whose single operations were timed.
struct Timed<'a> {
    row: &'a Row<'a>,
    percentiles: &'a Percentiles,
}

impl<'a> Timed<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        Some(Self { row, percentiles: timed(row.figure)? })
    }

    fn look(&self) -> &'a Look {
        &self.row.look
    }

    /// The named percentiles, by their place on the scale of 1/(1-p). So few operations that there is none beyond a
    /// percentile do not have it.
    fn named(&self) -> Vec<(f64, f64)> {
        let Percentiles { p50, p90, p99, p99_9, max, count, .. } = *self.percentiles;
        let named = [(0.5, p50), (0.9, p90), (0.99, p99), (LAST, p99_9)];
        let named = named.into_iter().filter(|(share, _)| (1.0 - share) * count as f64 > 0.99);
        named.map(|(share, nanos)| (rank(share), nanos as f64)).chain([(SLOWEST, max as f64)]).collect()
    }

    /// As [`named`](Self::named), with all that is known between.
    fn tail(&self) -> Vec<(f64, f64)> {
        let mut tail = self.named();
        let between = self.percentiles.curve.iter().filter(|(_, share)| (0.5..=LAST).contains(share));
        tail.extend(between.map(|&(nanos, share)| (rank(share), nanos as f64)));
        tail.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        tail
    }

    /// The distribution, of most of them.
    fn distribution(&self) -> Vec<(f64, f64)> {
        let known = self.percentiles.curve.iter().map(|&(nanos, share)| (nanos as f64, share));
        known.filter(|&(nanos, share)| drawable(nanos) && (0.0..=MOST).contains(&share)).collect()
    }
}

/// The place of a percentile on the scale of 1/(1-p).
fn rank(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn legend(timed: &[Timed]) -> Element {
    element("ul").class("legend").add_all(timed.iter().map(|Timed { row, .. }| {
        element("li").add(row.look.sample()).add(row.look.badge()).add(element("span").text(row.full_name()))
    }))
}

fn percentiles(group: &Group, timed: &[Timed]) -> Option<Element> {
    let times = timed.iter().flat_map(|timed| timed.named()).map(|(_, nanos)| nanos);
    let scale = Logarithmic::around(times, DECADES)?;
    let first = rank(0.5);
    let across = |rank: f64| (rank - first) / (SLOWEST - first);
    let down = |nanos| HEIGHT * (1.0 - scale.share(nanos));
    let place = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        points.into_iter().map(|(rank, nanos)| (across(rank), down(nanos))).collect()
    };

    let ranks = [("50 %", first), ("90 %", 1.0), ("99 %", 2.0), ("99.9 %", 3.0), ("max", SLOWEST)];
    let times = scale.ticks(DOWN).into_iter().map(|tick| (down(tick), scale::tick_time(tick)));
    let ground = ground(ranks.map(|(name, rank)| (across(rank), name.to_owned())), times);
    let curves = timed.iter().map(|timed| curve(timed.look(), &place(timed.tail())));
    let marks = timed.iter().flat_map(|timed| {
        let marks = place(timed.named()).into_iter();
        marks.map(|at| circle(at, if timed.row.own() { 3.5 } else { 2.5 }).class(timed.look().class("point")))
    });
    let ends: Vec<f64> = timed.iter().map(|timed| down(timed.percentiles.max as f64)).collect();
    let keys = timed.iter().zip(spread(&ends, GAP)).zip(&ends).map(|((timed, at), &end)| {
        // A curve's key may have made room for others: this leads there.
        let lead = line((1.0, end), (1.0, at)).class(timed.look().class("lead"));
        let key = label((1.0, at), 9.0, &timed.look().key).with("dy", "0.35em").class(timed.look().class("letter"));
        element("g").add(lead).add(key)
    });
    let picture = picture(group, "percentiles").add(ground).add(drawn(curves)).add_all(marks).add_all(keys);
    let caption = "of single operations: so many took no longer than that; the slowest stands apart. Percentiles of too \
                   few are left out.";
    Some(framed("Percentiles ", caption, picture))
}

fn distribution(group: &Group, timed: &[Timed]) -> Option<Element> {
    let lines: Vec<(&Look, Vec<(f64, f64)>)> =
        timed.iter().map(|timed| (timed.look(), timed.distribution())).filter(|(_, points)| points.len() > 1).collect();
    let scale = Logarithmic::around(lines.iter().flat_map(|(_, points)| points).map(|point| point.0), DECADES)?;
    let down = |share: f64| HEIGHT * (1.0 - share);
    let place = |(nanos, share): (f64, f64)| (scale.share(nanos), down(share));

    let shares = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (down(share), format!("{} %", share * 100.0)));
    let times = scale.ticks(ACROSS).into_iter().map(|tick| (scale.share(tick), scale::tick_time(tick)));
    let curves = lines.iter().map(|(look, points)| curve(look, &points.iter().copied().map(place).collect::<Vec<_>>()));
    let mut keyed: Vec<_> = lines.iter().collect();
    let median = |points: &[(f64, f64)]| reached(points, 0.5).0;
    keyed.sort_by(|(_, one), (_, other)| median(one).total_cmp(&median(other)));
    let keys = keyed.iter().zip(LEVELS.iter().cycle()).map(|((look, points), &level)| {
        let at = place(reached(points, level));
        label(at, 0.0, &look.key).with("dy", "0.35em").with("text-anchor", "middle").class(look.class("letter"))
    });
    let picture = picture(group, "the distribution").add(ground(times, shares)).add(drawn(curves)).add_all(keys);
    let caption = format!("of single operations: which share took how long at most, up to {} %.", MOST * 100.0);
    Some(framed("Distribution ", &caption, picture))
}

fn framed(title: &str, caption: &str, picture: Element) -> Element {
    element("figure")
        .class("plane")
        .add(element("figcaption").add(element("b").text(title)).text(caption))
        .add(element("div").class("room").add(picture))
}

fn picture(group: &Group, what: &str) -> Element {
    let name = format!("{}: {what} of single operations; the numbers are in the table below", group.full_name());
    element("svg").class("plot").with("height", HEIGHT).with("role", "img").with("aria-label", name)
}

/// The grid, with labels below and at the left.
fn ground(across: impl IntoIterator<Item = (f64, String)>, down: impl IntoIterator<Item = (f64, String)>) -> Element {
    let columns = across.into_iter().map(|(x, text)| {
        let label = label((x, HEIGHT + 18.0), 0.0, text).with("text-anchor", "middle");
        element("g").add(line((x, 0.0), (x, HEIGHT)).class("grid")).add(label)
    });
    let columns: Markup = columns.collect();
    let rows = down.into_iter().map(|(y, text)| {
        let label = label((0.0, y), -8.0, text).with("dy", "0.35em").with("text-anchor", "end");
        element("g").add(line((0.0, y), (1.0, y)).class("grid")).add(label)
    });
    element("g").add(columns).add_all(rows)
}

/// A plane that stretches across, while the width of lines does not.
fn drawn(curves: impl Iterator<Item = Element>) -> Element {
    element("svg")
        .with("width", "100%")
        .with("height", HEIGHT)
        .with("viewBox", format_args!("0 0 {WIDTH} {HEIGHT}"))
        .with("preserveAspectRatio", "none")
        .with("overflow", "visible")
        .add_all(curves)
}

fn curve(look: &Look, points: &[(f64, f64)]) -> Element {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", pixels(x * WIDTH), pixels(*y))).collect();
    element("polyline").class(look.class("curve")).with("points", points.join(" "))
}

/// The point at which a distribution reaches a share; its first or last one, if it does not.
fn reached(points: &[(f64, f64)], share: f64) -> (f64, f64) {
    let last = points.len() - 1;
    let after = points.iter().position(|point| point.1 >= share).unwrap_or(last);
    let (low, high) = (points[after.saturating_sub(1)], points[after]);
    if high.1 <= low.1 || high.1 < share {
        return high;
    }
    // Straight on the page, whose times are logarithmic.
    (low.0 * (high.0 / low.0).powf((share - low.1) / (high.1 - low.1)), share)
}

/// Places near the wanted ones, in the same order, no two nearer than `gap`, none below the picture if all fit in it.
fn spread(wanted: &[f64], gap: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&one, &other| wanted[one].total_cmp(&wanted[other]));
    let mut places = wanted.to_vec();
    let mut free = f64::NEG_INFINITY;
    for &index in &order {
        places[index] = places[index].max(free);
        free = places[index] + gap;
    }
    let mut free = HEIGHT;
    for &index in order.iter().rev() {
        places[index] = places[index].min(free);
        free = places[index] - gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_room_for_each_other() {
        assert_eq!(spread(&[100.0, 40.0, 98.0], 15.0), [113.0, 40.0, 98.0]);
        assert_eq!(spread(&[HEIGHT, HEIGHT], 15.0), [HEIGHT - 15.0, HEIGHT]);
        assert!(spread(&[], 15.0).is_empty());
    }

    #[test]
    fn a_distribution_reaches_a_share_between_its_points() {
        let points = [(100.0, 0.0), (1000.0, 0.5), (1000.0, 0.9)];
        assert_eq!(reached(&points, 0.0), (100.0, 0.0));
        assert!((reached(&points, 0.25).0 - 100.0 * 10f64.sqrt()).abs() < 1e-9);
        assert_eq!([0.5, 0.7].map(|share| reached(&points, share)), [(1000.0, 0.5), (1000.0, 0.7)]);
        assert_eq!(reached(&points, 1.0), (1000.0, 0.9));
    }
}
