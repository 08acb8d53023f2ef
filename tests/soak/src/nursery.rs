//! Processes by the ten thousand: forked, without exec, by a child that does nothing else.
//!
//! A process that has one thread may do in a forked child whatever it may do itself. So the one who forks is a child
//! in a role, which has not used the library before (what a fork does to a writer's or reader's process is another
//! check's question).

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A forked process; killed when dropped.
pub struct Forked {
    pid: Pid,
    has_ended: bool,
}

impl Forked {
    /// Starts a process that does `work`, and ends.
    pub fn start(work: impl FnOnce()) -> Self {
        // SAFETY: this process has one thread, so that the child's memory is as whole as ours; the child never returns
        // from here.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Parent { child } => Self { pid: child, has_ended: false },
            ForkResult::Child => {
                // SAFETY: this request takes a number and touches no memory.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
                // SAFETY: no handler of the parent's is to run at this process's end.
                unsafe { libc::_exit(code) }
            }
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended by itself, which those that are to be killed do only when something is wrong.
    pub fn has_ended(&mut self) -> bool {
        self.has_ended |= waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive);
        self.has_ended
    }

    /// Kills it and proves that this was its end.
    #[track_caller]
    pub fn kill(mut self) {
        assert!(!self.has_ended, "a process ended by itself: see what it said");
        kill(self.pid, Signal::SIGKILL).unwrap();
        let status = waitpid(self.pid, None).unwrap();
        self.has_ended = true;
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "it ended by itself: {status:?}");
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if !self.has_ended {
            _ = kill(self.pid, Signal::SIGKILL);
            _ = waitpid(self.pid, None);
        }
    }
}
