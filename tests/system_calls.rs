//! What things cost in system calls, where more than is needed would change nothing else.
//!
//! | what | system calls |
//! |---|---|
//! | 1024 lines, nobody waiting | three, the look whether the files still have their names |
//! | a line for a sleeper | the wake |
//! | a slice of one who polls, mailbox or none | nothing is watched anew |
//!
//! (A line for nobody makes none: `crash.rs`.)

mod common;

use std::os::fd::AsFd;

use common::trace::{Stop, Traced};
use common::{Child, NAME, Parent, Place, Words, skip};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, gettid};
use shm_mailbox::Options;

roles!(publisher, poller);

/// Shared words: given to begin, and set when done.
const GO: usize = 0;
const DONE: usize = 1;

/// The system calls of a role between the two words, the first of which is given after `prepare`; `None` where they
/// cannot be seen.
fn calls(
    role: &'static str,
    place: &Place,
    arguments: &[&dyn std::fmt::Display],
    prepare: impl FnOnce(),
) -> Option<Vec<i64>> {
    let words = Words::new(place.dir());
    let mut child = Child::start(role, place, arguments);
    let thread = Pid::from_raw(child.hear_number() as i32);
    let traced = Traced::attach(&child, thread)?;
    prepare();
    words.set(GO, 1);
    let mut calls = Vec::new();
    loop {
        let stop = traced.next(None);
        if words.get(DONE) == 1 {
            traced.kill(child);
            return Some(calls);
        }
        if let Stop::Call(number) = stop {
            calls.push(number);
        }
    }
}

fn skipped() {
    skip("this system does not allow to trace a child");
}

/// Publishes so many lines. Arguments: how many.
fn publisher(parent: &mut Parent) {
    let lines: u64 = parent.argument(0);
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    for _ in 0..lines {
        writer.publish(b"line").unwrap();
    }
    words.set(DONE, 1);
    parent.hear();
}

#[test]
fn a_thousand_lines_make_three() {
    let place = Place::new();
    let Some(calls) = calls("publisher", &place, &[&2048], || ()) else { return skipped() };
    let is_look = |call: &i64| [libc::SYS_fstat, libc::SYS_newfstatat].contains(call);
    assert!(calls.len() == 6 && calls.iter().all(is_look), "{calls:?}");
}

#[test]
fn a_line_for_a_sleeper_makes_the_wake() {
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    let raw = place.raw();
    // A sleeper that has died, since a live one would have a flag to set again.
    let leave_a_flag = || raw.put_u32(raw.page(), 1);
    let Some(calls) = calls("publisher", &place, &[&1], leave_a_flag) else { return skipped() };
    assert_eq!(calls, [libc::SYS_futex]);
}

/// Waits for the end of five slices, by its doorbell.
fn poller(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    let mut slice = || {
        poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        assert!(reader.try_read().unwrap().is_none());
    };
    slice();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    (0..5).for_each(|_| slice());
    words.set(DONE, 1);
    parent.hear();
}

#[test]
fn a_slice_watches_nothing_anew() {
    const WATCHES: [i64; 5] = [
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_create1,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_add_watch,
        libc::SYS_timerfd_settime,
    ];
    for has_mailbox in [true, false] {
        let place = Place::new();
        let _writer = has_mailbox.then(|| place.options().create(NAME).unwrap());
        let Some(calls) = calls("poller", &place, &[], || ()) else { return skipped() };
        assert!(!calls.is_empty());
        let anew: Vec<_> = calls.iter().filter(|call| WATCHES.contains(call)).collect();
        assert!(anew.is_empty(), "with a mailbox: {has_mailbox}: {anew:?} of {calls:?}");
    }
}
