//! Writers and readers killed and stopped, at random moments and at every single instruction of a publish.
//!
//! | who | how | asserted |
//! |---|---|---|
//! | writer | killed hundreds of times in a tight loop, 4 banks | numbers go on; no number has two lines, over all readers; the last line stays |
//! | | the same, 1 bank | the same, but that a kill in the middle leaves no line |
//! | | killed after each instruction of a publish | the same, in each state that a publish goes through |
//! | | killed between publishing and waking | the sleeper has the line when its slice is over |
//! | | led through a publish | no system call while nobody waits |
//! | | stopped in each of these states | readers have the last line; a second writer finds it busy |
//! | reader | killed asleep, while it reads, after each instruction of a read | the writer and other readers notice nothing |
//! | second writer | beside a live one, a killed one | busy; at once |
//!
//! Each kill is proved by the wait status, each state by the bytes of the file. More kills:
//! `CRASH_KILLS=20000 cargo test --test crash -- --nocapture`.

mod common;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use common::trace::Traced;
use common::{Child, NAME, Parent, Phase, Place, Raw, Words, fill, is_line, line, mix, skip, wait_until};
use nix::unistd::{Pid, gettid};
use shm_mailbox::{ErrorKind, Options, Reader, WriterState};

roles!(tight_writer, witness, stepped_writer, stepped_reader, tight_reader);

fn kills() -> u64 {
    std::env::var("CRASH_KILLS").map_or(250, |kills| kills.parse().unwrap())
}

// In a tight loop. ----------------------------------------------------------------------------------------------------

const LENGTH: usize = 500;

/// Publishes lines of its generation until it is killed; says the number of its first one. Arguments: generation.
fn tight_writer(parent: &mut Parent) {
    let generation = parent.argument(0);
    let mut writer = Options::new().create(NAME).unwrap();
    parent.say(writer.number() + 1);
    let mut line = [0; LENGTH];
    loop {
        fill(&mut line[8..], writer.number() + 1, generation);
        line[..8].copy_from_slice(&generation.to_le_bytes());
        writer.publish(&line).unwrap();
    }
}

/// Whose line it is; checks that it is whole and of that number.
fn generation_of(number: u64, bytes: &[u8]) -> u64 {
    assert_eq!(bytes.len(), LENGTH);
    let generation = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(is_line(&bytes[8..], number, generation), "message {number} is not whole");
    generation
}

/// Shared word: set to end the run.
const STOP: usize = 0;

/// Reads until told to stop, and says of each generation the last number that it saw. Arguments: `read` or `try_read`.
fn witness(parent: &mut Parent) {
    let way: String = parent.argument(0);
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    let mut seen = BTreeMap::new();
    let (mut held, mut latest_generation) = (0, 0);
    parent.say("reading");
    while words.get(STOP) == 0 {
        let message = match &*way {
            "read" => reader.read_timeout(Duration::from_millis(50)).unwrap(),
            _ => reader.try_read().unwrap(),
        };
        let Some(message) = message else { continue };
        assert!(message.number > held, "{} after {held}", message.number);
        if held > 0 {
            assert_eq!(message.number, held + 1 + message.missed);
        }
        held = message.number;
        let generation = generation_of(held, message.bytes);
        assert!(generation >= latest_generation, "a line of a writer that had been replaced");
        latest_generation = generation;
        seen.insert(generation, held);
    }
    for (generation, last) in seen {
        parent.say(format_args!("{generation} {last}"));
    }
    parent.say("end");
}

