//! Holding a child at one instruction, or at one system call, by ptrace(2): the only way to kill it at *each*.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Child;

/// A thread that stands still until it is told to go one step further. Dropped, it goes on.
pub struct Traced {
    thread: Pid,
    process: Pid,
}

impl Traced {
    /// Takes hold of thread `thread` of a child; `None` if this system does not allow it.
    pub fn attach(child: &Child, thread: Pid) -> Option<Self> {
        let traced = Self { thread, process: child.pid() };
        match traced.request(libc::PTRACE_ATTACH, 0) {
            Ok(()) => {}
            Err(Errno::EPERM | Errno::ENOSYS) => {
                std::mem::forget(traced);
                return None;
            }
            Err(errno) => panic!("ptrace: {errno}"),
        }
        traced.wait();
        Some(traced)
    }

    /// One instruction further.
    pub fn step(&self) {
        self.go(libc::PTRACE_SINGLESTEP);
    }

    /// To the next system call's beginning, or end.
    pub fn to_system_call(&self) {
        self.go(libc::PTRACE_SYSCALL);
    }

    /// Lets it go, stopped as by SIGSTOP.
    pub fn leave_stopped(self) {
        self.request(libc::PTRACE_DETACH, libc::SIGSTOP).unwrap();
        std::mem::forget(self);
    }

    /// Kills its process where it stands.
    #[track_caller]
    pub fn kill(self, child: Child) {
        child.signal(Signal::SIGKILL);
        drop(self);
        child.kill();
    }

    fn go(&self, how: libc::c_uint) {
        let mut signal = 0;
        loop {
            self.request(how, signal).unwrap();
            match self.wait() {
                Signal::SIGTRAP => return,
                // Stopped by a signal that came by: passed on.
                other => signal = other as i32,
            }
        }
    }

    fn wait(&self) -> Signal {
        match waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, signal) => signal,
            status => panic!("the traced thread did not stop: {status:?}"),
        }
    }

    fn request(&self, request: libc::c_uint, data: i32) -> nix::Result<()> {
        // SAFETY: these requests take no pointer; they change the traced thread only, which is a child of ours.
        Errno::result(unsafe { libc::ptrace(request, self.thread.as_raw(), 0usize, data as usize) }).map(drop)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.request(libc::PTRACE_DETACH, 0).is_err() && self.thread != self.process {
            // Its process was killed. A traced thread's end is reported to the tracer, before that of its process to
            // the parent.
            while let Ok(WaitStatus::Stopped(..)) = waitpid(self.thread, Some(WaitPidFlag::__WALL)) {}
        }
    }
}
