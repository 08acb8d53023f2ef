//! `mbx_reader`.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::slice;
use std::time::Duration;

use libc::ssize_t;
use shm_mailbox::{Error, ErrorKind, Message, Reader, WriterState};

use crate::error::{Failure, LastError};
use crate::handle::{self, Handle};
use crate::options::{self, mbx_options};

/// Nobody has the mailbox for writing.
pub const MBX_WRITER_GONE: c_int = 0;

/// A process has the mailbox for writing.
pub const MBX_WRITER_ALIVE: c_int = 1;

/// It cannot be known: there is no mailbox, or this user may not look at its lock.
pub const MBX_WRITER_UNKNOWN: c_int = 2;

/// A reader of a mailbox, one of any number.
///
/// Gets the newest line, each at most once, in order; lines that were published in between are passed over and counted.
/// Goes on through restarts of the writer, growth, removal and re-creation of the mailbox.
pub struct mbx_reader {
    handle: Handle<State>,
}

// Where `mbx_strerror` looks.
const _: () = assert!(offset_of!(mbx_reader, handle) == 0 && offset_of!(Handle<State>, last_error) == 0);

/// A reader, and what there is to say of the line that it returned last.
struct State {
    reader: Reader,
    number: u64,
    missed: u64,
    age: Option<Duration>,
}

/// Opens mailbox `name` for reading. See `mbx_writer_open` for the arguments.
///
/// Returns 0, or
///  - `-ENOENT`: there is no such mailbox; with `MBX_WAIT_FOR_MAILBOX` in the options, only if there is no directory.
///  - `-EINVAL`, `-E2BIG`, `-EACCES`, `-EBADMSG`, `-EPROTONOSUPPORT`, `-EUCLEAN`, `-EPERM` and others of the system: as
///    `mbx_writer_open`.
///
/// Threads: any. Reads the environment: no other thread may change that meanwhile. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_open(
    reader: *mut *mut mbx_reader,
    name: *const c_char,
    options: *const mbx_options,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let open = || {
        // SAFETY: a string and options, or null, by the caller's word.
        let (options, name) = unsafe { (options::options(options)?, options::name(&name)?) };
        let inner = State { reader: options.open(name)?, number: 0, missed: 0, age: None };
        Ok(mbx_reader { handle: Handle { last_error: LastError::NONE, inner } })
    };
    // SAFETY: null, or what the caller vouches for.
    unsafe { handle::open(reader, error, error_size, open) }
}

/// Reads the newest line that this reader has not returned before into the `size` bytes at `buffer`.
///
/// Returns the bytes of the line, 0 for an empty one, or
///  - `-EAGAIN`: nothing new.
///  - `-EMSGSIZE`: the line has more than `size` bytes. It is not lost: the next read gives it, or a newer one, if the
///    buffer is large enough by then. A capacity's worth is always enough.
///  - `-EUCLEAN`: the mailbox is damaged.
///  - `-EINVAL`: a null pointer (`buffer` may be one if `size` is 0).
///  - what `mbx_reader_open` can say, if another file is under the name by now.
///
/// If `length` is not NULL, the bytes of the line are put there, on success and with `-EMSGSIZE`. What is in the buffer
/// beyond the line, or after an error, is nothing to rely on; nothing is ended with a NUL. That the writer has gone is
/// no error, and neither is that the mailbox was removed: there is nothing new until there is a new one.
///
/// Consumes the event of `mbx_reader_fd` if it returns `-EAGAIN`.
///
/// Ownership: the buffer is the caller's. Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_try_read(
    reader: *mut mbx_reader,
    buffer: *mut c_void,
    size: usize,
    length: *mut usize,
) -> ssize_t {
    // SAFETY: the caller's word.
    unsafe { read(reader, buffer, size, length, libc::EAGAIN, |reader, buffer| reader.try_read_into(buffer)) }
}

/// As `mbx_reader_try_read`, but waits for a line for at most `timeout_ns` nanoseconds, or, if that is -1, for ever.
///
/// Returns as `mbx_reader_try_read`, but for `-EAGAIN`:
///  - `-ETIMEDOUT`: nothing new came in time. With a `timeout_ns` of 0 this looks once, and does not wait.
///  - `-EINVAL`: also for a `timeout_ns` below -1.
///
/// Blocks: spins for some microseconds if lines have been arriving that fast, then sleeps without using the processor.
/// A signal does not end it, unless it ends the process: a program that has to react to signals waits by `poll` on
/// `mbx_reader_fd`, or for a short time again and again. A buffer that is too small ends it at once.
///
/// Threads: one at a time for each handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_read(
    reader: *mut mbx_reader,
    buffer: *mut c_void,
    size: usize,
    length: *mut usize,
    timeout_ns: i64,
) -> ssize_t {
    let timeout = match timeout_ns {
        -1 => None,
        // As for a null pointer: before anything is looked at.
        ..-1 => return -libc::EINVAL as ssize_t,
        nanoseconds => Some(Duration::from_nanos(nanoseconds.unsigned_abs())),
    };
    // SAFETY: the caller's word.
    unsafe {
        read(reader, buffer, size, length, libc::ETIMEDOUT, |reader, buffer| match timeout {
            Some(timeout) => reader.read_into_timeout(buffer, timeout),
            None => reader.read_into(buffer).map(Some),
        })
    }
}

