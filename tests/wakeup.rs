//! Sleeping and being woken, on a real futex, by processes and threads.
//!
//! | subject | cases |
//! |---|---|
//! | woken | by a line; by growth, removal and re-creation; a thousand sleepers, each line; not by the end of a slice |
//! | time | never early, also with signals; no measurable use of the processor, in each way to wait |
//! | elsewhere | a reader whose wait is apart from it is free meanwhile; such a wait outlives it |
//! | faults | a sleeper stopped, killed; `leaving` set by one who never went on (a writer killed: `crash.rs`) |
//!
//! Times are measured where nothing else tells a wake-up from the end of a time slice, and only medians count, of the
//! best of several attempts: noise makes times longer, never shorter.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Child, LIMIT, NAME, Parent, Place, Words, at, wait_until, woken_and_not_timed_out};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeValLike;
use shm_mailbox::{Options, Turn};

roles!(reader, crowd, patient, interrupted, idler);

/// Reads for ever; says that it is going to, and the number of each line.
fn reader(parent: &mut Parent) {
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    loop {
        parent.say("reading");
        let number = reader.read().unwrap().number;
        parent.say(number);
    }
}

#[test]
fn a_line_wakes_a_sleeper() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = Child::start("reader", &place, &[]);
    reader.expect("reading");
    woken_and_not_timed_out(|| {
        let rounds = (0..60).map(|_| {
            reader.wait_until_asleep();
            let published = Instant::now();
            let number = writer.publish(b"").unwrap();
            assert_eq!(reader.hear_number(), number);
            let took = published.elapsed();
            reader.expect("reading");
            took
        });
        rounds.collect()
    });
}

#[test]
fn every_sleeper_is_woken_by_every_line_of_an_unhurried_writer() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut readers: Vec<_> = (0..5).map(|_| Child::start("reader", &place, &[])).collect();
    readers.iter_mut().for_each(|reader| reader.expect("reading"));
    woken_and_not_timed_out(|| {
        let rounds = (0..40).map(|_| {
            readers.iter().for_each(Child::wait_until_asleep);
            let published = Instant::now();
            let number = writer.publish(b"").unwrap();
            for reader in &mut readers {
                assert_eq!(reader.hear_number(), number, "the very line: there is no other");
            }
            let took = published.elapsed();
            readers.iter_mut().for_each(|reader| reader.expect("reading"));
            took
        });
        rounds.collect()
    });
}

#[test]
fn growth_removal_and_recreation_reach_a_sleeper() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    let mut reader = Child::start("reader", &place, &[]);
    reader.expect("reading");
    woken_and_not_timed_out(|| {
        let rounds = (0..12).map(|_| {
            reader.wait_until_asleep();
            let started = Instant::now();
            writer.grow(writer.capacity() + 1).unwrap();
            let number = writer.publish(b"").unwrap();
            assert_eq!(reader.hear_number(), number, "after growth");
            let took = started.elapsed();
            reader.expect("reading");
            took
        });
        rounds.collect()
    });
    drop(writer);
    woken_and_not_timed_out(|| {
        let rounds = (0..30).map(|_| {
            reader.wait_until_asleep();
            assert!(place.options().remove(NAME, true).unwrap());
            let mut anew = place.options().create(NAME).unwrap();
            anew.publish(b"").unwrap();
            let published = Instant::now();
            assert_eq!(reader.hear_number(), 1, "of the mailbox made anew");
            let took = published.elapsed();
            reader.expect("reading");
            took
        });
        rounds.collect()
    });
}

// A thousand. ---------------------------------------------------------------------------------------------------------

const PROCESSES: usize = 4;
const THREADS: usize = 250;
/// Shared words: the round, and how many readers have seen its line, one for each round.
const SEEN: usize = 1;

