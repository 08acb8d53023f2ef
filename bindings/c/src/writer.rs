//! `mbx_writer`.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::slice;

use shm_mailbox::Writer;

use crate::error::{Failure, LastError};
use crate::handle::{self, Handle};
use crate::options::{self, mbx_options};

/// The one writer of a mailbox.
///
/// Never waits for readers: a line that nobody has read is replaced by the next. Holds the mailbox until it is closed
/// or its process ends, however it ends; the last line stays, and the next writer goes on with the next number.
pub struct mbx_writer {
    handle: Handle<Writer>,
}

// Where `mbx_strerror` looks.
const _: () = assert!(offset_of!(mbx_writer, handle) == 0 && offset_of!(Handle<Writer>, last_error) == 0);

/// Opens mailbox `name` for writing, and makes it if it is not there.
///
/// A `name` with a `/` is a path; else it is a name in the directory of the options. `options` may be NULL: all
/// defaults. On success `*writer` is the new handle, which belongs to the caller until `mbx_writer_close`; else it is
/// NULL, and `error`, if it is not NULL, has the text of what went wrong, cut to `error_size` bytes with the NUL (256
/// are usually enough). Everything that is pointed to may be freed or changed afterwards.
///
/// Returns 0, or
///  - `-EBUSY`: another writer has the mailbox.
///  - `-EINVAL`: a null pointer, a name that no mailbox can have, or options that contradict themselves or the mailbox
///    that is there.
///  - `-E2BIG`: the options ask for something that this version of the library does not know.
///  - `-ENOENT`: there is no directory for it.
///  - `-EACCES` and others of the system: no rights, no room (`-ENOSPC`), no descriptors (`-EMFILE`) ...
///  - `-EBADMSG`, `-EPROTONOSUPPORT`, `-EUCLEAN`: what bears the name is not a mailbox, or not one of a layout that this
///    version knows, or it is damaged.
///  - `-EPERM`: the file or its directory is under the control of somebody who is not to be trusted.
///
/// Threads: any. Reads the environment: no other thread may change that meanwhile. Blocks for 50 ms at most, if another
/// writer has the mailbox.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_open(
    writer: *mut *mut mbx_writer,
    name: *const c_char,
    options: *const mbx_options,
    error: *mut c_char,
    error_size: usize,
) -> c_int {
    let open = || {
        // SAFETY: a string and options, or null, by the caller's word.
        let (options, name) = unsafe { (options::options(options)?, options::name(&name)?) };
        Ok(mbx_writer { handle: Handle { last_error: LastError::NONE, inner: options.create(name)? } })
    };
    // SAFETY: null, or what the caller vouches for.
    unsafe { handle::open(writer, error, error_size, open) }
}

/// Publishes `length` bytes at `line`: from now on every read that begins finds this line or a newer one.
///
/// Any bytes will do, and none: a line of length 0 is a line like others (`line` may then be NULL). The bytes belong to
/// the caller, who may change them as soon as this has returned.
///
/// Returns 0, or
///  - `-EMSGSIZE`: the line is longer than the capacity; see `mbx_writer_grow`.
///  - `-ESTALE`: the mailbox was removed or taken over under this writer. Final: close it.
///  - `-ECHILD`: this process was forked from the writer's and is not the writer.
///  - `-EINVAL`: a null pointer.
///  - others of the system, if files that strangers had removed could not be put back; that is tried again.
///
/// Nothing was published, and the last line stays, if it fails.
///
/// Threads: one at a time for each handle. Never blocks: it waits for nobody, and makes no system call while no reader
/// waits, but three with every 1024th line, to see whether the files still have their names. Only if strangers have
/// removed them does it put them back, and may wait 50 ms for that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_publish(writer: *mut mbx_writer, line: *const c_void, length: usize) -> c_int {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(writer) = (unsafe { writer.as_mut() }) else { return -libc::EINVAL };
    let publish = |writer: &mut Writer| {
        let line = if length == 0 {
            &[]
        } else if line.is_null() {
            return Err(Failure::null("the line"));
        } else {
            // No memory is longer than that, and neither is any mailbox; a slice must not say so.
            let length = length.min(isize::MAX as usize);
            // SAFETY: not null, so the caller vouches for `length` bytes that nobody changes meanwhile.
            unsafe { slice::from_raw_parts(line.cast::<u8>(), length) }
        };
        writer.publish(line)?;
        Ok(0)
    };
    writer.handle.call(publish) as c_int
}

/// Makes the capacity at least `capacity` bytes, if it is less (and then at least doubles it, up to 64 MiB). Readers go
/// on without loss.
///
/// Returns 0, or `-EINVAL` (more than any mailbox has, or a null pointer), `-ENOSPC`, `-EACCES` (owner and mode could
/// not be kept), `-ESTALE`, `-ECHILD`, or another error of the system: the mailbox is as it was.
///
/// Threads: one at a time for each handle. Makes a file, and may take milliseconds for a large one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_grow(writer: *mut mbx_writer, capacity: usize) -> c_int {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(writer) = (unsafe { writer.as_mut() }) else { return -libc::EINVAL };
    let grow = |writer: &mut Writer| {
        writer.grow(capacity)?;
        Ok(0)
    };
    writer.handle.call(grow) as c_int
}

/// Looks whether the files still have their names, and puts back what strangers have removed: for a writer that is idle
/// for long, as publishing looks by itself. Returns 0, or an error as `mbx_writer_publish` does.
///
/// Threads: one at a time for each handle. May block for 50 ms, if there is something to put back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_check(writer: *mut mbx_writer) -> c_int {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    let Some(writer) = (unsafe { writer.as_mut() }) else { return -libc::EINVAL };
    let check = |writer: &mut Writer| {
        writer.check()?;
        Ok(0)
    };
    writer.handle.call(check) as c_int
}

/// Returns the number of the newest line: 1 for the first of a mailbox, one more for each, also from writer to writer.
/// 0: there is none, or `writer` is NULL.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_number(writer: *const mbx_writer) -> u64 {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    unsafe { writer.as_ref() }.map_or(0, |writer| writer.handle.inner.number())
}

/// Returns the most bytes that a line can have; 0 if `writer` is NULL.
///
/// Threads: one at a time for each handle. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_capacity(writer: *const mbx_writer) -> usize {
    // SAFETY: null, or a handle that nobody else uses now, by the caller's word.
    unsafe { writer.as_ref() }.map_or(0, |writer| writer.handle.inner.capacity())
}

/// Closes the writer: another may open the mailbox now. The last line stays. NULL is none, and nothing happens.
///
/// Ownership: the handle is no more, and neither are texts of `mbx_strerror` about it. Threads: one at a time for each
/// handle; nobody may be in a call with it. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mbx_writer_close(writer: *mut mbx_writer) {
    // SAFETY: the caller's word.
    unsafe { handle::close(writer) }
}
