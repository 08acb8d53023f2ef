//! Errors: their numbers, and [`mbx_strerror`].

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libc::*;
use shm_mailbox::{Error, ErrorKind};

/// An error number of errno(3), above zero, and what there is to say of it.
pub struct Failure {
    pub errno: c_int,
    pub text: CString,
}

impl Failure {
    pub fn new(errno: c_int, text: impl Into<String>) -> Self {
        let text = text.into().replace('\0', "\\0");
        Self { errno, text: CString::new(text).expect("no NUL is left") }
    }

    #[cold]
    pub fn null(what: &str) -> Self {
        Self::new(EINVAL, format!("{what} is a null pointer"))
    }
}

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Self {
        let system = |otherwise| match error.raw_os_error() {
            // These say something else to our callers.
            Some(EPERM) => EACCES,
            Some(EAGAIN | EBADMSG | EBUSY | ECHILD | EINVAL | EMSGSIZE | ESTALE | ETIMEDOUT | EUCLEAN) => EIO,
            Some(errno) => errno,
            None => otherwise,
        };
        let errno = match error.kind() {
            ErrorKind::InvalidName | ErrorKind::InvalidOption => EINVAL,
            ErrorKind::NotFound => ENOENT,
            ErrorKind::Busy => EBUSY,
            ErrorKind::TooLong { .. } | ErrorKind::BufferTooSmall { .. } => EMSGSIZE,
            ErrorKind::Removed => ESTALE,
            ErrorKind::Forked => ECHILD,
            ErrorKind::NotAMailbox => EBADMSG,
            ErrorKind::UnsupportedLayout => EPROTONOSUPPORT,
            ErrorKind::Damaged => EUCLEAN,
            ErrorKind::Untrusted => EPERM,
            ErrorKind::PermissionDenied => system(EACCES),
            ErrorKind::NoSpace => system(ENOSPC),
            _ => system(EIO),
        };
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text += &format!(": {source}");
        }
        Self::new(errno, text)
    }
}

/// The last error of a handle; none at first.
pub struct LastError(Option<Failure>);

impl LastError {
    pub const NONE: Self = Self(None);

    /// Keeps the failure, and returns its number as calls do.
    #[cold]
    pub fn keep(&mut self, failure: Failure) -> isize {
        let errno = failure.errno as isize;
        self.0 = Some(failure);
        -errno
    }

    /// What there is to say of the last error, if its number is this one.
    pub fn text(&self, errno: c_int) -> Option<&CStr> {
        self.0.as_ref().filter(|failure| failure.errno == errno).map(|failure| failure.text.as_c_str())
    }
}

/// Returns the text of an error: what was attempted, on which mailbox, and why it failed.
///
/// `handle` is the writer or reader whose call returned `error`, or null. If `error` is not the last one of that handle
/// (the ordinary `-EAGAIN` and `-ETIMEDOUT` leave no trace there), or there is no handle, the text says in general what
/// `error` means here. Never returns null. `error` may be given with its sign or without.
///
/// Ownership: the text belongs to the handle, until its next call or its end; without a handle it is constant, and lasts
/// for ever. Threads: the handle's. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_strerror(handle: *const c_void, error: c_int) -> *const c_char {
    let errno = error.saturating_abs();
    // SAFETY: null, or a handle, by the caller's word; a `LastError` is at the start of each (`Handle` is `repr(C)`, and
    // `writer.rs` and `reader.rs` assert where it is).
    let detail = unsafe { handle.cast::<LastError>().as_ref() }.and_then(|last_error| last_error.text(errno));
    let general = match errno {
        0 => c"no error",
        EAGAIN => c"nothing new",
        ETIMEDOUT => c"nothing new came in time",
        EBUSY => c"another writer has the mailbox",
        EMSGSIZE => c"the line is too long for the mailbox or the buffer",
        ESTALE => c"the mailbox was removed or taken over under its writer",
        EUCLEAN => c"the mailbox is damaged",
        ECHILD => c"this process was forked from the writer's and is not the writer",
        EBADMSG => c"what bears the name is not a mailbox",
        EPROTONOSUPPORT => c"the mailbox has a layout that this version does not know",
        EPERM => c"the file or its directory is under the control of somebody who is not to be trusted",
        ENOENT => c"there is no such mailbox, or no directory for it",
        EINVAL => c"an argument, a name or an option is not valid",
        ENODATA => c"there is no time to tell the age by",
        ENOTRECOVERABLE => c"a fault in the library itself",
        // SAFETY: takes any number. The texts of errors that the system has are constant (glibc, musl).
        _ => return detail.map_or_else(|| unsafe { strerror(errno) }.cast_const(), CStr::as_ptr),
    };
    detail.unwrap_or(general).as_ptr()
}
