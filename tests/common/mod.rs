//! What the tests share: a directory of shared memory, processes that play a role in it, the bytes of a mailbox by
//! their offsets.
//!
//! **Processes.** A test file lists its roles with `roles!`, and a [`Child`] is the test binary itself, started again
//! to play one of them. (`mailbox-soak`, which is no test binary, calls [`play`] first of all.) The two talk over a
//! socket, line by line. A child ends with the `Child`, and with the thread that started it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use shm_mailbox::Options;
use tempfile::TempDir;

pub mod at;
pub mod trace;

/// How long a test waits for what must come: long enough that only what never comes can fail it.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The name of most mailboxes here.
pub const NAME: &str = "box";

/// A directory of its own in shared memory, removed with everything in it when dropped.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("mailbox-test-").tempdir_in("/dev/shm").unwrap())
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Options for mailboxes in this directory.
    pub fn options(&self) -> Options {
        Options::new().dir(self.0.path())
    }

    /// What is in the directory, sorted.
    pub fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The bytes of mailbox `NAME`.
    pub fn raw(&self) -> Raw {
        Raw::open(&self.path(NAME))
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Tells that a test could not be made here; the caller returns. Past the test harness, which shows only what failed.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    _ = writeln!(std::io::stderr(), "skipped: {}: {reason}", thread.name().unwrap_or("a test"));
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Tells a wake-up from the end of a time slice, which comes 0 to 100 ms after a line, 50 ms at the median: `measure`
/// gives the times of some dozens of lines. Noise only makes them longer, so one good attempt of several is proof.
#[track_caller]
pub fn woken_and_not_timed_out(mut measure: impl FnMut() -> Vec<Duration>) {
    let medians: Vec<_> = (0..4).map(|_| median(measure())).take_while_inclusive().collect();
    assert!(medians.last().unwrap() < &WOKEN, "medians of the times from a line to its reader: {medians:?}");
}

/// Below this median, readers are woken.
const WOKEN: Duration = Duration::from_millis(25);

/// Attempts up to the first good one.
trait TakeWhileInclusive: Iterator<Item = Duration> + Sized {
    fn take_while_inclusive(self) -> impl Iterator<Item = Duration> {
        let mut done = false;
        self.take_while(move |median| !std::mem::replace(&mut done, *median < WOKEN))
    }
}

impl<I: Iterator<Item = Duration>> TakeWhileInclusive for I {}

// Processes. ----------------------------------------------------------------------------------------------------------

const ROLE: &str = "MAILBOX_TEST_ROLE";
const ARGUMENTS: &str = "MAILBOX_TEST_ARGUMENTS";
const SOCKET: &str = "MAILBOX_TEST_SOCKET";

/// The test that plays the roles; it does nothing when it is run as a test.
#[macro_export]
macro_rules! roles {
    ($($role:ident),* $(,)?) => {
        #[test]
        fn child_entry() {
            _ = $crate::common::play(&[$((stringify!($role), $role as fn(&mut $crate::common::Parent))),*]);
        }
    };
}

/// The name of a role, and what plays it.
pub type Role<'a> = (&'a str, fn(&mut Parent));

