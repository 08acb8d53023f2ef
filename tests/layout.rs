//! The bytes of a mailbox, as `docs/protocol.md` draws them. A change here is a change of the layout version.
//!
//! | direction | cases |
//! |---|---|
//! | a writer's file, byte by byte | capacity 100, two banks, three messages; empty; other sizes by their offsets |
//! | the time of a line | where it is, of which clock |
//! | a file made by hand from the document | read; taken over by a writer, byte by byte; as a killed writer leaves it |

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use common::{NAME, Place, at};

/// What a file should hold: zero but where something is put.
struct Drawing(Vec<u8>);

impl Drawing {
    /// A header by the document, without random bits.
    fn new(page: u32, capacity: u64, stride: u64, banks: u32) -> Self {
        let mut drawing = Self(vec![0; 2 * page as usize + banks as usize * stride as usize]);
        drawing.put(0, b"MAILBOX\0");
        drawing.put(8, &1u32.to_le_bytes());
        drawing.put(12, &page.to_le_bytes());
        drawing.put(32, &capacity.to_le_bytes());
        drawing.put(40, &stride.to_le_bytes());
        drawing.put(48, &banks.to_le_bytes());
        drawing
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn bank(&mut self, at: usize, sequence: u64, time: u64, line: &[u8]) {
        self.put_u64(at, sequence);
        self.put_u64(at + 8, line.len() as u64);
        self.put_u64(at + 16, time);
        self.put(at + 24, line);
    }
}

fn page() -> u32 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u32
}

#[track_caller]
fn same(found: &[u8], drawn: &[u8]) {
    assert_eq!(found.len(), drawn.len());
    let differing: Vec<_> = (0..found.len()).filter(|&at| found[at] != drawn[at]).collect();
    assert!(differing.is_empty(), "bytes differ at {differing:?}");
}

#[test]
fn a_mailbox_is_as_it_is_drawn() {
    let place = Place::new();
    let mut writer = place.options().capacity(100).banks(2).create(NAME).unwrap();
    writer.publish(&[b'1'; 100]).unwrap();
    writer.publish(b"the second line").unwrap();
    writer.publish(b"three").unwrap();
    let found = fs::read(place.path(NAME)).unwrap();

    let page = page() as usize;
    let mut drawn = Drawing::new(page as u32, 100, 128, 2);
    // Random bits, which are what they are: the instance, and those of the lock file.
    drawn.put(16, &place.options().inspect(NAME).unwrap().instance);
    drawn.put(272, &fs::read(place.path("box.lock")).unwrap());
    drawn.put_u64(128, 3);
    drawn.put(264, &std::process::id().to_le_bytes());
    // Message n is in bank n mod 2, and message 1 was overwritten by message 3: its last word was padded with zeros,
    // and what is behind that is still message 1's.
    drawn.bank(2 * page, 4, 0, b"the second line");
    drawn.bank(2 * page + 128, 2, 0, &[b'1'; 100]);
    drawn.bank(2 * page + 128, 6, 0, b"three\0\0\0");
    drawn.put_u64(2 * page + 128 + 8, 5);
    same(&found, &drawn.0);
}

#[test]
fn an_empty_mailbox_is_a_header_and_zeros() {
    let place = Place::new();
    let writer = place.options().always_wake(true).create(NAME).unwrap();
    let mut drawn = Drawing::new(page(), 4096, 4224, 4);
    drawn.put(16, &place.options().inspect(NAME).unwrap().instance);
    drawn.put(260, &1u32.to_le_bytes());
    drawn.put(264, &std::process::id().to_le_bytes());
    drawn.put(272, &fs::read(place.path("box.lock")).unwrap());
    same(&fs::read(place.path(NAME)).unwrap(), &drawn.0);
    drop(writer);
}

#[test]
fn the_words_of_waiting_are_on_a_page_of_their_own() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let raw = place.raw();
    let word = |offset: u64| raw.u32(u64::from(page()) + offset);
    assert_eq!((word(0), word(128)), (0, 0));
    _ = reader.doorbell().unwrap();
    assert!(reader.try_read().unwrap().is_none());
    assert_eq!(word(0), 2, "the bell's bit");
    assert!(reader.read_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert_eq!(word(0), 3, "and the futex's");
    let epoch = word(128);
    writer.publish(b"a").unwrap();
    assert_eq!((word(0), word(128)), (0, epoch + 1));
}

#[test]
fn banks_are_a_stride_apart() {
    // Multiples of 128, and not of 4096: banks at equal offsets in their pages would compete for the same sets of a
    // cache.
    for (capacity, stride) in [
        (1, 128),
        (40, 128),
        (41, 128),
        (104, 128),
        (105, 256),
        (4072, 4224),
        (4096, 4224),
        (65_536, 65_664),
        (1_000_000, 1_000_064),
    ] {
        for banks in [1, 2, 4, 8] {
            let place = Place::new();
            let mut writer = place.options().capacity(capacity).banks(banks).create(NAME).unwrap();
            let raw = place.raw();
            assert_eq!(raw.u64(at::STRIDE), stride, "{capacity}");
            let length = fs::metadata(place.path(NAME)).unwrap().len();
            assert_eq!(length, 2 * u64::from(page()) + u64::from(banks) * stride, "{capacity}");
            assert_eq!(place.options().inspect(NAME).unwrap().footprint, length);
            // Twice around: message n is in bank n mod banks, and no byte of it is elsewhere.
            for number in 1..=2 * u64::from(banks) {
                let line = common::line(number, 0, capacity);
                assert_eq!(writer.publish(&line).unwrap(), number);
                let bank = 2 * u64::from(page()) + number % u64::from(banks) * stride;
                assert_eq!((raw.u64(bank), raw.u64(bank + 8), raw.u64(bank + 16)), (2 * number, capacity as u64, 0));
                let mut found = vec![0; stride as usize - 24];
                raw.file().read_exact_at(&mut found, bank + 24).unwrap();
                assert_eq!(found[..capacity], line);
                assert!(found[capacity..].iter().all(|&byte| byte == 0), "{capacity}: behind the line");
            }
            assert_eq!(raw.latest(), 2 * u64::from(banks));
        }
    }
}

