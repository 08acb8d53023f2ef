//! What the public interface promises when nothing goes wrong, on real files, within one process.
//!
//! | subject | cases |
//! |---|---|
//! | line | empty, NUL, not UTF-8, newline, capacity exactly, one more, every length around a word |
//! | number, missed | first line, consecutive, passed over, late joiner, `latest` in between, `skip_current` |
//! | buffer | the caller's: too small, exact, larger; what is newer meanwhile; every way to read |
//! | waiting | nothing there, `None` in time, deadline that has passed, mailbox that comes later, made anew |
//! | options | capacity, banks, mode: each bad value; a mode that contradicts; larger, smaller capacity; timestamps |
//! | names | bad ones, paths, `MAILBOX_DIR` aside (`tests/cli.rs`) |
//! | growth | doubled, not smaller, no loss, too large |

mod common;

use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use common::{NAME, Place, at, wait_until};
use shm_mailbox::{ErrorKind, Options, Timestamp, Writer, WriterState};

// Lines. --------------------------------------------------------------------------------------------------------------

#[test]
fn a_line_is_any_bytes() {
    let place = Place::new();
    let mut writer = place.options().capacity(300).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let all_bytes: Vec<u8> = (0..=255).collect();
    for line in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"a\nb\r\n", b"\xff\xfe\x80", &all_bytes, b"", b"x"] {
        writer.publish(line).unwrap();
        assert_eq!(reader.read().unwrap().bytes, line);
        assert_eq!(reader.latest().unwrap().unwrap().bytes, line);
    }
}

#[test]
fn a_line_of_every_length_arrives_with_its_length() {
    let place = Place::new();
    let mut writer = place.options().capacity(130).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    // Down as well, so that each bank holds a longer line before.
    for (index, length) in (0..=130).chain((0..=130).rev()).enumerate() {
        let line = common::line(index as u64, 0, length);
        writer.publish(&line).unwrap();
        assert_eq!(reader.try_read().unwrap().unwrap().bytes, line, "{length} bytes");
    }
}

#[test]
fn too_long_a_line_leaves_everything_as_it_was() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(&[b'x'; 10]).unwrap();
    for length in [11, 12, 1 << 20] {
        let error = writer.publish(&vec![b'y'; length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong { length, capacity: 10 });
        assert!(error.to_string().contains(&format!("{length} bytes")), "{error}");
        assert_eq!(error.mailbox(), place.path(NAME));
    }
    assert_eq!(writer.number(), 1);
    assert_eq!(writer.capacity(), 10);
    assert_eq!(reader.read().unwrap().bytes, [b'x'; 10]);
    assert_eq!(writer.publish(b"next").unwrap(), 2, "no number was used");
    let message = reader.read().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (2, 0, &b"next"[..]));
}

#[test]
fn the_largest_line_of_every_number_of_banks_fits() {
    for banks in [1, 2, 4, 8] {
        for capacity in [1, 7, 8, 9, 40, 104, 4072, 65536] {
            let place = Place::new();
            let mut writer = place.options().capacity(capacity).banks(banks).create(NAME).unwrap();
            let mut reader = place.options().open(NAME).unwrap();
            for number in 1..=2 * u64::from(banks) + 1 {
                let line = common::line(number, 0, capacity);
                assert_eq!(writer.publish(&line).unwrap(), number);
                let message = reader.read().unwrap();
                assert_eq!(message.number, number);
                assert!(message.bytes == line, "{banks} banks, {capacity} bytes, message {number}");
            }
            let info = place.options().inspect(NAME).unwrap();
            assert_eq!((info.capacity, info.banks), (capacity as u64, banks));
            assert_eq!(info.footprint, std::fs::metadata(place.path(NAME)).unwrap().len());
        }
    }
}

// Numbers. ------------------------------------------------------------------------------------------------------------

#[test]
fn missed_counts_what_was_passed_over() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let mut published = 0;
    let mut held = 0;
    for passed_over in [0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 0, 2047] {
        for _ in 0..=passed_over {
            published += 1;
            assert_eq!(writer.publish(published.to_string().as_bytes()).unwrap(), published);
        }
        let message = reader.try_read().unwrap().unwrap();
        assert_eq!(message.number, published);
        assert_eq!(message.bytes, published.to_string().as_bytes());
        assert_eq!(message.missed, passed_over, "from {held} to {published}");
        held = published;
        assert!(reader.try_read().unwrap().is_none(), "each line once");
    }
}

