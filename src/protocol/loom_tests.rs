//! Model tests: every interleaving of small cases, and every old value that C11 lets a load return, on the protocol's
//! own code over loom's atomics.
//!
//! | property | cases | twins that must fail |
//! |---|---|---|
//! | a read is whole, fresh, in order | 1, 2, 4 banks; two reads while 1-2 messages are published | sites |
//! | so is one by the waiting path | 1, 2, 4 banks; empty mailbox too | no `max`; `!=` for newer |
//! | what a reader told another is found | 2 readers, the writer between two steps | no look at the next bank |
//! | a kill loses nothing, one number is one line | 2, 4 banks; after every step; recovery; a late reader | recovery by `latest` alone |
//! | no wake-up is lost | 1-2 sleepers, 1-2 messages, doorbell, both | sites; look before arming; plain store of 0; ring taken late |
//! | the tree reaches every sleeper | 2 sleepers, `fan_out` 1, one sleeps afresh; queue in and against its order | no relay; relay on a new line only |
//! | whoever only wakes is heard | `always` without a flag; `leaving`; after a kill at every step | sites; no `notify_all`; wake without a step of the epoch |
//! | who calls `leaving` off sees that the name is gone | both fences | either left out |
//! | two may move the epoch | `rm --force` beside a writer | load and store for `fetch_add` |
//!
//! **Twins.** A test that cannot fail shows nothing, so each property is also run on something weaker, and must then
//! fail *as foretold*. Sites are weakened on the real code, one at a time, by [`sync::WEAKENED`]: [`shown_by`] names
//! for each [`Site`] the models that then fail. Other twins are small substitutes for one function.
//!
//! **What loom does not show.** It executes loads and stores in program order and lets a load return an older store, so
//! it finds store-load, load-load and store-store reordering, but no load that is satisfied after a later store; and it
//! knows `SeqCst` fences but no `SeqCst` accesses (see [`sync`]). No time slice is modelled: it would hide every lost
//! wake-up.

mod eventcount;
mod slot;

use super::sync::{self, Site};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

// How a model can fail.
const TORN: &str = "torn read";
const MIXED: &str = "line of another message";
const BACK: &str = "a reader went back";
const STALE: &str = "older than what was known to be published";
const BEHIND: &str = "`latest` was ahead of its bank";
const TWO_LINES: &str = "one number, two lines";
const CALLED_OFF: &str = "the file is gone, and `leaving` is not set";
/// loom's word for it: all that are left are blocked.
const ASLEEP: &str = "deadlock";

/// Involuntary switches of thread that are explored. All twins but the tree's fail within two or three, the tree's
/// within four; each one more takes three to six times as long.
const PREEMPTIONS: usize = 4;

/// A closed program for loom to explore.
struct Model {
    run: Arc<dyn Fn() + Send + Sync>,
    preemptions: Option<usize>,
}

impl Model {
    /// Explored up to [`PREEMPTIONS`].
    fn new(run: impl Fn() + Send + Sync + 'static) -> Self {
        Self { run: Arc::new(run), preemptions: Some(PREEMPTIONS) }
    }

    /// Explored without a bound: for the smallest.
    fn exhaustive(run: impl Fn() + Send + Sync + 'static) -> Self {
        Self { preemptions: None, ..Self::new(run) }
    }

    /// Explored up to `preemptions`: for the largest.
    fn within(self, preemptions: usize) -> Self {
        Self { preemptions: Some(preemptions), ..self }
    }

    /// The message of the first failure, if there is one. The test harness swallows what a panic prints.
    fn explore(&self) -> Result<(), String> {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        let run = Arc::clone(&self.run);
        panic::catch_unwind(AssertUnwindSafe(|| builder.check(move || run()))).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
        })
    }

    #[track_caller]
    fn holds(&self) {
        self.explore().unwrap();
    }

    /// It must fail, and in this way.
    #[track_caller]
    fn fails(&self, how: &str) {
        let failure = self.explore().expect_err("the weakened twin passed: the model shows nothing");
        assert!(failure.contains(how), "failed for another reason: {failure}");
    }
}

/// Runs `test` with one site of the protocol weakened.
fn weakened(site: Site, test: impl FnOnce()) {
    sync::WEAKENED.set(Some(site));
    test();
    sync::WEAKENED.set(None);
}

/// The models that fail, and how, once a site is weakened.
fn shown_by(site: Site) -> Vec<(Model, &'static str)> {
    match site {
        Site::Mark | Site::Validate => vec![(slot::one_bank(), TORN)],
        Site::Publish | Site::SawSequence => vec![(slot::waiting(), MIXED)],
        Site::SawLatest => vec![(slot::one_bank_lapped(), BEHIND)],
        // Weakened, it is neither a Release nor SeqCst, and both are missed.
        Site::Latest => {
            vec![(slot::one_bank_lapped(), BEHIND), (eventcount::sleeper(), ASLEEP), (eventcount::poller(), ASLEEP)]
        }
        Site::Waiters | Site::Armed => vec![(eventcount::sleeper(), ASLEEP), (eventcount::poller(), ASLEEP)],
        // With a flag, the fence [armed] does their work too.
        Site::Bump | Site::Key => vec![(eventcount::always(), ASLEEP), (eventcount::leaving(), ASLEEP)],
        // Nothing fails: see `a_relaxed_flag_would_do`.
        Site::Arm => vec![],
    }
}

const SITES: [Site; 11] = [
    Site::Mark,
    Site::Publish,
    Site::Latest,
    Site::SawLatest,
    Site::SawSequence,
    Site::Validate,
    Site::Waiters,
    Site::Arm,
    Site::Armed,
    Site::Bump,
    Site::Key,
];

#[test]
fn without_any_one_site_a_model_fails() {
    for site in SITES {
        for (model, how) in shown_by(site) {
            model.holds();
            weakened(site, || model.fails(how));
        }
    }
}

/// The one site that is stronger than it must be. The fence \[armed\] alone orders the flag before the look; and a key
/// of the new epoch makes the look find the line by \[bump\] and that same fence, so the key may even be loaded after
/// the flag is set. Relaxed would do, by C11's rules as well as in loom; `SeqCst` costs no more on x86-64 and says what
/// is meant.
#[test]
fn a_relaxed_flag_would_do() {
    weakened(Site::Arm, || eventcount::armed().iter().for_each(Model::holds));
}
