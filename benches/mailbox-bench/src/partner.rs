//! The process at the other end: this program again, pinned to another processor, at our command.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Outcome;
use crate::contender::Contender;
use crate::place::{Memory, Place};
use crate::workload::Settings;

/// Words of the memory by which commands are given.
const COMMAND: usize = 0;
const WHO: usize = 1;
const TIMES: usize = 2;
const TAKEN: usize = 3;

fn memory(place: &Path) -> Outcome<Memory> {
    Memory::open(place, "partner", 4096)
}

/// A partner, ended when dropped.
pub struct Partner {
    memory: Memory,
    is_over: Arc<AtomicBool>,
    process: Pid,
}

impl Partner {
    /// Starts this program in another process, on the other processor, as the partner of a workload, which is given
    /// `arguments`; waits until it is ready.
    pub fn start(settings: &Settings, place: &Place, workload: &str, arguments: &[&str]) -> Outcome<Self> {
        let memory = memory(place.path())?;
        let cpu = settings.cpus.last().expect("one at least").to_string();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["partner", workload])
            .arg(place.path())
            .arg(cpu)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said)?;
        if said != "ready\n" {
            let status = child.wait()?;
            return Err(format!("the partner process ended: {status}").into());
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let process = Pid::from_raw(child.id() as i32);
        Self::watch_over(child, Arc::clone(&is_over));
        Ok(Self { memory, is_over, process })
    }

    /// Whoever waits for a partner that has died would wait for ever.
    fn watch_over(mut child: Child, is_over: Arc<AtomicBool>) {
        thread::spawn(move || {
            let status = child.wait();
            if !is_over.load(Acquire) {
                eprintln!("mailbox-bench: the partner process ended: {status:?}");
                std::process::exit(1);
            }
        });
    }

    /// Asks the partner to be the other end of so many exchanges of one contender; returns when it is at it.
    pub fn ask(&self, contender: usize, times: u64) {
        self.memory.word(WHO).store(contender as u64, Relaxed);
        self.memory.word(TIMES).store(times, Relaxed);
        let command = self.memory.word(COMMAND).load(Relaxed) + 1;
        self.memory.word(COMMAND).store(command, Release);
        while self.memory.word(TAKEN).load(Acquire) != command {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.is_over.store(true, Release);
        _ = nix::sys::signal::kill(self.process, Signal::SIGKILL);
    }
}

/// The partner's side: does what it is asked to, until it is ended.
pub fn serve(place: &Place, contenders: &mut [Box<dyn Contender>]) -> Outcome {
    let memory = memory(place.path())?;
    ready()?;
    let mut taken = 0;
    loop {
        let mut idle = 0u32;
        while memory.word(COMMAND).load(Acquire) == taken {
            idle += 1;
            if idle < 100_000 {
                std::hint::spin_loop();
            } else {
                // The other side does something that does not need us.
                thread::sleep(Duration::from_micros(50));
            }
        }
        taken += 1;
        let (who, times) = (memory.word(WHO).load(Relaxed), memory.word(TIMES).load(Relaxed));
        memory.word(TAKEN).store(taken, Release);
        contenders[who as usize].echo(times)?;
    }
}

/// The partner's side: ends with the process that started it, and tells that it is ready.
pub fn ready() -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    println!("ready");
    Ok(())
}

/// Keeps this thread on one processor.
pub fn pin(cpu: usize) -> Outcome {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