/// Plays the role that the environment names; `false` if it names none.
pub fn play(roles: &[Role<'_>]) -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let play = roles.iter().find(|(name, _)| *name == role).expect("a role of this file").1;
    let socket = std::env::var(SOCKET).unwrap().parse().unwrap();
    // SAFETY: `Child::start` left this descriptor open in us, and nothing else knows its number.
    let socket = unsafe { UnixStream::from_raw_fd(socket) };
    let arguments = std::env::var(ARGUMENTS).unwrap();
    play(&mut Parent { socket: BufReader::new(socket), arguments: arguments.split(' ').map(str::to_owned).collect() });
    true
}

/// The parent, as seen by a child.
pub struct Parent {
    socket: BufReader<UnixStream>,
    arguments: Vec<String>,
}

impl Parent {
    pub fn argument<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, index: usize) -> T {
        self.arguments[index].parse().unwrap()
    }

    pub fn say(&mut self, line: impl std::fmt::Display) {
        self.socket.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for the parent's next line.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// A process that plays a role; killed when dropped.
pub struct Child {
    process: std::process::Child,
    socket: BufReader<UnixStream>,
    role: &'static str,
}

impl Child {
    /// Starts a process in the role `role`, with the directory of `place` as its `MAILBOX_DIR`.
    pub fn start(role: &'static str, place: &Place, arguments: &[&dyn std::fmt::Display]) -> Self {
        Self::start_with(role, place, arguments, &[])
    }

    /// The same, with these variables in its environment too.
    pub fn start_with(
        role: &'static str,
        place: &Place,
        arguments: &[&dyn std::fmt::Display],
        environment: &[(&str, &str)],
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        let socket = theirs.as_raw_fd();
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_entry", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(SOCKET, socket.to_string()).env(ARGUMENTS, arguments.join(" "));
        command
            .env("MAILBOX_DIR", place.dir())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Ctrl-C is for us, who end it.
        command.process_group(0);
        // SAFETY: prctl and fcntl are system calls and nothing else, so allowed between fork and exec; the descriptor
        // is open.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::fcntl(socket, libc::F_SETFD, 0);
                Ok(())
            });
        }
        let process = command.spawn().unwrap();
        Self { process, socket: BufReader::new(ours), role }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    /// The child's next line.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        match self.socket.read_line(&mut line) {
            Ok(0) => panic!("{} has ended: see what it said", self.role),
            Ok(_) => line.trim_end().to_owned(),
            Err(error) => panic!("{} says nothing: {error}", self.role),
        }
    }

    /// The child's next line, a number.
    #[track_caller]
    pub fn hear_number(&mut self) -> u64 {
        self.hear().parse().unwrap()
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line, "from {}", self.role);
    }

    pub fn say(&mut self, line: impl std::fmt::Display) {
        self.socket.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Kills it and proves that this was its end.
    #[track_caller]
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{} ended by itself: {status}", self.role);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Stops it and waits until it is.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(status, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{status:?}");
    }

    pub fn is_stopped(&self) -> bool {
        states(self.pid()).iter().all(|&state| matches!(state, 'T' | 't'))
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until all its threads sleep. A child that has said that it is going to read sleeps in that.
    #[track_caller]
    pub fn wait_until_asleep(&self) {
        wait_until("it sleeps", || states(self.pid()).iter().all(|&state| state == 'S'));
    }

    /// Waits for its end and proves that it was a good one.
    #[track_caller]
    pub fn end(mut self) {
        let status = self.wait();
        assert!(status.success(), "{}: {status}", self.role);
    }

    /// Proves that it has not ended.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        assert!(self.is_running(), "{} has ended: see what it said", self.role);
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the child has ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Takes the read lock that a file opened for reading gives, on all of it.
pub fn read_lock(file: &File) -> nix::Result<()> {
    let range = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
}

/// The states of a process's threads, as letters of proc_pid_stat(5).
pub fn states(pid: Pid) -> Vec<char> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
            stat[stat.rfind(')')? + 2..].chars().next()
        })
        .collect()
}

// The bytes of a mailbox. ---------------------------------------------------------------------------------------------

/// A mailbox's file, read and written by the offsets of `docs/protocol.md`, as nobody but a test does.
pub struct Raw(File);

