//! A **mailbox** is a named place in shared memory that holds one line: the newest.
//!
//! placeholder

mod doorbell;
mod error;
mod inspect;
mod layout;
mod life_cycle;
mod name;
mod options;
mod os;
mod protocol;
mod reader;
mod spin;
mod writer;

pub use doorbell::Doorbell;
pub use error::{Error, ErrorKind, Result};
pub use inspect::Info;
pub use options::Options;
pub use reader::{Message, Reader, WriterState};
pub use writer::{Timestamp, Writer};