fn kill_and_restart(banks: u32) {
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().banks(banks).capacity(LENGTH).create(NAME).unwrap());
    let raw = place.raw();
    let mut witnesses: Vec<_> =
        ["read", "try_read", "read"].iter().map(|way| Child::start("witness", &place, &[way])).collect();
    witnesses.iter_mut().for_each(|witness| witness.expect("reading"));

    let mut mine = place.options().open(NAME).unwrap();
    let mut first_of = Vec::new();
    // Numbers that were seen here, by their generation: the witnesses' claims are added below.
    let mut claims: Vec<(u64, u64)> = Vec::new();
    let mut phases = BTreeMap::new();
    for generation in 0..kills() {
        let mut writer = Child::start("tight_writer", &place, &[&generation]);
        let first = writer.hear_number();
        first_of.push(first);
        wait_until("it has published", || raw.latest() >= first + 3);
        // A moment that is another one each time.
        for _ in 0..mix(generation) % 20_000 {
            std::hint::spin_loop();
        }
        writer.kill();

        let phase = raw.phase();
        *phases.entry(phase).or_insert(0) += 1;
        let published = raw.sequences().iter().map(|sequence| sequence / 2).max().unwrap().max(raw.latest());
        assert_eq!(place.options().inspect(NAME).unwrap().writer, WriterState::Gone);
        let mut late = place.options().open(NAME).unwrap();
        for reader in [&mut late, &mut mine] {
            match reader.latest().unwrap() {
                Some(message) => {
                    assert_eq!(message.number, published, "the last line, in phase {phase:?}");
                    assert_eq!(generation_of(message.number, message.bytes), generation);
                    claims.push((generation, message.number));
                }
                None => assert!(banks == 1 && phase == Phase::Writing, "no line, in phase {phase:?}"),
            }
        }
    }
    words.set(STOP, 1);
    for witness in &mut witnesses {
        loop {
            let heard = witness.hear();
            let Some((generation, last)) = heard.split_once(' ') else { break };
            claims.push((generation.parse().unwrap(), last.parse().unwrap()));
        }
    }
    witnesses.into_iter().for_each(Child::end);

    // A number has two lines only if somebody saw one of an old writer that the next writer, which counts on from its
    // first, has used again.
    for &(generation, last) in &claims {
        if let Some(&next) = first_of.get(generation as usize + 1) {
            assert!(
                last < next,
                "message {last} of writer {generation} was seen, and writer {} began with {next}",
                generation + 1
            );
        }
    }
    let mut sorted = first_of.clone();
    sorted.sort();
    assert_eq!(sorted, first_of, "numbers go on");
    println!("{banks} banks, {} kills: {phases:?}, {} sightings", kills(), claims.len());
    assert!(
        phases.get(&Phase::Writing).is_some_and(|&hits| hits > 0),
        "no kill has hit the middle of a line: {phases:?}"
    );

    let mut writer = place.options().create(NAME).unwrap();
    let number = writer.publish(b"the end").unwrap();
    let message = mine.read().unwrap();
    assert_eq!((message.number, message.bytes), (number, &b"the end"[..]));
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock", "words"]);
}

#[test]
fn a_writer_killed_anywhere_leaves_its_last_line_and_the_next_goes_on() {
    kill_and_restart(4);
}

#[test]
fn a_writer_killed_anywhere_with_2_banks() {
    kill_and_restart(2);
}

#[test]
fn with_1_bank_a_kill_in_the_middle_leaves_no_line_and_the_next_goes_on() {
    kill_and_restart(1);
}

// At every instruction. -----------------------------------------------------------------------------------------------

/// Shared words: given to begin, and set when done.
const GO: usize = 1;
const DONE: usize = 2;

/// Publishes 5 lines, says its thread, and publishes one more when the word is given. Arguments: length.
fn stepped_writer(parent: &mut Parent) {
    let length = parent.argument(0);
    let words = Words::of_parent();
    let mut writer = Options::new().create(NAME).unwrap();
    for _ in 0..5 {
        let number = writer.number() + 1;
        writer.publish(&line(number, 0, length)).unwrap();
    }
    let line = line(writer.number() + 1, 0, length);
    parent.say(gettid());
    while words.get(GO) == 0 {}
    writer.publish(&line).unwrap();
    words.set(DONE, 1);
    parent.say("published");
    parent.hear();
}

/// A writer that stands still before its publish, to be led through it; `None` where that is not allowed.
fn start_stepped(role: &'static str, place: &Place, words: &Words, length: usize) -> Option<(Child, Traced)> {
    words.set(GO, 0);
    words.set(DONE, 0);
    let mut child = Child::start(role, place, &[&length]);
    let thread = Pid::from_raw(child.hear_number() as i32);
    let traced = Traced::attach(&child, thread)?;
    words.set(GO, 1);
    Some((child, traced))
}

#[derive(Debug, Default)]
struct Passed {
    kills: u32,
    phases: BTreeMap<Phase, u32>,
}

