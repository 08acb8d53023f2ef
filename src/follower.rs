//! [`Follower`]: follows a mailbox from line to line and from file to file, for a [`Reader`](crate::Reader).
//!
//! ```text
//!   glance ──> look ──> turn: spin, then something to sleep on
//!     the        │                     │
//!    common      └── leave, attach, ask_for_name: on to the next file under the name
//!     case
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::doorbell::{Doorbell, Watching};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::name::{Location, missing};
use crate::options::Options;
use crate::os::clock::{Deadline, boottime, earlier};
use crate::os::directory::Directory;
use crate::os::lock;
use crate::os::poll::Watch;
use crate::os::shm::{Opened, Shared};
use crate::protocol::eventcount::{BELL, FUTEX};
use crate::protocol::seqlock::{self, Buffer, Reading};
use crate::protocol::sync::Ordering::Relaxed;
use crate::reader::{Message, WriterState};
use crate::sleeper::{Sleeper, Slept, Turn};
use crate::spin::Spin;

/// Nobody sleeps longer than this without a look of its own: the bound on everything that another process, dying,
/// stopped or hostile, can do to a sleeper.
pub const SLICE: Duration = Duration::from_millis(100);
/// How long one that cannot be woken sleeps: from this ...
const SHORTEST_NAP: Duration = Duration::from_millis(1);
/// ... doubling, to this.
pub const LONGEST_NAP: Duration = Duration::from_millis(10);
/// Of its looks that find nothing, a reader that never sleeps takes the clock at every one, or, if they come faster
/// than this, at every second, fourth, and so on, up to so many: a clock costs less than half a nanosecond a look then,
/// and one that slows down is late by so many looks, once.
const BUSY: Duration = Duration::from_millis(1);
const MOST_LOOKS: u32 = 64;

/// What a reader is but for its buffer: follows a mailbox from line to line and from file to file.
pub struct Follower {
    location: Location,
    /// The file, if there is one.
    attached: Option<Shared>,
    /// Counts the files that were attached.
    attachments: u64,
    /// Whether it was opened for one that comes later.
    waits_for_mailbox: bool,
    /// Whether opening is over: from then on, what is missing is waited for.
    is_open: bool,
    /// The instance that `held` belongs to.
    instance: Option<[u8; 16]>,
    /// Number of the message of this instance that was returned last; 0: none.
    held: u64,
    /// Whether any line was returned at all, of any instance.
    has_returned: bool,
    retries: u64,
    spin: Spin,
    nap: Duration,
    /// Looks that found nothing since the clock was taken, when that was, and after how many it is taken again.
    empty_looks: u32,
    clock_taken: Deadline,
    clock_every: u32,
    /// When it was asked last whether the file still has its name.
    name_asked: Deadline,
    /// `leaving` was set while the file still had its name: the epoch before the question. Asked again when it has
    /// moved.
    leaving_asked: Option<u32>,
    /// Waiting for a mailbox: the directory that is watched.
    watch: Option<Arc<Watch>>,
    doorbell: Option<Watching>,
}

fn too_small(length: usize, room: usize) -> Fault {
    let kind = ErrorKind::BufferTooSmall { length, room };
    Fault::new(kind, format!("the line has {length} bytes, and the buffer {room}"))
}

/// A line that was read into a buffer.
struct Line {
    number: u64,
    missed: u64,
    length: usize,
    time: u64,
}

#[inline]
fn show<'b, B: Buffer + ?Sized>(line: &Line, buffer: &'b B) -> Message<'b> {
    let age = (line.time != 0).then(|| Duration::from_nanos(boottime().saturating_sub(line.time)));
    Message { number: line.number, missed: line.missed, age, bytes: &buffer.bytes()[..line.length] }
}

/// What a glance at the slot came to.
enum Glance {
    Line(Line),
    Nothing,
}

/// What a turn of a wait came to.
enum Step {
    Line(Line),
    Sleep(Sleeper),
    TimeOut,
}

/// What a look for a line came to.
enum Look {
    Line(Line),
    Nothing,
    /// One bank, and no line in it at the moment.
    Unfinished,
}

