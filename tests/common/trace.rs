//! Holding a child at one instruction, or at one system call, by ptrace(2): the only way to kill it at *each*, and to
//! make each system call fail.

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

/// Where a thread that was let go came to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// About to make the system call of this number.
    Call(i64),
    /// Back from one.
    Returned,
    /// A signal has come, and has not been delivered yet.
    Signal(Signal),
    /// Its process has ended.
    Ended(WaitStatus),
}

impl Traced {
    /// Takes hold of thread `thread` of a child; `None` if this system does not allow it.
    pub fn attach(child: &Child, thread: Pid) -> Option<Self> {
        let traced = Self { thread, process: child.pid() };
        match traced.request(libc::PTRACE_ATTACH, 0, 0) {
            Ok(()) => {}
            Err(Errno::EPERM | Errno::ENOSYS) => {
                std::mem::forget(traced);
                return None;
            }
            Err(errno) => panic!("ptrace: {errno}"),
        }
        traced.wait_for(Signal::SIGSTOP);
        traced.tell_calls_apart();
        Some(traced)
    }

    /// Takes hold of a program that has asked for it (`PTRACE_TRACEME`) and is about to run its first instruction.
    pub fn from_start(process: Pid) -> Self {
        let traced = Self { thread: process, process };
        traced.wait_for(Signal::SIGTRAP);
        traced.tell_calls_apart();
        traced
    }

    /// A stop at a system call then differs from that after a step.
    fn tell_calls_apart(&self) {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        self.request(libc::PTRACE_SETOPTIONS, 0, options as usize).unwrap();
    }

    /// One instruction further.
    pub fn step(&self) {
        self.go(libc::PTRACE_SINGLESTEP);
    }

    /// To the next system call's beginning, or end.
    pub fn to_system_call(&self) {
        self.go(libc::PTRACE_SYSCALL);
    }

    /// To the next system call's beginning or end, or wherever else it stops; `signal`, where it stopped last, is
    /// delivered.
    pub fn next(&self, signal: Option<Signal>) -> Stop {
        self.let_go(signal);
        self.stop(WaitPidFlag::__WALL).expect("waited for")
    }

    /// As [`next`](Self::next), without waiting for the stop, which [`has_stopped`](Self::has_stopped) tells of.
    pub fn let_go(&self, signal: Option<Signal>) {
        self.request(libc::PTRACE_SYSCALL, 0, signal.map_or(0, |signal| signal as usize)).unwrap();
    }

    /// Where it has stopped, if it has.
    pub fn has_stopped(&self) -> Option<Stop> {
        self.stop(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)
    }

    fn stop(&self, flags: WaitPidFlag) -> Option<Stop> {
        Some(match waitpid(self.thread, Some(flags)).unwrap() {
            WaitStatus::StillAlive => return None,
            WaitStatus::PtraceSyscall(_) => self.at_system_call(),
            WaitStatus::Stopped(_, signal) => Stop::Signal(signal),
            status => Stop::Ended(status),
        })
    }

    /// To the beginning of the next system call of this number, which it must make.
    #[track_caller]
    pub fn to_call(&self, number: i64) {
        loop {
            match self.next(None) {
                Stop::Call(at) if at == number => return,
                Stop::Call(_) | Stop::Returned => {}
                stop => panic!("waited for system call {number}: {stop:?}"),
            }
        }
    }

