//! Who is drawn how. No two lines of a picture are told apart by colour alone: they have dashes, too, and keys.

use super::group::{By, Group, distinct, is_own};
use super::markup::{Element, element, line};

/// As many as `style.css` knows, the mailbox's own colour aside.
const COLOURS: usize = 8;
const DASHES: usize = 5;

/// What marks one row of a group.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// A letter or two, where there is no room for the name.
    pub key: String,
    /// Classes of the style sheet that set colour and dashes.
    class: String,
}

impl Look {
    /// This class, of things drawn in this manner.
    pub fn class(&self, what: &str) -> String {
        format!("{what} {}", self.class)
    }

    /// The key in its box.
    pub fn badge(&self) -> Element {
        element("span").class(self.class("key")).text(&self.key)
    }

    /// A piece of the line.
    pub fn sample(&self) -> Element {
        let stroke = line((0.0, 6.0), (1.0, 6.0)).class(self.class("curve"));
        element("svg").class("sample").with("aria-hidden", "true").add(stroke)
    }
}

/// Gives every row its look.
pub fn assign(groups: &mut [Group]) {
    // The same contender looks the same all over the page.
    let contenders = groups.iter().filter(|group| group.by == By::Contender);
    let contenders = distinct(contenders.flat_map(|group| group.rows.iter().map(|row| row.figure.who.as_str())));
    let (own, others): (Vec<&str>, Vec<&str>) = contenders.iter().partition(|who| is_own(who));
    for group in groups {
        match group.by {
            By::Contender => {
                for row in &mut group.rows {
                    let who = row.figure.who.as_str();
                    row.look.key = key(place(&contenders, who));
                    row.look.class = match is_own(who) {
                        true => format!("own dash-{}", place(&own, who) % DASHES),
                        false => of_another(place(&others, who)),
                    };
                }
            }
            By::Case => of_cases(group),
        }
    }
}

/// Not without dashes: that is the mailbox.
fn of_another(index: usize) -> String {
    format!("colour-{} dash-{}", index % COLOURS, 1 + index % (DASHES - 1))
}

/// A colour for each case, the mailbox without dashes.
fn of_cases(group: &mut Group) {
    let cases = distinct(group.rows.iter().map(|row| row.figure.case.as_str()));
    let mut who = distinct(group.rows.iter().map(|row| row.figure.who.as_str()));
    who.sort_by_key(|who| !is_own(who));
    for (index, row) in group.rows.iter_mut().enumerate() {
        let (case, who) = (place(&cases, row.figure.case.as_str()), place(&who, row.figure.who.as_str()));
        row.look.key = key(index);
        row.look.class = format!("colour-{} dash-{}", case % COLOURS, who % DASHES);
    }
}

fn place(names: &[&str], name: &str) -> usize {
    names.iter().position(|other| *other == name).expect("it is one of them")
}

/// `a` to `z`, then `aa` and so on.
fn key(mut index: usize) -> String {
    let mut key = String::new();
    loop {
        key.insert(0, char::from(b'a' + (index % 26) as u8));
        if index < 26 {
            return key;
        }
        index = index / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!([0, 25, 26, 51, 52, 701, 702].map(key), ["a", "z", "aa", "az", "ba", "zz", "aaa"]);
    }
}
