//! Turns: which check is next, and what came of it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Check, Skip, Tally};
use crate::common::mix;
use crate::interrupt;
use crate::progress::Progress;
use crate::state::State;
use crate::table::grouped;

pub struct Plan<'a> {
    pub checks: &'a [&'static Check],
    /// How long; `None`: for ever.
    pub time: Option<Duration>,
    pub seed: u64,
}

/// Runs the checks in rotation: those that have not reached the size of a soak, or all, once all have. Ends when the
/// time is over, a signal came, or a promise was broken: then `false`.
pub fn run(plan: &Plan<'_>, state: &mut State) -> io::Result<bool> {
    let started = Instant::now();
    let is_over = || interrupt::is_caught() || plan.time.is_some_and(|time| started.elapsed() >= time);
    let mut progress = Progress::new();
    let mut checks = plan.checks.to_vec();
    let mut seed = plan.seed;
    while !checks.is_empty() {
        let are_all_done = checks.iter().all(|check| state.of(check).done >= check.soak);
        let mut skipped = Vec::new();
        for &check in &checks {
            if !are_all_done && state.of(check).done >= check.soak {
                continue;
            }
            if is_over() {
                return Ok(true);
            }
            progress.begin(check, state.of(check));
            let turn = Turn::make(check, check.turn, seed);
            let failed = match turn.outcome {
                Ok(Ok(tally)) => {
                    state.add(check, tally, turn.took);
                    false
                }
                Ok(Err(Skip(reason))) => {
                    progress.say(&format!("skipped: {}: {reason}", check.id));
                    skipped.push(check.id);
                    false
                }
                Err(what) => {
                    state.add_bad(check, turn.took);
                    progress.say(&format!("{}\nto repeat: mailbox-soak --only {} --seed {seed}", what, check.id));
                    true
                }
            };
            state.save()?;
            if failed {
                return Ok(false);
            }
            seed = mix(seed);
        }
        checks.retain(|check| !skipped.contains(&check.id));
    }
    Ok(true)
}

/// Runs each check once at the size of the tests, and says what it counted. Whether all is well.
pub fn once_each(checks: &[&'static Check], seed: u64) -> bool {
    let mut is_good = true;
    for check in checks {
        let turn = Turn::make(check, check.ci, seed);
        match turn.outcome {
            Ok(Ok(tally)) => {
                let evidence = tally.evidence.iter().map(|(name, count)| format!(", {name}: {}", grouped(*count)));
                let (done, evidence) = (grouped(tally.done), evidence.collect::<String>());
                println!("{} {}: {done} {}, 0 bad{evidence}; {:.1?}", check.id, check.fault, check.unit, turn.took);
            }
            Ok(Err(Skip(reason))) => eprintln!("skipped: {}: {reason}", check.id),
            Err(what) => {
                eprintln!("{what}\nto repeat: mailbox-soak --ci --only {} --seed {seed}", check.id);
                is_good = false;
            }
        }
    }
    is_good
}

/// What came of a turn, and how long it took.
struct Turn {
    /// The error: what was seen that must not be.
    outcome: Result<Result<Tally, Skip>, String>,
    took: Duration,
}

impl Turn {
    /// On a thread of its own, which bears the check's name in what it says. Signals reach the first thread, this one,
    /// so that they disturb no check.
    fn make(check: &'static Check, amount: u64, seed: u64) -> Self {
        let started = Instant::now();
        let run = move || (check.run)(amount, seed);
        let thread = thread::Builder::new().name(check.id.into()).spawn(run).expect("a thread");
        let outcome = match thread.join() {
            Ok(Ok(tally)) => match tally.lacks(check, amount) {
                None => Ok(Ok(tally)),
                Some(what) => Err(format!("{}: {what}", check.id)),
            },
            Ok(Err(skip)) => Ok(Err(skip)),
            // The panic has said why, on standard error.
            Err(_) => Err(format!("{}: bad: see above", check.id)),
        };
        Self { outcome, took: started.elapsed() }
    }
}
