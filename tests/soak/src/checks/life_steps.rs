//! B2: who makes, opens, takes over, grows, puts back or removes a mailbox is killed at any machine instruction.
//!
//! Three levels. Each act is stepped through once, and every state of the directory that differs from the one before is
//! opened in a copy, by a reader and by the next writer. Some of these states are taken over by a writer that is stepped
//! through its recovery in turn: a second kill, at any instruction of it. And some are reached again beside readers
//! that live: one that looks in a tight loop, one that sleeps, one that polls; the process is killed there, or stopped
//! for a while, and the readers find the line of the next writer.

use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_mailbox::{ErrorKind, Options, Reader, Writer};

use crate::aftermath::{Promise, Shown};
use crate::check::{Check, Skip, Tally};
use crate::common::trace::{Stop, Traced};
use crate::common::{LIMIT, NAME, Parent, Place, Role, at, line, mix, wait_until};
use crate::files::{Files, Watched};
use crate::stepper::{mark, ready, start, step_to_mark, to_mark};

const STATES: &str = "distinct states opened";
const SECOND: &str = "boundaries of recoveries from them";
const SECOND_STATES: &str = "distinct states of those opened";
const KILLS: &str = "kills";
const BESIDE: &str = "kills and stops beside readers";
const FOUND: &str = "lines found by a busy reader, a sleeper or a poller";
const FOUND_SOON: &str = "of these within 110 ms";

pub const B2: Check = Check {
    id: "B2",
    fault: "killed at any machine instruction of create, open, recover, grow, put back, remove",
    unit: "instruction boundaries",
    ci: 400_000,
    soak: 10_000_000,
    turn: 1_000_000,
    evidence: &[STATES, SECOND, SECOND_STATES, KILLS, BESIDE, FOUND, FOUND_SOON],
    run,
};

pub const ROLES: &[Role<'static>] = &[("actor", actor), ("recoverer", recoverer)];

/// Lines that are there before an act.
const LINES: u64 = 6;
const LENGTH: usize = 32;
/// In place of a number: the last line as the first of a new instance.
const AS_FIRST: u64 = u64::MAX;
/// What growth asks for.
const LARGER: usize = 1000;

/// Something that is done to a mailbox's files, by a process that is killed meanwhile.
struct Act {
    name: &'static str,
    /// What is there before.
    before: fn(&Place),
    /// What the process does before it is stepped through `act`.
    prepare: fn() -> Option<Writer>,
    act: fn(&mut Option<Writer>),
    /// Numbers of the lines that readers may find, in this order; 0: none.
    shown: &'static [u64],
    /// Whether the next writer may take what is there for another's.
    may_renumber: bool,
    /// Files in the end.
    leaves: &'static [&'static str],
    /// Whether another writer is alive all the time.
    beside_writer: bool,
}

const ALL_FILES: &[&str] = &["box", "box.bell", "box.lock"];

const CREATE: Act = Act {
    name: "create",
    before: |_| {},
    prepare: || None,
    act: |writer| *writer = Some(Options::new().capacity(64).create(NAME).unwrap()),
    shown: &[0],
    may_renumber: false,
    leaves: ALL_FILES,
    beside_writer: false,
};

const OPEN: Act = Act { name: "open", before: |place| leave(place, LINES), shown: &[LINES], ..CREATE };

const GROW: Act = Act {
    name: "grow",
    prepare: || Some(publish_some(Options::new(), LINES)),
    act: |writer| writer.as_mut().unwrap().grow(LARGER).unwrap(),
    shown: &[LINES],
    ..CREATE
};

const REMOVE: Act = Act {
    name: "remove",
    before: |place| leave(place, LINES),
    act: |_| assert!(Options::new().remove(NAME, false).unwrap()),
    shown: &[LINES, 0],
    leaves: &[],
    ..CREATE
};

