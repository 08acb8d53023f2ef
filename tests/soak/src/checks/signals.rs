//! D5: signals by the thousand do not make timed waits late or early, and no wait goes by a clock that can be set.
//!
//! How late a wait is, on a busy machine, is told beside bare sleeps in the same process under the same signals; and as
//! chance decides which of the two such a machine holds up, it counts when it happens three times in a row. Which clock
//! it goes by is told by the arguments of its system calls, which ptrace shows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};
use shm_mailbox::Options;

use crate::check::{Check, Skip, Tally};
use crate::common::trace::{Stop, Traced};
use crate::common::{Child, NAME, Parent, Place, Role, Words, mix};

pub const D5: Check = Check {
    id: "D5",
    fault: "a storm of signals",
    unit: "timed waits",
    ci: 1_000,
    soak: 100_000,
    turn: 2_000,
    evidence: &["signals", "system calls that wait", "timed waits without a mailbox"],
    run,
};

pub const ROLES: &[Role<'static>] = &[("patient", patient), ("waits", waits)];

const PROCESSES: u64 = 4;
/// Between two signals: 10,000 of them a second.
const INTERVAL: i64 = 100;
/// How late one wait in a thousand may be, beyond the bare sleeps.
const LATE: Duration = Duration::from_millis(5);
/// So many times in a row, it is not the machine's doing.
const TRIES: u64 = 3;

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// Interrupts this process again and again.
fn begin_storm() {
    // Without SA_RESTART: system calls fail with EINTR.
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only counts.
    unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
    let interval = libc::timeval { tv_sec: 0, tv_usec: INTERVAL };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: the kernel reads `timer`, which outlives the call.
    let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Waits in vain, in turns with bare sleeps, and says how late each was, in microseconds. Arguments: name of the
/// mailbox, times, seed.
fn patient(parent: &mut Parent) {
    let (name, times, seed): (String, u64, u64) = (parent.argument(0), parent.argument(1), parent.argument(2));
    let mut reader = Options::new().wait_for_mailbox(true).open(name).unwrap();
    begin_storm();
    for time in 0..times {
        let span = Duration::from_micros(mix(seed ^ time) % 10_000);
        let wait = late(span, || assert!(reader.read_timeout(span).unwrap().is_none()));
        let sleep = late(span, || thread::sleep(span));
        parent.say(format_args!("{wait} {sleep}"));
    }
    parent.say(SIGNALS.load(Relaxed));
}

fn late(span: Duration, wait: impl FnOnce()) -> u128 {
    let started = Instant::now();
    wait();
    let took = started.elapsed();
    assert!(took >= span, "{took:?} in place of {span:?}");
    (took - span).as_micros()
}

/// Waits in every way, when told to.
fn waits(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let mut early = Options::new().wait_for_mailbox(true).open("none").unwrap();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    let time = Duration::from_millis(1);
    assert!(reader.read_timeout(time).unwrap().is_none());
    assert!(reader.read_deadline(Instant::now() + time).unwrap().is_none());
    // For longer than a slice, too.
    assert!(reader.read_timeout(Duration::from_millis(120)).unwrap().is_none());
    assert!(early.read_timeout(time).unwrap().is_none());
    assert!(early.read_timeout(Duration::from_millis(120)).unwrap().is_none());
    let _doorbell = reader.doorbell().unwrap();
    assert!(reader.try_read().unwrap().is_none());
    let _other = early.doorbell().unwrap();
    assert!(early.try_read().unwrap().is_none());
    words.set(DONE, 1);
    parent.say("done");
}

const GO: usize = 0;
const DONE: usize = 1;

/// Follows a process through all its ways to wait, and looks which clock each system call goes by. How many waited.
fn follow_waits() -> Result<u64, Skip> {
    let place = Place::new();
    let words = Words::new(place.dir());
    let _writer = place.options().create(NAME).unwrap();
    let mut child = Child::start("waits", &place, &[]);
    let thread = Pid::from_raw(child.hear_number() as i32);
    let Some(traced) = Traced::attach(&child, thread) else {
        return Err(Skip("this system does not allow to trace a child".into()));
    };
    words.set(GO, 1);
    let mut waits = 0;
    loop {
        let stop = traced.next(None);
        if words.get(DONE) == 1 {
            break;
        }
        let Stop::Call(call) = stop else { continue };
        let arguments = traced.arguments();
        let not_settable = |clock: u64| {
            matches!(clock as i32, libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_MONOTONIC_RAW)
        };
        waits += match call {
            libc::SYS_futex => {
                let operation = arguments[1] as i32;
                let by_settable = operation & libc::FUTEX_CLOCK_REALTIME != 0;
                assert!(!by_settable, "a futex wait by the clock that can be set: operation {operation:#x}");
                u64::from(operation & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT_BITSET)
            }
            libc::SYS_timerfd_create | libc::SYS_clock_nanosleep => {
                assert!(not_settable(arguments[0]), "a wait by clock {}", arguments[0]);
                1
            }
            // Their times are spans, which the kernel measures by its monotonic clock.
            libc::SYS_ppoll | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 | libc::SYS_nanosleep => 1,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll | libc::SYS_epoll_wait => 1,
            _ => 0,
        };
    }
    drop(traced);
    child.expect("done");
    child.end();
    Ok(waits)
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let mut tally = Tally::default();
    tally.add("system calls that wait", follow_waits()?);
    let mut tries = 0;
    loop {
        let (wait, sleep) = storm(amount, mix(seed.wrapping_add(tries)), &mut tally);
        if wait <= sleep + LATE {
            return Ok(tally);
        }
        tries += 1;
        assert!(tries < TRIES, "one wait in a thousand is {wait:?} late or more, one bare sleep {sleep:?}");
    }
}

/// Many waits, and how late one of a thousand is, and one of a thousand bare sleeps.
fn storm(amount: u64, seed: u64, tally: &mut Tally) -> (Duration, Duration) {
    let place = Place::new();
    let _writer = place.options().create(NAME).unwrap();
    let times = amount.div_ceil(PROCESSES);
    let mut patients: Vec<_> = (0..PROCESSES)
        .map(|index| {
            let name = if index == 0 { "none" } else { NAME };
            Child::start("patient", &place, &[&name, &times, &mix(seed ^ index)])
        })
        .collect();
    let (mut waits, mut sleeps) = (Vec::new(), Vec::new());
    for patient in &mut patients {
        for _ in 0..times {
            let heard = patient.hear();
            let (wait, sleep) = heard.split_once(' ').unwrap();
            waits.push(wait.parse().unwrap());
            sleeps.push(sleep.parse().unwrap());
        }
        tally.add("signals", patient.hear_number());
    }
    patients.into_iter().for_each(Child::end);
    tally.done += waits.len() as u64;
    tally.add("timed waits without a mailbox", times);
    (late_in_a_thousand(waits), late_in_a_thousand(sleeps))
}

/// How late one of a thousand is.
fn late_in_a_thousand(mut micros: Vec<u64>) -> Duration {
    micros.sort_unstable();
    Duration::from_micros(micros[micros.len() * 999 / 1000 - 1])
}
