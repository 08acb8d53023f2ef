//! The descriptor to poll: `poll`, and `epoll` level- and edge-triggered, by readers in processes of their own.
//!
//! | subject | cases |
//! |---|---|
//! | rung | by a line, by the end of the writer; every reader sees every line of an unhurried writer, and the last of any |
//! | event | ready when made; taken by a `try_read` that returns nothing, and by nothing else |
//! | watched | the bell that the name names now; before there is a mailbox, the directory that the path names now |
//! | number | the same before there is a mailbox, through restart, growth, removal, re-creation, sweep |
//! | fork | a child has an instance of its own under the same number |

mod common;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use common::{Child, LIMIT, NAME, Parent, Place, wait_until, woken_and_not_timed_out};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shm_mailbox::{Doorbell, Options, Reader};

roles!(poller, publisher);

fn is_ready(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
}

fn wait_until_ready(fd: impl AsFd) {
    let timeout = PollTimeout::try_from(LIMIT).unwrap();
    assert_eq!(poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout).unwrap(), 1);
}

/// Reads all there is, until `try_read` says nothing; the last one's number.
fn drain(reader: &mut Reader) -> Option<u64> {
    let mut number = None;
    while let Some(message) = reader.try_read().unwrap() {
        number = Some(message.number);
    }
    number
}

/// Waits for readiness in one of three ways and says the number of each line. Arguments: the way.
fn poller(parent: &mut Parent) {
    let way: String = parent.argument(0);
    let mut reader = Options::new().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = if way == "edge" { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    epoll.add(&doorbell, EpollEvent::new(EpollFlags::EPOLLIN | edge, 0)).unwrap();
    parent.say("polling");
    loop {
        if way == "poll" {
            wait_until_ready(&doorbell);
        } else {
            let mut events = [EpollEvent::empty(); 4];
            let timeout = PollTimeout::try_from(LIMIT).unwrap();
            assert_eq!(epoll.wait(&mut events, timeout).unwrap(), 1, "{way}");
        }
        while let Some(message) = reader.try_read().unwrap() {
            let number = message.number;
            parent.say(number);
        }
    }
}

fn start_pollers(place: &Place) -> Vec<Child> {
    let ways = ["poll", "level", "edge", "edge", "level", "poll"];
    let mut pollers: Vec<_> = ways.iter().map(|way| Child::start("poller", place, &[way])).collect();
    pollers.iter_mut().for_each(|poller| poller.expect("polling"));
    pollers
}

#[test]
fn every_poller_sees_every_line_of_an_unhurried_writer() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut pollers = start_pollers(&place);
    woken_and_not_timed_out(|| {
        let rounds = (0..60).map(|_| {
            pollers.iter().for_each(Child::wait_until_asleep);
            let published = Instant::now();
            let number = writer.publish(b"").unwrap();
            for poller in &mut pollers {
                assert_eq!(poller.hear_number(), number);
            }
            published.elapsed()
        });
        rounds.collect()
    });
}

#[test]
fn every_poller_sees_the_last_line_of_a_burst() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut pollers = start_pollers(&place);
    let mut held = vec![0; pollers.len()];
    for burst in [1, 2, 3, 10, 100, 1000, 5000, 1] {
        let mut last = 0;
        for _ in 0..burst {
            last = writer.publish(b"").unwrap();
        }
        for (poller, held) in pollers.iter_mut().zip(&mut held) {
            while *held < last {
                let number = poller.hear_number();
                assert!(number > *held && number <= last, "{number} after {held}");
                *held = number;
            }
        }
    }
}

