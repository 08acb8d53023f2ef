//! How long does it take to wake a process that sleeps? Against the bare kernel calls, by the length of the sleep.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::*;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::stat::Mode;
use nix::time::ClockId;
use nix::unistd::{mkfifo, read, write};
use shm_mailbox::{Doorbell, Reader, Writer};

use crate::Outcome;
use crate::block::Series;
use crate::contender::{Contender, Side};
use crate::partner::{Partner, pin, serve};
use crate::peers::futex;
#[cfg(feature = "peers")]
use crate::peers::iceoryx::Event;
use crate::place::{Memory, Place};
use crate::report::{Figure, Percentiles};
use crate::workload::{Progress, Settings};

/// Who wakes, the kernel's own way beside it, and what they are called: indices into [`contenders`].
const PAIRS: &[(usize, usize, &str, &str, &str)] = &[
    (0, 1, "a bare futex", "mailbox, read", "a sleeper is woken, and has the line"),
    (2, 3, "a bare pipe in an epoll instance", "mailbox, doorbell", "a poller is woken, and has the line"),
    #[cfg(feature = "peers")]
    (0, 4, "a bare futex", EVENT, "a sleeper is woken, and has the line"),
];
const EVENT: &str = "iceoryx2 event";
/// How long the sleeper has been asleep, about.
const SLEEPS: [Duration; 4] =
    [Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50)];
/// However long that takes.
const LEAST: usize = 12;

pub fn run(settings: &Settings) -> Outcome<Vec<Figure>> {
    let progress = Progress::new("wake");
    progress.show(0.0, "blocked");
    let mut figures = vec![blocked()?];
    for (index, sleep) in SLEEPS.into_iter().enumerate() {
        progress.show(index as f64 / SLEEPS.len() as f64, &format!("asleep for {sleep:?}"));
        figures.extend(after(settings, sleep)?);
    }
    Ok(figures)
}

/// What a reader uses that is blocked while nothing is published.
fn blocked() -> Outcome<Figure> {
    const WAIT: Duration = Duration::from_secs(2);
    let place = Place::new()?;
    let _writer = place.options().create("idle")?;
    let mut reader = place.options().open("idle")?;
    let used = || -> Outcome<Duration> { Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into()) };
    let before = used()?;
    if reader.read_timeout(WAIT)?.is_some() {
        return Err("a line that nobody published".into());
    }
    let nanos = (used()? - before).as_nanos() as f64 / WAIT.as_secs_f64();
    let series = Series { ratios: vec![nanos / 1e9], nanos: vec![nanos], ..Series::default() };
    let labels = ("processor time of one second of waiting", "the second");
    Ok(Figure::new("wake", "mailbox, read", "nothing published", labels, &series))
}

fn after(settings: &Settings, sleep: Duration) -> Outcome<Vec<Figure>> {
    let place = Place::new()?;
    let mut contenders = contenders(&place, Side::Here, sleep)?;
    let partner = Partner::start(settings, &place, "wake", &[])?;
    pin(settings.cpus[0])?;
    let mut figures = Vec::new();
    let wants_event = settings.wants("iceoryx2");
    for &(floor, ours, floor_title, our_title, operation) in PAIRS {
        if our_title == EVENT && !wants_event {
            continue;
        }
        let mut once = |who: usize| -> Outcome<Duration> {
            partner.ask(who, 1);
            contenders[who].bounce(1)
        };
        let (mut floors, mut series) = (Histogram::new(3)?, Series::default());
        let mut wakes = Histogram::<u64>::new(3)?;
        let end = Instant::now() + settings.duration / (SLEEPS.len() * PAIRS.len()) as u32;
        // Wake by wake in turns: a single one is too noisy to say whether the floor has moved, the median of many is
        // not.
        while Instant::now() < end || series.ratios.len() < LEAST {
            let (floor, wake) = (once(floor)?.as_nanos() as u64, once(ours)?.as_nanos() as u64);
            floors.record(floor)?;
            wakes.record(wake)?;
            series.ratios.push(wake as f64 / floor as f64);
            series.nanos.push(wake as f64);
        }
        let case = format!("asleep for {sleep:?}, {floor_title}");
        let mut figure = Figure::new("wake", our_title, &case, (operation, floor_title), &series);
        figure.percentiles = Some(Percentiles::from(&wakes));
        figures.push(figure);
        figures.push(Figure::singles("wake", floor_title, &case, (operation, "ns"), Percentiles::from(&floors)));
    }
    if cfg!(not(feature = "peers")) && wants_event {
        let (case, why) = (format!("asleep for {sleep:?}"), "needs a build with `--features peers`".into());
        figures.push(Figure::skipped("wake", EVENT, case, why));
    }
    Ok(figures)
}

/// The sleeper, in a process of its own.
pub fn partner(place: &Place) -> Outcome {
    let mut contenders = contenders(place, Side::There, Duration::ZERO)?;
    serve(place, &mut contenders)
}

fn contenders(place: &Place, side: Side, sleep: Duration) -> Outcome<Vec<Box<dyn Contender>>> {
    fn waking<W: Waking + 'static>(place: &Place, side: Side, sleep: Duration) -> Outcome<Box<dyn Contender>> {
        let answer = Memory::open(place.path(), &format!("{}.answer", W::NAME), 4096)?;
        Ok(Box::new(Sleeping { waking: W::open(place, side)?, answer, sleep, turn: 0 }))
    }
    Ok(vec![
        waking::<Futex>(place, side, sleep)?,
        waking::<Blocking>(place, side, sleep)?,
        waking::<Pipe>(place, side, sleep)?,
        waking::<Polling>(place, side, sleep)?,
        #[cfg(feature = "peers")]
        waking::<Event>(place, side, sleep)?,
    ])
}

