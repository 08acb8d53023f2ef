//! Blocks: turns of some milliseconds, each paired with the floor measured just before and just after it.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How long one turn of one contender takes.
const TURN: Duration = Duration::from_millis(2);
/// By how much the floors before and after a turn may differ; beyond that nothing was compared.
const STEADY: f64 = 0.10;
/// By which factor they differ if the machine is another one all of a sudden.
const JUMP: f64 = 2.0;

/// What was measured of one contender.
#[derive(Default)]
pub struct Series {
    /// Contender by floor, a ratio for each turn that counts.
    pub ratios: Vec<f64>,
    /// Nanoseconds an operation, in the same turns.
    pub nanos: Vec<f64>,
    /// Turns in which the floor moved.
    pub dropped: usize,
    /// Of these, turns within which it jumped.
    pub jumps: usize,
}

/// Measures contenders against a floor until `duration` is over. `measure(Some(i), times)` takes contender *i*'s turn,
/// `measure(None, times)` the floor's; both return how long `times` operations took. Returns a series for each contender.
pub fn measure(
    contenders: usize,
    duration: Duration,
    mut measure: impl FnMut(Option<usize>, u64) -> Outcome<Duration>,
    mut progress: impl FnMut(f64),
) -> Outcome<Vec<Series>> {
    let mut per_call = |who, times| -> Outcome<f64> { Ok(measure(who, times)?.as_nanos() as f64 / times as f64) };
    let floor_times = calibrate(TURN / 4, |times| per_call(None, times))?;
    let mut times = Vec::new();
    for index in 0..contenders {
        times.push(calibrate(TURN, |times| per_call(Some(index), times))?);
    }
    let mut series: Vec<Series> = (0..contenders).map(|_| Series::default()).collect();
    let start = Instant::now();
    let mut first = 0;
    let mut before = per_call(None, floor_times)?;
    while start.elapsed() < duration {
        // In rotating order, so that nobody always comes after the same one.
        for index in (0..contenders).map(|step| (first + step) % contenders) {
            let nanos = per_call(Some(index), times[index])?;
            let after = per_call(None, floor_times)?;
            let series = &mut series[index];
            if (before / after - 1.0).abs() > STEADY {
                series.dropped += 1;
                series.jumps += usize::from((before / after).max(after / before) > JUMP);
            } else {
                series.ratios.push(nanos / f64::midpoint(before, after));
                series.nanos.push(nanos);
            }
            before = after;
        }
        first += 1;
        progress(start.elapsed().as_secs_f64() / duration.as_secs_f64());
    }
    Ok(series)
}

/// How often to do something so that it takes about `turn`; warms it up meanwhile.
fn calibrate(turn: Duration, mut per_call: impl FnMut(u64) -> Outcome<f64>) -> Outcome<u64> {
    let mut times = 4;
    loop {
        let nanos = per_call(times)?;
        let total = nanos * times as f64;
        if total >= turn.as_nanos() as f64 / 4.0 {
            return Ok((turn.as_nanos() as f64 / nanos).ceil().max(1.0) as u64);
        }
        times *= 2;
    }
}

/// The value below which a share of the values lies; `None` of no values.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&values, share)), [Some(1.0), Some(3.0), Some(5.0)]);
        assert_eq!(quantile(&[], 0.5), None);
    }

    /// A machine whose floor jumps, and a contender that always costs three times the floor.
    #[test]
    fn ratios_hold_where_absolute_times_jump_and_turns_across_a_jump_are_dropped() {
        let mut calls = 0u64;
        let speed = |calls: u64| if (calls / 50).is_multiple_of(2) { 100 } else { 500 };
        let all = measure(
            2,
            Duration::from_millis(20),
            |who, times| {
                calls += 1;
                let factor = match who {
                    None => 1,
                    Some(index) => 3 + index as u64,
                };
                Ok(Duration::from_nanos(times * factor * speed(calls)))
            },
            |_| {},
        )
        .unwrap();
        for (index, series) in all.iter().enumerate() {
            let median = quantile(&series.ratios, 0.5).unwrap();
            assert!((median - (3 + index) as f64).abs() < 1e-9);
            assert!(series.dropped > 0 && series.jumps == series.dropped, "the jumps were noticed");
            let spread = quantile(&series.nanos, 1.0).unwrap() / quantile(&series.nanos, 0.0).unwrap();
            assert!((spread - 5.0).abs() < 1e-9, "absolute times jump");
        }
    }
}