const ACTS: &[Act] = &[
    CREATE,
    OPEN,
    Act { name: "open one without a line", before: |place| leave(place, 0), ..CREATE },
    Act {
        name: "close",
        prepare: || Some(publish_some(Options::new(), LINES)),
        act: |writer| *writer = None,
        ..OPEN_OWN
    },
    Act {
        name: "recover from a line half written",
        before: |place| {
            leave(place, LINES);
            let raw = place.raw();
            raw.put_u64(raw.bank((LINES + 1) % raw.banks()), 2 * (LINES + 1) - 1);
            raw.put_u32(raw.page(), 3);
        },
        ..OPEN
    },
    Act {
        name: "recover a line published and not announced",
        before: |place| {
            leave(place, LINES);
            place.raw().put_u64(at::LATEST, LINES - 1);
        },
        ..OPEN
    },
    Act {
        name: "recover from a growth cut off",
        before: |place| {
            leave(place, LINES);
            place.raw().put_u32(at::LEAVING, 1);
            fs::copy(place.path(NAME), place.path("box.new")).unwrap();
        },
        ..OPEN
    },
    Act {
        name: "open without the lock it was made under",
        before: |place| {
            leave(place, LINES);
            fs::remove_file(place.path("box.lock")).unwrap();
        },
        shown: &[LINES, AS_FIRST],
        may_renumber: true,
        ..OPEN
    },
    Act { name: "open with a larger capacity", act: |writer| *writer = Some(larger().create(NAME).unwrap()), ..OPEN },
    GROW,
    Act { name: "grow one without a line", prepare: || Some(publish_some(Options::new(), 0)), shown: &[0], ..GROW },
    Act { name: "put all back", shown: &[0, LINES], ..swept(|| sweep(ALL_FILES)) },
    Act { name: "put the mailbox back", shown: &[0, LINES], ..swept(|| sweep(&["box"])) },
    Act { name: "put the lock back", may_renumber: true, ..swept(|| sweep(&["box.lock"])) },
    Act { name: "put the bell back", ..swept(|| sweep(&["box.bell"])) },
    REMOVE,
    Act { name: "remove by force", act: remove_by_force, ..REMOVE },
    Act {
        name: "remove one without a lock",
        before: |place| {
            leave(place, LINES);
            fs::remove_file(place.path("box.lock")).unwrap();
        },
        act: remove_by_force,
        may_renumber: true,
        ..REMOVE
    },
    Act {
        name: "remove beside its writer",
        before: |_| {},
        act: remove_by_force,
        leaves: &["box.lock"],
        beside_writer: true,
        ..REMOVE
    },
];

/// An act of a writer on its own mailbox.
const OPEN_OWN: Act = Act { before: |_| {}, shown: &[LINES], ..CREATE };

const fn swept(prepare: fn() -> Option<Writer>) -> Act {
    Act { prepare, act: |writer| writer.as_mut().unwrap().check().unwrap(), ..OPEN_OWN }
}

fn larger() -> Options {
    Options::new().capacity(LARGER)
}

fn remove_by_force(_: &mut Option<Writer>) {
    assert!(Options::new().remove(NAME, true).unwrap());
}

fn publish_some(options: Options, lines: u64) -> Writer {
    let mut writer = options.capacity(64).create(NAME).unwrap();
    for number in 1..=lines {
        writer.publish(&line(number, 0, LENGTH)).unwrap();
    }
    writer
}

fn leave(place: &Place, lines: u64) {
    drop(publish_some(place.options(), lines));
}

/// A writer some of whose files have been removed.
fn sweep(names: &[&str]) -> Option<Writer> {
    let writer = publish_some(Options::new(), LINES);
    for name in names {
        fs::remove_file(writer.path().with_file_name(name)).unwrap();
    }
    Some(writer)
}

/// The process that acts, between two marks. Arguments: the act's place in the list.
fn actor(parent: &mut Parent) {
    let act = &ACTS[parent.argument::<usize>(0)];
    let mut writer = (act.prepare)();
    ready(parent);
    mark();
    (act.act)(&mut writer);
    mark();
}

/// Where in an act a state begins: so many system calls from its beginning, and so many instructions after that.
#[derive(Clone, Copy)]
struct Moment {
    calls: u64,
    steps: u64,
}

/// A state of the files that an act goes through.
struct State {
    act: usize,
    moment: Moment,
    files: Files,
    shown: Option<Shown>,
}

