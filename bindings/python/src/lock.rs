//! [`Lock`]: what an object of Python's shares between threads.

use std::sync::{Mutex, TryLockError};

use pyo3::Python;

/// A lock that is taken and released while attached to the interpreter, for a moment, around work that runs no Python
/// code.
///
/// With the GIL, that makes it free whenever it is asked for. Without it, another thread may have it: then this thread
/// detaches and asks again, so that nobody who is attached waits for it. Either way nobody holds it while a thread
/// forks the process (free-threaded Python stops the attached ones for that), and a child finds it free.
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    pub fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        loop {
            match self.0.try_lock() {
                Ok(mut value) => return work(&mut value),
                Err(TryLockError::Poisoned(value)) => return work(&mut value.into_inner()),
                Err(TryLockError::WouldBlock) => py.detach(std::thread::yield_now),
            }
        }
    }

    /// What is in it, by the last who has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
