//! The life of a mailbox's files, with writers and readers in processes: made, grown, swept, removed, forked.
//!
//! | what happens | to whom | asserted |
//! |---|---|---|
//! | growth | readers under load | nothing shown twice or out of order, no line after growth lost |
//! | removal, re-creation | waiting readers, a live writer, both under load | `missed` is number - 1; `Removed`, for good |
//! | sweep of files, of the directory, of one file | writer at work and idle, sleepers, a restarted writer | same instance, numbers go on |
//! | kill at each system call | while made, taken over, grown, removed | the next writer goes on; nothing is left over |
//! | lock file unlinked | second writer | never two that publish in one file |
//! | fork | writer, reader | `Forked`; the lock and the bell end with the parent |
//! | waiting for a mailbox, a directory | readers | found, whichever comes |

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::trace::Traced;
use common::{
    Child, LIMIT, NAME, Parent, Place, Raw, Words, at, is_line, line, skip, wait_until, woken_and_not_timed_out,
};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, gettid};
use shm_mailbox::{ErrorKind, Options, Reader, Writer, WriterState};

roles!(follower, listener, worker, forker, ancestor, waiter);

const FILES: [&str; 3] = ["box", "box.bell", "box.lock"];

/// Removes every file, as a cleaner of shared memory does.
fn sweep(place: &Place) {
    for name in FILES {
        fs::remove_file(place.path(name)).unwrap();
    }
}

fn instance(place: &Place) -> [u8; 16] {
    place.options().inspect(NAME).unwrap().instance
}

// Growth. -------------------------------------------------------------------------------------------------------------

/// Reads until message `arguments[0]`; checks each line, which has its number and any length; says how many it got.
fn follower(parent: &mut Parent) {
    let last: u64 = parent.argument(0);
    let mut reader = Options::new().open(NAME).unwrap();
    parent.say("reading");
    let (mut held, mut count, mut longest) = (0, 0, 0);
    while held < last {
        let message = reader.read().unwrap();
        assert!(message.number > held, "{} after {held}", message.number);
        if held > 0 {
            assert_eq!(message.number, held + 1 + message.missed);
        }
        assert!(is_line(message.bytes, message.number, 0), "{} is not whole", message.number);
        assert!(message.bytes.len() >= longest, "lines get longer");
        (held, longest) = (message.number, message.bytes.len());
        count += 1;
    }
    parent.say(count);
}

#[test]
fn growth_under_load_loses_no_order_and_shows_nothing_twice() {
    const GROWTHS: u64 = 14;
    const BETWEEN: u64 = 400;
    for banks in [1, 2, 4] {
        let place = Place::new();
        let mut writer = place.options().capacity(1).banks(banks).create(NAME).unwrap();
        let last = GROWTHS * BETWEEN;
        let mut followers: Vec<_> = (0..3).map(|_| Child::start("follower", &place, &[&last])).collect();
        followers.iter_mut().for_each(|follower| follower.expect("reading"));
        let before = instance(&place);
        for _ in 0..GROWTHS {
            for _ in 0..BETWEEN {
                let line = line(writer.number() + 1, 0, writer.capacity());
                writer.publish(&line).unwrap();
            }
            writer.grow(writer.capacity() + 1).unwrap();
        }
        assert_eq!(writer.capacity(), 1 << GROWTHS);
        for mut follower in followers {
            assert!(follower.hear_number() > 0);
            follower.end();
        }
        assert_eq!(instance(&place), before);
        assert_eq!(place.entries(), FILES);
    }
}

/// The only bank was being written when its writer was killed: growth carries the number over, and no line.
#[test]
fn one_bank_that_was_left_unfinished_grows_without_a_line() {
    let place = Place::new();
    let mut writer = place.options().banks(1).capacity(8).create(NAME).unwrap();
    writer.publish(b"one").unwrap();
    drop(writer);
    let raw = place.raw();
    raw.put_u64(raw.bank(0), 3);
    let mut late = place.options().open(NAME).unwrap();
    let writer = place.options().capacity(100).create(NAME).unwrap();
    assert_eq!((writer.number(), writer.capacity()), (1, 100));
    assert!(late.latest().unwrap().is_none());
    assert!(place.options().open(NAME).unwrap().try_read().unwrap().is_none());
    // Not even a writer that comes before there is a line begins again.
    drop(writer);
    let mut writer = place.options().create(NAME).unwrap();
    assert_eq!((writer.number(), writer.capacity()), (1, 100));
    assert_eq!(writer.publish(&[b'x'; 100]).unwrap(), 2);
    assert_eq!((late.read().unwrap().number, late.latest().unwrap().unwrap().bytes.len()), (2, 100));
}

