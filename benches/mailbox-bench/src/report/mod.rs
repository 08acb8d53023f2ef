//! What was measured, in a form that a table, JSON and a page are made of.

pub mod html;
pub mod table;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::block::{Series, quantile};
use crate::environment::Environment;

/// One run of the program.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Changes when a field changes its meaning.
    pub schema: u32,
    pub environment: Environment,
    pub warnings: Vec<String>,
    pub figures: Vec<Figure>,
}

/// What the figures themselves give to doubt.
pub fn doubts(figures: &[Figure]) -> Vec<String> {
    const FEW: usize = 10;
    let mut doubts = Vec::new();
    let mut doubt = |what: &str, is_doubtful: fn(&Figure) -> bool| {
        let count = figures.iter().filter(|figure| is_doubtful(figure)).count();
        if count > 0 {
            doubts.push(format!("{count} of {} figures {what}", figures.len()));
        }
    };
    // One turn alone is one by intention.
    doubt("rest on fewer than ten turns; --duration gives them more", |figure| (2..FEW).contains(&figure.turns));
    doubt("had the floor move in half of their turns or more: the machine did not hold still", |figure| {
        figure.dropped > 0 && figure.dropped >= figure.turns
    });
    doubt("had the floor move by more than 2x within a turn, and more than once in ten", |figure| {
        figure.jumps * 10 > figure.turns
    });
    doubts
}

/// One figure: something measured against the floor of its turns.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub workload: &'static str,
    /// Who: a peer, or what is called.
    pub who: String,
    /// Under which circumstances: a size, a number of readers.
    pub case: String,
    /// What one operation is, and what the ratio compares it with.
    pub operation: &'static str,
    pub floor: &'static str,
    /// The median of the turns' ratios, and the middle half of them.
    pub ratio: Option<f64>,
    pub quartiles: Option<(f64, f64)>,
    /// The median of the same turns, in nanoseconds an operation.
    pub nanos: Option<f64>,
    /// Turns that count, and turns in which the floor moved.
    pub turns: usize,
    pub dropped: usize,
    /// Turns of the latter in which it moved by more than a factor of two.
    pub jumps: usize,
    /// Of what the percentiles are: `ns`, or what was counted.
    pub unit: &'static str,
    /// Single operations, where they were measured one by one.
    pub percentiles: Option<Percentiles>,
    /// Why it was not measured.
    pub skipped: Option<String>,
}

impl Figure {
    pub fn new(
        workload: &'static str,
        who: impl Into<String>,
        case: impl Into<String>,
        (operation, floor): (&'static str, &'static str),
        series: &Series,
    ) -> Self {
        let at = |share| quantile(&series.ratios, share);
        Self {
            workload,
            who: who.into(),
            case: case.into(),
            operation,
            floor,
            ratio: at(0.5),
            quartiles: at(0.25).zip(at(0.75)),
            nanos: quantile(&series.nanos, 0.5),
            turns: series.ratios.len(),
            dropped: series.dropped,
            jumps: series.jumps,
            unit: "ns",
            percentiles: None,
            skipped: None,
        }
    }

    /// One of single operations alone, with nothing to compare them with.
    pub fn singles(
        workload: &'static str,
        who: impl Into<String>,
        case: impl Into<String>,
        (operation, unit): (&'static str, &'static str),
        percentiles: Percentiles,
    ) -> Self {
        let percentiles = Some(percentiles);
        Self { unit, percentiles, ..Self::new(workload, who, case, (operation, ""), &Series::default()) }
    }

    /// One that was not measured, and why.
    pub fn skipped(workload: &'static str, who: impl Into<String>, case: impl Into<String>, why: String) -> Self {
        Self { skipped: Some(why), ..Self::new(workload, who, case, ("", ""), &Series::default()) }
    }
}

/// Of single operations.
#[derive(Clone, Debug, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
    pub count: u64,
    /// The distribution: a value, and the share of operations that took or counted no more.
    pub curve: Vec<(u64, f64)>,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |percent| histogram.value_at_percentile(percent);
        Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            max: histogram.max(),
            count: histogram.len(),
            curve: curve(histogram),
        }
    }
}

/// Where a curve is taken, in parts of ten thousand: denser towards the slow ones, where it matters.
const SHARES: [u32; 47] = [
    0, 10, 50, 100, 200, 300, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 5500, 6000, 6500, 7000, 7250,
    7500, 7750, 8000, 8250, 8500, 8750, 9000, 9100, 9200, 9300, 9400, 9500, 9600, 9700, 9800, 9850, 9900, 9925, 9950,
    9970, 9980, 9985, 9990, 9995, 9999, 10_000,
];

/// The distribution at shares that so many values can tell apart; of values that several shares have in common, the
/// first and the last.
fn curve(histogram: &Histogram<u64>) -> Vec<(u64, f64)> {
    let count = histogram.len();
    let told = |share: u32| share == 10_000 || u64::from(10_000 - share) * count >= 10_000;
    let mut curve: Vec<(u64, f64)> = Vec::new();
    for share in SHARES.into_iter().filter(|&share| count > 0 && told(share)) {
        let share = f64::from(share) / 1e4;
        let value = histogram.value_at_quantile(share);
        if let [.., (before, _), (last, end)] = &mut curve[..]
            && *before == value
            && *last == value
        {
            *end = share;
        } else {
            curve.push((value, share));
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_short_and_rises_to_the_greatest() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (0..50_000u64).for_each(|nth| histogram.record(100 + nth * nth % 977 + nth).unwrap());
        let Percentiles { curve, p50, p99_9, max, .. } = Percentiles::from(&histogram);
        assert!(curve.len() <= 60 && curve.is_sorted());
        assert!([(p50, 0.5), (p99_9, 0.999)].iter().all(|point| curve.contains(point)));
        assert_eq!(curve.last(), Some(&(max, 1.0)));
    }

    #[test]
    fn few_turns_and_a_moving_floor_are_doubts() {
        let figure = |turns: usize, dropped| {
            let series = Series { ratios: vec![1.0; turns], nanos: vec![1.0; turns], dropped, jumps: 0 };
            Figure::new("latency", "mailbox", "32 bytes", ("", ""), &series)
        };
        assert!(doubts(&[figure(100, 99), figure(1, 0), figure(0, 0)]).is_empty());
        let doubts = doubts(&[figure(9, 1), figure(100, 100), figure(0, 3)]);
        assert!(doubts[0].starts_with("1 of 3") && doubts[1].starts_with("2 of 3"), "{doubts:?}");
    }

    #[test]
    fn a_curve_shows_no_more_than_was_measured() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        assert!(curve(&histogram).is_empty());
        (0..10).for_each(|_| histogram.record(7).unwrap());
        histogram.record(9).unwrap();
        assert_eq!(curve(&histogram), [(7, 0.0), (7, 0.9), (9, 1.0)]);
    }
}
