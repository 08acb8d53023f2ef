//! D2: a writer's process forks, forks twice, spawns and executes others, and is killed while they live. None of them
//! publishes, none keeps the lock from the next writer, and no descriptor of a mailbox passes exec.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};
use shm_mailbox::{ErrorKind, Options};

use crate::check::{Check, Skip, Tally};
use crate::common::{Child, NAME, Parent, Place, Role};
use crate::random::Random;

pub const D2: Check = Check {
    id: "D2",
    fault: "fork, double fork, spawn, exec, and the writer killed",
    unit: "writers killed",
    ci: 1_000,
    soak: 100_000,
    turn: 1_000,
    evidence: &WAYS,
    run,
};

pub const ROLES: &[Role<'static>] = &[("forking_writer", forking_writer)];

const WAYS: [&str; 4] = ["forked", "forked twice", "spawned", "forked and executed"];
const TWICE: usize = 1;
const SPAWNED: usize = 2;
const EXECUTED: usize = 3;
/// How long a process that nobody ends lives: it must outlive its parent, and not the test by long.
const SECONDS: u32 = 60;

/// Publishes, starts a process in the way that the argument names, says its id, and waits for its end.
fn forking_writer(parent: &mut Parent) {
    let way: usize = parent.argument(0);
    let mut writer = Options::new().create(NAME).unwrap();
    let number = writer.publish(b"parent's").unwrap();
    let mut reader = Options::new().open(NAME).unwrap();
    _ = reader.doorbell().unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg(SECONDS.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if way == SPAWNED {
        let mut child = sleep.spawn().unwrap();
        parent.say(child.id());
        _ = child.wait();
    } else {
        // SAFETY: this process has one thread.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { .. } => {}
            ForkResult::Child => {
                // SAFETY: as above.
                if way == TWICE && !matches!(unsafe { fork() }.unwrap(), ForkResult::Child) {
                    // SAFETY: ends this process, and nothing else.
                    unsafe { libc::_exit(0) };
                }
                // SAFETY: takes a number.
                unsafe { libc::alarm(SECONDS) };
                if way == EXECUTED {
                    parent.say(std::process::id());
                    panic!("{}", sleep.exec());
                }
                for _ in 0..2 {
                    assert_eq!(writer.publish(b"child's").unwrap_err().kind(), ErrorKind::Forked);
                    assert_eq!(writer.grow(100_000).unwrap_err().kind(), ErrorKind::Forked);
                }
                assert_eq!(reader.latest().unwrap().unwrap().number, number);
                parent.say(std::process::id());
                loop {
                    nix::unistd::pause();
                }
            }
        }
    }
    loop {
        nix::unistd::pause();
    }
}

fn run(amount: u64, seed: u64) -> Result<Tally, Skip> {
    let place = Place::new();
    let mut random = Random::new(seed);
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    let mut tally = Tally::default();
    let mut lines = 0;
    while tally.done < amount {
        let way = random.below(WAYS.len() as u64) as usize;
        let mut writer = Child::start("forking_writer", &place, &[&way]);
        let heir = Pid::from_raw(writer.hear_number() as i32);
        lines += 1;
        assert_eq!(reader.read().unwrap().number, lines);
        if way == SPAWNED || way == EXECUTED {
            wait_until_executed(heir);
        }
        let inherited = descriptors(heir, &place);
        writer.kill();
        let is_alive = fs::read_dir(format!("/proc/{heir}/fd")).is_ok();
        let next = place.options().create(NAME);
        kill(heir, Signal::SIGKILL).unwrap();
        let what = WAYS[way];
        assert!(is_alive, "{what}: it lives when the lock is taken");
        let mut next = next.unwrap_or_else(|error| panic!("{what}: {error}"));
        lines += 1;
        assert_eq!(next.publish(b"the next writer's").unwrap(), lines, "{what}");
        assert_eq!(reader.read().unwrap().bytes, b"the next writer's", "{what}");
        let is_wrong = |path: &String| match way {
            SPAWNED | EXECUTED => true,
            // The reader's, which a child may use, has the mailbox and watches the bell.
            _ => path.ends_with(".lock"),
        };
        assert!(!inherited.iter().any(is_wrong), "{what}: {inherited:?}");
        tally.add(what, 1);
        tally.done += 1;
    }
    Ok(tally)
}

fn wait_until_executed(process: Pid) {
    let program = format!("/proc/{process}/comm");
    crate::common::wait_until("it is another program", || {
        fs::read_to_string(&program).is_ok_and(|name| name == "sleep\n")
    });
}

/// What a process has open of the directory.
fn descriptors(process: Pid, place: &Place) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let paths = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()?.into_os_string().into_string().ok());
    let dir = place.dir().to_str().unwrap();
    paths.filter(|path| path.starts_with(dir)).collect()
}