/// A writer in a tight loop whose mailbox is removed again and again, and made anew by the next; readers that go along.
#[test]
fn removal_under_load_leads_every_reader_to_the_last_mailbox() {
    const REMOVALS: u32 = 20;
    const LENGTH: usize = 100;
    let place = Place::new();
    let options = place.options();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut removed = 0;
            loop {
                let mut writer = options.clone().capacity(LENGTH).create(NAME).unwrap();
                loop {
                    let is_last = is_over.load(Ordering::Relaxed);
                    let line = if is_last { b"the end".to_vec() } else { line(writer.number() + 1, 0, LENGTH) };
                    match writer.publish(&line) {
                        Ok(_) if is_last => return removed,
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::Removed => break removed += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reader = options.clone().wait_for_mailbox(true).open(NAME).unwrap();
                    loop {
                        let message = reader.read_timeout(LIMIT).unwrap().expect("lines go on");
                        if message.bytes == b"the end" {
                            return;
                        }
                        assert!(is_line(message.bytes, message.number, 0), "{} is not whole", message.number);
                    }
                })
            })
            .collect();
        for _ in 0..REMOVALS {
            wait_until("it is there, and in use", || options.inspect(NAME).is_ok_and(|info| info.number > 0));
            options.remove(NAME, true).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(writing.join().unwrap() >= REMOVALS / 2, "the writer has hardly noticed");
    });
    assert_eq!(place.entries(), FILES);
}

#[test]
fn each_line_after_a_growth_reaches_a_reader_that_keeps_up() {
    let place = Place::new();
    let mut writer = place.options().capacity(1).create(NAME).unwrap();
    let mut listener = Child::start("listener", &place, &[]);
    for _ in 0..12 {
        for _ in 0..3 {
            let number = writer.publish(b"").unwrap();
            listener.expect(&format!("{number} 0 ''"));
        }
        writer.grow(writer.capacity() + 1).unwrap();
    }
}

#[test]
fn a_grown_mailbox_survives_its_writer() {
    // The numbers of the new file are those of the old one, for the next writer too.
    for banks in [1, 2, 4, 8] {
        for published in 0..=9u64 {
            let place = Place::new();
            let mut writer = place.options().capacity(4).banks(banks).create(NAME).unwrap();
            for _ in 0..published {
                let line = line(writer.number() + 1, 0, 4);
                writer.publish(&line).unwrap();
            }
            writer.grow(5).unwrap();
            writer.grow(9).unwrap();
            drop(writer);
            let mut writer = place.options().create(NAME).unwrap();
            assert_eq!(writer.number(), published, "{banks} banks");
            let mut reader = place.options().open(NAME).unwrap();
            let carried = reader.latest().unwrap().map(|message| (message.number, message.bytes.to_vec()));
            assert_eq!(carried, (published > 0).then(|| (published, line(published, 0, 4))), "{banks} banks");
            assert_eq!(writer.publish(b"next").unwrap(), published + 1);
            assert_eq!(reader.read().unwrap().bytes, b"next");
        }
    }
}

// Removal. ------------------------------------------------------------------------------------------------------------

/// Reads for ever and says number, missed and text of each line.
fn listener(parent: &mut Parent) {
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    loop {
        let message = reader.read().unwrap();
        let said = format!("{} {} '{}'", message.number, message.missed, message.bytes.escape_ascii());
        parent.say(said);
    }
}

#[test]
fn waiting_readers_go_from_a_removed_mailbox_to_the_next() {
    let place = Place::new();
    let mut listeners: Vec<_> = (0..3).map(|_| Child::start("listener", &place, &[])).collect();
    for round in 0..10 {
        let mut writer = place.options().create(NAME).unwrap();
        writer.publish(format!("round {round}").as_bytes()).unwrap();
        for listener in &mut listeners {
            listener.expect(&format!("1 0 'round {round}'"));
        }
        drop(writer);
        assert!(place.options().remove(NAME, false).unwrap());
        assert_eq!(place.entries(), [""; 0]);
    }
    // Three lines before a reader looks: two of them are missed, in the new instance's count.
    listeners.iter().for_each(Child::stop);
    let mut writer = place.options().create(NAME).unwrap();
    for line in ["a", "b", "c"] {
        writer.publish(line.as_bytes()).unwrap();
    }
    for listener in &mut listeners {
        listener.resume();
        listener.expect("3 2 'c'");
    }
}

#[test]
fn a_writer_whose_mailbox_was_removed_by_force_hears_of_it_for_good() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"old").unwrap();
    let removing = Instant::now();
    assert!(place.options().remove(NAME, true).unwrap());
    assert!(removing.elapsed() < LIMIT);
    assert_eq!(place.entries(), ["box.lock"], "the live writer's lock is left to it");
    assert!(reader.try_read().unwrap().is_none(), "its line went with it");
    assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy);
    for _ in 0..3 {
        assert_eq!(writer.publish(b"new").unwrap_err().kind(), ErrorKind::Removed);
        assert_eq!(writer.publish(&[0; 100]).unwrap_err().kind(), ErrorKind::Removed);
        assert_eq!(writer.check().unwrap_err().kind(), ErrorKind::Removed);
        assert_eq!(writer.grow(100).unwrap_err().kind(), ErrorKind::Removed);
    }
    assert_eq!(writer.number(), 1);
    assert!(reader.try_read().unwrap().is_none());
    drop(writer);
    let mut writer = place.options().create(NAME).unwrap();
    assert_eq!(writer.publish(b"anew").unwrap(), 1);
    assert_eq!(reader.read().unwrap().bytes, b"anew");
}