impl Act {
    fn promise(&self) -> Promise {
        let shown = self.shown.iter().map(|&number| match number {
            0 => None,
            AS_FIRST => Some((1, line(LINES, 0, LENGTH))),
            number => Some((number, line(number, 0, LENGTH))),
        });
        Promise { shown: shown.collect(), numbers: vec![0], may_renumber: self.may_renumber }
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    let mut states = Vec::new();
    for act in 0..ACTS.len() {
        states.append(&mut step_through(act, &mut tally)?);
    }
    let order = |seed: u64| {
        let mut order: Vec<usize> = (0..states.len()).collect();
        order.sort_by_key(|&index| mix(seed ^ mix(index as u64)));
        order
    };
    let sample = (amount / 10_000) as usize;
    let moments: Vec<&State> = order(seed).into_iter().take(sample).map(|index| &states[index]).collect();
    tally.merge(beside_readers(&moments, seed)?);
    for turn in 1.. {
        for index in order(mix(seed ^ turn)) {
            if tally.done >= amount {
                return Ok(tally);
            }
            recover(&states[index], &mut tally)?;
        }
    }
    unreachable!()
}

/// Steps through an act, and opens each state that it goes through.
fn step_through(index: usize, tally: &mut Tally) -> Result<Vec<State>, Skip> {
    let act = &ACTS[index];
    let (place, copy) = (Place::new(), Place::new());
    (act.before)(&place);
    let _beside = act.beside_writer.then(|| publish_some(place.options(), LINES));
    let (child, traced) = start("actor", &place, &[&index])?;
    to_mark(&traced);
    let mut watched = Watched::new(place.dir());
    let promise = act.promise();
    let mut states = Vec::new();
    let mut stage = 0;
    let mut open = |moment, files: Files, states: &mut Vec<State>| {
        files.put(copy.dir());
        let shown = promise.check(&copy);
        // It does not go back.
        let now = promise.shown.iter().position(|known| *known == shown).expect("checked");
        assert!(now >= stage, "{}: {shown:?} again", act.name);
        stage = now;
        assert!(copy.options().remove(NAME, false).unwrap());
        assert_eq!(copy.entries(), [""; 0]);
        states.push(State { act: index, moment, files, shown });
    };
    let mut moment = Moment { calls: 0, steps: 0 };
    open(moment, watched.files(), &mut states);
    let (steps, _) = step_to_mark(&traced, |call| {
        moment = if call {
            Moment { calls: moment.calls + 1, steps: 0 }
        } else {
            Moment { steps: moment.steps + 1, ..moment }
        };
        if watched.look(call) {
            open(moment, watched.files(), &mut states);
        }
        true
    });
    assert_eq!(place.entries(), act.leaves, "after: {}", act.name);
    tally.done += steps;
    tally.add(STATES, states.len() as u64);
    traced.kill(child);
    tally.add(KILLS, 1);
    assert_eq!(states.last().unwrap().shown, *promise.shown.last().unwrap(), "after: {}", act.name);
    Ok(states)
}

/// Takes over for the second time what was left by a kill: opens the files, as a writer.
fn recoverer(parent: &mut Parent) {
    ready(parent);
    mark();
    let writer = Options::new().create(NAME).unwrap();
    mark();
    drop(writer);
}

/// Steps through the recovery from a state, and opens each state that this goes through.
fn recover(state: &State, tally: &mut Tally) -> Result<(), Skip> {
    let act = &ACTS[state.act];
    let (place, copy) = (Place::new(), Place::new());
    state.files.put(place.dir());
    let (child, traced) = start("recoverer", &place, &[])?;
    to_mark(&traced);
    let mut watched = Watched::new(place.dir());
    let mut promise = Promise { shown: vec![state.shown.clone()], ..act.promise() };
    if act.may_renumber
        && let Some((_, bytes)) = &state.shown
    {
        promise.shown.push(Some((1, bytes.clone())));
    }
    let (steps, _) = step_to_mark(&traced, |call| {
        if watched.look(call) {
            watched.files().put(copy.dir());
            promise.check(&copy);
            tally.add(SECOND_STATES, 1);
        }
        true
    });
    tally.done += steps;
    tally.add(SECOND, steps);
    traced.kill(child);
    tally.add(KILLS, 1);
    Ok(())
}

// Beside readers. -----------------------------------------------------------------------------------------------------

/// Cases at once: they mostly wait for slices to end.
const AT_ONCE: usize = 4;

fn beside_readers(moments: &[&State], seed: u64) -> Result<Tally, Skip> {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Ok(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(state) = moments.get(next.fetch_add(1, SeqCst)) {
                    let is_killed = mix(seed ^ next.load(SeqCst) as u64) & 1 == 0;
                    let result = beside(state, is_killed);
                    let mut tally = tally.lock().unwrap();
                    match (&mut *tally, result) {
                        (Ok(tally), Ok(more)) => tally.merge(more),
                        (tally, Err(skip)) => *tally = Err(skip),
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

/// Leads the act to a moment beside readers; kills it there, or stops it for a while and lets it end; and waits until
/// the readers have the line of the next writer.
fn beside(state: &State, is_killed: bool) -> Result<Tally, Skip> {
    let act = &ACTS[state.act];
    let place = Place::new();
    (act.before)(&place);
    let mut writer = act.beside_writer.then(|| publish_some(place.options(), LINES));
    let (child, traced) = start("actor", &place, &[&state.act])?;
    to_mark(&traced);
    let target = line(1, mix(u64::from(is_killed)), 40);
    let had_first = AtomicUsize::new(0);
    let published = Mutex::new(None);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let readers = [busy as fn(&mut Reader, &[u8], &dyn Fn()), sleeper, poller].map(|way| {
            let (options, target, had_first) = (place.options().wait_for_mailbox(true), &target, &had_first);
            scope.spawn(move || {
                let mut reader = options.open(NAME).unwrap();
                way(&mut reader, target, &|| _ = had_first.fetch_add(1, SeqCst));
                Instant::now()
            })
        });
        if place.entries().iter().any(|name| name == NAME) && state.shown.is_some() {
            wait_until("the readers have the old line", || had_first.load(SeqCst) >= 3);
        }
        go_to(&traced, state.moment);
        if is_killed {
            traced.kill(child);
        } else {
            traced.leave_stopped();
            wait_until("it is stopped", || child.is_stopped());
            thread::sleep(Duration::from_millis(20));
            child.resume();
            child.end();
        }
        let next = match writer.take().map(|mut writer| writer.publish(&target).map(|_| writer)) {
            Some(Ok(writer)) => writer,
            Some(Err(error)) if error.kind() != ErrorKind::Removed => panic!("{}: {error}", act.name),
            _ => {
                let mut writer = place.options().create(NAME).unwrap();
                writer.publish(&target).unwrap();
                writer
            }
        };
        *published.lock().unwrap() = Some(Instant::now());
        wait_until("the readers have the line", || readers.iter().all(|reader| reader.is_finished()));
        for reader in readers {
            let found = reader.join().unwrap();
            tally.add(FOUND, 1);
            let published = published.lock().unwrap().expect("set above");
            if found.saturating_duration_since(published) <= Duration::from_millis(110) {
                tally.add(FOUND_SOON, 1);
            }
        }
        drop(next);
    });
    tally.add(BESIDE, 1);
    tally.add(KILLS, is_killed.into());
    Ok(tally)
}

fn go_to(traced: &Traced, moment: Moment) {
    for _ in 0..moment.calls {
        while !matches!(traced.next(None), Stop::Returned) {}
    }
    for _ in 0..moment.steps {
        if traced.call_at_hand().is_some() {
            // The readers have changed its way: near enough.
            return;
        }
        traced.step();
    }
}

/// Whether it is the line waited for; others are counted.
fn is_target(bytes: &[u8], target: &[u8], saw: &dyn Fn()) -> bool {
    if bytes != target {
        saw();
    }
    bytes == target
}

fn busy(reader: &mut Reader, target: &[u8], saw: &dyn Fn()) {
    let started = Instant::now();
    loop {
        if let Some(message) = reader.try_read().unwrap()
            && is_target(message.bytes, target, saw)
        {
            return;
        }
        assert!(started.elapsed() < LIMIT);
        thread::yield_now();
    }
}

fn sleeper(reader: &mut Reader, target: &[u8], saw: &dyn Fn()) {
    while !is_target(reader.read_timeout(LIMIT).unwrap().expect("a line").bytes, target, saw) {}
}

fn poller(reader: &mut Reader, target: &[u8], saw: &dyn Fn()) {
    let doorbell = reader.doorbell().unwrap();
    let started = Instant::now();
    loop {
        poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        while let Some(message) = reader.try_read().unwrap() {
            if is_target(message.bytes, target, saw) {
                return;
            }
        }
        assert!(started.elapsed() < LIMIT);
    }
}