impl Follower {
    pub fn with(location: Location, options: &Options) -> std::result::Result<Self, Fault> {
        let mut follower = Self {
            location,
            attached: None,
            attachments: 0,
            waits_for_mailbox: options.wait_for_mailbox,
            is_open: false,
            instance: None,
            held: 0,
            has_returned: false,
            retries: 0,
            spin: Spin::new(),
            nap: SHORTEST_NAP,
            empty_looks: 0,
            clock_taken: Deadline::now(),
            clock_every: 1,
            name_asked: Deadline::now(),
            leaving_asked: None,
            watch: None,
            doorbell: None,
        };
        let found = follower.attach(options.wait_for_mailbox)?;
        if !found && !options.wait_for_mailbox {
            return Err(missing());
        }
        follower.is_open = true;
        if options.skip_current
            && let Some(shared) = &follower.attached
        {
            follower.held = seqlock::newest(&**shared).ok_or_else(|| shared.damaged())?;
        }
        Ok(follower)
    }

    /// See [`Reader::writer_state`](crate::Reader::writer_state).
    pub fn writer_state(&self) -> WriterState {
        match Directory::open(&self.location, false) {
            Ok(directory) => lock::holder(&directory, &self.location.names.lock).into(),
            Err(_) => WriterState::Unknown,
        }
    }

    /// Number of the message that was returned last.
    pub fn number(&self) -> u64 {
        self.held
    }

    /// Attempts to read that had to be repeated.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// The path of the mailbox.
    pub fn path(&self) -> PathBuf {
        self.location.path()
    }

    // The ways to read, for every kind of buffer. -------------------------------------------------------------------------

