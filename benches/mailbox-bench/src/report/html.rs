//! A page for people: one file, no script, pictures as SVG that stretches with the page while its texts keep their
//! size.
//!
//! ```text
//!   page ──> overview, then group by group ──> bars or spans, curves, numbers
//!                                                │
//!                            row (a name, what is drawn, numbers), scale (logarithms), look (who is drawn how)
//!                                                │
//!                                             markup (elements; escapes everything)
//! ```

mod bars;
mod curves;
mod group;
mod look;
mod markup;
mod numbers;
mod overview;
mod row;
mod scale;
mod spans;
#[cfg(test)]
mod tests;

use crate::report::Report;

use group::Group;
use markup::{Element, Markup, element, prose};

const STYLE: &str = include_str!("html/style.css");
const TITLE: &str = "What a mailbox costs";

/// The whole report as a page that needs nothing else.
pub fn page(report: &Report) -> String {
    let groups = group::groups(&report.figures);
    let head = element("head")
        .add(element("meta").with("charset", "utf-8"))
        .add(element("meta").with("name", "viewport").with("content", "width=device-width, initial-scale=1"))
        .add(element("meta").with("name", "color-scheme").with("content", "light dark"))
        .add(element("title").text(format_args!("{TITLE} · {}", report.environment.commit)))
        .add(element("style").add(Markup::trusted(STYLE)));
    let main = element("main")
        .add(heading(report))
        .add(warnings(&report.warnings))
        .add(explanation())
        .add(overview::overview(&report.figures, &groups))
        .add_all(groups.chunk_by(|one, next| one.workload == next.workload).map(workload))
        .add(groups.is_empty().then(|| element("p").class("nothing").text("Nothing was measured.")));
    let page = element("html").with("lang", "en").add(head).add(element("body").add(main));
    [Markup::trusted("<!doctype html>\n"), page.into()].into_iter().collect::<Markup>().into_string()
}

fn heading(report: &Report) -> Element {
    let environment = &report.environment;
    let used = environment.used.iter().map(usize::to_string).collect::<Vec<_>>().join(" and ");
    let facts = [
        ("Date", environment.date.clone()),
        ("Kernel", format!("Linux {}", environment.kernel)),
        ("CPU", environment.cpu.clone()),
        ("Processors used", format!("{} of {}", if used.is_empty() { "none" } else { &used }, environment.cpus)),
        ("Clock", environment.clock.clone()),
        ("Compiler", environment.compiler.clone()),
        ("Commit", environment.commit.clone()),
        ("Build", environment.profile.to_owned()),
    ];
    let facts = facts.iter().filter(|(_, fact)| !fact.is_empty()).map(|(name, fact)| defined(name, fact));
    let lead = "A mailbox beside its peers, and all of them beside what this machine can do at best.";
    element("header")
        .add(element("h1").text(TITLE))
        .add(element("p").class("lead").text(lead))
        .add(element("dl").class("facts").add_all(facts))
}

fn warnings(warnings: &[String]) -> Option<Element> {
    let heading = match warnings.len() {
        0 => return None,
        1 => "A reason to doubt these figures",
        _ => "Reasons to doubt these figures",
    };
    let list = element("ul").add_all(warnings.iter().map(|warning| element("li").add(prose(warning))));
    Some(element("section").class("warnings").add(element("h2").text(heading)).add(list))
}

/// What the words of the page mean.
fn explanation() -> Element {
    let words = [
        (
            "Floor",
            "What a contender is held against, measured in turns with it: the least that this machine needs for such a \
             thing, or what is named instead. It is the red line at 1 in the bars: the limit.",
        ),
        (
            "Ratio",
            "A contender's time divided by the floor's of the same turn; shown is the median of all turns. At 2 it \
             takes twice as long as the limit. On a shared machine times change from one second to the next, ratios \
             hardly.",
        ),
        (
            "Middle half",
            "From the lower to the upper quartile: half of all turns gave a ratio in there. It is the bar's whisker.",
        ),
        (
            "Dropped turns",
            "Those during which the floor moved. They compare nothing, so they are left out, and counted.",
        ),
        (
            "Single operations",
            "Timed one by one, apart from the turns and with a look at the clock before and after each: here are the \
             slow ones that a median hides.",
        ),
    ];
    let words = words.map(|(word, meaning)| defined(word, meaning));
    element("section").class("words").add(element("h2").text("How to read this")).add(element("dl").add_all(words))
}

/// A name and what belongs to it, in a list of such.
fn defined(name: &str, meaning: &str) -> Element {
    element("div").add(element("dt").text(name)).add(element("dd").text(meaning))
}

/// All groups of one workload.
fn workload(groups: &[Group]) -> Element {
    element("section").class("workload").add(element("h2").text(groups[0].workload)).add_all(groups.iter().map(section))
}

fn section(group: &Group) -> Element {
    let rows = if group.compared() { Some(bars::bars(group)) } else { spans::spans(group) };
    element("section")
        .with("id", group.anchor())
        .class("group")
        .add(element("h3").add(prose(&group.title)))
        .add(element("p").class("what").add(prose(&group.explanation())))
        .add(rows)
        .add(curves::curves(group))
        .add(numbers::table(group))
}
