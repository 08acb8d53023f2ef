//! Everything at a glance: where the mailbox is in each case, and where the others are.

use crate::report::Figure;

use super::bars::Axis;
use super::group::{Group, cases, is_own, ratio};
use super::markup::{Element, Markup, circle, element, prose};
use super::scale;

/// A row for each case that has a ratio; nothing if there are too few to need it.
pub fn overview(figures: &[Figure], groups: &[Group]) -> Option<Element> {
    let compared: Vec<&Figure> = figures.iter().filter(|figure| ratio(figure).is_some()).collect();
    let cases = cases(&compared);
    if cases.len() < 2 {
        return None;
    }
    let axis = Axis::around(compared.iter().filter_map(|figure| ratio(figure)));
    let rows = cases.iter().map(|case| {
        let others = cases.iter().filter(|other| name(other) == name(case)).count() > 1;
        row(case, others, groups, &axis)
    });
    let legend = element("figcaption")
        .add(element("span").class("mark own"))
        .text("the mailbox, with its ratio at the right")
        .add(element("span").class("mark"))
        .text("everyone else. Each row has a limit of its own, named below.");
    let chart = element("figure").class("rows").add(legend).add(axis.head()).add(element("ul").add_all(rows));
    let heading = element("h2").text("At a glance");
    Some(element("section").class("overview").add(heading).add(chart.add(axis.foot())))
}

fn name(case: &[&Figure]) -> String {
    let parts = [case[0].workload, &case[0].case];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// `ambiguous`: another case is called the same, and has another floor.
fn row(case: &[&Figure], ambiguous: bool, groups: &[Group], axis: &Axis) -> Element {
    let holds = |group: &&Group| group.rows.iter().any(|row| std::ptr::eq(row.figure, case[0]));
    let group = groups.iter().find(holds).expect("every figure is in a group");
    let name = if ambiguous { format!("{} ({})", name(case), case[0].who) } else { name(case) };
    let link = element("a").with("href", format_args!("#{}", group.anchor())).add(prose(&name));
    let own = case.iter().filter(|figure| is_own(&figure.who)).filter_map(|figure| ratio(figure));
    let own = own.map(|ratio| format!("{}×", scale::ratio(ratio))).collect::<Vec<_>>().join(", ");
    let own = if own.is_empty() { "–".to_owned() } else { own };
    element("li")
        .class("row")
        .add(element("span").class("name").add(link))
        .add(dots(case, axis))
        .add(element("span").class("numbers").add(element("b").text(own)))
}

fn dots(case: &[&Figure], axis: &Axis) -> Element {
    // The mailbox last, so that nothing lies on it.
    let (own, others): (Vec<&Figure>, Vec<&Figure>) = case.iter().partition(|figure| is_own(&figure.who));
    let dots = others.into_iter().chain(own).filter_map(|figure| {
        let ratio = ratio(figure)?;
        let (class, radius) = if is_own(&figure.who) { ("dot own", 6.5) } else { ("dot", 5.0) };
        let title = element("title").text(format_args!("{}: {}×", figure.who, scale::ratio(ratio)));
        Some(circle((axis.at(ratio), 0.0), radius).class(class).add(title))
    });
    axis.picture(dots.collect::<Markup>())
}
