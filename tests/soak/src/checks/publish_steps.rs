//! B1: the writer is killed at any machine instruction of a publish.
//!
//! A writer is stepped through its publishes once, and its files are compared after each instruction: what they hold
//! then is what a SIGKILL there leaves. Each state that differs from the one before is put into another directory and
//! opened there, by a reader, who must find the old line or the new one, whole, and by the next writer.

use shm_mailbox::Options;

use crate::aftermath::Promise;
use crate::check::{Check, Skip, Tally};
use crate::common::{NAME, Parent, Phase, Place, Role, fill, line, mix};
use crate::files::{Files, Watched};
use crate::stepper::{mark, ready, start, step_to_mark, to_mark};

pub const B1: Check = Check {
    id: "B1",
    fault: "writer killed at any machine instruction of publish",
    unit: "instruction boundaries",
    ci: 160_000,
    soak: 10_000_000,
    turn: 500_000,
    evidence: &[
        "distinct states opened",
        "states in the middle of a line",
        "states published and not announced",
        "kills",
    ],
    run,
};

pub const ROLES: &[Role<'static>] = &[("stepped_writer", stepped_writer)];

/// Lengths around every border: none, one word, the first cache line, vectors, the whole capacity.
const LENGTHS: [usize; 12] = [0, 1, 8, 17, 40, 41, 64, 100, 200, 257, 1000, 4096];
const BANKS: [u64; 4] = [4, 1, 2, 8];

/// One way to publish.
struct Way {
    banks: u64,
    length: usize,
    /// Lines before the first that is stepped.
    before: u64,
    /// Flags that stand when a line is published: who waits.
    waiters: u32,
    timestamps: bool,
}

impl Way {
    /// All combinations of banks, lengths and who waits, in an order that the seed mixes.
    fn all(seed: u64) -> Vec<Self> {
        let mut ways = Vec::new();
        for banks in BANKS {
            for length in LENGTHS {
                // To ring fills a buffer by one instruction that steps 4096 times: so at one length only.
                for waiters in 0..if length == 17 { 4 } else { 2 } {
                    let random = mix(seed ^ mix(ways.len() as u64 + 1));
                    // Among them banks that were never written, and the messages at which the writer looks after its
                    // files.
                    let before = if random.is_multiple_of(8) { 1022 } else { random / 8 % (2 * banks + 1) };
                    ways.push((random, Self { banks, length, before, waiters, timestamps: random & 1 << 60 != 0 }));
                }
            }
        }
        ways.sort_by_key(|(random, _)| *random);
        ways.into_iter().map(|(_, way)| way).collect()
    }

    /// How many publishes to step through: one for each bank and one more.
    fn publishes(&self) -> u64 {
        if self.waiters & 2 == 0 { self.banks + 1 } else { 2 }
    }
}

/// Publishes for ever, each time between two marks. Arguments: banks, length, lines before, timestamps.
fn stepped_writer(parent: &mut Parent) {
    let (banks, length, before) = (parent.argument(0), parent.argument(1), parent.argument::<u64>(2));
    let options = Options::new().banks(banks).capacity(std::cmp::max(length, 1)).timestamps(parent.argument(3));
    let mut writer = options.create(NAME).unwrap();
    let mut line = vec![0; length];
    for number in 1.. {
        fill(&mut line, number, 0);
        if number == before + 1 {
            ready(parent);
        }
        if number > before {
            mark();
        }
        writer.publish(&line).unwrap();
        if number > before {
            mark();
        }
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    for turn in 0.. {
        for way in Way::all(mix(seed ^ turn)) {
            step_through(&way, amount, &mut tally)?;
            if tally.done >= amount {
                return Ok(tally);
            }
        }
    }
    unreachable!()
}

/// Steps a writer through some publishes, and kills it.
fn step_through(way: &Way, amount: u64, tally: &mut Tally) -> Result<(), Skip> {
    let (place, copy) = (Place::new(), Place::new());
    let arguments: [&dyn std::fmt::Display; 4] = [&way.banks, &way.length, &way.before, &way.timestamps];
    let (child, traced) = start("stepped_writer", &place, &arguments)?;
    let raw = place.raw();
    let mut watched = Watched::new(place.dir());
    for number in way.before + 1..=way.before + way.publishes() {
        to_mark(&traced);
        raw.put_u32(raw.page(), way.waiters);
        watched.look(true);
        let mut seen = number - 1;
        let (steps, _) = step_to_mark(&traced, |call| {
            if watched.look(call) {
                tally.add("distinct states opened", 1);
                match raw.phase() {
                    Phase::Writing => tally.add("states in the middle of a line", 1),
                    Phase::PublishedOnly => tally.add("states published and not announced", 1),
                    Phase::Between => {}
                }
                seen = check(way, number, seen, &watched.files(), &copy);
            }
            true
        });
        assert_eq!(seen, number, "after the publish");
        tally.done += steps;
        if tally.done >= amount {
            break;
        }
        to_mark(&traced);
    }
    traced.kill(child);
    tally.add("kills", 1);
    Ok(())
}

/// Opens a copy of the files; says which message is the newest in it: `number` that is being published, or the one
/// before.
fn check(way: &Way, number: u64, seen: u64, files: &Files, copy: &Place) -> u64 {
    files.put(copy.dir());
    let known = |number| Promise::line(number, &line(number, 0, way.length));
    let raw = copy.raw();
    let is_half = raw.phase() == Phase::Writing;
    // What a reader could have had stays; with one bank, the line that is being overwritten does not.
    let mut promise = Promise { shown: (seen..=number).map(known).collect(), ..Promise::default() };
    if number == 1 || way.banks == 1 && is_half {
        promise.shown.push(None);
        promise.numbers = vec![number - 1];
    }
    promise.check(copy).map_or(seen, |(shown, _)| shown)
}