/// Many threads, each with a reader of its own; each adds itself to the count of every line that it gets. Arguments:
/// threads, last line.
fn crowd(parent: &mut Parent) {
    let (threads, last): (usize, u64) = (parent.argument(0), parent.argument(1));
    let words = Arc::new(Words::of_parent());
    let ready = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..threads)
        .map(|_| {
            let (words, ready) = (Arc::clone(&words), Arc::clone(&ready));
            let read = move || {
                let mut reader = Options::new().open(NAME).unwrap();
                ready.fetch_add(1, Ordering::SeqCst);
                let mut held = 0;
                while held < last {
                    let number = reader.read().unwrap().number;
                    assert!(number > held);
                    held = number;
                    words.add(SEEN + held as usize, 1);
                }
            };
            thread::Builder::new().stack_size(64 << 10).spawn(read).unwrap()
        })
        .collect();
    wait_until("all readers are there", || ready.load(Ordering::SeqCst) == threads as u64);
    parent.say("reading");
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn a_thousand_sleepers_get_each_line() {
    const ROUNDS: u64 = 20;
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = place.options().create(NAME).unwrap();
    let mut crowds: Vec<_> =
        (0..PROCESSES).map(|_| Child::start("crowd", &place, &[&THREADS, &(ROUNDS + 1)])).collect();
    crowds.iter_mut().for_each(|crowd| crowd.expect("reading"));
    let mut publishes = Vec::new();
    let mut served = Vec::new();
    for round in 1..=ROUNDS {
        crowds.iter().for_each(Child::wait_until_asleep);
        let (started, used) = (Instant::now(), thread_time());
        writer.publish(b"").unwrap();
        publishes.push(thread_time() - used);
        wait_until("all have it", || words.get(SEEN + round as usize) == (PROCESSES * THREADS) as u64);
        served.push(started.elapsed());
    }
    let (publish, fastest) = (common::median(publishes), *served.iter().min().unwrap());
    println!("a publish uses {publish:?}, all are served after {:?} (medians)", common::median(served));
    // To wake all by itself would use milliseconds of the writer's time; to leave all but two to the ends of their
    // slices, nearly a whole slice, as all have only just fallen asleep.
    assert!(publish < Duration::from_millis(1), "{publish:?} of the writer's time for a thousand sleepers");
    assert!(fastest < Duration::from_millis(50), "the tree never reached all sleepers: {fastest:?} at best");

    // A burst: nobody has to see every line, everybody sees the last.
    const LAST: u64 = ROUNDS + 1;
    writer.publish(b"").unwrap();
    wait_until("all have the last", || words.get(SEEN + LAST as usize) == (PROCESSES * THREADS) as u64);
    crowds.into_iter().for_each(Child::end);
}

#[test]
fn a_burst_leaves_no_sleeper_behind() {
    const LAST: u64 = 300;
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = place.options().create(NAME).unwrap();
    let mut crowds: Vec<_> = (0..2).map(|_| Child::start("crowd", &place, &[&50, &LAST])).collect();
    crowds.iter_mut().for_each(|crowd| crowd.expect("reading"));
    for number in 1..=LAST {
        writer.publish(b"").unwrap();
        if number % 7 == 0 {
            thread::yield_now();
        }
    }
    wait_until("all have the last", || words.get(SEEN + LAST as usize) == 100);
    crowds.into_iter().for_each(Child::end);
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

// Faults. -------------------------------------------------------------------------------------------------------------

#[test]
fn a_stopped_sleeper_keeps_the_line_from_nobody() {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = place.options().create(NAME).unwrap();
    const ROUNDS: u64 = 30;
    let mut crowds: Vec<_> = (0..4).map(|_| Child::start("crowd", &place, &[&5, &ROUNDS])).collect();
    crowds.iter_mut().for_each(|crowd| crowd.expect("reading"));
    for round in 1..ROUNDS {
        let (stopped, others) = crowds.split_at(1 + round as usize % 3);
        if round % 2 == 0 {
            others.iter().for_each(Child::wait_until_asleep);
        }
        stopped.iter().for_each(Child::stop);
        writer.publish(b"").unwrap();
        wait_until("the others have it", || words.get(SEEN + round as usize) >= 5 * others.len() as u64);
        assert!(stopped.iter().all(Child::is_stopped), "all this time");
        stopped.iter().for_each(Child::resume);
        wait_until("all have it", || words.get(SEEN + round as usize) == 20);
    }
    writer.publish(b"").unwrap();
    crowds.into_iter().for_each(Child::end);
}

#[test]
fn killed_sleepers_cost_a_wake_and_no_more() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut survivor = Child::start("reader", &place, &[]);
    survivor.expect("reading");
    for _ in 0..20 {
        let mut victims: Vec<_> = (0..3).map(|_| Child::start("reader", &place, &[])).collect();
        for victim in &mut victims {
            victim.expect("reading");
            if writer.number() > 0 {
                assert_eq!(victim.hear_number(), writer.number());
                victim.expect("reading");
            }
            victim.wait_until_asleep();
        }
        victims.into_iter().for_each(Child::kill);
        assert_ne!(place.raw().waiters() & 1, 0, "their flag is still there");
        survivor.wait_until_asleep();
        let number = writer.publish(b"").unwrap();
        assert_eq!(survivor.hear_number(), number);
        survivor.expect("reading");
    }
    survivor.kill();
    // The flag of the dead is taken by one publish, and nobody sets it again.
    writer.publish(b"").unwrap();
    let epoch = place.raw().epoch();
    for _ in 0..10 {
        writer.publish(b"").unwrap();
    }
    assert_eq!((place.raw().waiters(), place.raw().epoch()), (0, epoch));
}