#[test]
fn it_is_ready_when_made_and_only_an_empty_try_read_takes_the_event() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    assert!(is_ready(&doorbell), "when made");
    assert!(is_ready(&doorbell), "looking takes nothing");

    // Not ready once it is consumed; but a slice may end between the two, if this thread is held up: then again.
    wait_until("it is not ready after an empty try_read", || {
        assert!(reader.try_read().unwrap().is_none());
        !is_ready(&doorbell)
    });

    writer.publish(b"one").unwrap();
    assert!(is_ready(&doorbell), "by the time publish has returned");
    assert_eq!(reader.try_read().unwrap().unwrap().number, 1);
    assert!(is_ready(&doorbell), "a try_read that returned a line takes nothing");
    assert!(reader.latest().unwrap().is_some());
    assert!(reader.read_timeout(Duration::ZERO).unwrap().is_none());
    assert!(is_ready(&doorbell), "nor do the other ways to read");
    writer.publish(b"one and a half").unwrap();
    assert!(reader.try_read_into(&mut [0; 3]).is_err());
    assert!(is_ready(&doorbell), "nor does one whose buffer was too small");
    assert_eq!(reader.try_read().unwrap().unwrap().number, 2);
    wait_until("it is not ready after an empty try_read", || {
        assert!(reader.try_read().unwrap().is_none());
        !is_ready(&doorbell)
    });
    writer.publish(b"two").unwrap();
    writer.publish(b"three").unwrap();
    assert!(is_ready(&doorbell));
    assert_eq!(drain(&mut reader), Some(4));
}

#[test]
fn two_readers_of_one_process_have_an_event_each() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut readers: Vec<_> = (0..3).map(|_| place.options().open(NAME).unwrap()).collect();
    let doorbells: Vec<_> = readers.iter_mut().map(|reader| reader.doorbell().unwrap()).collect();
    for _ in 0..20 {
        readers.iter_mut().for_each(|reader| assert!(drain(reader) < Some(u64::MAX)));
        let number = writer.publish(b"").unwrap();
        for (reader, doorbell) in readers.iter_mut().zip(&doorbells) {
            assert!(is_ready(doorbell));
            assert_eq!(drain(reader), Some(number), "what others consumed is not ours");
        }
    }
}

#[test]
fn a_doorbell_outlives_what_is_behind_it_and_keeps_its_number() {
    let place = Place::new();
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    let number = doorbell.as_raw_fd();
    // SAFETY: the descriptor is `doorbell`'s, which lives to the end of the test.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let inode = nix::sys::stat::fstat(fd).unwrap().st_ino;
    let sees = |reader: &mut Reader, line: &[u8], what: &str| {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "not seen: {what}");
            wait_until_ready(fd);
            if reader.try_read().unwrap().is_some_and(|message| message.bytes == line) {
                break;
            }
        }
        assert!(reader.try_read().unwrap().is_none());
        let again = reader.doorbell().unwrap();
        assert_eq!((again.as_raw_fd(), nix::sys::stat::fstat(fd).unwrap().st_ino), (number, inode), "{what}");
    };
    assert!(is_ready(fd), "before there is a mailbox");
    assert_eq!(drain(&mut reader), None);

    let mut writer = place.options().capacity(10).create(NAME).unwrap();
    writer.publish(b"made").unwrap();
    sees(&mut reader, b"made", "a mailbox that came later");

    drop(writer);
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"restarted").unwrap();
    sees(&mut reader, b"restarted", "a restarted writer");

    writer.grow(100).unwrap();
    writer.publish(b"grown").unwrap();
    sees(&mut reader, b"grown", "growth");

    drop(writer);
    place.options().remove(NAME, false).unwrap();
    while drain(&mut reader).is_some() {}
    let mut writer = place.options().create(NAME).unwrap();
    writer.publish(b"made anew").unwrap();
    sees(&mut reader, b"made anew", "removal and re-creation");

    for name in place.entries() {
        std::fs::remove_file(place.path(&name)).unwrap();
    }
    writer.check().unwrap();
    writer.publish(b"put back").unwrap();
    sees(&mut reader, b"put back", "a sweep");

    std::fs::remove_file(place.path("box.bell")).unwrap();
    writer.check().unwrap();
    writer.publish(b"new bell").unwrap();
    sees(&mut reader, b"new bell", "a bell made anew");

    drop(reader);
    // A handle outlives its reader, as a descriptor that is never taken for another.
    assert_eq!(nix::sys::stat::fstat(fd).unwrap().st_ino, inode);
    drop(doorbell);
}

