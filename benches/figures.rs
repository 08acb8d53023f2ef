//! The figures that the documents quote, as ratios taken in one run.
//!
//! `cargo bench --bench figures` prints all of them; `cargo bench --bench figures -- publish ping-pong` some. What is
//! compared runs in turns of a few milliseconds on the same processors, and the median of the turns' ratios is what
//! counts: on a shared machine the distance of two processors changes within seconds, so absolute times, and two runs
//! one after the other, say little.

use std::hint::{black_box, spin_loop};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use shm_mailbox::{Options, Reader, Writer};

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Figure = fn() -> Outcome;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(("role", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return role(rest);
    }
    let figures: [(&str, Figure); 6] = [
        ("publish", publish),
        ("ping-pong", ping_pong),
        ("starve", starve),
        ("blocked", blocked),
        ("wake", wake),
        ("put", put),
    ];
    let cpus = std::thread::available_parallelism()?;
    println!("processors: {cpus}; every ratio is a median over interleaved turns");
    for (name, figure) in figures {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            figure()?;
        }
    }
    Ok(())
}

// Publish, nobody waiting: against one xchg on a line of its own. -----------------------------------------------------

fn publish() -> Outcome {
    let place = Place::new()?;
    let mut writer = place.options().create("publish")?;
    let line = [b'x'; 32];
    let word = AtomicU64::new(0);
    const TIMES: u32 = 100_000;
    let (mut floor, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..100 {
        let bare = per_call(TIMES, || {
            black_box(word.swap(black_box(1), SeqCst));
        });
        let publish = per_call(TIMES, || {
            _ = writer.publish(black_box(&line));
        });
        floor.push(bare);
        ours.push(publish);
        ratios.push(publish / bare);
    }
    println!(
        "publish 32 bytes, nobody waiting: {:.2} ns, an xchg {:.2} ns, ratio {:.2} (with xchg at 2.3 ns: {:.2} ns)",
        median(&mut ours),
        median(&mut floor),
        median(&mut ratios),
        median(&mut ratios) * 2.3
    );
    Ok(())
}

fn per_call(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

// Ping-pong between two spinning processes: against two flags on lines of their own.
// -------------------------------------------

fn ping_pong() -> Outcome {
    let place = Place::new()?;
    let mut there = place.options().create("there")?;
    let mut back = place.options().wait_for_mailbox(true).open("back")?;
    let flags = place.flags()?;
    let mut partner = Partner::start(&["pong", place.path()])?;
    partner.expect("ready")?;
    pin(0)?;
    const TURNS: usize = 400;
    const TIMES: u64 = 5_000;
    let (mut floors, mut ours, mut ratios, mut dropped) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let line = [b'x'; 32];
    for _ in 0..TURNS {
        let before = flag_hop(flags, TIMES);
        there.publish(&line)?;
        back.read()?;
        let start = Instant::now();
        for _ in 0..TIMES {
            there.publish(&line)?;
            black_box(back.read()?.bytes[31]);
        }
        let hop = start.elapsed().as_nanos() as f64 / (2 * TIMES) as f64;
        let after = flag_hop(flags, TIMES);
        // The processors' distance changed in between: nothing was compared.
        if (before / after - 1.0).abs() > 0.1 {
            dropped += 1;
            continue;
        }
        let floor = f64::midpoint(before, after);
        floors.push(floor);
        ours.push(hop);
        ratios.push(hop / floor);
    }
    flags[1].store(u64::MAX, Release);
    if ratios.is_empty() {
        println!("ping-pong 32 bytes: the machine never held still ({dropped} turns dropped)");
        return Ok(());
    }
    println!(
        "ping-pong 32 bytes, two spinning processes: {:.0} ns a hop, two flags {:.0} ns, ratio {:.2} \
         ({} turns, {dropped} dropped)",
        median(&mut ours),
        median(&mut floors),
        median(&mut ratios),
        ratios.len()
    );
    Ok(())
}

/// Ping-pong by two bare flags, the least that two processors can do.
fn flag_hop(flags: &[AtomicU64; 32], times: u64) -> f64 {
    let first = flags[16].load(Acquire);
    // The partner serves flags or mailboxes, whichever is asked for; the first exchange brings it here.
    flags[1].store(times + 1, Release);
    let exchange = |turn| {
        flags[0].store(turn, Release);
        while flags[16].load(Acquire) != turn {}
    };
    exchange(first + 1);
    let start = Instant::now();
    for turn in first + 2..=first + 1 + times {
        exchange(turn);
    }
    start.elapsed().as_nanos() as f64 / (2 * times) as f64
}

fn pong(directory: &str) -> Outcome {
    let place = Place::at(directory);
    let mut there = place.options().open("there")?;
    let mut back = place.options().create("back")?;
    let flags = place.flags()?;
    pin(1)?;
    println!("ready");
    loop {
        match flags[1].swap(0, AcqRel) {
            0 => {
                if let Some(message) = there.try_read()? {
                    let line: [u8; 32] = message.bytes.try_into()?;
                    back.publish(&line)?;
                }
            }
            u64::MAX => return Ok(()),
            times => {
                let first = flags[16].load(Relaxed);
                for turn in first + 1..=first + times {
                    while flags[0].load(Acquire) != turn {}
                    flags[16].store(turn, Release);
                }
                // Then a turn of mailboxes, unless another turn of flags comes first.
                let mut message = there.read_timeout(Duration::from_micros(200))?;
                while let Some(line) = message {
                    let line: [u8; 32] = line.bytes.try_into()?;
                    back.publish(&line)?;
                    message = there.read_timeout(Duration::from_micros(200))?;
                }
            }
        }
    }
}

// A reader of 64 KiB against a writer in a tight loop. ----------------------------------------------------------------

fn starve() -> Outcome {
    for banks in [2, 4, 8] {
        let place = Place::new()?;
        let _writer = Partner::start(&["tight", place.path(), &banks.to_string()])?;
        let mut reader = place.options().wait_for_mailbox(true).open("tight")?;
        pin(0)?;
        let end = Instant::now() + Duration::from_secs(2);
        let (mut reads, mut worst, mut preempted_worst, mut preempted) = (0u64, 0, 0, 0u64);
        while Instant::now() < end {
            let (retries, switches) = (reader.retries(), involuntary_switches());
            reader.read()?;
            let (retries, switches) = (reader.retries() - retries, involuntary_switches() - switches);
            reads += 1;
            if switches > 0 {
                preempted += 1;
                preempted_worst = preempted_worst.max(retries);
            } else {
                worst = worst.max(retries);
            }
        }
        println!(
            "64 KiB against a tight writer, {banks} banks: {reads} reads, {:.4} retries a read, worst {worst} \
             ({preempted} preempted reads, worst {preempted_worst})",
            reader.retries() as f64 / reads as f64
        );
    }
    Ok(())
}

fn tight(directory: &str, banks: &str) -> Outcome {
    let mut writer = Place::at(directory).options().capacity(65536).banks(banks.parse()?).create("tight")?;
    pin(1)?;
    let line = vec![b'x'; 65536];
    loop {
        writer.publish(&line)?;
    }
}

fn involuntary_switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

// What a blocked reader uses. -----------------------------------------------------------------------------------------

fn blocked() -> Outcome {
    let place = Place::new()?;
    let _writer = place.options().create("idle")?;
    let mut reader = place.options().open("idle")?;
    let before = getrusage(UsageWho::RUSAGE_THREAD)?;
    let wait = Duration::from_secs(3);
    reader.read_timeout(wait)?;
    let after = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = |usage: &nix::sys::resource::Usage| {
        let (user, system) = (usage.user_time(), usage.system_time());
        (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()
    };
    let used = micros(&after) - micros(&before);
    println!(
        "a blocked reader: {used} us of processor in {wait:?}, {:.4} %",
        used as f64 / wait.as_micros() as f64 * 100.0
    );
    Ok(())
}

// A publish with one sleeper and with a thousand. ---------------------------------------------------------------------

fn wake() -> Outcome {
    const MANY: u64 = 1000;
    const TURNS: usize = 40;
    let place = Place::new()?;
    let mut one = Sleepers::start(&place, "one", 1)?;
    let mut many = Sleepers::start(&place, "many", MANY)?;
    let (mut singles, mut manies, mut ratios, mut reached) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (single, _) = one.wake()?;
        let (publish, all) = many.wake()?;
        singles.push(single.as_nanos() as f64 / 1e3);
        manies.push(publish.as_nanos() as f64 / 1e3);
        ratios.push(publish.as_nanos() as f64 / single.as_nanos() as f64);
        reached.push(all.as_nanos() as f64 / 1e6);
    }
    println!(
        "publish with {MANY} sleepers: {:.1} us, with one {:.1} us, ratio {:.2}; all {MANY} had each of {TURNS} lines, \
         after {:.1} ms",
        median(&mut manies),
        median(&mut singles),
        median(&mut ratios),
        median(&mut reached)
    );
    Ok(())
}

/// Readers that sleep, as threads of one process, and their writer.
struct Sleepers {
    writer: Writer,
    count: u64,
    arrived: &'static AtomicU64,
}

impl Sleepers {
    fn start(place: &Place, name: &'static str, count: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let writer = place.options().create(name)?;
        let arrived: &'static AtomicU64 = Box::leak(Box::default());
        for _ in 0..count {
            let mut reader: Reader = place.options().open(name)?;
            std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
                while reader.read().is_ok() {
                    arrived.fetch_add(1, SeqCst);
                }
            })?;
        }
        Ok(Self { writer, count, arrived })
    }

    /// Publishes one line when all are asleep; returns how long that took, and how long until all had it.
    fn wake(&mut self) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
        // Longer than they spin, shorter than a slice.
        std::thread::sleep(Duration::from_millis(30));
        let before = self.arrived.load(SeqCst);
        let start = Instant::now();
        self.writer.publish(b"wake up")?;
        let published = start.elapsed();
        while self.arrived.load(SeqCst) < before + self.count {
            if start.elapsed() > Duration::from_secs(10) {
                return Err("not every sleeper has the line".into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok((published, start.elapsed()))
    }
}

// `mailbox put` against `wc -l`, both fed by `seq`. -------------------------------------------------------------------

fn put() -> Outcome {
    let place = Place::new()?;
    let time = |command: String| -> Result<f64, Box<dyn std::error::Error>> {
        let start = Instant::now();
        let status = Command::new("sh").arg("-c").arg(&command).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("`{command}` failed").into());
        }
        Ok(start.elapsed().as_secs_f64())
    };
    let (mut counts, mut puts, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let count = time("seq 10000000 | wc -l".into())?;
        let put = time(format!("seq 10000000 | {} put --dir {} n", env!("CARGO_BIN_EXE_mailbox"), place.path()))?;
        counts.push(count);
        puts.push(put);
        ratios.push(put / count);
    }
    println!(
        "seq 10000000 | mailbox put: {:.2} s, | wc -l: {:.2} s, ratio {:.2}",
        median(&mut puts),
        median(&mut counts),
        median(&mut ratios)
    );
    Ok(())
}