#[test]
fn a_writer_removed_by_force_does_not_recover_when_another_takes_the_name() {
    let place = Place::new();
    let mut first = place.options().create(NAME).unwrap();
    first.publish(b"old").unwrap();
    assert!(place.options().remove(NAME, true).unwrap());
    fs::remove_file(place.path("box.lock")).unwrap();
    let mut second = place.options().create(NAME).unwrap();
    second.publish(b"second's").unwrap();
    for _ in 0..3 {
        assert_eq!(first.publish(b"first's").unwrap_err().kind(), ErrorKind::Removed);
    }
    drop(first);
    second.publish(b"second's again").unwrap();
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"second's again");
}

#[test]
fn remove_leaves_nothing_whatever_there_was() {
    let place = Place::new();
    let cases: [&[&str]; 9] = [
        &[],
        &["box.lock"],
        &["box.bell"],
        &["box.new"],
        &["box.bell.new"],
        &["box"],
        &["box", "box.lock"],
        &["box", "box.new"],
        &FILES,
    ];
    for left in cases {
        drop(place.options().create(NAME).unwrap());
        for name in FILES {
            if !left.contains(&name) {
                fs::remove_file(place.path(name)).unwrap();
            }
        }
        for name in ["box.new", "box.bell.new"].iter().filter(|name| left.contains(name)) {
            fs::write(place.path(name), "half").unwrap();
        }
        // Without its lock file a mailbox may have a live writer.
        let is_unknown = left.contains(&NAME) && !left.contains(&"box.lock");
        if is_unknown {
            let refused = place.options().remove(NAME, false).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Busy, "{left:?}");
            assert!(!place.path("box.lock").exists() && place.path(NAME).exists(), "{left:?}");
        }
        assert_eq!(place.options().remove(NAME, is_unknown).unwrap(), !left.is_empty(), "{left:?}");
        assert_eq!(place.entries(), [""; 0], "{left:?}");
    }
}

// Sweeps. -------------------------------------------------------------------------------------------------------------

#[test]
fn a_busy_writer_puts_back_what_was_swept_away() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    let mut listener = Child::start("listener", &place, &[]);
    let mut polling = place.options().open(NAME).unwrap();
    writer.publish(b"before").unwrap();
    listener.expect("1 0 'before'");
    assert_eq!(polling.read().unwrap().number, 1);
    let before = instance(&place);
    for round in 0..5 {
        let old = place.raw().file().metadata().unwrap().ino();
        let mut before_sweep = place.options().open(NAME).unwrap();
        sweep(&place);
        assert_eq!(before_sweep.latest().unwrap().unwrap().number, writer.number(), "readable until there is another");
        let mut published = 0;
        while place.entries() != FILES {
            writer.publish(b"").unwrap();
            published += 1;
            assert!(published <= 1024, "round {round}: not put back within 1024 messages");
        }
        assert_eq!(instance(&place), before, "same instance");
        assert_ne!(place.raw().file().metadata().unwrap().ino(), old);
        let number = writer.publish(b"after").unwrap();
        let heard = loop {
            let heard = listener.hear();
            if heard.ends_with("'after'") {
                break heard;
            }
        };
        assert!(heard.starts_with(&format!("{number} ")), "numbers go on: {heard}");
        assert_eq!(polling.read_timeout(LIMIT).unwrap().unwrap().number, number);
        // Another writer finds it busy, as before.
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy);
    }
    let number = writer.number();
    drop(writer);
    assert_eq!(place.options().create(NAME).unwrap().number(), number);
}

#[test]
fn an_idle_writer_puts_back_each_file_when_it_is_asked_to_check() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"line").unwrap();
    let before = instance(&place);
    writer.check().unwrap();
    for lost in [
        &["box"][..],
        &["box.bell"],
        &["box.lock"],
        &["box", "box.lock"],
        &["box.bell", "box.lock"],
        &FILES,
        &["box.lock"],
    ] {
        for name in lost {
            fs::remove_file(place.path(name)).unwrap();
        }
        writer.check().unwrap();
        assert_eq!(place.entries(), FILES, "{lost:?}");
        assert_eq!(instance(&place), before, "{lost:?}");
        let mut late = place.options().open(NAME).unwrap();
        assert_eq!(late.latest().unwrap().unwrap().number, writer.number(), "{lost:?}");
        let number = writer.publish(b"line").unwrap();
        assert_eq!(late.read_timeout(LIMIT).unwrap().unwrap().number, number, "{lost:?}");
        assert_eq!(reader.read_timeout(LIMIT).unwrap().unwrap().number, number, "{lost:?}");
        assert_eq!(reader.writer_state(), WriterState::Alive);
        assert_eq!(place.options().create(NAME).unwrap_err().kind(), ErrorKind::Busy, "{lost:?}");
    }
    let number = writer.number();
    drop(writer);
    assert_eq!(place.options().create(NAME).unwrap().number(), number, "and so for the next writer");
    assert_eq!(instance(&place), before);
}