    #[inline(always)]
    pub fn try_read<'b, B: Buffer + ?Sized>(&mut self, buffer: &'b mut B) -> Result<Option<Message<'b>>> {
        match self.glance(false, buffer) {
            Some(Glance::Line(line)) => return Ok(Some(show(&line, buffer))),
            Some(Glance::Nothing) if self.doorbell.is_none() && !self.is_clock_due() => return Ok(None),
            _ => {}
        }
        let line = self.try_line(buffer);
        self.message(line, buffer)
    }

    #[inline(always)]
    pub fn read<'b, B: Buffer + ?Sized>(&mut self, buffer: &'b mut B) -> Result<Message<'b>> {
        if let Some(line) = self.soon(buffer) {
            return Ok(show(&line, buffer));
        }
        let line = self.wait_for_line(buffer)?;
        Ok(show(&line, buffer))
    }

    #[inline(always)]
    pub fn read_until<'b, B: Buffer + ?Sized>(
        &mut self,
        buffer: &'b mut B,
        deadline: impl FnOnce() -> Option<Deadline>,
    ) -> Result<Option<Message<'b>>> {
        if let Some(Glance::Line(line)) = self.glance(false, buffer) {
            return Ok(Some(show(&line, buffer)));
        }
        let line = self.wait_line(deadline(), buffer);
        self.message(line, buffer)
    }

    pub fn read_or_sleeper<'b, B: Buffer + ?Sized>(
        &mut self,
        buffer: &'b mut B,
        deadline: Option<Instant>,
        slept: Option<Slept>,
    ) -> Result<Turn<'b>> {
        if deadline.is_none()
            && slept.is_none()
            && let Some(line) = self.soon(buffer)
        {
            return Ok(Turn::Line(show(&line, buffer)));
        }
        match self.turn(deadline.and_then(Deadline::at), slept, buffer) {
            Ok(Step::Line(line)) => Ok(Turn::Line(show(&line, buffer))),
            Ok(Step::Sleep(sleeper)) => Ok(Turn::Sleep(sleeper)),
            Ok(Step::TimeOut) => Ok(Turn::TimeOut),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    #[inline(always)]
    pub fn latest<'b, B: Buffer + ?Sized>(&mut self, buffer: &'b mut B) -> Result<Option<Message<'b>>> {
        let held = self.held;
        if let Some(Glance::Line(line)) = self.glance(true, buffer)
            && (line.number != held || !self.is_clock_due())
        {
            return Ok(Some(show(&line, buffer)));
        }
        let line = self.latest_line(buffer);
        self.message(line, buffer)
    }

    // Looking. --------------------------------------------------------------------------------------------------------

    /// The common case of [`look`](Self::look), for those to whom a nanosecond matters; `None` if it takes more.
    /// Callers ask it before `look`: made a part of that, its results go through memory, at twice the cost of a read
    /// (`mailbox-bench read`).
    #[inline(always)]
    fn glance<B: Buffer + ?Sized>(&mut self, again: bool, buffer: &mut B) -> Option<Glance> {
        let shared = self.attached.as_ref()?;
        // ORDERING: Relaxed, as in `look`.
        if shared.leaving().load(Relaxed) != 0 {
            return None;
        }
        if !again && !seqlock::has_newer(&**shared, self.held) {
            return Some(Glance::Nothing);
        }
        match seqlock::attempt_newest(&**shared, self.held, again, buffer)? {
            Reading::Line { number, length, time } => Some(Glance::Line(self.take(number, length, time))),
            _ => None,
        }
    }

    /// Looks for a line again and again, for some microseconds at most: with another processor's line on its way here,
    /// every instruction between two looks delays it.
    #[inline(always)]
    fn soon<B: Buffer + ?Sized>(&mut self, buffer: &mut B) -> Option<Line> {
        for _ in 0..self.spin.eager() {
            match self.glance(false, buffer)? {
                Glance::Line(line) => {
                    self.spin.hit();
                    return Some(line);
                }
                Glance::Nothing => {}
            }
        }
        None
    }

    /// A line was read: it is the one that is held from now on.
    #[inline(always)]
    fn take(&mut self, number: u64, length: usize, time: u64) -> Line {
        let missed = if self.has_returned { number.saturating_sub(self.held).saturating_sub(1) } else { 0 };
        self.held = number;
        self.has_returned = true;
        Line { number, missed, length, time }
    }

    #[inline]
    fn try_line<B: Buffer + ?Sized>(&mut self, buffer: &mut B) -> std::result::Result<Option<Line>, Fault> {
        match self.look(false, buffer) {
            Ok(Look::Line(line)) => return Ok(Some(line)),
            Ok(Look::Nothing | Look::Unfinished) => {}
            Err(fault) => {
                // Nor was there a line: who polls and goes on hears of it again at the next slice, not at once. One that
                // was too long for the buffer is there, and stays announced.
                if !matches!(fault.kind, ErrorKind::BufferTooSmall { .. })
                    && let Some(watching) = &mut self.doorbell
                {
                    watching.consume();
                }
                return Err(fault);
            }
        }
        if self.doorbell.is_some() {
            return self.arm_doorbell(buffer);
        }
        if self.ask_if_due()?
            && let Look::Line(line) = self.look(false, buffer)?
        {
            return Ok(Some(line));
        }
        Ok(None)
    }

    fn latest_line<B: Buffer + ?Sized>(&mut self, buffer: &mut B) -> std::result::Result<Option<Line>, Fault> {
        let held = self.held;
        let mut look = self.look(true, buffer)?;
        let is_new = matches!(&look, Look::Line(line) if line.number != held);
        if !is_new && self.ask_if_due()? {
            look = self.look(true, buffer)?;
        }
        Ok(match look {
            Look::Line(line) => Some(line),
            Look::Nothing | Look::Unfinished => None,
        })
    }

    /// Looks for a line that is new, or for the newest if `again`.
    #[inline]
    fn look<B: Buffer + ?Sized>(&mut self, again: bool, buffer: &mut B) -> std::result::Result<Look, Fault> {
        loop {
            let Some(shared) = &self.attached else {
                if self.attach(false)? {
                    continue;
                }
                return Ok(Look::Nothing);
            };
            // ORDERING: Relaxed. Part of every look, so that a read that begins after a line was published in the next
            // file goes there: that publish came after `leaving`, and its return, which the caller knows of, carries
            // the order.
            if shared.leaving().load(Relaxed) != 0 && self.leave()? {
                continue;
            }
            let Some(shared) = &self.attached else { continue };
            if !again && !seqlock::has_newer(&**shared, self.held) {
                return Ok(Look::Nothing);
            }
            return match seqlock::read_newest(&**shared, self.held, again, buffer, &mut self.retries) {
                Reading::Line { number, length, time } => Ok(Look::Line(self.take(number, length, time))),
                Reading::Nothing | Reading::Unfinished if shared.is_lost() => Err(shared.damaged()),
                Reading::Nothing => Ok(Look::Nothing),
                Reading::Unfinished => Ok(Look::Unfinished),
                Reading::Damaged => Err(shared.damaged()),
                Reading::NoRoom(length) if B::GROWS => Err(Fault::no_memory(length)),
                Reading::NoRoom(length) => Err(too_small(length, buffer.bytes().len())),
            };
        }
    }

    #[inline]
    fn message<'b, B: Buffer + ?Sized>(
        &self,
        line: std::result::Result<Option<Line>, Fault>,
        buffer: &'b B,
    ) -> Result<Option<Message<'b>>> {
        match line {
            Ok(Some(line)) => Ok(Some(show(&line, buffer))),
            Ok(None) => Ok(None),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    #[cold]
    fn failed(&self, fault: Fault) -> Error {
        fault.of("read mailbox", self.location.path())
    }

    // Waiting. --------------------------------------------------------------------------------------------------------

    fn wait_for_line<B: Buffer + ?Sized>(&mut self, buffer: &mut B) -> Result<Line> {
        loop {
            match self.wait_line(None, buffer) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    fn wait_line<B: Buffer + ?Sized>(
        &mut self,
        deadline: Option<Deadline>,
        buffer: &mut B,
    ) -> std::result::Result<Option<Line>, Fault> {
        let mut slept = None;
        loop {
            match self.turn(deadline, slept, buffer)? {
                Step::Line(line) => return Ok(Some(line)),
                Step::TimeOut => return Ok(None),
                Step::Sleep(sleeper) => slept = Some(sleeper.sleep()),
            }
        }
    }

    /// Looks and spins, until there is a line or nothing left but to sleep.
    fn turn<B: Buffer + ?Sized>(
        &mut self,
        deadline: Option<Deadline>,
        slept: Option<Slept>,
        buffer: &mut B,
    ) -> std::result::Result<Step, Fault> {
        if let Some(time) = slept.and_then(|slept| slept.time) {
            self.spin.slept(time);
        }
        let mut quiet = slept.is_some_and(|slept| slept.quiet);
        loop {
            if let Some(Glance::Line(line)) = self.glance(false, buffer) {
                self.nap = SHORTEST_NAP;
                return Ok(Step::Line(line));
            }
            let unfinished = match self.look(false, buffer)? {
                Look::Line(line) => {
                    self.nap = SHORTEST_NAP;
                    return Ok(Step::Line(line));
                }
                Look::Nothing => false,
                Look::Unfinished => true,
            };
            if deadline.is_some_and(Deadline::has_passed) {
                return Ok(Step::TimeOut);
            }
            let sleeper = match &self.attached {
                None => self.wait_for_mailbox(deadline)?,
                Some(_) if unfinished => {
                    if self.ask_if_slice_is_over()? {
                        continue;
                    }
                    Some(Sleeper::nap(earlier(deadline, self.next_nap())))
                }
                Some(_) => {
                    // Without a deadline, the caller has done so.
                    if !quiet
                        && deadline.is_some()
                        && let Some(line) = self.soon(buffer)
                    {
                        return Ok(Step::Line(line));
                    }
                    let (Some(shared), held) = (&self.attached, self.held) else { continue };
                    let arrived = !quiet
                        && self.spin.until(
                            deadline,
                            || seqlock::has_newer(&**shared, held),
                            || {
                                // ORDERING: Relaxed. Only ends the spin; the look that follows decides.
                                shared.leaving().load(Relaxed) != 0 && self.leaving_asked.is_none()
                            },
                        );
                    if arrived { None } else { self.prepare_sleep(deadline)? }
                }
            };
            if let Some(sleeper) = sleeper {
                return Ok(Step::Sleep(sleeper));
            }
            quiet = false;
        }
    }

    /// Sees to it that there will be a wake-up; `None` if there may be a line by now.
    fn prepare_sleep(&mut self, deadline: Option<Deadline>) -> std::result::Result<Option<Sleeper>, Fault> {
        // Whether the last slice was slept through or cut short by signals or by strangers who wake.
        if self.ask_if_slice_is_over()? {
            return Ok(None);
        }
        let nap = self.next_nap();
        let shared = self.attached.as_ref().expect("checked by the caller");
        let eventcount = shared.eventcount();
        let key = eventcount.prepare_wait();
        if shared.is_writable() {
            eventcount.arm(FUTEX);
        }
        if seqlock::has_announced(&**shared, self.held).ok_or_else(|| shared.damaged())? {
            return Ok(None);
        }
        // ORDERING: Relaxed; after [armed], and [key] and [bump] see to the rest.
        if shared.leaving().load(Relaxed) != 0 && self.leave()? {
            return Ok(None);
        }
        let Some(shared) = &self.attached else { return Ok(None) };
        // ORDERING: Relaxed. Out of date, it costs one slice or one nap.
        let slice = if shared.is_writable() || shared.always_wake().load(Relaxed) != 0 { SLICE } else { nap };
        Ok(Some(Sleeper::on_futex(shared.mapping(), key, earlier(deadline, slice))))
    }

    fn next_nap(&mut self) -> Duration {
        let nap = self.nap;
        self.nap = (nap * 2).min(LONGEST_NAP);
        nap
    }

    /// Prepares to wait until something appears in the directory; `None` if the mailbox has.
    fn wait_for_mailbox(&mut self, deadline: Option<Deadline>) -> std::result::Result<Option<Sleeper>, Fault> {
        // First the watch, then the look: what appears between the two is seen. At each slice the directory is found
        // again by its path, since one that was removed or renamed may not say so.
        match self.directory(true) {
            Ok(directory) => {
                if !self.watch.as_ref().is_some_and(|watch| watch.is_of(&directory)) {
                    self.watch = Watch::new(&directory).map(Arc::new);
                }
            }
            Err(fault) if self.is_not_there_yet(&fault) => self.watch = None,
            Err(fault) => return Err(fault),
        }
        if self.attach(true)? {
            return Ok(None);
        }
        Ok(Some(Sleeper::in_directory(self.watch.clone(), earlier(deadline, SLICE))))
    }

    // The file and its name. ------------------------------------------------------------------------------------------

    fn directory(&self, make: bool) -> std::result::Result<Directory, Fault> {
        Directory::open(&self.location, make)
    }

    /// With another user's mailbox, what we may not see yet is not there yet. A directory that was given must be there
    /// at the start; later it may come and go like a mailbox.
    fn is_not_there_yet(&self, fault: &Fault) -> bool {
        match fault.kind {
            ErrorKind::NotFound if self.location.is_default => self.is_open || self.waits_for_mailbox,
            ErrorKind::NotFound => self.is_open,
            ErrorKind::PermissionDenied => (self.is_open || self.waits_for_mailbox) && self.location.owner.is_some(),
            _ => false,
        }
    }

    /// Opens what bears the name now; `false` if nothing does.
    #[cold]
    fn attach(&mut self, make_directory: bool) -> std::result::Result<bool, Fault> {
        let opened = match self
            .directory(make_directory)
            .and_then(|directory| Opened::open(&directory, &self.location.names.mailbox))
        {
            Ok(opened) => opened,
            Err(fault) if self.is_not_there_yet(&fault) => None,
            Err(fault) => return Err(fault),
        };
        let Some(opened) = opened else { return Ok(false) };
        let shared = opened.map_to_read()?;
        let instance = shared.geometry().instance;
        if self.instance != Some(instance) {
            self.instance = Some(instance);
            self.held = 0;
        }
        self.attached = Some(shared);
        self.attachments += 1;
        self.leaving_asked = None;
        self.watch = None;
        self.nap = SHORTEST_NAP;
        self.watch_for_doorbell();
        Ok(true)
    }

    /// `leaving` is set: goes on to the next file if this one has lost its name. `false`: it has not, and the matter
    /// rests until the epoch moves or a slice is over.
    #[cold]
    fn leave(&mut self) -> std::result::Result<bool, Fault> {
        let Some(shared) = &self.attached else { return Ok(true) };
        if shared.is_lost() && !shared.has_lost_its_name() {
            return Err(shared.damaged());
        }
        // The epoch before the question: it moves after the name is gone, so that a name that goes after the answer
        // moves it.
        let epoch = shared.eventcount().prepare_wait().epoch();
        if self.leaving_asked == Some(epoch) {
            return Ok(false);
        }
        if !shared.has_lost_its_name() {
            self.leaving_asked = Some(epoch);
            return Ok(false);
        }
        // Removed, if nothing bears the name now: its line is gone with it.
        if !self.attach(false)? {
            self.attached = None;
            self.watch_for_doorbell();
        }
        Ok(true)
    }

    /// Looks at the names if they were not looked at for a slice; says whether there is another file now.
    fn ask_if_slice_is_over(&mut self) -> std::result::Result<bool, Fault> {
        let attachment = self.attachments;
        if self.name_asked.passed() >= SLICE {
            self.ask_for_name()?;
        }
        Ok(self.attachments != attachment)
    }

    /// Counts a look that found nothing; says whether it is time to take the clock.
    #[inline(always)]
    fn is_clock_due(&mut self) -> bool {
        self.empty_looks += 1;
        self.empty_looks >= self.clock_every
    }

    /// The same for one that never sleeps, without a clock at every look.
    fn ask_if_due(&mut self) -> std::result::Result<bool, Fault> {
        if !self.is_clock_due() {
            return Ok(false);
        }
        self.empty_looks = 0;
        let is_busy = self.clock_taken.passed() < BUSY;
        self.clock_every = if is_busy { (self.clock_every * 2).min(MOST_LOOKS) } else { 1 };
        self.clock_taken = Deadline::now();
        self.ask_if_slice_is_over()
    }

    /// A slice is over: if another file bears the name by now, goes on to it. If none does, to a sweep or otherwise,
    /// the old line stays readable until one does.
    #[cold]
    fn ask_for_name(&mut self) -> std::result::Result<(), Fault> {
        self.leaving_asked = None;
        self.name_asked = Deadline::now();
        let Some(shared) = &self.attached else { return Ok(()) };
        let named = self.directory(false).and_then(|directory| directory.look_up(&self.location.names.mailbox));
        if let Ok(Some(named)) = named
            && !shared.is(&named)
        {
            self.attach(false)?;
        }
        Ok(())
    }

    // The doorbell. ---------------------------------------------------------------------------------------------------

    pub fn doorbell(&mut self) -> Result<Doorbell> {
        if self.doorbell.is_none() {
            match Watching::new() {
                Ok(watching) => self.doorbell = Some(watching),
                Err(errno) => return Err(self.failed(Fault::system("no descriptor for the doorbell", errno))),
            }
            self.watch_for_doorbell();
        }
        Ok(self.doorbell.as_ref().expect("made above").handle())
    }

    /// Puts into the poll set what there is to watch now.
    fn watch_for_doorbell(&mut self) {
        let Some(mut watching) = self.doorbell.take() else { return };
        let directory = self.directory(false).ok();
        watching.watch(directory.as_ref(), &self.location, self.attached.as_ref());
        self.doorbell = Some(watching);
    }

    /// Nothing new: consumes the doorbell's event and arms it, and looks once more, in this order. An event that comes
    /// after the first step stays; a line that comes before the second is found by the third, and one after it rings.
    fn arm_doorbell<B: Buffer + ?Sized>(&mut self, buffer: &mut B) -> std::result::Result<Option<Line>, Fault> {
        let watching = self.doorbell.as_mut().expect("checked by the caller");
        if watching.own() {
            self.watch_for_doorbell();
        }
        let watching = self.doorbell.as_mut().expect("checked by the caller");
        let slice_is_over = watching.consume();
        if slice_is_over {
            self.ask_for_name()?;
            let directory = self.directory(false).ok();
            let watching = self.doorbell.as_ref().expect("checked by the caller");
            if watching.is_stale(directory.as_ref(), &self.location, self.attached.as_ref()) {
                self.watch_for_doorbell();
            }
        }
        loop {
            let attachment = self.attachments;
            let look = match &self.attached {
                Some(shared) => {
                    if shared.is_writable() {
                        shared.eventcount().arm(BELL);
                    }
                    // ORDERING: Relaxed, both; after [armed].
                    let is_announced = seqlock::has_announced(&**shared, self.held).ok_or_else(|| shared.damaged())?;
                    if !is_announced && shared.leaving().load(Relaxed) == 0 {
                        return Ok(None);
                    }
                    self.look(false, buffer)?
                }
                None => self.look(false, buffer)?,
            };
            match look {
                Look::Line(line) => return Ok(Some(line)),
                // Another file by now is another flag to set.
                _ if self.attachments != attachment => {}
                _ => return Ok(None),
            }
        }
    }
}
