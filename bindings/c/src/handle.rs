//! [`Handle`]: what C holds a pointer to, and how every call goes through it.

use std::any::Any;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::error::{Failure, LastError};

/// A writer or reader, with the error of its last call that failed.
#[repr(C)]
pub struct Handle<T> {
    /// The first field of every handle: all that [`mbx_strerror`](crate::mbx_strerror) needs to know of one.
    pub last_error: LastError,
    pub inner: T,
}

impl<T> Handle<T> {
    /// Does `work` and returns what it comes to, or a negative error number, whose text stays here.
    #[inline(always)]
    pub fn call(&mut self, work: impl FnOnce(&mut T) -> Result<isize, Failure>) -> isize {
        let last_error = &mut self.last_error;
        let inner = &mut self.inner;
        // The error is put away inside, so that what comes out fits into a register: calls take nanoseconds.
        let result = catch_unwind(AssertUnwindSafe(|| match work(inner) {
            Ok(value) => value,
            Err(failure) => last_error.keep(failure),
        }));
        result.unwrap_or_else(|panic| self.last_error.keep(panicked(panic)))
    }
}

/// Does `work`; a panic is a failure like others.
///
/// What a panic leaves is sound to go on with: mailboxes are made for processes that end at any instruction, and all
/// else belongs to the handle, of which safe code can make no wrong use.
#[inline(always)]
pub fn guarded<R>(work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(panic)))
}

#[cold]
fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // One that panics when it is dropped shall not cross the border either.
    std::mem::forget(panic);
    Failure::new(libc::ENOTRECOVERABLE, format!("a fault in the library itself; please report it: {what}"))
}

/// Opens what `open` opens: 0, and `*handle` is its handle; or a negative error number, `*handle` is null, and `text`
/// says why.
///
/// # Safety
///
/// `handle` is null or may be written; `text` is null or has `size` bytes that may be written.
pub unsafe fn open<H>(
    handle: *mut *mut H,
    text: *mut c_char,
    size: usize,
    open: impl FnOnce() -> Result<H, Failure>,
) -> c_int {
    let opened = if handle.is_null() {
        Err(Failure::new(libc::EINVAL, "nowhere to put the handle: a null pointer"))
    } else {
        guarded(open)
    };
    let (opened, code, why) = match opened {
        Ok(opened) => (Box::into_raw(Box::new(opened)), 0, c"".to_owned()),
        Err(failure) => (null_mut(), -failure.errno, failure.text),
    };
    if !handle.is_null() {
        // SAFETY: not null, so the caller vouches for it.
        unsafe { handle.write(opened) };
    }
    if !text.is_null() && size > 0 {
        // SAFETY: not null, so the caller vouches for `size` bytes.
        unsafe { put_text(&why, text, size) };
    }
    code
}

/// Copies as much of `from` as fits, whole characters of UTF-8, and ends it with a NUL.
///
/// # Safety
///
/// `to` has `size` bytes, one at least, that may be written.
unsafe fn put_text(from: &CStr, to: *mut c_char, size: usize) {
    let bytes = from.to_bytes();
    let mut length = bytes.len().min(size - 1);
    while length > 0 && bytes.get(length).is_some_and(|byte| byte & 0xc0 == 0x80) {
        length -= 1;
    }
    // SAFETY: `length` bytes of `from` and a NUL fit into the `size` bytes of `to`, by the caller's word; they are not
    // the same memory, since `from` is ours.
    unsafe {
        bytes.as_ptr().cast::<c_char>().copy_to_nonoverlapping(to, length);
        to.add(length).write(0);
    }
}

/// Closes a handle; null is none.
///
/// # Safety
///
/// `handle` is null or comes from [`open`], and was not closed.
pub unsafe fn close<H>(handle: *mut H) {
    if !handle.is_null() {
        // SAFETY: made by `Box::into_raw` in `open`, and closed this once, by the caller's word.
        let handle = unsafe { Box::from_raw(handle) };
        _ = guarded(move || {
            drop(handle);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_handle_serves_on() {
        let mut handle = Handle { last_error: LastError::NONE, inner: 0 };
        assert_eq!(handle.call(|_| panic!("number {}", 7)), -(libc::ENOTRECOVERABLE as isize));
        let text = handle.last_error.text(libc::ENOTRECOVERABLE).unwrap().to_str().unwrap().to_owned();
        assert!(text.ends_with("number 7"), "{text}");
        assert_eq!(handle.call(|_| std::panic::panic_any(1)), -(libc::ENOTRECOVERABLE as isize));
        assert_eq!(handle.call(|inner| Ok(*inner)), 0);
    }

    #[test]
    fn a_text_is_cut_between_characters_and_ends_with_nul() {
        let cut = |size: usize| {
            let mut bytes = [b'.'; 8];
            // SAFETY: `size` is at most 8.
            unsafe { put_text(c"a\u{e4}b", bytes.as_mut_ptr().cast(), size) };
            assert!(bytes[size..].iter().all(|&byte| byte == b'.'), "nothing beyond {size}");
            CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!([1, 2, 3, 4, 5, 8].map(cut), ["", "a", "a", "aä", "aäb", "aäb"]);
    }
}