#[test]
fn a_swept_directory_made_again_is_found_by_all() {
    // The directory that a path leads to is another one afterwards.
    let outer = Place::new();
    let path = outer.path("inner");
    let make = || fs::create_dir(&path).unwrap();
    make();
    let options = Options::new().dir(&path);
    let mut writer = options.create(NAME).unwrap();
    let mut reader = options.open(NAME).unwrap();
    writer.publish(b"before").unwrap();
    assert_eq!(reader.read().unwrap().number, 1);
    let instance = options.inspect(NAME).unwrap().instance;
    fs::remove_dir_all(&path).unwrap();
    // Neither is harmed by the absence: the line stays, and what cannot be put back is an error that passes.
    assert_eq!(reader.latest().unwrap().unwrap().bytes, b"before");
    assert!(reader.read_timeout(Duration::from_millis(120)).unwrap().is_none());
    let error = writer.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    make();
    let mut published = 0;
    wait_until("it is put back", || {
        // At the latest when a second has passed since the last look.
        published = writer.publish(b"after").unwrap();
        writer.check().unwrap();
        options.inspect(NAME).is_ok()
    });
    assert_eq!(options.inspect(NAME).unwrap().instance, instance);
    let number = writer.publish(b"at last").unwrap();
    let message = loop {
        let message = reader.read_timeout(LIMIT).unwrap().expect("found again");
        if message.bytes == b"at last" {
            break message;
        }
    };
    assert_eq!((message.number, number), (number, published + 1));
}

#[test]
fn a_file_that_was_moved_away_is_put_back_within_a_second() {
    // Nothing is removed, so that only a look at the names tells; the last one is the directory itself. It is looked at
    // by a check, by a line that carries a time, and by one that has somebody to wake.
    type Look = fn(&mut Writer) -> shm_mailbox::Result<()>;
    let looks: [(&str, bool, Look); 3] = [
        ("check", false, Writer::check),
        ("line with a time", true, |writer| writer.publish(b"told").map(drop)),
        ("line for a sleeper", false, |writer| writer.publish(b"told").map(drop)),
    ];
    let outer = Place::new();
    let mut moved = Vec::new();
    for (how, timestamps, look) in looks {
        for file in ["box", "box.bell", "box.lock", ""] {
            let what = format!("'{file}', {how}");
            let path = outer.path(&what);
            fs::create_dir(&path).unwrap();
            let options = Options::new().dir(&path);
            let mut writer = options.clone().timestamps(timestamps).create(NAME).unwrap();
            writer.publish(b"line").unwrap();
            if how == "line for a sleeper" {
                let raw = Raw::open(&path.join(NAME));
                raw.put_u32(raw.page(), 1);
            }
            fs::rename(path.join(file), outer.path(&format!("aside: {what}"))).unwrap();
            if file.is_empty() {
                fs::create_dir(&path).unwrap();
            }
            moved.push((what, options, writer, path, look));
        }
    }
    thread::sleep(Duration::from_millis(1010));
    for (what, options, mut writer, path, look) in moved {
        look(&mut writer).unwrap();
        FILES.iter().for_each(|name| assert!(path.join(name).exists(), "{name}: {what}"));
        let number = writer.publish(b"next").unwrap();
        let mut reader = options.open(NAME).unwrap();
        let message = reader.read().unwrap();
        assert_eq!((message.number, message.bytes), (number, &b"next"[..]), "{what}");
        assert_eq!(options.create(NAME).unwrap_err().kind(), ErrorKind::Busy, "{what}");
        let file = || fs::metadata(path.join(NAME)).unwrap().ino();
        let before = file();
        writer.check().unwrap();
        assert_eq!(file(), before, "put back once: {what}");
    }
}

#[test]
fn a_writer_takes_over_what_took_the_place_of_its_file() {
    let place = Place::new();
    let mut writer = place.options().mode(0o640).capacity(1000).create(NAME).unwrap();
    writer.publish(b"ours").unwrap();
    place.options().mode(0o600).capacity(10).create("other").unwrap().publish(b"theirs").unwrap();
    fs::rename(place.path("other"), place.path(NAME)).unwrap();
    writer.check().unwrap();
    assert_eq!((writer.number(), writer.capacity()), (1, 10), "as it is, whatever was asked for before");
    assert_eq!(fs::metadata(place.path(NAME)).unwrap().mode() & 0o7777, 0o600);
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"theirs");
    assert_eq!(writer.publish(b"ours").unwrap(), 2);
    assert_eq!(reader.read().unwrap().bytes, b"ours");
}