fn kill_after_each_instruction(banks: u32, length: usize) {
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().banks(banks).capacity(length).create(NAME).unwrap());
    let raw = place.raw();
    let mut old = place.options().open(NAME).unwrap();
    let mut passed = Passed::default();
    // Some instructions before it begins to write, where the child may stand anywhere in the loop in which it waits; then, one
    // by one, all that follow the odd sequence.
    let moments =
        (0..40).map(|instructions| (false, instructions)).chain((0..).map(|instructions| (true, instructions)));
    for (from_mark, instructions) in moments {
        let before = raw.sequences().iter().map(|sequence| sequence / 2).max().unwrap();
        let Some((child, traced)) = start_stepped("stepped_writer", &place, &words, length) else {
            return skip("this system does not allow to trace a child");
        };
        assert_eq!(raw.latest(), before + 5, "the next writer goes on where the killed one was last seen");
        while from_mark && raw.phase() != Phase::Writing {
            traced.step();
        }
        for _ in 0..instructions {
            traced.step();
        }
        let done = words.get(DONE) == 1;
        traced.kill(child);
        passed.kills += 1;
        *passed.phases.entry(raw.phase()).or_default() += 1;

        // What anybody can see now stays: for a reader that was there, and for one that comes.
        let published = raw.sequences().iter().map(|sequence| sequence / 2).max().unwrap().max(raw.latest());
        assert!(published == before + 5 || published == before + 6);
        let mut late = place.options().open(NAME).unwrap();
        for reader in [&mut old, &mut late] {
            match reader.latest().unwrap() {
                Some(message) => {
                    assert_eq!(message.number, published, "after {instructions} instructions");
                    assert!(is_line(message.bytes, published, 0) && message.bytes.len() == length);
                }
                None => assert!(banks == 1 && raw.phase() == Phase::Writing, "after {instructions} instructions"),
            }
        }
        if done {
            break;
        }
    }
    println!("{banks} banks, {length} bytes: {passed:?}");
    assert!(passed.kills > 20);
    for phase in [Phase::Between, Phase::Writing, Phase::PublishedOnly] {
        assert!(passed.phases.contains_key(&phase), "{phase:?} was never hit: {passed:?}");
    }
}

#[test]
fn a_writer_killed_after_each_instruction_of_a_publish() {
    kill_after_each_instruction(4, 17);
}

#[test]
fn a_writer_killed_after_each_instruction_of_a_publish_with_1_bank() {
    kill_after_each_instruction(1, 3);
}

#[test]
fn a_writer_stopped_in_the_middle_keeps_nobody_from_the_last_line() {
    for wanted in [Phase::Writing, Phase::PublishedOnly] {
        for banks in [2, 4, 8] {
            let place = Place::new();
            let words = Words::new(place.dir());
            drop(place.options().banks(banks).capacity(64).create(NAME).unwrap());
            let raw = place.raw();
            let mut old = place.options().open(NAME).unwrap();
            let Some((child, traced)) = start_stepped("stepped_writer", &place, &words, 64) else {
                return skip("this system does not allow to trace a child");
            };
            assert_eq!(old.read().unwrap().number, 5);
            while raw.phase() != wanted {
                traced.step();
                assert_eq!(words.get(DONE), 0, "{wanted:?} was never there");
            }
            traced.leave_stopped();
            wait_until("it is stopped", || child.is_stopped());

            let newest = if wanted == Phase::PublishedOnly { 6 } else { 5 };
            let mut late = place.options().open(NAME).unwrap();
            for (reader, has_it) in [(&mut old, newest == 5), (&mut late, false)] {
                assert_eq!(reader.try_read().unwrap().is_none(), has_it);
                assert!(reader.read_timeout(Duration::from_millis(1)).unwrap().is_none(), "nothing more");
                for _ in 0..3 {
                    let message = reader.latest().unwrap().expect("the last line");
                    assert_eq!(message.number, newest);
                    assert!(is_line(message.bytes, newest, 0));
                }
            }
            assert_eq!(late.writer_state(), WriterState::Alive, "it may go on");
            assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy);
            assert_eq!(raw.phase(), wanted, "all this time");

            let mut child = child;
            child.resume();
            child.expect("published");
            assert_eq!(late.latest().unwrap().unwrap().number, 6);
            child.kill();
            assert_eq!(place.options().create(NAME).unwrap().number(), 6);
        }
    }
}

/// Between publishing and waking: the sleeper wakes by itself, when its slice is over.
#[test]
fn a_sleeper_whose_writer_is_killed_before_it_wakes_anybody_has_the_line_all_the_same() {
    let place = Place::new();
    let words = Words::new(place.dir());
    drop(place.options().capacity(64).create(NAME).unwrap());
    let raw = place.raw();
    for _ in 0..10 {
        let mut sleeper = place.options().open(NAME).unwrap();
        let Some((child, traced)) = start_stepped("stepped_writer", &place, &words, 64) else {
            return skip("this system does not allow to trace a child");
        };
        let before = raw.latest();
        assert_eq!(sleeper.read().unwrap().number, before);
        thread::scope(|scope| {
            let asleep = scope.spawn(|| sleeper.read_timeout(common::LIMIT).unwrap().expect("published").number);
            // Its flag stands until a writer takes it; a writer that has not, wakes nobody.
            wait_until("it sleeps", || raw.waiters() & 1 != 0);
            // The next system call of the publish is the wake: the flag is taken, and nobody is woken yet.
            traced.to_system_call();
            assert_eq!((raw.latest(), raw.waiters(), words.get(DONE)), (before + 1, 0, 0), "it stands before the wake");
            traced.kill(child);
            assert_eq!(asleep.join().unwrap(), before + 1);
        });
    }
}

