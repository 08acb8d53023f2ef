//! The page as a whole: whatever a report holds, what comes out is a page.

use hdrhistogram::Histogram;

use crate::block::Series;
use crate::environment::Environment;
use crate::report::{Figure, Percentiles, Report};

use super::page;

const NASTY: &str = "<script>alert(\"1\")</script> & 'co'\u{0}";

fn report(figures: Vec<Figure>) -> Report {
    let environment = Environment {
        date: "2026-01-02T03:04:05Z".into(),
        kernel: "6.1".into(),
        cpu: "a <fast> one".into(),
        cpus: 2,
        used: vec![0, 1],
        clock: "tsc".into(),
        compiler: "rustc".into(),
        commit: "abc".into(),
        profile: "release",
    };
    Report { schema: 1, environment, warnings: Vec::new(), figures }
}

fn figure(who: &str, case: &str) -> Figure {
    let mut histogram = Histogram::new(3).unwrap();
    (0..20_000u64).for_each(|nth| histogram.record(300 + nth % 500 + if nth % 700 == 0 { 60_000 } else { 0 }).unwrap());
    let mut figure = Figure::new("latency", who, case, ("one hop", "a hop of a bare flag"), &Series::default());
    (figure.ratio, figure.quartiles, figure.nanos) = (Some(1.2), Some((1.1, 1.3)), Some(60.0));
    (figure.turns, figure.dropped) = (100, 1);
    figure.percentiles = Some(Percentiles::from(&histogram));
    figure
}

fn without_values(who: &str, case: &str) -> Figure {
    let missing = Figure { ratio: None, quartiles: None, nanos: None, turns: 0, dropped: 7, ..figure(who, case) };
    Figure { percentiles: None, ..missing }
}

/// Whether every element is closed in its turn, and every attribute and text in its bounds.
fn balanced(page: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").ok_or("no type")?;
    while let Some((text, from)) = rest.split_once('<') {
        if text.contains('>') && open.last() != Some(&"style") {
            return Err(format!("a stray > in {text:?}"));
        }
        let (tag, after) = from.split_once('>').ok_or("an open tag")?;
        rest = after;
        if tag.matches('"').count() % 2 != 0 {
            return Err(format!("an open quote in {tag:?}"));
        }
        let name = tag.split_whitespace().next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) if open.pop() == Some(name) => (),
            Some(name) => return Err(format!("{name:?} is closed and was not open last")),
            None if name == "meta" => (),
            None => open.push(name),
        }
    }
    if open.is_empty() && rest.trim().is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

#[test]
fn tags_are_balanced() {
    let contenders = ["mailbox", "pipe", "file"].map(|who| figure(who, "32 bytes"));
    let figures = contenders.into_iter().chain([figure("mailbox", "4096 bytes")]).collect();
    let page = page(&report(figures));
    balanced(&page).unwrap();
    assert_eq!(page.matches("<section id=").count(), 2, "a section for each group");
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 4, "percentiles and distribution of both");
    assert!(balanced("<!doctype html><p><b></p></b>").is_err() && balanced("<!doctype html><p>").is_err());
}

#[test]
fn everything_is_escaped() {
    let mut report = report(vec![figure(NASTY, NASTY), without_values(NASTY, "another"), figure("mailbox", NASTY)]);
    report.warnings = vec![NASTY.into()];
    let environment = &mut report.environment;
    for text in [
        &mut environment.kernel,
        &mut environment.cpu,
        &mut environment.clock,
        &mut environment.compiler,
        &mut environment.commit,
    ] {
        *text = NASTY.into();
    }
    let page = page(&report);
    balanced(&page).unwrap();
    assert!(!page.contains("<script") && !page.contains("'co'") && !page.contains('\0'));
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;co&#39;\u{fffd}"));
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let page = page(&report(vec![figure("mailbox", "32 bytes")]));
    for foreign in ["<script", "<link", "src=", "url(", "@import", "http:", "https:"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn without_figures_it_says_so() {
    let page = page(&report(Vec::new()));
    balanced(&page).unwrap();
    assert!(page.contains("Nothing was measured."));
}

#[test]
fn missing_values_are_left_out() {
    let mut empty = figure("empty", "32 bytes");
    empty.percentiles = Some(Percentiles::from(&Histogram::new(3).unwrap()));
    let mut odd = figure("odd", "");
    (odd.ratio, odd.quartiles, odd.nanos) = (Some(f64::NAN), Some((0.0, f64::INFINITY)), Some(f64::INFINITY));
    let mut plain = figure("plain", "without a curve");
    plain.percentiles.as_mut().unwrap().curve.clear();
    let mut report = report(vec![without_values("mailbox", "32 bytes"), empty, odd, plain]);
    report.environment.used.clear();
    report.environment.compiler.clear();
    let page = page(&report);
    balanced(&page).unwrap();
    assert!(page.contains("7 of 7 turns dropped"));
    for value in ["x=\"NaN", "x=\"inf", "points=\"\"", "NaN%", "inf%"] {
        assert!(!page.contains(value), "{value}");
    }
}

#[test]
fn figures_that_were_hardly_measured_are_marked() {
    let marked =
        |turns, dropped| page(&report(vec![Figure { turns, dropped, ..figure("pipe", "") }])).contains("doubt\"");
    assert!(marked(3, 9) && marked(0, 0));
    assert!(!marked(100, 1));
}

#[test]
fn the_mailbox_stands_out_and_the_fastest_comes_first() {
    let page = page(&report(vec![
        Figure { ratio: Some(9.0), ..figure("pipe", "32 bytes") },
        figure("mailbox", "32 bytes"),
        without_values("file", "32 bytes"),
    ]));
    assert_eq!(page.matches("<li class=\"row own chosen\">").count(), 1);
    let at = |who: &str| page.find(&format!("<span>{who}</span>")).unwrap();
    assert!(at("mailbox") < at("pipe") && at("pipe") < at("file"));
}

#[test]
fn what_was_counted_is_drawn_though_it_be_none() {
    let retries = |counts: &[u64]| {
        let mut histogram = Histogram::new(3).unwrap();
        counts.iter().for_each(|&count| histogram.record(count).unwrap());
        Percentiles::from(&histogram)
    };
    let counted =
        |case, counts| Figure::singles("starve", "mailbox", case, ("retries of one read", "retries"), retries(counts));
    let figures = vec![counted("1 bank", &[0, 0, 1, 40]), counted("4 banks", &[0, 0]), counted("8 banks", &[])];
    let page = page(&report(figures));
    balanced(&page).unwrap();
    assert_eq!(page.matches("<g class=\"span\">").count(), 2);
    assert!(page.contains("mailbox: retries of one read"));
    assert!(!page.contains("class=\"plot\"") && !page.contains("the limit</text>"));
}

#[test]
fn what_was_skipped_is_named_with_its_reason() {
    let skipped = |who, why: &str| Figure::skipped("latency", who, "32 bytes", why.into());
    let beside = [figure("mailbox", "32 bytes"), skipped("a queue", "there is `none`"), skipped("a bus", NASTY)];
    for figures in [beside.to_vec(), beside[1..].to_vec()] {
        let page = page(&report(figures));
        balanced(&page).unwrap();
        assert!(page.contains("<code>none</code>") && page.contains("a queue") && page.contains("&lt;script&gt;"));
    }
}