#[test]
fn a_sleeper_finds_what_took_the_place_of_a_swept_mailbox() {
    let place = Place::new();
    let mut listener = Child::start("listener", &place, &[]);
    for round in 0..5 {
        let mut writer = place.options().create(NAME).unwrap();
        writer.publish(b"line").unwrap();
        listener.expect("1 0 'line'");
        drop(writer);
        listener.wait_until_asleep();
        // Nobody tells it; now and then it has been looking at an old file for longer than a slice.
        thread::sleep(Duration::from_millis(60 * round));
        sweep(&place);
    }
}

#[test]
fn a_writer_started_after_a_sweep_begins_anew_and_the_old_one_ends() {
    let place = Place::new();
    let mut first = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    first.publish(b"first's").unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"first's");
    sweep(&place);
    let mut second = place.options().create(NAME).unwrap();
    second.publish(b"second's").unwrap();
    let message = reader.read_timeout(LIMIT).unwrap().expect("found at the end of a slice");
    assert_eq!((message.number, message.missed, message.bytes), (1, 0, &b"second's"[..]));
    assert_eq!(first.check().unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(first.publish(b"first's").unwrap_err().kind(), ErrorKind::Removed);
    second.publish(b"second's again").unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"second's again");
}

#[test]
fn a_lock_file_unlinked_by_hand_makes_no_two_writers_of_one_file() {
    let place = Place::new();
    let mut first = place.options().capacity(100).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    first.publish(b"one").unwrap();
    first.publish(b"two").unwrap();
    assert_eq!(reader.read().unwrap().number, 2);
    let (old, old_file) = (instance(&place), place.raw());
    fs::remove_file(place.path("box.lock")).unwrap();

    // The file was made under another lock: so the second writer leaves it to the first and makes one of its own.
    let mut second = place.options().create(NAME).unwrap();
    assert_eq!(second.number(), 1, "the old line is message 1 of a new instance");
    assert_ne!(instance(&place), old);
    assert_ne!(old_file.u32(at::LEAVING), 0);
    let message = reader.read().unwrap();
    assert_eq!(
        (message.number, message.missed, message.bytes),
        (1, 0, &b"two"[..]),
        "the one case of a line shown twice"
    );
    assert_eq!(second.publish(b"second's").unwrap(), 2);
    assert_eq!(reader.read().unwrap().bytes, b"second's");
    for _ in 0..3 {
        assert_eq!(first.publish(b"first's").unwrap_err().kind(), ErrorKind::Removed);
    }
    drop(first);
    assert_eq!(second.publish(b"second's").unwrap(), 3);
    assert_eq!(place.entries(), FILES);
    assert_eq!(second.capacity(), 100);
}

#[test]
fn a_header_with_another_locks_bits_is_left_alone() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"line").unwrap();
    let raw = place.raw();
    assert_eq!(raw.bytes::<16>(at::LOCK), Raw::open(&place.path("box.lock")).bytes::<16>(0));
    drop(writer);
    raw.put(at::LOCK, &[0xaa; 16]);
    let before = instance(&place);
    let writer = place.options().create(NAME).unwrap();
    assert_eq!(writer.number(), 1);
    assert_ne!(instance(&place), before);
    assert_eq!(raw.bytes::<16>(at::LOCK), [0xaa; 16], "nothing was written there");
    drop(writer);
    assert_eq!(place.options().create(NAME).unwrap().number(), 1, "the new one has the right bits");
}

#[test]
fn a_lock_file_without_bits_gets_some() {
    let place = Place::new();
    fs::write(place.path("box.lock"), "").unwrap();
    fs::set_permissions(place.path("box.lock"), fs::Permissions::from_mode(0o600)).unwrap();
    drop(place.options().create(NAME).unwrap());
    let bits = fs::read(place.path("box.lock")).unwrap();
    assert!(bits.len() == 16 && bits != [0; 16], "{bits:?}");
    assert_eq!(place.raw().bytes::<16>(at::LOCK), bits[..]);
}

#[test]
fn what_a_killed_maker_left_is_removed() {
    let place = Place::new();
    fs::write(place.path("box.new"), "half a mailbox").unwrap();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    assert_eq!(place.entries(), FILES, "when it is made");
    fs::write(place.path("box.new"), "half a mailbox").unwrap();
    writer.grow(11).unwrap();
    assert_eq!(place.entries(), FILES, "when it is grown");
    drop(writer);
    fs::write(place.path("box.new"), "half a mailbox").unwrap();
    fs::write(place.path("box.bell.new"), "").unwrap();
    let _writer = place.options().create(NAME).unwrap();
    assert_eq!(place.entries(), FILES, "when it is taken over");
}

#[test]
fn a_file_with_holes_is_filled_by_the_next_writer() {
    let place = Place::new();
    drop(place.options().capacity(100_000).create(NAME).unwrap());
    let blocks = || fs::metadata(place.path(NAME)).unwrap().blocks();
    let whole = blocks();
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    // Where the banks begin: whole pages, however large they are.
    let raw = place.raw();
    fallocate(raw.file(), flags, 2 * raw.page() as i64, 64 << 10).unwrap();
    assert!(blocks() < whole);
    // Or a full file system would be a SIGBUS later.
    drop(place.options().create(NAME).unwrap());
    assert_eq!(blocks(), whole);
}