/// Whether `act` makes `doorbell` ready at once, twenty times in a row: by itself, at the end of a slice, it would not.
fn rings_each_time(reader: &mut Reader, doorbell: &Doorbell, mut act: impl FnMut()) -> bool {
    (0..20).all(|_| {
        drain(reader);
        act();
        is_ready(doorbell)
    })
}

#[test]
fn the_bell_that_has_the_name_now_is_watched() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    for _ in 0..3 {
        std::fs::remove_file(place.path("box.bell")).unwrap();
        writer.check().unwrap();
        // Found when a slice is over.
        wait_until("the new bell rings", || {
            wait_until_ready(&doorbell);
            rings_each_time(&mut reader, &doorbell, || _ = writer.publish(b"").unwrap())
        });
    }
}

#[test]
fn the_directory_that_has_the_name_now_is_watched() {
    let place = Place::new();
    let directory = place.path("its own");
    let make = || std::fs::create_dir(&directory).unwrap();
    make();
    let mut reader = Options::new().dir(&directory).wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    for round in 0..3 {
        std::fs::remove_dir_all(&directory).unwrap();
        make();
        let mut names = 0;
        wait_until("the new directory is watched", || {
            wait_until_ready(&doorbell);
            rings_each_time(&mut reader, &doorbell, || {
                names += 1;
                std::fs::write(directory.join(format!("{round} {names}")), "").unwrap();
            })
        });
    }
    Options::new().dir(&directory).create(NAME).unwrap().publish(b"here").unwrap();
    assert!(is_ready(&doorbell));
    assert_eq!(reader.try_read().unwrap().unwrap().bytes, b"here");
}

#[test]
fn it_is_a_descriptor_by_every_trait() {
    let place = Place::new();
    drop(place.options().create(NAME).unwrap());
    let doorbell = place.options().open(NAME).unwrap().doorbell().unwrap();
    let number = doorbell.as_fd().as_raw_fd();
    assert!(number > 2);
    assert_eq!(doorbell.as_raw_fd(), number);
    assert_eq!(doorbell.clone().as_raw_fd(), number, "a clone is the same descriptor");
    assert_eq!(format!("{doorbell:?}"), format!("Doorbell({number})"));
}

#[test]
fn pollers_are_woken_again_after_everything() {
    // As above, by the clock: each event is rung and not found by a slice's end.
    let place = Place::new();
    let mut pollers = start_pollers(&place);
    let mut writer = Some(place.options().capacity(10).create(NAME).unwrap());
    let mut publish = |writer: &mut shm_mailbox::Writer| {
        let started = Instant::now();
        let number = writer.publish(b"").unwrap();
        for poller in &mut pollers {
            while poller.hear_number() != number {}
        }
        let took = started.elapsed();
        pollers.iter().for_each(Child::wait_until_asleep);
        took
    };
    woken_and_not_timed_out(|| {
        (0..20)
            .map(|_| {
                writer = None;
                place.options().remove(NAME, false).unwrap();
                let writer = writer.insert(place.options().capacity(10).create(NAME).unwrap());
                publish(writer)
            })
            .collect()
    });
    woken_and_not_timed_out(|| {
        (0..12)
            .map(|_| {
                let writer = writer.as_mut().unwrap();
                writer.grow(writer.capacity() + 1).unwrap();
                publish(writer)
            })
            .collect()
    });
    woken_and_not_timed_out(|| {
        (0..20)
            .map(|_| {
                writer = None;
                publish(writer.insert(place.options().create(NAME).unwrap()))
            })
            .collect()
    });
}

/// Publishes a line and waits to be killed.
fn publisher(parent: &mut Parent) {
    let mut writer = Options::new().create(NAME).unwrap();
    let number = writer.publish(b"").unwrap();
    parent.say(number);
    parent.hear();
}

