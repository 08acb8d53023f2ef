//! libFuzzer on header and attach: files that no writer has made, from inputs that it mutates towards code that no
//! input has reached yet. `tests/fuzz/run` builds and starts it.
//!
//! Who tries a file, and what must hold, is as in C1 of the soak: see `tests/common/damaged.rs`. What is made of an
//! input follows from the input alone, so that a file that libFuzzer keeps repeats what it found.
//!
//! It works in the directory `MAILBOX_DIR`, in shared memory, which is removed by who started it. A corpus among the
//! arguments gets the undamaged files; then it is also an error if some kind of file was never made.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use nix::libc;

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../common/at.rs"]
mod at;
#[path = "../../common/damaged.rs"]
mod damaged;
mod input;
mod trial;

use damaged::OUTCOMES;
use input::Input;
use trial::Trial;

struct Fuzzing {
    trial: Trial,
    started: Instant,
    has_corpus: bool,
}

/// There is one thread; but what belongs to a thread is gone when [`end`] is called.
static FUZZING: Mutex<Option<Fuzzing>> = Mutex::new(None);

fuzz_target!(
    init: start(),
    |bytes: &[u8]| {
        let mut fuzzing = FUZZING.lock().expect("who panics does not go on");
        fuzzing.as_mut().expect("started").trial.run(&Input::new(bytes));
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { input::mutate(data, size, max_size, seed) });

fn start() {
    let directory = std::env::var_os("MAILBOX_DIR").expect("MAILBOX_DIR: an empty directory in shared memory");
    let trial = Trial::new(directory.as_ref());
    let corpus = std::env::args_os().skip(1).map(PathBuf::from).find(|argument| argument.is_dir());
    if let Some(corpus) = &corpus {
        for (number, seed) in trial.seeds().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed.bytes()).unwrap();
        }
    }
    let fuzzing = Fuzzing { trial, started: Instant::now(), has_corpus: corpus.is_some() };
    *FUZZING.lock().expect("just started") = Some(fuzzing);
    // SAFETY: the function takes nothing, returns nothing and does not unwind out of C: a panic ends the process.
    unsafe { libc::atexit(end) };
}

/// libFuzzer leaves by `exit` when it has found nothing.
extern "C" fn end() {
    let Some(fuzzing) = FUZZING.lock().ok().and_then(|mut fuzzing| fuzzing.take()) else { return };
    let Trial { tried, outcomes, .. } = fuzzing.trial;
    let counts = OUTCOMES.iter().zip(outcomes).map(|(name, count)| format!(", {name}: {count}"));
    println!(
        "C1 libFuzzer: {tried} damaged files, 0 bad{}; {:.1?}",
        counts.collect::<String>(),
        fuzzing.started.elapsed()
    );
    if let Some((name, _)) = OUTCOMES.iter().zip(outcomes).find(|&(_, count)| fuzzing.has_corpus && count == 0) {
        eprintln!("the fault did not happen: {name}: 0");
        // SAFETY: nobody has anything left to do.
        unsafe { libc::_exit(1) };
    }
}