#[test]
fn a_late_joiner_gets_the_newest_line_and_missed_nothing() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    for number in 1..=1000 {
        writer.publish(format!("line {number}").as_bytes()).unwrap();
    }
    let mut reader = place.options().open(NAME).unwrap();
    let message = reader.read().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (1000, 0, &b"line 1000"[..]));

    drop(writer);
    let mut reader = place.options().open(NAME).unwrap();
    let message = reader.read().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (1000, 0, &b"line 1000"[..]));
    assert_eq!(reader.writer_state(), WriterState::Gone);
}

#[test]
fn latest_returns_what_was_returned_and_counts_as_returned() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    assert!(reader.latest().unwrap().is_none());
    writer.publish(b"one").unwrap();
    for _ in 0..3 {
        let message = reader.latest().unwrap().unwrap();
        assert_eq!((message.number, message.missed, message.bytes), (1, 0, &b"one"[..]));
    }
    assert!(reader.try_read().unwrap().is_none());
    writer.publish(b"two").unwrap();
    writer.publish(b"three").unwrap();
    let message = reader.latest().unwrap().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (3, 1, &b"three"[..]));
    assert!(reader.try_read().unwrap().is_none());
    assert!(reader.read_timeout(Duration::ZERO).unwrap().is_none());
    assert_eq!(reader.latest().unwrap().unwrap().missed, 0, "the same line again passes over none");
}

#[test]
fn skip_current_passes_over_only_what_was_there() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut early = place.options().skip_current(true).open(NAME).unwrap();
    for number in 1..=6 {
        writer.publish(number.to_string().as_bytes()).unwrap();
    }
    let mut late = place.options().skip_current(true).open(NAME).unwrap();
    assert!(late.try_read().unwrap().is_none());
    assert!(late.read_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(early.try_read().unwrap().unwrap().number, 6, "nothing was there when it was made");
    writer.publish(b"7").unwrap();
    writer.publish(b"8").unwrap();
    let message = late.try_read().unwrap().unwrap();
    assert_eq!((message.number, message.missed), (8, 0), "0 for a reader's first line");

    // Not what a mailbox holds that comes later, and not what one holds that is made anew.
    let mut waiting = place.options().skip_current(true).wait_for_mailbox(true).open("later").unwrap();
    let mut writer = place.options().create("later").unwrap();
    writer.publish(b"first").unwrap();
    assert_eq!(waiting.read().unwrap().bytes, b"first");
}

#[test]
fn skip_current_does_not_hide_the_line_from_latest() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"there").unwrap();
    let mut reader = place.options().skip_current(true).open(NAME).unwrap();
    assert_eq!(reader.latest().unwrap().unwrap().bytes, b"there");
}

#[test]
fn a_message_shows_its_bytes_escaped() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"a\0\xff").unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let message = reader.read().unwrap();
    assert_eq!(format!("{message:?}"), r#"Message { number: 1, missed: 0, age: None, bytes: "a\\x00\\xff" }"#);
}

#[test]
fn a_reader_and_a_writer_show_where_they_are() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    (0..3).for_each(|_| _ = writer.publish(b"").unwrap());
    assert_eq!(reader.read().unwrap().number, 3);
    writer.publish(b"").unwrap();
    let path = place.path(NAME);
    assert_eq!(format!("{writer:?}"), format!("Writer {{ path: {path:?}, number: 4, .. }}"));
    assert_eq!(format!("{reader:?}"), format!("Reader {{ path: {path:?}, number: 3, .. }}"));
}

// The caller's buffer. ------------------------------------------------------------------------------------------------

