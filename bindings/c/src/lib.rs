//! The mailbox for C: what `include/shm_mailbox.h` declares.
//!
//! The header is the documentation, and cbindgen makes it of the comments here (`tests/header.rs` compares, and makes
//! it anew when asked to). So these comments speak to who writes C.
//!
//! Three rules hold for every function, and [`handle`] keeps them: no panic crosses the border, what can go wrong is a
//! negative error number, and the text of the last error stays with its handle.

#![allow(clippy::missing_safety_doc, reason = "the comments are the header's, which says what callers owe")]
#![allow(non_camel_case_types, reason = "names as C has them")]

mod error;
mod handle;
mod options;
mod reader;
mod version;
mod writer;

pub use error::mbx_strerror;
pub use options::*;
pub use reader::*;
pub use version::*;
pub use writer::*;