impl Raw {
    pub fn open(path: &Path) -> Self {
        Self(File::options().read(true).write(true).open(path).unwrap())
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    pub fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    pub fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    pub fn put_u32(&self, at: u64, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn put_u64(&self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn instance(&self) -> [u8; 16] {
        self.bytes(at::INSTANCE)
    }

    pub fn latest(&self) -> u64 {
        self.u64(at::LATEST)
    }

    pub fn waiters(&self) -> u32 {
        self.u32(self.page())
    }

    pub fn epoch(&self) -> u32 {
        self.u32(self.page() + 128)
    }

    pub fn set_epoch(&self, epoch: u32) {
        self.put_u32(self.page() + 128, epoch);
    }

    pub fn page(&self) -> u64 {
        self.u32(at::PAGE).into()
    }

    pub fn banks(&self) -> u64 {
        self.u32(at::BANKS).into()
    }

    /// Where bank `index` begins.
    pub fn bank(&self, index: u64) -> u64 {
        2 * self.page() + index * self.u64(at::STRIDE)
    }

    pub fn sequences(&self) -> Vec<u64> {
        (0..self.banks()).map(|index| self.u64(self.bank(index))).collect()
    }

    /// Where the writer stands, if it does stand.
    pub fn phase(&self) -> Phase {
        let (sequences, latest) = (self.sequences(), self.latest());
        if sequences.iter().any(|sequence| sequence % 2 == 1) {
            Phase::Writing
        } else if sequences.iter().any(|sequence| sequence / 2 > latest) {
            Phase::PublishedOnly
        } else {
            Phase::Between
        }
    }
}

/// Where in a publish a writer stands, as the banks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No publish has left a mark that is not complete.
    Between,
    /// A bank's sequence is odd.
    Writing,
    /// A bank holds a message that `latest` does not tell of yet.
    PublishedOnly,
}

/// Words that the processes of a test share, outside of any mailbox.
pub struct Words(MmapRaw);

impl Words {
    const COUNT: usize = 512;

    pub fn new(directory: &Path) -> Self {
        let path = directory.join("words");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(8 * Self::COUNT as u64).unwrap();
        Self(MmapOptions::new().map_raw(&file).unwrap())
    }

    /// In a child: the parent's words.
    pub fn of_parent() -> Self {
        Self::new(Path::new(&std::env::var_os("MAILBOX_DIR").unwrap()))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < Self::COUNT);
        // SAFETY: the mapping is page-aligned, holds COUNT words, and lives as long as `self`; every process accesses
        // it by this function, atomically.
        unsafe { &*self.0.as_ptr().cast::<AtomicU64>().add(index) }
    }

    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::SeqCst)
    }

    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::SeqCst);
    }

    pub fn add(&self, index: usize, value: u64) {
        self.word(index).fetch_add(value, Ordering::SeqCst);
    }

    pub fn set_bits(&self, index: usize, bits: u64) {
        self.word(index).fetch_or(bits, Ordering::SeqCst);
    }

    pub fn raise(&self, index: usize, value: u64) {
        self.word(index).fetch_max(value, Ordering::SeqCst);
    }
}

// Lines that check themselves. ----------------------------------------------------------------------------------------

/// A line of `length` bytes that no other message has: each of its 8-byte words depends on the number, the length and
/// the salt.
pub fn line(number: u64, salt: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill(&mut bytes, number, salt);
    bytes
}

/// As [`line`], in place.
pub fn fill(bytes: &mut [u8], number: u64, salt: u64) {
    let mut word = words(number, salt, bytes.len());
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        chunk.copy_from_slice(&word());
    }
    let rest = chunks.into_remainder();
    let length = rest.len();
    rest.copy_from_slice(&word()[..length]);
}

/// Whether `bytes` are [`line`]`(number, salt, bytes.len())`.
pub fn is_line(bytes: &[u8], number: u64, salt: u64) -> bool {
    let mut word = words(number, salt, bytes.len());
    let chunks = bytes.chunks_exact(8);
    let rest = chunks.remainder();
    // All of them, without a way out in between: soaks check thousands of millions of lines.
    let are_words = chunks.fold(true, |are, chunk| are & (chunk == word()));
    are_words && rest == &word()[..rest.len()]
}

/// The words of a line, one after the other.
fn words(number: u64, salt: u64, length: usize) -> impl FnMut() -> [u8; 8] {
    let mut next = mix(number ^ mix(salt ^ mix(length as u64)));
    move || {
        let word = next;
        next = next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word.to_le_bytes()
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of `x`.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