#[test]
fn a_line_is_read_into_the_callers_buffer() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let mut buffer = [b'.'; 300];
    assert!(reader.try_read_into(&mut buffer).unwrap().is_none());
    assert!(reader.latest_into(&mut buffer).unwrap().is_none());
    for length in [0, 1, 7, 8, 9, 40, 41, 127, 128, 129, 299, 300] {
        for way in 0..4 {
            let number = writer.publish(&common::line(length as u64, way, length)).unwrap();
            buffer.fill(b'.');
            let message = match way {
                0 => reader.try_read_into(&mut buffer).unwrap().unwrap(),
                1 => reader.read_into(&mut buffer).unwrap(),
                2 => reader.read_into_timeout(&mut buffer, Duration::ZERO).unwrap().unwrap(),
                _ => reader.latest_into(&mut buffer).unwrap().unwrap(),
            };
            assert_eq!((message.number, message.missed, message.bytes.len()), (number, 0, length));
            assert!(common::is_line(message.bytes, length as u64, way), "{length} bytes, way {way}");
            assert!(buffer[length..].iter().all(|&byte| byte == b'.'), "nothing beyond the line");
        }
    }
    assert!(reader.read_into_timeout(&mut buffer, Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(reader.latest().unwrap().unwrap().bytes.len(), 300, "a buffer of its own serves as well");
}

#[test]
fn too_small_a_buffer_loses_no_line() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"a").unwrap();
    reader.read().unwrap();
    writer.publish(b"passed over").unwrap();
    writer.publish(b"0123456789").unwrap();
    let mut buffer = [b'.'; 9];
    for room in [0, 1, 9] {
        let buffer = &mut buffer[..room];
        let kinds = [
            reader.try_read_into(buffer).unwrap_err().kind(),
            reader.read_into(buffer).unwrap_err().kind(),
            reader.read_into_timeout(buffer, Duration::from_secs(60)).unwrap_err().kind(),
            reader.latest_into(buffer).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::BufferTooSmall { length: 10, room }; 4]);
    }
    let mut large = [0; 10];
    let message = reader.try_read_into(&mut large).unwrap().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (3, 1, &b"0123456789"[..]));

    // What is newer wins, as always; the line that did not fit was passed over.
    writer.publish(b"0123456789").unwrap();
    assert!(reader.read_into(&mut buffer).is_err());
    writer.publish(b"short").unwrap();
    let message = reader.read_into(&mut buffer).unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (5, 1, &b"short"[..]));
    assert!(reader.try_read().unwrap().is_none());
}

// Waiting. ------------------------------------------------------------------------------------------------------------

#[test]
fn time_running_out_is_a_value() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    assert!(reader.read_timeout(Duration::from_millis(5)).unwrap().is_none(), "nothing published");
    writer.publish(b"one").unwrap();
    assert_eq!(
        reader.read_timeout(Duration::ZERO).unwrap().unwrap().bytes,
        b"one",
        "no time is enough for what is there"
    );
    assert!(reader.read_timeout(Duration::ZERO).unwrap().is_none());
    assert!(reader.read_deadline(Instant::now() - Duration::from_secs(1)).unwrap().is_none());
    assert!(reader.read_deadline(Instant::now() + Duration::from_millis(5)).unwrap().is_none());
    writer.publish(b"two").unwrap();
    assert_eq!(reader.read_deadline(Instant::now() - Duration::from_secs(1)).unwrap().unwrap().bytes, b"two");
    writer.publish(b"three").unwrap();
    assert_eq!(reader.read_timeout(Duration::MAX).unwrap().unwrap().bytes, b"three", "for ever");

    let mut nothing = place.options().wait_for_mailbox(true).open("nothing").unwrap();
    assert!(nothing.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert!(nothing.try_read().unwrap().is_none());
    assert!(nothing.latest().unwrap().is_none());
}

#[test]
fn a_reader_may_come_before_its_mailbox() {
    let place = Place::new();
    let error = place.options().open(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    assert_eq!(reader.writer_state(), WriterState::Unknown);
    let waiting = thread::spawn(move || {
        let message = reader.read().unwrap();
        assert_eq!((message.number, message.missed, message.bytes), (1, 0, &b"first"[..]));
        reader
    });
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"first").unwrap();
    let reader = waiting.join().unwrap();
    assert_eq!(reader.writer_state(), WriterState::Alive);
}

#[test]
fn a_mailbox_made_anew_is_found_by_one_who_waits() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"old 1").unwrap();
    writer.publish(b"old 2").unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().number, 2);
    drop(writer);
    let waiting = thread::spawn(move || {
        let message = reader.read().unwrap();
        (message.number, message.missed, message.bytes.to_vec())
    });
    assert!(place.options().remove(NAME, false).unwrap());
    assert_eq!(place.entries(), [""; 0], "nothing is left");
    let mut writer = place.options().create(NAME).unwrap();
    for line in ["new 1", "new 2", "new 3"] {
        writer.publish(line.as_bytes()).unwrap();
    }
    let (number, missed, bytes) = waiting.join().unwrap();
    assert_eq!(missed, number - 1, "number - 1 after a change of instance");
    assert_eq!(bytes, format!("new {number}").as_bytes());
}

