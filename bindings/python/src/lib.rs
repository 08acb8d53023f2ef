//! The native part of the Python package `shm_mailbox`: its classes `Writer` and `Reader`.
//!
//! Python's own documentation is in the classes' doc comments, which become docstrings, and in
//! `python/shm_mailbox/_native.pyi`.
//!
//! # Threads
//!
//! Objects are frozen; what changes is behind a [`lock::Lock`], so that all of this is as sound without the GIL as with
//! it. The lock is held for one look or one publish, never for a wait: a wait sleeps on a
//! [`Sleeper`](shm_mailbox::Sleeper), detached from the interpreter and without the lock.

mod bytes_like;
mod errors;
mod lock;
mod reader;
mod unclosed;
mod writer;

/// Everything is documented under `shm_mailbox`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::errors::MailboxBusy;
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::writer::Writer;
}