// Time. ---------------------------------------------------------------------------------------------------------------

/// Waits in vain and says for how many microseconds. Arguments: `timeout` or `deadline`, the time in microseconds.
fn patient(parent: &mut Parent) {
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    loop {
        let asked = parent.hear();
        let Some((way, micros)) = asked.split_once(' ') else { return };
        let time = Duration::from_micros(micros.parse().unwrap());
        let started = Instant::now();
        let message = match way {
            "timeout" => reader.read_timeout(time).unwrap(),
            _ => reader.read_deadline(started + time).unwrap(),
        };
        assert!(message.is_none());
        parent.say(started.elapsed().as_micros());
    }
}

#[test]
fn time_does_not_run_out_early() {
    for with_mailbox in [true, false] {
        let place = Place::new();
        let _writer = with_mailbox.then(|| place.options().create(NAME).unwrap());
        let mut patient = Child::start("patient", &place, &[]);
        for way in ["timeout", "deadline"] {
            for micros in [0, 1, 50, 999, 1000, 1001, 20_000, 99_999, 100_000, 250_000] {
                patient.say(format_args!("{way} {micros}"));
                let waited = patient.hear_number();
                assert!(waited >= micros, "{way}: {waited} us in place of {micros}, with mailbox: {with_mailbox}");
            }
        }
    }
}

/// Waits for a line, or in vain for 300 ms, while signals come that interrupt system calls; says how it ended.
fn interrupted(parent: &mut Parent) {
    static CAUGHT: AtomicU64 = AtomicU64::new(0);
    extern "C" fn count(_: i32) {
        CAUGHT.fetch_add(1, Ordering::SeqCst);
    }
    // Without SA_RESTART.
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only counts.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let mut reader = Options::new().open(NAME).unwrap();
    parent.say("waiting");
    let started = Instant::now();
    assert!(reader.read_timeout(Duration::from_millis(300)).unwrap().is_none());
    assert!(started.elapsed() >= Duration::from_millis(300));
    parent.say(CAUGHT.load(Ordering::SeqCst));
    parent.say("waiting");
    let number = reader.read().unwrap().number;
    parent.say(number);
}

#[test]
fn a_signal_does_not_end_a_wait() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = Child::start("interrupted", &place, &[]);
    reader.expect("waiting");
    for _ in 0..100 {
        reader.signal(Signal::SIGUSR1);
        thread::sleep(Duration::from_millis(1));
    }
    let caught = reader.hear_number();
    assert!(caught >= 5, "signals were caught: {caught}");
    reader.expect("waiting");
    for _ in 0..20 {
        reader.wait_until_asleep();
        reader.signal(Signal::SIGUSR1);
    }
    let number = writer.publish(b"").unwrap();
    assert_eq!(reader.hear_number(), number);
    reader.end();
}

