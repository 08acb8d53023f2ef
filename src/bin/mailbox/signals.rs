//! What is put back before a signal ends the program. It still ends by the signal, so that a script's loop around it
//! stops too.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The size to give the pipe on standard output back; 0: none.
static FORMER_SIZE: AtomicI32 = AtomicI32::new(0);
/// The signal that asked the program to end, where a command watches for it; 0: none.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// From now on, a signal gives the pipe on standard output its former size back before it ends the program.
pub fn restore_pipe_size(former: i32) {
    FORMER_SIZE.store(former, Relaxed);
    handle(restore_and_end);
}

/// From now on, a signal only makes [`asked_to_end`] say so; a second one ends the program.
pub fn watch_for_end() {
    handle(ask);
}

/// The signal that has asked the program to end.
pub fn asked_to_end() -> Option<Signal> {
    Signal::try_from(ASKED.load(Relaxed)).ok()
}

/// Ends the program by `signal`, whose handler is gone since it came.
pub fn end_by(signal: Signal) {
    _ = nix::sys::signal::raise(signal);
}

extern "C" fn restore_and_end(signal: libc::c_int) {
    let former = FORMER_SIZE.load(Relaxed);
    // SAFETY: both calls take numbers only and are async-signal-safe (signal-safety(7)). The handler was reset when it
    // was entered (`SA_RESETHAND`), so that the signal, blocked until it returns, then ends the program.
    unsafe {
        libc::fcntl(io::stdout().as_raw_fd(), libc::F_SETPIPE_SZ, former);
        libc::raise(signal);
    }
}

extern "C" fn ask(signal: libc::c_int) {
    ASKED.store(signal, Relaxed);
}

fn handle(handler: extern "C" fn(libc::c_int)) {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in ENDING {
        // SAFETY: the handlers above do nothing but async-signal-safe calls and relaxed atomics.
        let former = unsafe { sigaction(signal, &action) };
        // Ignored before (`nohup`, a job in the background of a script): stays ignored.
        if let Ok(former) = former
            && matches!(former.handler(), SigHandler::SigIgn)
        {
            // SAFETY: puts back what was there a moment ago.
            _ = unsafe { sigaction(signal, &former) };
        }
    }
}
