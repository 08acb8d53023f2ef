//! A child that is led through a part of its life that it has marked, instruction by instruction or system call by
//! system call.

use nix::libc;
use nix::unistd::{getpid, getppid};

use crate::check::Skip;
use crate::common::trace::Traced;
use crate::common::{Child, Parent, Place};

/// In the child: `getppid`, which nothing else here calls.
pub fn mark() {
    _ = getppid();
}

/// In the child: everything up to now was preparation. The parent takes hold of it here.
pub fn ready(parent: &mut Parent) {
    parent.say(getpid());
    assert_eq!(parent.hear(), "go");
}

/// Starts a role that says [`ready`], and takes hold of it.
pub fn start(role: &'static str, place: &Place, arguments: &[&dyn std::fmt::Display]) -> Result<(Child, Traced), Skip> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Skip("stepping is written for x86-64".into()));
    }
    let mut child = Child::start(role, place, arguments);
    let thread = nix::unistd::Pid::from_raw(child.hear_number() as i32);
    let traced =
        Traced::attach(&child, thread).ok_or_else(|| Skip("this system does not allow to trace a child".into()))?;
    child.say("go");
    Ok((child, traced))
}

/// Lets it go on to its next [`mark`], and over it.
pub fn to_mark(traced: &Traced) {
    traced.to_call(libc::SYS_getppid);
    traced.to_system_call();
}

/// Leads it to its next [`mark`], one instruction at a time. After each, `look` is told whether it was a system call,
/// and says whether to go on. Returns the number of instructions, and whether the mark was reached.
pub fn step_to_mark(traced: &Traced, mut look: impl FnMut(bool) -> bool) -> (u64, bool) {
    let mut steps = 0;
    loop {
        let call = traced.call_at_hand();
        if call == Some(libc::SYS_getppid) {
            return (steps, true);
        }
        traced.step();
        steps += 1;
        if !look(call.is_some()) {
            return (steps, false);
        }
    }
}