    fn at_system_call(&self) -> Stop {
        let info = self.system_call();
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: `op` says that this is the member that the kernel has written.
            Stop::Call(unsafe { info.u.entry.nr } as i64)
        } else {
            Stop::Returned
        }
    }

    /// At the beginning of a system call: its arguments.
    pub fn arguments(&self) -> [u64; 6] {
        let info = self.system_call();
        assert_eq!(info.op, libc::PTRACE_SYSCALL_INFO_ENTRY);
        // SAFETY: `op` says that this is the member that the kernel has written.
        unsafe { info.u.entry.args }
    }

    /// At the end of a system call: what it returns.
    pub fn result(&self) -> i64 {
        let info = self.system_call();
        assert_eq!(info.op, libc::PTRACE_SYSCALL_INFO_EXIT);
        // SAFETY: `op` says that this is the member that the kernel has written.
        unsafe { info.u.exit.sval }
    }

    fn system_call(&self) -> libc::ptrace_syscall_info {
        // SAFETY: all zero is a value of this struct of numbers and a union of such.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: the kernel writes at most `size` bytes to `info`, which has so many (ptrace(2)).
        let got = unsafe {
            libc::ptrace(
                libc::PTRACE_GET_SYSCALL_INFO,
                self.thread.as_raw(),
                size,
                (&raw mut info).cast::<libc::c_void>(),
            )
        };
        Errno::result(got).unwrap();
        info
    }

    /// At the beginning of a system call: it is not made, and fails with `errno`.
    #[cfg(target_arch = "x86_64")]
    pub fn fail(&self, errno: Errno) {
        let mut registers = self.registers();
        // No system call has this number.
        registers.orig_rax = u64::MAX;
        self.set_registers(&mut registers);
        assert_eq!(self.next(None), Stop::Returned);
        let mut registers = self.registers();
        registers.rax = -i64::from(errno as i32) as u64;
        self.set_registers(&mut registers);
    }

    /// Where its next instruction is.
    #[cfg(target_arch = "x86_64")]
    pub fn position(&self) -> u64 {
        self.peek(libc::PTRACE_PEEKUSER, std::mem::offset_of!(libc::user_regs_struct, rip))
    }

    /// The number of the system call that the next instruction makes, if it does make one.
    #[cfg(target_arch = "x86_64")]
    pub fn call_at_hand(&self) -> Option<i64> {
        const SYSCALL: u64 = 0x050f;
        (self.peek(libc::PTRACE_PEEKTEXT, self.position() as usize) & 0xffff == SYSCALL)
            .then(|| self.registers().rax as i64)
    }

    #[cfg(target_arch = "x86_64")]
    fn peek(&self, request: libc::c_uint, address: usize) -> u64 {
        Errno::clear();
        // SAFETY: PEEK requests take an address in the other process and no pointer of ours; the C library returns the
        // word.
        let word = unsafe { libc::ptrace(request, self.thread.as_raw(), address, 0usize) };
        assert!(word != -1 || Errno::last_raw() == 0, "ptrace: {}", Errno::last());
        word as u64
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: all zero is a value of this struct of numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.transfer(libc::PTRACE_GETREGS, &mut registers);
        registers
    }

    #[cfg(target_arch = "x86_64")]
    fn set_registers(&self, registers: &mut libc::user_regs_struct) {
        self.transfer(libc::PTRACE_SETREGS, registers);
    }

    #[cfg(target_arch = "x86_64")]
    fn transfer(&self, request: libc::c_uint, registers: &mut libc::user_regs_struct) {
        let registers = (&raw mut *registers).cast::<libc::c_void>();
        // SAFETY: both requests copy one such struct, which the pointer leads to.
        Errno::result(unsafe { libc::ptrace(request, self.thread.as_raw(), 0usize, registers) }).unwrap();
    }

    /// Lets it go, stopped as by SIGSTOP.
    pub fn leave_stopped(self) {
        self.request(libc::PTRACE_DETACH, 0, libc::SIGSTOP as usize).unwrap();
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
            self.request(how, 0, signal).unwrap();
            match waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::PtraceSyscall(_) | WaitStatus::Stopped(_, Signal::SIGTRAP) => return,
                // Stopped by a signal that came by: passed on.
                WaitStatus::Stopped(_, other) => signal = other as usize,
                status => panic!("the traced thread did not stop: {status:?}"),
            }
        }
    }

    fn wait_for(&self, wanted: Signal) {
        match waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, signal) if signal == wanted => {}
            status => panic!("the traced thread did not stop: {status:?}"),
        }
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> nix::Result<()> {
        // SAFETY: these requests take no pointer; they change the traced thread only, which is a child of ours.
        Errno::result(unsafe { libc::ptrace(request, self.thread.as_raw(), address, data) }).map(drop)
    }
}

/// Reading and changing registers is written for x86-64; checks that need it say that they skip elsewhere.
#[cfg(not(target_arch = "x86_64"))]
impl Traced {
    pub fn fail(&self, _: Errno) {
        unimplemented!()
    }

    pub fn position(&self) -> u64 {
        unimplemented!()
    }

    pub fn call_at_hand(&self) -> Option<i64> {
        unimplemented!()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.request(libc::PTRACE_DETACH, 0, 0).is_err() && self.thread != self.process {
            // Its process was killed. A traced thread's end is reported to the tracer, before that of its process to
            // the parent.
            while let Ok(WaitStatus::Stopped(..)) = waitpid(self.thread, Some(WaitPidFlag::__WALL)) {}
        }
    }
}
