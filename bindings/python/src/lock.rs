//! [`Lock`]: what an object of Python's shares between threads.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Python;

/// A lock that is taken and released while attached to the interpreter, for a moment, around work that runs no Python
/// code.
///
/// With the GIL, that makes it free whenever it is asked for. Without it, another thread may have it: then this thread
/// detaches and asks again, so that nobody who is attached waits for it. Either way nobody holds it while a thread
/// forks the process (free-threaded Python stops the attached ones for that), and a child finds it free.
///
/// One atomic operation where a `Mutex` takes two, of about 5 ns each, in calls of some tens.
pub struct Lock<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: as for a `Mutex`: `with` gives access to one thread at a time, which may be any.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Does `work`, which must not detach, run Python code or come here again.
    #[inline]
    pub fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        // ORDERING: Acquire, pairs with the Release store in `Taken::drop`: this thread sees what the last one wrote.
        while self.is_taken.swap(true, Ordering::Acquire) {
            py.detach(std::thread::yield_now);
        }
        let _taken = Taken(&self.is_taken);
        // SAFETY: the flag was false and is true until `_taken` is dropped, after `work`: nobody else is here.
        work(unsafe { &mut *self.value.get() })
    }

    /// What is in it, by the last who has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Released also where the work panics.
struct Taken<'a>(&'a AtomicBool);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
