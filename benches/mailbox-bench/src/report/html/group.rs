//! Which figures stand side by side.

use crate::report::{Figure, Percentiles};

use super::look::{self, Look};
use super::scale::drawable;

/// A workload with more contenders than this in one case has a group for each case.
const FEW: usize = 2;

/// Figures that are drawn together: the same operation, and the same floor if there is one.
pub struct Group<'a> {
    pub workload: &'a str,
    pub title: String,
    pub operation: &'a str,
    pub floor: &'a str,
    pub by: By,
    pub rows: Vec<Row<'a>>,
    index: usize,
}

/// What tells the figures of a group apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who: many contenders in the same case.
    Contender,
    /// The case: the same few contenders in each.
    Case,
}

pub struct Row<'a> {
    pub figure: &'a Figure,
    /// What it is called in its group, and what is added where that is not enough: rows of the same name are together.
    pub name: &'a str,
    pub detail: Option<&'a str>,
    pub look: Look,
}

impl Row<'_> {
    /// No two rows of a group share it.
    pub fn full_name(&self) -> String {
        [self.name].into_iter().chain(self.detail).collect::<Vec<_>>().join(": ")
    }

    /// Whether this is the mailbox itself.
    pub fn own(&self) -> bool {
        is_own(&self.figure.who)
    }
}

impl Group<'_> {
    /// Where in the page it is.
    pub fn anchor(&self) -> String {
        format!("group-{}", self.index + 1)
    }

    /// Whether anything was compared with a floor.
    pub fn compared(&self) -> bool {
        self.rows.iter().any(|row| compared(row.figure))
    }

    /// Whether single operations were timed, and not only something counted: there are curves then, and keys to them.
    pub fn keyed(&self) -> bool {
        self.rows.iter().any(|row| timed(row.figure).is_some())
    }

    pub fn full_name(&self) -> String {
        format!("{}, {}", self.workload, self.title)
    }

    /// What the title does not say.
    pub fn explanation(&self) -> String {
        let operation = match (self.by, self.operation) {
            (By::Case, _) | (_, "") => String::new(),
            (By::Contender, operation) => format!("Measured: {operation}. "),
        };
        let limit = if self.floor.is_empty() { String::new() } else { format!("The limit: {}.", self.floor) };
        operation + &limit
    }
}

/// The groups, workload by workload in the order in which they come.
pub fn groups(figures: &[Figure]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    for workload in distinct(figures.iter().map(|figure| figure.workload)) {
        groups.extend(of_workload(figures.iter().filter(|figure| figure.workload == workload).collect()));
    }
    for (index, group) in groups.iter_mut().enumerate() {
        group.index = index;
    }
    look::assign(&mut groups);
    groups
}

/// Figures of one case against one floor, which can be compared with each other.
pub fn cases<'a>(figures: &[&'a Figure]) -> Vec<Vec<&'a Figure>> {
    joined(figures, |figures, figure| {
        let key = |figure: &'a Figure| (figure.workload, &figure.case, figure.operation, figure.floor);
        key(figures[0]) == key(figure)
    })
}

fn of_workload(mut figures: Vec<&Figure>) -> Vec<Group<'_>> {
    // The first of a group says what it is about.
    figures.sort_by_key(|figure| (figure.skipped.is_some(), figure.floor.is_empty()));
    let measured: Vec<&Figure> = figures.iter().copied().filter(|figure| figure.skipped.is_none()).collect();
    let cases = cases(&measured);
    let about = |figures: &[&Figure], figure: &Figure| {
        let Figure { operation, floor, unit, .. } = *figures[0];
        (figure.operation, figure.unit) == (operation, unit) && (figure.floor.is_empty() || figure.floor == floor)
    };
    let case = |figures: &[&Figure], figure: &Figure| figures.iter().any(|other| other.case == figure.case);
    if cases.len() < 2 || cases.iter().any(|figures| figures.len() > FEW) {
        let groups = joined(&figures, |figures, figure| {
            case(figures, figure) && (figure.skipped.is_some() || about(figures, figure))
        });
        return groups.into_iter().map(by_contender).collect();
    }
    let groups = joined(&figures, |figures, figure| match figure.skipped {
        Some(_) => case(figures, figure),
        None => about(figures, figure),
    });
    groups.into_iter().map(by_case).collect()
}

/// Fastest first; then those without a ratio.
fn by_contender(mut figures: Vec<&Figure>) -> Group<'_> {
    let first = figures[0];
    figures.sort_by(|one, other| {
        let key = |figure: &Figure| ratio(figure).unwrap_or(f64::INFINITY);
        key(one).total_cmp(&key(other))
    });
    let title = if first.case.is_empty() { first.operation } else { &first.case };
    let rows = figures.into_iter().map(|figure| row(figure, &figure.who, None)).collect();
    group(first, title.to_owned(), By::Contender, rows)
}

