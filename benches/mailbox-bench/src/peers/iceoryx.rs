//! iceoryx2: lock-free queues of offsets into shared memory, between processes that need no daemon.

use std::fs;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::reader::EntryHandle;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::writer::EntryHandleMut;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// The largest line.
pub const LARGEST: usize = 1 << 24;

/// Publish-subscribe of a slice of bytes for each direction, with room for one line in which a newer one replaces the
/// older: iceoryx2's own way to a last value of any length. Lines are copied into loaned memory, read where they lie,
/// and polled for without a pause.
pub struct Iceoryx {
    received: Option<Sample<ipc::Service, [u8], ()>>,
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    /// Dropped after all that iceoryx2 removes by itself.
    _leftovers: Option<Leftovers>,
}

impl Channel for Iceoryx {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (config, prefix) = config(place)?;
        // Made before the rest and so dropped after it, also if the rest fails.
        let leftovers = (side == Side::Here).then(|| Leftovers { prefix });
        let node = NodeBuilder::new().config(&config).create::<ipc::Service>()?;
        let (out, back) = match side {
            Side::Here => ("there", "back"),
            Side::There => ("back", "there"),
        };
        let service = |name: &str| -> Outcome<_> {
            Ok(node
                .service_builder(&name.try_into()?)
                .publish_subscribe::<[u8]>()
                .max_publishers(1)
                .max_subscribers(1)
                .max_nodes(2)
                .history_size(0)
                .subscriber_max_buffer_size(1)
                .subscriber_max_borrowed_samples(1)
                .enable_safe_overflow(true)
                .open_or_create()?)
        };
        let publisher = service(out)?.publisher_builder().initial_max_slice_len(size).create()?;
        let subscriber = service(back)?.subscriber_builder().create()?;
        Ok(Self { received: None, publisher, subscriber, _leftovers: leftovers })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        self.publisher.loan_slice_uninit(line.len())?.write_from_slice(line).send()?;
        Ok(())
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        // Given back first: one may be borrowed at a time.
        self.received = None;
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(self.received.insert(sample).payload());
            }
        }
    }
}

/// With everything in shared memory under the place's name, which is the second, and all files in the place.
fn config(place: &Place) -> Outcome<(Config, String)> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    let prefix = format!("{}-", place.path().file_name().ok_or("a place without a name")?.display());
    config.global.prefix = FileName::new(prefix.as_bytes())?;
    config.global.set_root_path(&Path::new(place.path().join("iceoryx2").as_os_str().as_encoded_bytes())?);
    Ok((config, prefix))
}

/// iceoryx2's blackboard with one entry: a last value of a fixed size, as a seqlock of two cells.
pub struct Blackboard<const N: usize> {
    writer: EntryHandleMut<ipc::Service, u64, [u8; N]>,
    reader: EntryHandle<ipc::Service, u64, [u8; N]>,
    _leftovers: Leftovers,
}

impl<const N: usize> Blackboard<N> {
    pub fn open(place: &Place) -> Outcome<Self> {
        const KEY: u64 = 0;
        let (config, prefix) = config(place)?;
        let leftovers = Leftovers { prefix };
        let node = NodeBuilder::new().config(&config).create::<ipc::Service>()?;
        let service = node
            .service_builder(&"blackboard".try_into()?)
            .blackboard_creator::<u64>()
            .add::<[u8; N]>(KEY, [0; N])
            .create()?;
        let writer = service.writer_builder().create()?.entry::<[u8; N]>(&KEY)?;
        let reader = service.reader_builder().create()?.entry::<[u8; N]>(&KEY)?;
        Ok(Self { writer, reader, _leftovers: leftovers })
    }

    pub fn update(&self, value: [u8; N]) {
        self.writer.update_with_copy(value);
    }

    pub fn get(&self) -> [u8; N] {
        *self.reader.get()
    }
}

/// iceoryx2's event: a notifier on one side, and a listener that sleeps on the other.
pub struct Event {
    end: EventEnd,
    _leftovers: Option<Leftovers>,
}

enum EventEnd {
    Notifier(Notifier<ipc::Service>),
    Listener(Listener<ipc::Service>),
}

impl Event {
    pub fn open(place: &Place, side: Side) -> Outcome<Self> {
        let (config, prefix) = config(place)?;
        let leftovers = (side == Side::Here).then(|| Leftovers { prefix });
        let node = NodeBuilder::new().config(&config).create::<ipc::Service>()?;
        let service = node.service_builder(&"event".try_into()?).event().open_or_create()?;
        let end = match side {
            Side::Here => EventEnd::Notifier(service.notifier_builder().create()?),
            Side::There => EventEnd::Listener(service.listener_builder().create()?),
        };
        Ok(Self { end, _leftovers: leftovers })
    }

    pub fn notify(&self) -> Outcome {
        let EventEnd::Notifier(notifier) = &self.end else { return Err("a listener notifies nobody".into()) };
        notifier.notify()?;
        Ok(())
    }

    pub fn listen(&self) -> Outcome {
        let EventEnd::Listener(listener) = &self.end else { return Err("a notifier does not listen".into()) };
        let mut came = false;
        while !came {
            listener.blocking_wait(|_| came = true)?;
        }
        Ok(())
    }
}

/// What iceoryx2 has put into shared memory under a place's name, removed when dropped. Its segment of all nodes outlives
/// the last of them by design, and the partner is killed and removes nothing.
struct Leftovers {
    prefix: String,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(self.prefix.as_bytes()) {
                _ = fs::remove_file(entry.path());
            }
        }
    }
}