// Killed at each system call. -----------------------------------------------------------------------------------------

/// Shared words: given to begin, and set when done.
const GO: usize = 0;
const DONE: usize = 1;

/// Does one thing to the mailbox when the word is given. Arguments: what.
fn worker(parent: &mut Parent) {
    let what: String = parent.argument(0);
    let words = Words::of_parent();
    let options = Options::new().capacity(50);
    let mut writer = (what == "grow").then(|| options.create(NAME).unwrap());
    parent.say(gettid());
    while words.get(GO) == 0 {}
    let kept: Option<Writer> = match &*what {
        "create" => Some(options.create(NAME).unwrap()),
        "take_over,_larger" => Some(options.capacity(500).create(NAME).unwrap()),
        "grow" => {
            writer.as_mut().unwrap().grow(500).unwrap();
            None
        }
        _ => {
            assert!(options.remove(NAME, false).unwrap());
            None
        }
    };
    words.set(DONE, 1);
    parent.hear();
    drop(kept);
}

/// Kills who does `what` at the beginning and end of each of its system calls; `prepare` comes before and `check`
/// after.
fn kill_at_each_system_call(what: &'static str, prepare: impl Fn(&Place), check: impl Fn(&Place, u32)) {
    for stops in 1.. {
        let place = Place::new();
        let words = Words::new(place.dir());
        prepare(&place);
        let mut child = Child::start("worker", &place, &[&what.replace(' ', "_")]);
        let thread = Pid::from_raw(child.hear_number() as i32);
        let Some(traced) = Traced::attach(&child, thread) else {
            return skip("this system does not allow to trace a child");
        };
        words.set(GO, 1);
        for _ in 0..stops {
            traced.to_system_call();
        }
        let done = words.get(DONE) == 1;
        traced.kill(child);
        fs::remove_file(place.path("words")).unwrap();
        check(&place, stops);
        if done {
            println!("{what}: killed at {stops} points");
            assert!(stops > 20);
            return;
        }
    }
}

fn files_are_complete(place: &Place, stops: u32) {
    assert_eq!(place.entries(), FILES, "killed at stop {stops}");
}

#[test]
fn a_maker_killed_at_each_system_call_leaves_what_the_next_makes_whole() {
    kill_at_each_system_call(
        "create",
        |_| {},
        |place, stops| {
            // Whoever reads finds a whole mailbox or none.
            match place.options().open(NAME) {
                Ok(mut reader) => assert!(reader.latest().unwrap().is_none()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "stop {stops}: {error}"),
            }
            let mut writer = place.options().create(NAME).unwrap();
            files_are_complete(place, stops);
            assert_eq!(writer.publish(b"first").unwrap(), 1);
            assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"first");
        },
    );
}

/// A mailbox with five lines, and no writer.
fn five_lines(place: &Place) {
    let mut writer = place.options().capacity(50).create(NAME).unwrap();
    for number in 1..=5 {
        writer.publish(&line(number, 0, 50)).unwrap();
    }
}

fn goes_on_after_five(place: &Place, stops: u32) {
    let mut reader = place.options().open(NAME).unwrap();
    let message = reader.read_timeout(LIMIT).unwrap().expect("the last line");
    assert_eq!(message.number, 5, "killed at stop {stops}");
    assert!(message.bytes == line(5, 0, 50));
    let instance = place.options().inspect(NAME).unwrap().instance;
    let mut writer = place.options().create(NAME).unwrap();
    assert_eq!(place.options().inspect(NAME).unwrap().instance, instance);
    files_are_complete(place, stops);
    assert_eq!(place.raw().u32(at::LEAVING), 0);
    assert_eq!(writer.publish(b"sixth").unwrap(), 6, "killed at stop {stops}");
    assert_eq!(reader.read_timeout(LIMIT).unwrap().unwrap().bytes, b"sixth");
}

#[test]
fn who_takes_over_may_be_killed_at_each_system_call() {
    kill_at_each_system_call("take over, larger", five_lines, goes_on_after_five);
}

#[test]
fn who_grows_may_be_killed_at_each_system_call() {
    kill_at_each_system_call("grow", five_lines, goes_on_after_five);
}

#[test]
fn who_removes_may_be_killed_at_each_system_call() {
    kill_at_each_system_call("remove", five_lines, |place, stops| {
        if place.entries().contains(&NAME.to_owned()) {
            goes_on_after_five(place, stops);
        } else {
            let mut writer = place.options().create(NAME).unwrap();
            assert_eq!(writer.publish(b"first").unwrap(), 1);
            files_are_complete(place, stops);
        }
        assert!(place.options().remove(NAME, false).unwrap(), "and it can be removed");
        assert_eq!(place.entries(), [""; 0]);
    });
}

// Fork. ---------------------------------------------------------------------------------------------------------------