// Common parts. -------------------------------------------------------------------------------------------------------

fn role(arguments: &[String]) -> Outcome {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pong", directory] => pong(directory),
        ["tight", directory, banks] => tight(directory, banks),
        _ => Err("unknown role".into()),
    }
}

/// A directory for the mailboxes of one figure.
struct Place {
    path: String,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let directory = tempfile::Builder::new().prefix("mailbox-figures-").tempdir_in("/dev/shm")?;
        Ok(Self { path: directory.path().display().to_string(), _directory: Some(directory) })
    }

    fn at(path: &str) -> Self {
        Self { path: path.into(), _directory: None }
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn options(&self) -> Options {
        Options::new().dir(&self.path)
    }

    /// Words in shared memory, 128 bytes between the first and the seventeenth.
    fn flags(&self) -> Result<&'static [AtomicU64; 32], Box<dyn std::error::Error>> {
        let path = format!("{}/flags.new", self.path);
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(4096)?;
        let map = Box::leak(Box::new(MmapRaw::map_raw(&file)?));
        // SAFETY: a page that stays mapped for the life of the process, aligned, and accessed atomically by both
        // processes.
        Ok(unsafe { &*map.as_ptr().cast() })
    }
}

/// This program in another process, ended when dropped.
struct Partner {
    child: Child,
    output: BufReader<ChildStdout>,
    _input: ChildStdin,
}

impl Partner {
    fn start(role: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("role")
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let input = child.stdin.take().ok_or("no input")?;
        Ok(Self { child, output, _input: input })
    }

    fn expect(&mut self, word: &str) -> Outcome {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() == word { Ok(()) } else { Err(format!("the partner said {line:?}").into()) }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        _ = std::io::stdout().flush();
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn pin(cpu: usize) -> Outcome {
    let mut set = CpuSet::new();
    set.set(cpu % std::thread::available_parallelism()?.get().max(1))?;
    // Where pinning is not allowed, the scheduler decides.
    _ = sched_setaffinity(Pid::from_raw(0), &set);
    spin_loop();
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