#[test]
fn the_end_of_the_writer_makes_it_ready() {
    let place = Place::new();
    let mut reader = place.options().wait_for_mailbox(true).open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    woken_and_not_timed_out(|| {
        let rounds = (0..25).map(|round| {
            let mut publisher = Child::start("publisher", &place, &[]);
            let number = publisher.hear_number();
            while drain(&mut reader) != Some(number) {
                wait_until_ready(&doorbell);
            }
            // Killed at another phase of the slice each time.
            std::thread::sleep(Duration::from_millis(round * 7 % 50));
            drain(&mut reader);
            let killed = Instant::now();
            publisher.kill();
            wait_until_ready(&doorbell);
            let took = killed.elapsed();
            assert_eq!(drain(&mut reader), None);
            wait_until("the lock is free", || reader.writer_state() == shm_mailbox::WriterState::Gone);
            took
        });
        rounds.collect()
    });
}

#[test]
fn a_reader_in_a_forked_child_has_an_event_of_its_own() {
    let place = Place::new();
    let words = common::Words::new(place.dir());
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    drain(&mut reader);
    const SEEN: usize = 0;
    const LAST: u64 = 40;
    // SAFETY: the child uses only this thread's reader and doorbell, shared words and system calls, and leaves by
    // _exit. The library registers what a child must not keep; glibc's allocator can be used after fork.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let read = || {
                let mut held = 0;
                while held < LAST {
                    wait_until_ready(&doorbell);
                    while let Some(message) = reader.try_read().unwrap() {
                        held = message.number;
                        words.set(SEEN, held);
                    }
                }
            };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
            // SAFETY: _exit ends the process at once; nothing of the parent's is run.
            unsafe { nix::libc::_exit(ended.is_err().into()) }
        }
        ForkResult::Parent { child } => child,
    };
    let mut held = 0;
    let mut rung = 0;
    for number in 1..=LAST {
        assert_eq!(writer.publish(b"").unwrap(), number);
        rung += usize::from(is_ready(&doorbell));
        // The child takes its event first: the parent's is still there.
        wait_until("the child has it", || words.get(SEEN) == number);
        assert!(is_ready(&doorbell), "the child has consumed the parent's event {number}");
        held = drain(&mut reader).unwrap_or(held);
        assert_eq!(held, number);
    }
    assert_eq!(rung, LAST as usize);
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}

/// Bytes in a FIFO.
fn queued(fifo: &std::fs::File) -> i32 {
    let mut bytes = -1;
    // SAFETY: FIONREAD stores an int at the address given, which is one.
    assert_eq!(unsafe { nix::libc::ioctl(fifo.as_raw_fd(), nix::libc::FIONREAD, &mut bytes) }, 0);
    bytes
}

#[test]
fn nobody_ever_reads_the_bell_dry_or_full() {
    let place = Place::new();
    let mut writer = place.options().create(NAME).unwrap();
    let mut reader = place.options().open(NAME).unwrap();
    let doorbell = reader.doorbell().unwrap();
    let bell = std::fs::File::options().read(true).write(true).open(place.path("box.bell")).unwrap();
    for _ in 0..10_000 {
        drain(&mut reader);
        writer.publish(b"").unwrap();
        assert!(is_ready(&doorbell));
        assert_eq!(queued(&bell), 1, "a byte stays, for those who have not looked yet");
    }
    // A stranger who fills it: the next ring is heard all the same.
    assert_ne!(bell.metadata().unwrap().mode() & nix::libc::S_IFIFO, 0);
    nix::fcntl::fcntl(&bell, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&bell, &[0; 4096]).is_ok() {}
    while nix::unistd::write(&bell, &[0]).is_ok() {}
    drain(&mut reader);
    let number = writer.publish(b"").unwrap();
    assert!(is_ready(&doorbell));
    assert_eq!(drain(&mut reader), Some(number));
    assert_eq!(queued(&bell), 1, "it did not stay full");
}
