//! What was measured, in a form that a table, JSON and a page are made of.

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
    /// Single operations, in nanoseconds, where they were timed one by one.
    pub percentiles: Option<Percentiles>,
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
            percentiles: None,
        }
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
        }
    }
}
