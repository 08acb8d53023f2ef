//! Ctrl-C and SIGTERM end a soak after its turn, so that nothing is left behind; a second one ends it at once.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    CAUGHT.store(signal, Relaxed);
}

/// From now on, the first signal is only noted.
pub fn catch() -> nix::Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
        let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
        // SAFETY: the handler only stores to an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

pub fn is_caught() -> bool {
    CAUGHT.load(Relaxed) != 0
}

/// Ends this process by the signal that was caught, if one was, so that who started it knows.
pub fn end_by_it() {
    if let Ok(signal) = Signal::try_from(CAUGHT.load(Relaxed)) {
        _ = raise(signal);
    }
}
