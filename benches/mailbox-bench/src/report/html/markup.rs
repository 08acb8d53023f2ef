//! Markup that cannot come out broken: every element is closed, every text and value escaped.

use std::fmt::{Display, Write};

/// Elements without content or an end.
const VOID: &[&str] = &["meta"];
/// Elements after which the source goes on in the same line.
const INLINE: &[&str] = &["a", "b", "span", "td", "th", "text", "title", "code"];

/// Complete markup. There is no way to make it of a string that comes from elsewhere, except as text.
#[derive(Clone, Debug, Default)]
pub struct Markup(String);

impl Markup {
    /// What is ours and needs no escape: a style sheet, the document's type.
    pub fn trusted(source: &'static str) -> Self {
        Self(source.to_owned())
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl<M: Into<Markup>> FromIterator<M> for Markup {
    fn from_iter<I: IntoIterator<Item = M>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.into().0).collect())
    }
}

impl From<Option<Element>> for Markup {
    fn from(element: Option<Element>) -> Self {
        element.map(Self::from).unwrap_or_default()
    }
}

impl From<Element> for Markup {
    fn from(Element { name, attributes, content }: Element) -> Self {
        let line = if INLINE.contains(&name) { "" } else { "\n" };
        if VOID.contains(&name) {
            return Self(format!("<{name}{attributes}>{line}"));
        }
        Self(format!("<{name}{attributes}>{content}</{name}>{line}"))
    }
}

/// An element in the making.
#[derive(Clone, Debug)]
pub struct Element {
    name: &'static str,
    attributes: String,
    content: String,
}

/// `<name></name>`, of HTML or SVG.
pub fn element(name: &'static str) -> Element {
    Element { name, attributes: String::new(), content: String::new() }
}

impl Element {
    pub fn with(mut self, attribute: &str, value: impl Display) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.attributes, " {attribute}=\"{}\"", escape(&value.to_string()));
        self
    }

    pub fn class(self, value: impl Display) -> Self {
        self.with("class", value)
    }

    pub fn text(mut self, text: impl Display) -> Self {
        self.content += &escape(&text.to_string());
        self
    }

    pub fn add(mut self, content: impl Into<Markup>) -> Self {
        self.content += &content.into().0;
        self
    }

    pub fn add_all<M: Into<Markup>>(self, contents: impl IntoIterator<Item = M>) -> Self {
        self.add(contents.into_iter().collect::<Markup>())
    }
}

/// A text in which what stands between backticks is code.
pub fn prose(text: &str) -> Markup {
    if !text.matches('`').count().is_multiple_of(2) {
        return element("span").text(text).into();
    }
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| element(if index % 2 == 1 { "code" } else { "span" }).text(part)).collect()
}

/// A text as it stands between tags or quotes. What no document may hold becomes U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            control if control.is_control() && !"\n\t".contains(control) => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A share of the width, as SVG takes it: pictures stretch with the page, and their texts do not.
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// `<line>` from one place to another; across by share of the width, down in pixels.
pub fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Element {
    element("line").with("x1", percent(x1)).with("y1", pixels(y1)).with("x2", percent(x2)).with("y2", pixels(y2))
}

/// `<circle>` around a place.
pub fn circle((x, y): (f64, f64), radius: f64) -> Element {
    element("circle").with("cx", percent(x)).with("cy", pixels(y)).with("r", radius)
}

/// `<text>` at a place, moved aside by some pixels.
pub fn label((x, y): (f64, f64), aside: f64, text: impl Display) -> Element {
    element("text").with("x", percent(x)).with("y", pixels(y)).with("dx", aside).text(text)
}

/// Pixels, without digits that nobody sees.
pub fn pixels(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
