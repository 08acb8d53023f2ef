//! Logarithmic scales and the numbers along them.

/// Digits at which a scale may be marked, densest first.
const MARKS: [&[f64]; 4] =
    [&[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0]];

/// A logarithmic scale, from 0 at its least value to 1 at its greatest.
#[derive(Clone, Copy, Debug)]
pub struct Logarithmic {
    /// Decimal logarithms.
    low: f64,
    high: f64,
}

impl Logarithmic {
    /// Around all of these values with some air, and at least so many decades long. `None` of no values; those that
    /// have no logarithm do not count.
    pub fn around(values: impl IntoIterator<Item = f64>, decades: f64) -> Option<Self> {
        let logarithms = values.into_iter().filter(|&value| drawable(value)).map(f64::log10);
        let (low, high) = logarithms.fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })?;
        let air = (0.06 * (high - low)).max((decades - (high - low)) / 2.0);
        Some(Self { low: low - air, high: high + air })
    }

    /// Where a value lies; values beyond an end lie there.
    pub fn share(&self, value: f64) -> f64 {
        ((value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Round values along the scale, no more than `most` if that can be.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        let ticks = MARKS.iter().map(|digits| self.marks(digits));
        let ticks = ticks.reduce(|dense, sparse| if dense.len() <= most { dense } else { sparse }).unwrap_or_default();
        let step = ticks.len().div_ceil(most.max(1)).max(1);
        ticks.into_iter().step_by(step).collect()
    }

    fn marks(&self, digits: &[f64]) -> Vec<f64> {
        let decades = self.low.floor() as i32..=self.high.floor() as i32;
        let marks = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
        marks.filter(|mark| (self.low..=self.high).contains(&mark.log10())).collect()
    }
}

/// Whether a value has a place on a logarithmic scale.
pub fn drawable(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// `0.73`, `4.9`, `46`: three digits at most before nobody needs them.
pub fn ratio(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => thousands(value.round() as u64),
    }
}

/// A time with its unit, of three digits.
pub fn time(nanos: f64) -> String {
    let (value, unit) = in_unit(nanos);
    let digits = match value {
        // Nobody measures a hundredth of a nanosecond.
        value if value < 10.0 && unit != "ns" => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}\u{a0}{unit}")
}

/// A round time at a tick: `500 ns`, `1 µs`.
pub fn tick_time(nanos: f64) -> String {
    let (value, unit) = in_unit(nanos);
    format!("{}\u{a0}{unit}", tick(value))
}

fn in_unit(nanos: f64) -> (f64, &'static str) {
    // What would be rounded to 1000 belongs to the next unit.
    match nanos {
        nanos if nanos < 999.5 => (nanos, "ns"),
        nanos if nanos < 999.5e3 => (nanos / 1e3, "µs"),
        nanos if nanos < 999.5e6 => (nanos / 1e6, "ms"),
        nanos => (nanos / 1e9, "s"),
    }
}

/// A round value at a tick: no digits but those it needs.
pub fn tick(value: f64) -> String {
    if value >= 1e4 {
        return thousands(value.round() as u64);
    }
    // Binary fractions: 0.7 is 7 * 0.1, and not quite.
    format!("{}", (value * 1e6).round() / 1e6)
}

/// A count in groups of three digits.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_its_values_and_ignores_what_has_no_logarithm() {
        let scale = Logarithmic::around([1.0, 100.0, f64::NAN, 0.0, -1.0, f64::INFINITY], 0.5).unwrap();
        assert!(scale.share(1.0) > 0.0 && scale.share(100.0) < 1.0);
        assert!((scale.share(10.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.share(0.0), scale.share(1e9)), (0.0, 1.0));
        assert!(Logarithmic::around([f64::NAN], 0.5).is_none());
    }

    #[test]
    fn ticks_are_round_and_few() {
        for values in [[1.0, 1.0], [0.7, 1.2], [1.0, 46.0], [1e-3, 1e9], [380.0, 190_000.0]] {
            let ticks = Logarithmic::around(values, 0.5).unwrap().ticks(7);
            assert!((2..=7).contains(&ticks.len()), "{values:?}: {ticks:?}");
        }
        let ticks = Logarithmic::around([1.0, 1.0], 0.5).unwrap().ticks(5);
        assert_eq!(ticks.into_iter().map(tick).collect::<Vec<_>>(), ["0.6", "0.8", "1", "1.2", "1.5"]);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0.731, 4.9, 45.94, 1234.5].map(ratio), ["0.73", "4.90", "45.9", "1\u{202f}235"].map(String::from));
        assert_eq!(
            [0.42, 306.4, 1306.0, 12_018.0, 999_700.0, 2e10].map(time),
            ["0.4\u{a0}ns", "306\u{a0}ns", "1.31\u{a0}µs", "12.0\u{a0}µs", "1.00\u{a0}ms", "20.0\u{a0}s"]
                .map(String::from)
        );
        assert_eq!(
            [0.5, 500.0, 1000.0, 2e6].map(tick_time),
            ["0.5\u{a0}ns", "500\u{a0}ns", "1\u{a0}µs", "2\u{a0}ms"].map(String::from)
        );
        assert_eq!([0.7, 1000.0, 1e4].map(tick), ["0.7", "1000", "10\u{202f}000"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