#[test]
fn a_removed_mailbox_has_no_line() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"old").unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let mut other = place.options().open(NAME).unwrap();
    assert_eq!(other.read().unwrap().bytes, b"old");
    drop(writer);
    assert!(place.options().remove(NAME, false).unwrap());
    assert!(!place.options().remove(NAME, false).unwrap(), "there was nothing to remove");
    assert!(reader.try_read().unwrap().is_none());
    assert!(other.latest().unwrap().is_none());
    assert_eq!(place.options().open(NAME).unwrap_err().kind(), ErrorKind::NotFound);
}

// Times. --------------------------------------------------------------------------------------------------------------

#[test]
fn age_is_known_where_lines_carry_a_time() {
    let place = Place::new();
    let started = Instant::now();
    let mut writer = place.options().timestamps(true).create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"now").unwrap();
    let age = reader.read().unwrap().age.expect("a time");
    assert!(age <= started.elapsed());

    // An older time stays older by what has passed in between.
    let before = Timestamp::now();
    let lapse = Instant::now();
    wait_until("20 ms have passed", || lapse.elapsed() >= Duration::from_millis(20));
    writer.publish_at(b"before", before).unwrap();
    let age = reader.read().unwrap().age.expect("a time");
    assert!(age >= Duration::from_millis(20) && age <= started.elapsed(), "{age:?}");
    let again = reader.latest().unwrap().unwrap().age.expect("a time");
    assert!(again >= age, "it ages");
    assert!(place.options().inspect(NAME).unwrap().age.expect("a time") >= again);
    assert!(before <= Timestamp::now());
}

#[test]
fn age_is_unknown_where_lines_carry_none() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish(b"when?").unwrap();
    assert_eq!(reader.read().unwrap().age, None);
    assert_eq!(place.options().inspect(NAME).unwrap().age, None);
    // The next writer decides for its own lines.
    drop(writer);
    let mut writer = place.options().timestamps(true).create(NAME).unwrap();
    assert_eq!(reader.latest().unwrap().unwrap().age, None, "the old line has none still");
    writer.publish(b"now").unwrap();
    assert!(reader.read().unwrap().age.is_some());
}

#[test]
fn a_time_in_the_future_is_no_age_below_zero() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    writer.publish_at(b"now", Timestamp::now()).unwrap();
    let raw = place.raw();
    raw.put_u64(raw.bank(1) + 16, u64::MAX);
    assert_eq!(reader.read().unwrap().age, Some(Duration::ZERO));
}

// Options and names. --------------------------------------------------------------------------------------------------