/// Publishes, forks, and says what the child found: what its publish returned, then its process id. The child lives on.
fn forker(parent: &mut Parent) {
    let mut writer = Options::new().create(NAME).unwrap();
    writer.publish(b"parent's").unwrap();
    let (mut reading, writing) = std::io::pipe().unwrap();
    // SAFETY: this process has no thread that holds a lock at this moment but libtest's main one, which waits; glibc's
    // allocator can be used after fork. The child leaves by _exit or by a signal.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            use std::io::Write;
            // As for its parent: it ends with the one that started it.
            // SAFETY: prctl with these arguments touches no memory.
            unsafe { nix::libc::prctl(nix::libc::PR_SET_PDEATHSIG, 0) };
            let mut found = Vec::new();
            for _ in 0..2 {
                found.push(format!("{:?}", writer.publish(b"child's").unwrap_err().kind()));
                found.push(format!("{:?}", writer.check().unwrap_err().kind()));
                found.push(format!("{:?}", writer.grow(100_000).unwrap_err().kind()));
                found.push(format!("{:?}", Options::new().create(NAME).unwrap_err().kind()));
            }
            let mut reader = Options::new().open(NAME).unwrap();
            found.push(reader.read().unwrap().bytes.escape_ascii().to_string());
            drop(reader);
            _ = (&writing).write_all(found.join(" ").as_bytes());
            drop(writing);
            loop {
                nix::unistd::pause();
            }
        }
        ForkResult::Parent { child } => {
            drop(writing);
            let mut found = String::new();
            std::io::Read::read_to_string(&mut reading, &mut found).unwrap();
            writer.publish(b"parent's still").unwrap();
            parent.say(found);
            parent.say(child);
            parent.hear();
        }
    }
}

#[test]
fn a_forked_child_is_not_the_writer_and_keeps_nothing_of_it() {
    let place = Place::new();
    let mut forker = Child::start("forker", &place, &[]);
    forker.expect("Forked Forked Forked Busy Forked Forked Forked Busy parent\\'s");
    let child = Pid::from_raw(forker.hear_number() as i32);
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"parent's still");
    assert_eq!(reader.writer_state(), WriterState::Alive);
    let doorbell = reader.doorbell().unwrap();
    forker.kill();
    assert!(fs::exists(format!("/proc/{child}")).unwrap(), "the child lives");
    let writer = place.options().create(NAME);
    let state = reader.writer_state();
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(writer.expect("the lock ended with the parent").number(), 2);
    assert_eq!(state, WriterState::Alive, "the new one");
    drop(doorbell);
}

/// Has had a writer, and has one; forks, and the child forks too: each finds its standard streams as they were, and no
/// descriptor more. Says how the child ended.
fn ancestor(parent: &mut Parent) {
    let _writer = Options::new().create(NAME).unwrap();
    drop(Options::new().create("other").unwrap());
    // What it is, and whether it passes exec, since it may be /dev/null to begin with.
    let stream = |fd: i32| {
        let file = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
        // SAFETY: the flags of a descriptor are numbers.
        (file.dev(), file.ino(), unsafe { nix::libc::fcntl(fd, nix::libc::F_GETFD) })
    };
    let state = || ([0, 1, 2].map(stream), fs::read_dir("/proc/self/fd").unwrap().count());
    let before = state();
    let fork_and = |in_child: &dyn Fn() -> bool| {
        // SAFETY: of this process only this thread does anything, and the child leaves by _exit.
        match unsafe { fork() }.unwrap() {
            // SAFETY: _exit ends the process at once; nothing of the parent's is run.
            ForkResult::Child => unsafe { nix::libc::_exit((!in_child()).into()) },
            ForkResult::Parent { child } => waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0),
        }
    };
    let is_as_before = || state() == before;
    let ended_well = fork_and(&|| is_as_before() && fork_and(&is_as_before));
    parent.say(ended_well);
}

#[test]
fn a_forked_childs_other_descriptors_are_left_alone() {
    let place = Place::new();
    let mut ancestor = Child::start("ancestor", &place, &[]);
    ancestor.expect("true");
    ancestor.end();
}

#[test]
fn a_forked_child_can_write_when_its_parents_writer_is_gone() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"parent's").unwrap();
    let words = Words::new(place.dir());
    // SAFETY: the child uses what glibc allows after fork, and leaves by _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let work = || {
                drop(writer);
                words.set(GO, 1);
                wait_until("the parent's writer is gone", || words.get(DONE) == 1);
                let mut writer = place.options().create(NAME).unwrap();
                assert_eq!(writer.publish(b"child's").unwrap(), 2);
            };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: _exit ends the process at once; nothing of the parent's is run.
            unsafe { nix::libc::_exit(ended.is_err().into()) }
        }
        ForkResult::Parent { child } => {
            wait_until("the child has dropped its copy", || words.get(GO) == 1);
            assert_eq!(
                place.options().create(NAME).unwrap_err().kind(),
                ErrorKind::Busy,
                "which frees nothing of ours"
            );
            drop(writer);
            words.set(DONE, 1);
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
    assert_eq!(place.options().open(NAME).unwrap().read().unwrap().bytes, b"child's");
}