/// The first system call after the word is given is the one that says so, after the publish.
#[test]
fn a_publish_makes_no_system_call_while_nobody_waits() {
    let place = Place::new();
    let words = Words::new(place.dir());
    for length in [0, 40, 4096, 65536] {
        drop(place.options().capacity(65536).create(NAME).unwrap());
        let Some((child, traced)) = start_stepped("stepped_writer", &place, &words, length) else {
            return skip("this system does not allow to trace a child");
        };
        traced.to_system_call();
        assert_eq!(words.get(DONE), 1, "{length} bytes");
        traced.kill(child);
    }
}

// Readers. ------------------------------------------------------------------------------------------------------------

/// Reads for ever. Arguments: `read` or `try_read`.
fn tight_reader(parent: &mut Parent) {
    let way: String = parent.argument(0);
    let mut reader = Options::new().open(NAME).unwrap();
    parent.say("reading");
    loop {
        match &*way {
            "read" => _ = reader.read().unwrap(),
            _ => _ = reader.try_read().unwrap(),
        }
    }
}

#[test]
fn killed_readers_leave_nothing() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut mine = place.options().open(NAME).unwrap();
    for round in 0..100u64 {
        let way = if round % 2 == 0 { "read" } else { "try_read" };
        let mut victim = Child::start("tight_reader", &place, &[&way]);
        victim.expect("reading");
        // Asleep, every fourth time; else while lines arrive.
        if round % 4 == 0 {
            if writer.number() > 0 {
                victim.wait_until_asleep();
            }
        } else {
            for _ in 0..mix(round) % 3000 {
                writer.publish(&line(writer.number() + 1, 0, 100)).unwrap();
            }
        }
        victim.kill();
        let number = writer.publish(&line(writer.number() + 1, 0, 100)).unwrap();
        let message = mine.read().unwrap();
        assert_eq!(message.number, number);
        assert!(is_line(message.bytes, number, 0));
    }
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);
}

/// Gets one line, says its thread, and reads once more when the word is given. Arguments: unused.
fn stepped_reader(parent: &mut Parent) {
    let words = Words::of_parent();
    let mut reader = Options::new().open(NAME).unwrap();
    _ = reader.read().unwrap();
    parent.say(gettid());
    while words.get(GO) == 0 {}
    _ = reader.read_timeout(Duration::ZERO).unwrap();
    words.set(DONE, 1);
    parent.hear();
}

#[test]
fn a_reader_stopped_or_killed_after_some_instructions_of_a_read_leaves_the_slot_as_it_is() {
    let place = Place::new();
    let words = Words::new(place.dir());
    let mut writer = place.options().capacity(64).create(NAME).unwrap();
    let mut mine = place.options().open(NAME).unwrap();
    writer.publish(b"first").unwrap();
    let slot = |raw: &Raw| (raw.latest(), raw.sequences());
    for instructions in (0..).step_by(7) {
        let Some((child, traced)) = start_stepped("stepped_reader", &place, &words, 0) else {
            return skip("this system does not allow to trace a child");
        };
        let raw = place.raw();
        let before = slot(&raw);
        for _ in 0..instructions {
            traced.step();
        }
        assert_eq!(slot(&raw), before, "a reader has written");
        // It stands in the middle of a read: the writer laps it, others read on.
        for _ in 0..9 {
            let number = writer.publish(b"on").unwrap();
            assert_eq!(mine.read().unwrap().number, number);
        }
        let done = words.get(DONE) == 1;
        traced.kill(child);
        if done {
            break;
        }
    }
}

// Writers. ------------------------------------------------------------------------------------------------------------

#[test]
fn a_second_writer_is_refused_while_the_first_lives_and_welcome_when_it_is_killed() {
    let place = Place::new();
    for generation in 0..20u64 {
        let mut first = Child::start("tight_writer", &place, &[&generation]);
        let began = first.hear_number();
        let raw = place.raw();
        wait_until("it has published", || raw.latest() > began);
        let error = place.options().create(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&first.pid().to_string()), "{error}");
        first.stop();
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy, "stopped is not gone");
        first.kill();
        let second = place.options().create(NAME).unwrap();
        assert!(second.number() > began);
        let mut reader = Reader::open(second.path()).unwrap();
        let number = reader.read().unwrap().number;
        assert_eq!(number, second.number());
    }
}