#[test]
fn impossible_options_are_refused_and_leave_nothing() {
    let place = Place::new();
    let refused = |options: Options, word: &str| {
        for error in [options.create(NAME).unwrap_err(), options.open(NAME).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert_eq!(place.entries(), [""; 0]);
    };
    for capacity in [0, (1 << 40) + 1, usize::MAX] {
        refused(place.options().capacity(capacity), &format!("capacity of {capacity} bytes"));
    }
    for banks in [0, 3, 5, 6, 7, 9, 16, u32::MAX] {
        refused(place.options().banks(banks), &format!("{banks} banks"));
    }
    for mode in
        [0, 0o400, 0o602, 0o606, 0o620, 0o622, 0o646, 0o666, 0o700, 0o755, 0o777, 0o1600, 0o4644, 0o100_600, u32::MAX]
    {
        refused(place.options().mode(mode), &format!("a mode of {mode:04o}"));
    }
}

#[test]
fn a_mailbox_that_exists_keeps_what_it_is() {
    let place = Place::new();
    let mut writer = place.options().capacity(1000).banks(8).mode(0o640).create(NAME).unwrap();
    writer.publish(b"one").unwrap();
    drop(writer);

    let error = place.options().mode(0o600).create(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("0640") && error.to_string().contains("0600"), "{error}");

    let mut writer = place.options().capacity(10).banks(2).mode(0o640).create(NAME).unwrap();
    assert_eq!(writer.capacity(), 1000, "never smaller");
    assert_eq!(writer.number(), 1);
    assert_eq!(writer.publish(b"two").unwrap(), 2);
    let info = place.options().inspect(NAME).unwrap();
    assert_eq!((info.banks, info.mode, info.number, info.uid), (8, 0o640, 2, nix::unistd::geteuid().as_raw()));
    assert_eq!(info.writer_pid, Some(std::process::id()));
    drop(writer);

    let file = || std::fs::metadata(place.path(NAME)).unwrap().ino();
    let before = file();
    drop(place.options().capacity(1000).create(NAME).unwrap());
    assert_eq!(file(), before, "as large as it was asked for: no new file");

    let mut reader = place.options().open(NAME).unwrap();
    let writer = place.options().capacity(1001).create(NAME).unwrap();
    assert_eq!(writer.capacity(), 2000, "larger, and at least doubled");
    assert_eq!(writer.number(), 2);
    let larger = place.options().inspect(NAME).unwrap();
    assert_eq!((larger.instance, larger.banks, larger.mode), (info.instance, 8, 0o640));
    assert_eq!(reader.read().unwrap().bytes, b"two");
}

#[test]
fn one_writer_at_a_time() {
    let place = Place::new();
    let writer = place.options().create(NAME).unwrap();
    let error = place.options().create(NAME).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    place.raw().put_u32(at::WRITER_PID, 0);
    let error = place.options().create(NAME).unwrap_err().to_string();
    assert!(error.contains("another writer") && !error.contains("process"), "one that has not said who it is: {error}");
    let error = place.options().remove(NAME, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("it has a live writer; with --force"), "{error}");
    drop(writer);
    place.options().create(NAME).unwrap();
}

#[test]
fn names_that_no_mailbox_has_are_refused() {
    let place = Place::new();
    let too_long = "n".repeat(201);
    for name in ["", ".", "..", "a\nb", "a\x7f", "x.bell", "x.lock", "x.new", "a/", &too_long] {
        assert_eq!(place.options().create(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        assert_eq!(place.options().open(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        assert_eq!(place.options().inspect(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        assert_eq!(place.options().remove(name, true).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
    }
    assert_eq!(place.entries(), [""; 0]);
}

#[test]
fn the_longest_name_works() {
    let place = Place::new();
    let name = "n".repeat(200);
    let mut writer = place.options().capacity(1).create(&name).unwrap();
    writer.grow(100).unwrap();
    writer.publish(b"hello").unwrap();
    assert_eq!(place.options().open(&name).unwrap().read().unwrap().bytes, b"hello");
    assert_eq!(place.options().list().unwrap(), [name.as_str()]);
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let place = Place::new();
    let mut writer = Writer::create(place.path(NAME)).unwrap();
    assert_eq!(writer.path(), place.path(NAME));
    writer.publish(b"hello").unwrap();
    let elsewhere = Place::new();
    let mut reader = elsewhere.options().open(place.path(NAME)).unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"hello");
    assert_eq!(reader.path(), place.path(NAME));
}

#[test]
fn a_directory_that_is_given_must_exist() {
    let place = Place::new();
    let options = Options::new().dir(place.path("missing"));
    for error in [
        options.create(NAME).unwrap_err(),
        options.open(NAME).unwrap_err(),
        options.clone().wait_for_mailbox(true).open(NAME).unwrap_err(),
        options.remove(NAME, false).unwrap_err(),
        options.list().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("there is no directory"), "{error}");
    }
    assert_eq!(place.entries(), [""; 0], "it was not made");
}

#[test]
fn list_tells_mailboxes_from_other_files() {
    let place = Place::new();
    let _writers: Vec<_> = ["b", "a", "c"].map(|name| place.options().create(name).unwrap()).into();
    std::fs::write(place.path("notes.txt"), "no mailbox").unwrap();
    std::fs::create_dir(place.path("d")).unwrap();
    assert_eq!(place.options().list().unwrap(), ["a", "b", "c"]);
    // A damaged one is a mailbox still.
    common::Raw::open(&place.path("b")).put_u32(common::at::BANKS, 77);
    assert_eq!(place.options().list().unwrap(), ["a", "b", "c"]);
}

// Growth. -------------------------------------------------------------------------------------------------------------

#[test]
fn growth_keeps_line_number_and_instance() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).timestamps(true).create(NAME).unwrap();
    let mut behind = place.options().open(NAME).unwrap();
    let mut up_to_date = place.options().open(NAME).unwrap();
    writer.publish(b"one").unwrap();
    writer.publish(b"two").unwrap();
    let old_age = up_to_date.read().unwrap().age.unwrap();
    let instance = place.options().inspect(NAME).unwrap().instance;

    writer.grow(10).unwrap();
    writer.grow(0).unwrap();
    assert_eq!(writer.capacity(), 10, "large enough already");
    writer.grow(11).unwrap();
    assert_eq!(writer.capacity(), 20);
    writer.grow(1000).unwrap();
    assert_eq!(writer.capacity(), 1000);
    assert_eq!(place.options().inspect(NAME).unwrap().instance, instance);
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);

    assert!(up_to_date.try_read().unwrap().is_none(), "no line is shown twice");
    assert!(up_to_date.latest().unwrap().unwrap().age.unwrap() >= old_age, "the line has kept its time");
    let message = behind.read().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (2, 0, &b"two"[..]));
    assert_eq!(writer.publish(&[b'3'; 1000]).unwrap(), 3);
    for reader in [&mut behind, &mut up_to_date] {
        let message = reader.read().unwrap();
        assert_eq!((message.number, message.missed, message.bytes.len()), (3, 0, 1000));
    }
}

#[test]
fn growth_of_an_empty_mailbox_keeps_it_empty() {
    for banks in [1, 2, 4, 8] {
        let place = Place::new();
        let mut writer = place.options().capacity(1).banks(banks).create(NAME).unwrap();
        let mut reader = place.options().open(NAME).unwrap();
        writer.grow(100).unwrap();
        assert!(reader.latest().unwrap().is_none());
        assert_eq!(writer.publish(&[b'x'; 100]).unwrap(), 1);
        assert_eq!(reader.read().unwrap().number, 1);
    }
}

#[test]
fn growth_at_every_number_goes_on() {
    // The line moves to the bank of its number in the new file, whichever that is.
    for banks in [1, 2, 4, 8] {
        let place = Place::new();
        let mut writer = place.options().capacity(1).banks(banks).create(NAME).unwrap();
        let mut reader = place.options().open(NAME).unwrap();
        for number in 1..=12 {
            writer.grow(writer.capacity() + 1).unwrap();
            let line = common::line(number, 0, writer.capacity());
            assert_eq!(writer.publish(&line).unwrap(), number);
            let mut late = place.options().open(NAME).unwrap();
            assert!(late.read().unwrap().bytes == line);
            if number % 3 == 0 {
                let message = reader.read().unwrap();
                assert_eq!((message.number, message.missed), (number, if number == 3 { 0 } else { 2 }));
                assert!(message.bytes == line);
            }
        }
    }
}

#[test]
fn growth_beyond_every_mailbox_is_refused() {
    let place = Place::new();
    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    writer.publish(b"one").unwrap();
    for capacity in [(1 << 40) + 1, usize::MAX] {
        assert_eq!(writer.grow(capacity).unwrap_err().kind(), ErrorKind::InvalidOption);
    }
    assert_eq!((writer.capacity(), writer.publish(b"two").unwrap()), (10, 2));
}

// From outside. -------------------------------------------------------------------------------------------------------

#[test]
fn inspect_tells_what_there_is() {
    let place = Place::new();
    assert_eq!(place.options().inspect(NAME).unwrap_err().kind(), ErrorKind::NotFound);
    let mut writer = place.options().capacity(100).create(NAME).unwrap();
    let info = place.options().inspect(NAME).unwrap();
    assert_eq!((info.number, info.writer, info.mode), (0, WriterState::Alive, 0o600));
    assert_eq!(info.path, place.path(NAME));
    writer.publish(b"one").unwrap();
    drop(writer);
    let info = place.options().inspect(NAME).unwrap();
    assert_eq!((info.number, info.writer, info.writer_pid), (1, WriterState::Gone, None));
    std::fs::remove_file(place.path("box.lock")).unwrap();
    assert_eq!(place.options().inspect(NAME).unwrap().writer, WriterState::Unknown);
}

#[test]
fn two_mailboxes_have_two_instances() {
    let place = Place::new();
    let mut instances = Vec::new();
    for _ in 0..10 {
        drop(place.options().create(NAME).unwrap());
        instances.push(place.options().inspect(NAME).unwrap().instance);
        place.options().remove(NAME, false).unwrap();
    }
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 10);
    assert!(!instances.contains(&[0; 16]));
}
