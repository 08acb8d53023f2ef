//! A **mailbox** is a named place in shared memory that holds one line: the newest.
//!
//! One writer publishes lines and never waits for anybody; any number of readers, in any processes of the machine,
//! always get the newest one, whole. A line that nobody has read is replaced by the next: *last line wins*. Readers
//! block without using the processor while there is nothing new, or poll a descriptor, or just look. Programs meet by a
//! name in the file system; either side may start first, be killed, and be started again.
//!
//! ```
//! # let directory = tempfile::tempdir()?;
//! # let name = directory.path().join("clock");
//! use shm_mailbox::{Reader, Writer};
//!
//! let mut writer = Writer::create(&name)?; // one process
//! let mut reader = Reader::open(&name)?;   // another
//!
//! writer.publish(b"12:00")?;
//! writer.publish(b"12:01")?;
//! writer.publish(b"12:02")?;
//! assert_eq!(reader.read()?.bytes, b"12:02");
//! writer.publish(b"12:03")?;
//! writer.publish(b"12:04")?;
//! let message = reader.read()?;
//! assert_eq!((message.bytes, message.number, message.missed), (&b"12:04"[..], 5, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Words
//!
//! A **line** is the bytes of one message, of any kind; its **message number** is 1 for the first and one more for
//! each. The **capacity** of a mailbox is the most bytes of a line. The slot that holds the line exists in several
//! copies, the **banks**. An **instance** is one mailbox under a name, told from the next by random bits. The
//! **doorbell** is a descriptor to poll.
//!
//! # Guarantees
//!
//! * **Whole**: a read returns the bytes of one line, never a mixture, whatever the writer does meanwhile.
//! * **Ordered**: a reader never goes back. Each line is returned at most once, but by [`Reader::latest`].
//! * **Fresh**: a read that begins after a publish has returned gives that line or a newer one; the last line is always
//!   seen.
//! * **Counted**: [`Message::missed`] says how many lines were passed over.
//! * **Crash-safe**: killed at any instruction, a writer leaves its last line readable, and the next one goes on with
//!   the next number. That needs two banks or more; there are four, unless [`Options::banks`] says otherwise. A killed
//!   reader leaves nothing.
//!
//! The argument for each is in `docs/protocol.md`; in short, in the source, `src/protocol/mod.rs`.
//!
//! # Happens-before
//!
//! What a writer did before [`Writer::publish`] happens before what a reader does after the read that returns the line,
//! or a newer one.
//!
//! # Progress
//!
//! | call | progress |
//! |---|---|
//! | [`Writer::publish`] | wait-free; a constant number of system calls if readers wait, else hardly any: see below |
//! | [`Reader::try_read`], [`Reader::latest`] | lock-free: repeat only if the writer passes by; else bounded |
//! | [`Reader::read`] and its kin | block, by choice; never for more than 100 ms without a look |
//! | [`Writer::create`] | waits up to 50 ms for another writer |
//!
//! Publishing also takes system calls to look after the files: three `fstat` with every 1,024th message, and a look at
//! the names once a second at most (with these messages only, unless lines carry a time or somebody waits: a slow
//! writer calls [`Writer::check`] now and then). If strangers have removed the files, that publish puts them back,
//! which makes a file and may wait up to 50 ms for the lock.
//!
//! # When the writer dies
//!
//! Its last line stays, until somebody removes the mailbox. [`Reader::writer_state`] tells, and the doorbell becomes
//! ready. The lock that makes it the only writer is the kernel's, and ends with the process. A child forked from the
//! writer's process is not the writer and keeps nothing of it.
//!
//! # Who may do what
//!
//! Files are the user's own, mode 0600, unless [`Options::mode`] says otherwise. Who may write the file is trusted, and
//! can do anything with it: also truncate it, which kills its readers by SIGBUS, unless their program has called
//! [`guard_against_truncation`]. That matters to root above all, which reads others' mailboxes by [`Options::owner`].
//! Who may only read it can neither change it nor delay the writer.
//!
//! # Trade-offs: when not to use it
//!
//! * **Every line counts**: use a queue (a pipe, a socket, a ring). Here all but the last are lost, on purpose.
//! * **Several writers**: give each a mailbox of its own.
//! * **Between machines**: use a network protocol. Memory is shared on one machine only.
//! * **Megabytes per line**: each read copies the line. A protocol that lends buffers, such as iceoryx2's, copies
//!   nothing.
//! * **Not Linux, not 64-bit, or not little-endian**: it does not build there.
//!
//! # Features
//!
//! `cli`, on by default, is the program `mailbox`. Those who link the library alone turn it off:
//! `shm-mailbox = { version = "0.1", default-features = false }`.

mod doorbell;
mod error;
mod follower;
mod inspect;
mod layout;
mod life_cycle;
mod name;
mod options;
mod os;
mod protocol;
mod reader;
mod sleeper;
mod spin;
mod writer;

pub use doorbell::Doorbell;
pub use error::{Error, ErrorKind, Result};
pub use inspect::Info;
pub use options::Options;
pub use os::sigbus::guard_against_truncation;
pub use reader::{Message, Reader, WriterState};
pub use sleeper::{Sleeper, Slept, Turn};
pub use writer::{Timestamp, Writer};

/// The examples in the documents are compiled and run with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/protocol.md")]
    struct Protocol;
    #[doc = include_str!("../docs/design.md")]
    struct Design;
    #[doc = include_str!("../docs/security.md")]
    struct Security;
}