#[test]
fn a_file_made_by_hand_is_a_mailbox() {
    let place = Place::new();
    // For pages of 64 KiB, as another machine might have them.
    let page = 65_536;
    let mut drawn = Drawing::new(page, 50, 128, 4);
    drawn.put(16, &[7; 16]);
    drawn.put(272, &[9; 16]);
    drawn.put_u64(128, 6);
    for (number, line) in [(3, "three"), (4, "four"), (5, "five"), (6, "six")] {
        drawn.bank(2 * page as usize + 128 * (number as usize % 4), 2 * number, 0, line.as_bytes());
    }
    write(&place, NAME, &drawn.0);
    write(&place, "box.lock", &[9; 16]);
    let info = place.options().inspect(NAME).unwrap();
    assert_eq!((info.number, info.capacity, info.banks, info.instance), (6, 50, 4, [7; 16]));
    let mut reader = place.options().open(NAME).unwrap();
    assert_eq!(reader.read().unwrap().bytes, b"six");

    let mut writer = place.options().create(NAME).unwrap();
    assert_eq!(writer.publish(b"seven").unwrap(), 7);
    let message = reader.read().unwrap();
    assert_eq!((message.number, message.missed, message.bytes), (7, 0, &b"seven"[..]));
    // The file was kept, and just these bytes of it were written.
    let raw = place.raw();
    drawn.put_u64(128, 7);
    drawn.put(264, &std::process::id().to_le_bytes());
    // Taking over and waking count on, by how much is not the layout's concern.
    drawn.put(page as usize + 128, &raw.epoch().to_le_bytes());
    drawn.bank(2 * page as usize + 128 * 3, 14, 0, b"seven\0\0\0");
    drawn.put_u64(2 * page as usize + 128 * 3 + 8, 5);
    same(&fs::read(place.path(NAME)).unwrap(), &drawn.0);
}

/// What a writer that was killed leaves, by the document, for each place where that can be.
#[test]
fn a_file_that_a_killed_writer_left_is_one_too() {
    let page = page();
    for (sequence, latest, found, next) in [
        (6, 6, 6, 7),  // before it began message 7, in bank 3 ...
        (13, 6, 6, 7), // ... began it: the number is used again ...
        (14, 6, 7, 8), // ... published it: some reader may have it ...
        (14, 7, 7, 8), // ... announced it
    ] {
        let place = Place::new();
        let mut drawn = Drawing::new(page, 50, 128, 4);
        drawn.put(16, &[7; 16]);
        drawn.put(272, &[9; 16]);
        drawn.put_u64(128, latest);
        for number in [4, 5, 6] {
            drawn.bank(2 * page as usize + 128 * (number as usize % 4), 2 * number, 0, format!("{number}").as_bytes());
        }
        drawn.bank(2 * page as usize + 128 * 3, sequence, 0, b"7");
        // It was about to remove the file, and readers were asleep.
        drawn.put(256, &1u32.to_le_bytes());
        drawn.put(page as usize, &3u32.to_le_bytes());
        write(&place, NAME, &drawn.0);
        write(&place, "box.lock", &[9; 16]);

        let mut reader = place.options().open(NAME).unwrap();
        assert_eq!(reader.read().unwrap().number, found, "{sequence} {latest}");
        let mut writer = place.options().create(NAME).unwrap();
        let raw = place.raw();
        assert_eq!((raw.instance(), raw.latest(), raw.waiters()), ([7; 16], found, 0), "{sequence} {latest}");
        assert_eq!((raw.u32(at::LEAVING), raw.epoch()), (0, 1), "{sequence} {latest}");
        assert_eq!(writer.publish(b"next").unwrap(), next);
        assert_eq!(reader.read().unwrap().number, next);
    }
}

/// The time of a line, where its writer stores it, is that of `CLOCK_BOOTTIME`.
#[test]
fn a_time_is_where_it_is_drawn() {
    let place = Place::new();
    let mut writer = place.options().timestamps(true).create(NAME).unwrap();
    let boottime = || Duration::from(nix::time::ClockId::CLOCK_BOOTTIME.now().unwrap()).as_nanos() as u64;
    let before = boottime();
    writer.publish(b"a").unwrap();
    let after = boottime();
    let raw = place.raw();
    assert!((before..=after).contains(&raw.u64(raw.bank(1) + 16)));
}

fn write(place: &Place, name: &str, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt;
    let file: File = File::options().write(true).create_new(true).mode(0o600).open(place.path(name)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}