/// A way to wake another process.
trait Waking: Sized {
    const NAME: &'static str;
    fn open(place: &Place, side: Side) -> Outcome<Self>;
    fn wake(&mut self) -> Outcome;
    fn sleep(&mut self) -> Outcome;
}

/// Wakes the partner again and again, each time when it has been asleep for a while; it answers by a bare flag.
struct Sleeping<W> {
    waking: W,
    answer: Memory,
    sleep: Duration,
    turn: u64,
}

impl<W: Waking> Contender for Sleeping<W> {
    fn bounce(&mut self, times: u64) -> Outcome<Duration> {
        let mut total = Duration::ZERO;
        for _ in 0..times {
            thread::sleep(self.sleep);
            self.turn += 1;
            let start = Instant::now();
            self.waking.wake()?;
            while self.answer.word(0).load(Acquire) != self.turn {
                std::hint::spin_loop();
            }
            total += start.elapsed();
        }
        Ok(total)
    }

    fn echo(&mut self, times: u64) -> Outcome {
        for _ in 0..times {
            self.waking.sleep()?;
            self.turn += 1;
            self.answer.word(0).store(self.turn, Release);
        }
        Ok(())
    }
}

/// The floor of a blocking read: a word and the kernel.
struct Futex {
    memory: Memory,
    seen: u32,
}

impl Waking for Futex {
    const NAME: &'static str = "futex";

    fn open(place: &Place, _: Side) -> Outcome<Self> {
        Ok(Self { memory: Memory::open(place.path(), Self::NAME, 4096)?, seen: 0 })
    }

    fn wake(&mut self) -> Outcome {
        futex::flag(&self.memory).fetch_add(1, SeqCst);
        futex::wake(futex::flag(&self.memory))
    }

    fn sleep(&mut self) -> Outcome {
        while futex::flag(&self.memory).load(SeqCst) == self.seen {
            futex::wait(futex::flag(&self.memory), self.seen)?;
        }
        self.seen += 1;
        Ok(())
    }
}

/// A mailbox and `read`.
struct Blocking {
    end: End,
}

/// One side's half of a mailbox.
enum End {
    Writer(Writer),
    Reader(Reader),
}

impl End {
    fn open(place: &Place, side: Side, name: &str) -> Outcome<Self> {
        Ok(match side {
            Side::Here => Self::Writer(place.options().create(name)?),
            Side::There => Self::Reader(place.options().open(name)?),
        })
    }

    fn publish(&mut self) -> Outcome {
        let Self::Writer(writer) = self else { return Err("a reader cannot publish".into()) };
        writer.publish(b"wake up")?;
        Ok(())
    }

    fn reader(&mut self) -> Outcome<&mut Reader> {
        let Self::Reader(reader) = self else { return Err("a writer cannot read".into()) };
        Ok(reader)
    }
}

impl Waking for Blocking {
    const NAME: &'static str = "blocking";

    fn open(place: &Place, side: Side) -> Outcome<Self> {
        Ok(Self { end: End::open(place, side, Self::NAME)? })
    }

    fn wake(&mut self) -> Outcome {
        self.end.publish()
    }

    fn sleep(&mut self) -> Outcome {
        self.end.reader()?.read()?;
        Ok(())
    }
}

/// The floor of a doorbell: a pipe, watched edge-triggered by an epoll instance, and emptied by whoever was woken.
struct Pipe {
    fifo: OwnedFd,
    epoll: Epoll,
}

impl Waking for Pipe {
    const NAME: &'static str = "pipe";

    fn open(place: &Place, side: Side) -> Outcome<Self> {
        let path = place.path().join(Self::NAME);
        if side == Side::Here {
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        let fifo = open(&path, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty())?;
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        epoll.add(&fifo, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Self { fifo, epoll })
    }

    fn wake(&mut self) -> Outcome {
        write(&self.fifo, b"!")?;
        Ok(())
    }

    fn sleep(&mut self) -> Outcome {
        self.epoll.wait(&mut [EpollEvent::empty()], PollTimeout::NONE)?;
        read(&self.fifo, &mut [0; 64])?;
        Ok(())
    }
}

/// A mailbox, its doorbell and `poll`.
struct Polling {
    end: End,
    doorbell: Option<Doorbell>,
}

impl Waking for Polling {
    const NAME: &'static str = "polling";

    fn open(place: &Place, side: Side) -> Outcome<Self> {
        let mut end = End::open(place, side, Self::NAME)?;
        let doorbell = if side == Side::There { Some(end.reader()?.doorbell()?) } else { None };
        Ok(Self { end, doorbell })
    }

    fn wake(&mut self) -> Outcome {
        self.end.publish()
    }

    fn sleep(&mut self) -> Outcome {
        let doorbell = self.doorbell.as_ref().ok_or("a writer does not poll")?;
        let reader = self.end.reader()?;
        while reader.try_read()?.is_none() {
            poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        }
        Ok(())
    }
}

/// iceoryx2's event, without a line to carry.
#[cfg(feature = "peers")]
impl Waking for Event {
    const NAME: &'static str = "event";

    fn open(place: &Place, side: Side) -> Outcome<Self> {
        Event::open(place, side)
    }

    fn wake(&mut self) -> Outcome {
        self.notify()
    }

    fn sleep(&mut self) -> Outcome {
        self.listen()
    }
}