/// Waits in one way for `arguments[1]` milliseconds and says how much of the processor that took, in microseconds.
fn idler(parent: &mut Parent) {
    let way: String = parent.argument(0);
    let time = Duration::from_millis(parent.argument(1));
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    // What is there, and the first look.
    while reader.try_read().unwrap().is_some() {}
    parent.say("waiting");
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        ((usage.user_time() + usage.system_time()).num_microseconds(), usage.voluntary_context_switches())
    };
    let before = used();
    let started = Instant::now();
    if way == "poll" {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let doorbell = reader.doorbell().unwrap();
        while started.elapsed() < time {
            let left = time.saturating_sub(started.elapsed()).as_millis() as u16;
            poll(&mut [PollFd::new(doorbell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(left)).unwrap();
            assert!(reader.try_read().unwrap().is_none());
        }
    } else {
        assert!(reader.read_timeout(time).unwrap().is_none());
    }
    let after = used();
    parent.say(after.0 - before.0);
    parent.say(after.1 - before.1);
    let number = reader.read().unwrap().number;
    parent.say(number);
}

/// What an idler may use of the processor: 5 %, far more than ten looks a second take, far less than any form of
/// spinning.
fn check_idle(way: &str, used: i64, time: Duration) {
    let share = used as f64 / time.as_micros() as f64;
    println!("{way}: {:.2} % of a processor", share * 100.0);
    assert!(share < 0.05, "{way}: {:.1} % of a processor", share * 100.0);
}

#[test]
fn who_waits_does_not_use_the_processor() {
    const TIME: Duration = Duration::from_millis(500);
    for way in ["read", "poll"] {
        for case in
            ["nothing published", "a line held", "no mailbox", "growth that never came", "swept", "grown", "no writer"]
        {
            let place = Place::new();
            let mut writer = place.options().capacity(100).create(NAME).unwrap();
            if case != "nothing published" {
                for number in 0..6 {
                    writer.publish(&[number]).unwrap();
                }
            }
            match case {
                "no mailbox" => _ = place.options().remove(NAME, true).unwrap(),
                "growth that never came" => place.raw().put_u32(at::LEAVING, 1),
                "grown" => writer.grow(200).unwrap(),
                _ => {}
            }
            let mut idler = Child::start("idler", &place, &[&way, &TIME.as_millis()]);
            idler.expect("waiting");
            if case == "no mailbox" {
                // What appears there, once it is watched, is looked at once.
                idler.wait_until_asleep();
                std::fs::write(place.path("other"), "").unwrap();
            }
            if case == "swept" {
                place.entries().iter().for_each(|name| std::fs::remove_file(place.path(name)).unwrap());
            }
            let (used, sleeps) = (idler.hear_number(), idler.hear_number());
            check_idle(&format!("{way}, {case}"), used as i64, TIME);
            // Five slices, or fifty naps where no bell is left to watch, and something.
            let most = if (way, case) == ("poll", "swept") { 100 } else { 25 };
            assert!(sleeps < most, "{way}, {case}: slept {sleeps} times");
            if case == "no mailbox" || case == "no writer" {
                drop(writer);
                writer = place.options().create(NAME).unwrap();
            }
            if case == "swept" {
                writer.check().unwrap();
            }
            let number = writer.publish(b"at last").unwrap();
            assert_eq!(idler.hear_number(), number, "{way}, {case}");
            idler.end();
        }
    }
}

#[test]
fn a_late_joiner_of_a_grown_mailbox_reads_and_then_sleeps() {
    // The line that growth carries may be of any number: its bank's neighbours in the new file are empty.
    for number in 1..=9u8 {
        let place = Place::new();
        let mut writer = place.options().capacity(100).create(NAME).unwrap();
        let mut behind = place.options().open(NAME).unwrap();
        for line in 1..=number {
            writer.publish(&[line]).unwrap();
        }
        writer.grow(200).unwrap();
        let mut late = place.options().open(NAME).unwrap();
        for reader in [&mut late, &mut behind] {
            let message = reader.read_timeout(LIMIT).unwrap().expect("the line");
            assert_eq!((message.number, message.bytes), (number.into(), &[number][..]));
            assert!(reader.read_timeout(Duration::from_millis(1)).unwrap().is_none());
        }
    }
}

#[test]
fn a_reader_that_sleeps_elsewhere_is_free_meanwhile() {
    let place = Place::new();
    let reader = Arc::new(Mutex::new(place.options().wait_for_mailbox(true).open(NAME).unwrap()));
    let asleep = Arc::new(AtomicBool::new(false));
    let sleeper = {
        let (reader, asleep) = (Arc::clone(&reader), Arc::clone(&asleep));
        move || {
            let mut slept = None;
            loop {
                let turn = reader.lock().unwrap().read_or_sleeper(None, slept).map(|turn| match turn {
                    Turn::Line(message) => Ok(message.bytes.to_vec()),
                    Turn::Sleep(sleeper) => Err(sleeper),
                    turn => panic!("without a deadline: {turn:?}"),
                });
                match turn.unwrap() {
                    Ok(line) => return line,
                    Err(sleeper) => {
                        asleep.store(true, Ordering::SeqCst);
                        slept = Some(sleeper.sleep());
                    }
                }
            }
        }
    };
    let mut writer = None;
    // Before there is a mailbox, before there is a line, and after one.
    for line in [b"1", b"2", b"3"] {
        woken_and_not_timed_out(|| {
            let rounds = (0..20).map(|_| {
                asleep.store(false, Ordering::SeqCst);
                let thread = thread::spawn(sleeper.clone());
                wait_until("it sleeps", || asleep.load(Ordering::SeqCst));
                thread::sleep(Duration::from_millis(1));
                // The lock is free, and so is the reader.
                let started = Instant::now();
                assert!(reader.lock().unwrap().try_read().unwrap().is_none());
                let took = started.elapsed();
                writer.get_or_insert_with(|| place.options().create(NAME).unwrap()).publish(line).unwrap();
                assert_eq!(thread.join().unwrap(), line);
                took.max(started.elapsed())
            });
            rounds.collect()
        });
    }
}

#[test]
fn a_sleeper_outlives_its_reader_and_keeps_its_time() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(30);
    let Turn::Sleep(sleeper) = reader.read_or_sleeper(Some(deadline), None).unwrap() else { panic!("no line") };
    let Turn::Sleep(woken) = reader.read_or_sleeper(None, None).unwrap() else { panic!("no line") };
    assert!(format!("{sleeper:?}").starts_with("Sleeper { until: "), "{sleeper:?}");
    drop(reader);
    std::fs::remove_file(place.path(NAME)).unwrap();
    sleeper.sleep();
    assert!(started.elapsed() >= Duration::from_millis(30));
    // Prepared before the line, asleep after it: the epoch has moved.
    writer.publish(b"x").unwrap();
    woken.sleep();

    let mut reader = place.options().wait_for_mailbox(true).open("other").unwrap();
    let Turn::TimeOut = reader.read_or_sleeper(Some(started), None).unwrap() else { panic!("in time") };
    let mut room = [0; 1];
    let mut writer = place.options().create("other").unwrap();
    writer.publish(b"xy").unwrap();
    assert!(reader.read_into_or_sleeper(&mut room, None, None).is_err());
    let mut room = [0; 2];
    let Turn::Line(message) = reader.read_into_or_sleeper(&mut room, None, None).unwrap() else { panic!("a line") };
    assert_eq!(message.bytes, b"xy");
}