/// Case by case as they come.
fn by_case(figures: Vec<&Figure>) -> Group<'_> {
    let first = figures[0];
    let alone = figures.iter().all(|figure| figure.who == first.who);
    let cases = distinct(figures.iter().map(|figure| figure.case.as_str()));
    let of_case = |case| figures.iter().filter(move |figure| figure.case == case);
    let rows = cases.into_iter().flat_map(of_case).map(|figure| match figure.case.as_str() {
        "" => row(figure, &figure.who, None),
        case => row(figure, case, (!alone).then_some(&figure.who)),
    });
    let title = match (alone, first.operation) {
        (_, "") => "not measured".to_owned(),
        (true, operation) if first.who != operation => format!("{}: {operation}", first.who),
        (_, operation) => operation.to_owned(),
    };
    group(first, title, By::Case, rows.collect())
}

fn row<'a>(figure: &'a Figure, name: &'a str, detail: Option<&'a String>) -> Row<'a> {
    Row { figure, name, detail: detail.map(String::as_str), look: Look::default() }
}

fn group<'a>(first: &'a Figure, title: String, by: By, rows: Vec<Row<'a>>) -> Group<'a> {
    let Figure { workload, operation, floor, .. } = *first;
    Group { workload, title, operation, floor, by, rows, index: 0 }
}

/// Lists of figures, each put into the first that it joins, else into a new one.
fn joined<'a>(figures: &[&'a Figure], joins: impl Fn(&[&'a Figure], &'a Figure) -> bool) -> Vec<Vec<&'a Figure>> {
    let mut lists: Vec<Vec<&Figure>> = Vec::new();
    for &figure in figures {
        match lists.iter_mut().find(|list| joins(list, figure)) {
            Some(list) => list.push(figure),
            None => lists.push(vec![figure]),
        }
    }
    lists
}

/// The values, each once and in the order in which they first come.
pub fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

/// Whether this is the mailbox itself, in whichever manner it is used.
pub fn is_own(who: &str) -> bool {
    who.split(|character: char| !character.is_alphanumeric()).next() == Some("mailbox")
}

/// Whether a figure was meant to be compared with a floor.
pub fn compared(figure: &Figure) -> bool {
    figure.skipped.is_none() && (figure.ratio.is_some() || !figure.floor.is_empty())
}

/// The ratio, if it can be drawn.
pub fn ratio(figure: &Figure) -> Option<f64> {
    figure.ratio.filter(|&ratio| drawable(ratio))
}

/// The middle half, if it can be drawn.
pub fn quartiles(figure: &Figure) -> Option<(f64, f64)> {
    figure.quartiles.filter(|&(low, high)| drawable(low) && drawable(high))
}

/// Single operations, if there were any.
pub fn singles(figure: &Figure) -> Option<&Percentiles> {
    figure.percentiles.as_ref().filter(|percentiles| percentiles.count > 0)
}

/// Single operations, if they were timed.
pub fn timed(figure: &Figure) -> Option<&Percentiles> {
    singles(figure).filter(|_| figure.unit == "ns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Series;

    fn figure(workload: &'static str, who: &str, case: &str, floor: &'static str) -> Figure {
        Figure::new(workload, who, case, ("one of them", floor), &Series::default())
    }

    fn rows(figures: &[Figure]) -> Vec<Vec<String>> {
        groups(figures).iter().map(|group| group.rows.iter().map(Row::full_name).collect()).collect()
    }

    #[test]
    fn the_mailbox_is_known_by_its_first_word() {
        assert!(["mailbox", "mailbox, 4 banks", "mailbox (futex)"].into_iter().all(is_own));
        assert!(!["a mailbox", "mailboxes", ""].into_iter().any(is_own));
    }

    #[test]
    fn many_contenders_stand_side_by_side_in_each_case() {
        let mut figures: Vec<Figure> = ["mailbox", "pipe", "file"].map(|who| figure("it", who, "32", "a flag")).into();
        figures.push(Figure::skipped("it", "queue", "32", "there is none".into()));
        figures.push(figure("it", "mailbox", "64", "a flag"));
        assert_eq!(rows(&figures), [&["mailbox", "pipe", "file", "queue"] as &[_], &["mailbox"]]);
        let groups = groups(&figures);
        assert_eq!((groups[0].title.as_str(), groups[1].anchor().as_str()), ("32", "group-2"));
    }

    #[test]
    fn few_contenders_stand_side_by_side_over_all_cases() {
        let figures = [
            figure("wake", "mailbox, read", "1 ms", "a futex"),
            figure("wake", "a futex", "1 ms", ""),
            figure("wake", "mailbox, doorbell", "1 ms", "a pipe"),
            figure("wake", "mailbox, read", "10 ms", "a futex"),
            figure("wake", "a futex", "10 ms", ""),
            Figure::skipped("wake", "mailbox, doorbell", "10 ms", "why not".into()),
        ];
        let read = [
            "1 ms: mailbox, read",
            "1 ms: a futex",
            "10 ms: mailbox, read",
            "10 ms: a futex",
            "10 ms: mailbox, doorbell",
        ];
        assert_eq!(rows(&figures), [&read as &[_], &["1 ms"]]);
        assert_eq!(groups(&figures)[1].title, "mailbox, doorbell: one of them");
    }
}