#[test]
fn a_reader_can_be_used_on_both_sides_of_a_fork() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"before").unwrap();
    assert_eq!(reader.read().unwrap().number, 1);
    // SAFETY: the child uses what glibc allows after fork, and leaves by _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                assert_eq!(reader.read_timeout(LIMIT).unwrap().expect("a line").number, 2);
                assert_eq!(reader.writer_state(), WriterState::Alive);
            }));
            // SAFETY: _exit ends the process at once; nothing of the parent's is run.
            unsafe { nix::libc::_exit(ended.is_err().into()) }
        }
        ForkResult::Parent { child } => {
            writer.publish(b"after").unwrap();
            assert_eq!(reader.read().unwrap().number, 2);
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

// Waiting for a mailbox. ----------------------------------------------------------------------------------------------

/// Waits for a mailbox at a path, reads a line of each, and says it. Arguments: the directory.
fn waiter(parent: &mut Parent) {
    let directory: String = parent.argument(0);
    let mut reader = Options::new().dir(directory).wait_for_mailbox(true).open(NAME).unwrap();
    parent.say("waiting");
    loop {
        let number = reader.read().unwrap().number;
        parent.say(number);
    }
}

#[test]
fn a_mailbox_that_appears_wakes_who_waits_for_it() {
    let place = Place::new();
    woken_and_not_timed_out(|| {
        let rounds = (0..25).map(|_| {
            let mut waiter = Child::start("waiter", &place, &[&place.dir().display()]);
            waiter.expect("waiting");
            waiter.wait_until_asleep();
            let made = Instant::now();
            let mut writer = place.options().create(NAME).unwrap();
            writer.publish(b"").unwrap();
            assert_eq!(waiter.hear_number(), 1);
            let took = made.elapsed();
            drop(writer);
            place.options().remove(NAME, false).unwrap();
            took
        });
        rounds.collect()
    });
}

#[test]
fn who_waits_for_a_mailbox_survives_its_directory() {
    let outer = Place::new();
    let path = outer.path("inner");
    fs::create_dir(&path).unwrap();
    let mut waiter = Child::start("waiter", &outer, &[&path.display()]);
    waiter.expect("waiting");
    waiter.wait_until_asleep();
    // Nothing was ever found: the directory goes, comes again, is moved away, and comes again.
    fs::remove_dir(&path).unwrap();
    waiter.wait_until_asleep();
    fs::create_dir(&path).unwrap();
    fs::rename(&path, outer.path("elsewhere")).unwrap();
    fs::create_dir(&path).unwrap();
    let mut writer = Options::new().dir(&path).create(NAME).unwrap();
    writer.publish(b"").unwrap();
    assert_eq!(waiter.hear_number(), 1);
}

#[test]
fn a_reader_made_before_the_directory_was_removed_finds_the_next_one() {
    let outer = Place::new();
    let path = outer.path("inner");
    fs::create_dir(&path).unwrap();
    let options = Options::new().dir(&path);
    let mut reader = options.clone().wait_for_mailbox(true).open(NAME).unwrap();
    assert!(reader.try_read().unwrap().is_none());
    fs::remove_dir(&path).unwrap();
    assert!(reader.try_read().unwrap().is_none(), "no directory: no mailbox");
    assert!(reader.read_timeout(Duration::from_millis(1)).unwrap().is_none());
    fs::create_dir(&path).unwrap();
    let mut writer = options.create(NAME).unwrap();
    writer.publish(b"").unwrap();
    assert_eq!(reader.read_timeout(LIMIT).unwrap().expect("a line").number, 1);
}

#[test]
fn other_files_that_come_and_go_are_no_mailbox() {
    let place = Place::new();
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    for index in 0..20 {
        fs::write(place.path(&format!("other {index}")), "").unwrap();
        assert!(reader.try_read().unwrap().is_none());
    }
    let mut other = place.options().create("other").unwrap();
    other.publish(b"no").unwrap();
    assert!(reader.read_timeout(Duration::from_millis(1)).unwrap().is_none());
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"yes").unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"yes");
}

#[test]
fn descriptors_are_given_back() {
    let place = Place::new();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let life = || {
        let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
        let doorbell = reader.doorbell().unwrap();
        let mut writer = place.options().capacity(1).create(NAME).unwrap();
        writer.publish(b"").unwrap();
        writer.grow(100).unwrap();
        assert!(reader.try_read().unwrap().is_some());
        sweep(&place);
        writer.check().unwrap();
        drop(doorbell);
        drop(writer);
        let mut late = Reader::open(place.path(NAME)).unwrap();
        assert!(late.latest().unwrap().is_some());
        place.options().remove(NAME, false).unwrap();
    };
    life();
    // Other tests of this process open and close theirs meanwhile: a leak would show every time, by hundreds.
    wait_until("none are left over", || {
        let before = count();
        (0..100).for_each(|_| life());
        count() < before + 100
    });
}