#[test]
fn threads_of_one_process_wake_each_other() {
    let place = Place::new();
    let mut there = place.options().create("there").unwrap();
    let mut back = place.options().create("back").unwrap();
    let mut answers = place.options().open("back").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(Mutex::new(None));
    let echo = {
        let (options, done, failed) = (place.options(), Arc::clone(&done), Arc::clone(&failed));
        thread::spawn(move || {
            let mut questions = options.open("there").unwrap();
            while !done.load(Ordering::SeqCst) {
                match questions.read_timeout(Duration::from_millis(20)).map(|message| message.map(|m| m.bytes.to_vec()))
                {
                    Ok(Some(line)) => drop(back_publish(&mut back, &line)),
                    Ok(None) => {}
                    Err(error) => *failed.lock().unwrap() = Some(error),
                }
            }
        })
    };
    for round in 0..5000u32 {
        let line = round.to_le_bytes();
        there.publish(&line).unwrap();
        let answer = answers.read_timeout(LIMIT).unwrap().expect("an answer");
        assert_eq!(answer.bytes, line);
    }
    done.store(true, Ordering::SeqCst);
    echo.join().unwrap();
    assert!(failed.lock().unwrap().is_none());
}

fn back_publish(back: &mut shm_mailbox::Writer, line: &[u8]) -> u64 {
    back.publish(line).unwrap()
}