/// As `mbx_reader_try_read`, but gives the newest line whether this reader has returned it before or not; it counts as
/// returned. `-EAGAIN`: there is none at all.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_latest(
    reader: *mut mbx_reader,
    buffer: *mut c_void,
    size: usize,
    length: *mut usize,
) -> ssize_t {
    // SAFETY: the caller's word.
    unsafe { read(reader, buffer, size, length, libc::EAGAIN, |reader, buffer| reader.latest_into(buffer)) }
}

/// What the three ways to read have in common; `nothing` is the error number for `None`.
///
/// # Safety
///
/// `reader` is null or a handle that nobody else uses now; `buffer` is null or has `size` bytes that may be written;
/// `length` is null or may be written.
#[inline(always)]
unsafe fn read(
    reader: *mut mbx_reader,
    buffer: *mut c_void,
    size: usize,
    length: *mut usize,
    nothing: c_int,
    way: impl for<'b> FnOnce(&mut Reader, &'b mut [u8]) -> Result<Option<Message<'b>>, Error>,
) -> ssize_t {
    // SAFETY: the caller's word.
    let Some(reader) = (unsafe { reader.as_mut() }) else { return -libc::EINVAL as ssize_t };
    // SAFETY: the caller's word.
    let put_length = |bytes| unsafe { length.as_mut() }.map(|length| *length = bytes);
    reader.handle.call(|state| {
        let buffer = if size == 0 {
            &mut []
        } else if buffer.is_null() {
            return Err(Failure::null("the buffer"));
        } else {
            // SAFETY: not null, so the caller vouches for `size` bytes, of which there are no more in any memory than
            // this. What they hold was made beyond our sight and is never read here before it is written.
            unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), size.min(isize::MAX as usize)) }
        };
        match way(&mut state.reader, buffer) {
            Ok(Some(message)) => {
                (state.number, state.missed, state.age) = (message.number, message.missed, message.age);
                put_length(message.bytes.len());
                Ok(message.bytes.len() as isize)
            }
            Ok(None) => Ok(-nothing as isize),
            Err(error) => {
                if let ErrorKind::BufferTooSmall { length, .. } = error.kind() {
                    put_length(length);
                }
                Err(error.into())
            }
        }
    })
}

/// Returns a descriptor that becomes readable when there may be something new, for `poll`, `select`, `epoll` and event
/// loops.
///
/// When it is ready, call `mbx_reader_try_read` until that returns `-EAGAIN`: only that consumes the event. It is ready
/// when made. It may be ready with nothing new, at least ten times a second, and is also when the writer ends. It exists
/// before the mailbox does, and every call returns the same one, whatever happens to the mailbox.
///
/// Returns the descriptor, 0 or more, or `-EMFILE` or another error of the system, or `-EINVAL` for a null pointer.
///
/// Ownership: the descriptor is the reader's, and closed with it; never read from it or close it. Threads: one at a
/// time for each handle; any may poll it. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_fd(reader: *mut mbx_reader) -> c_int {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(reader) = (unsafe { reader.as_mut() }) else { return -libc::EINVAL };
    let descriptor = |state: &mut State| Ok::<_, Failure>(state.reader.doorbell()?.as_raw_fd() as isize);
    reader.handle.call(descriptor) as c_int
}

/// Returns the number of the line that this reader returned last: 1 for the first of a mailbox, one more for each. 0:
/// none yet, or `reader` is NULL.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_number(reader: *const mbx_reader) -> u64 {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    unsafe { reader.as_ref() }.map_or(0, |reader| reader.handle.inner.number)
}

/// Returns how many lines were passed over between the line that this reader returned last and the one before it; 0 if
/// it was the first, or `reader` is NULL.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_missed(reader: *const mbx_reader) -> u64 {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    unsafe { reader.as_ref() }.map_or(0, |reader| reader.handle.inner.missed)
}

/// Returns how long before it was read the line was published that this reader returned last, in nanoseconds; or
/// `-ENODATA` if it carries no time (see `MBX_TIMESTAMPS`) or there is none yet, or `-EINVAL` for a null pointer.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_age(reader: *const mbx_reader) -> i64 {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(reader) = (unsafe { reader.as_ref() }) else { return (-libc::EINVAL).into() };
    match reader.handle.inner.age {
        Some(age) => age.as_nanos().try_into().unwrap_or(i64::MAX),
        None => (-libc::ENODATA).into(),
    }
}

/// Returns whether the mailbox has a writer at this moment: `MBX_WRITER_GONE`, `MBX_WRITER_ALIVE` or
/// `MBX_WRITER_UNKNOWN`, or `-EINVAL` for a null pointer.
///
/// Threads: one at a time for each handle. Takes some system calls, and never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_writer_state(reader: *const mbx_reader) -> c_int {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(reader) = (unsafe { reader.as_ref() }) else { return -libc::EINVAL };
    let state = handle::guarded(|| Ok(reader.handle.inner.reader.writer_state()));
    match state {
        Ok(WriterState::Alive) => MBX_WRITER_ALIVE,
        Ok(WriterState::Gone) => MBX_WRITER_GONE,
        Ok(WriterState::Unknown) => MBX_WRITER_UNKNOWN,
        Err(failure) => -failure.errno,
    }
}

/// Closes the reader, and its descriptor. NULL is none, and nothing happens.
///
/// Ownership: the handle is no more, and neither are texts of `mbx_strerror` about it. Threads: one at a time for each
/// handle; nobody may be in a call with it, such as a `mbx_reader_read` that waits. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_reader_close(reader: *mut mbx_reader) {
    // SAFETY: the caller's word.
    unsafe { handle::close(reader) }
}
