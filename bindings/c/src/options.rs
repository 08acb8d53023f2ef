//! [`mbx_options`]: what a mailbox is made and opened with.

use std::ffi::{CStr, OsStr, c_char};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use shm_mailbox::Options;

use crate::error::Failure;

/// Writer: lines carry the time at which they were published, so that readers can tell their age. Costs reading a clock
/// for every line, which takes longer than publishing.
pub const MBX_TIMESTAMPS: u32 = 1;

/// Writer: wake readers who sleep with every line, asked or not. For readers that may not write the mailbox (see
/// `mode`), which otherwise look every 1 to 10 ms; costs a system call for every line.
pub const MBX_ALWAYS_WAKE: u32 = 2;

/// Reader: pass over the line that is there when it is opened.
pub const MBX_SKIP_CURRENT: u32 = 4;

/// Reader: open although there is no mailbox yet. The reader then finds nothing until there is one.
pub const MBX_WAIT_FOR_MAILBOX: u32 = 8;

/// The field `owner` counts.
pub const MBX_OWNER: u32 = 16;

const ALL_FLAGS: u32 = MBX_TIMESTAMPS | MBX_ALWAYS_WAKE | MBX_SKIP_CURRENT | MBX_WAIT_FOR_MAILBOX | MBX_OWNER;

/// What a mailbox is made and opened with, for writers and readers alike; what does not concern one is ignored.
///
/// Begin with `mbx_options options = MBX_OPTIONS_INIT;` and set what should differ. Zero, in every field but `size`,
/// means the default. Later versions may add fields at the end; `size` tells the library which ones the program knows,
/// so that programs need not be compiled anew.
#[repr(C)]
pub struct mbx_options {
    /// `sizeof (mbx_options)`.
    pub size: usize,
    /// `MBX_TIMESTAMPS` and others, joined by `|`.
    pub flags: u32,
    /// With `MBX_OWNER` in `flags`: a user, by number, who may own the mailbox besides ourselves and root. Where
    /// neither `dir` nor the environment variable `MAILBOX_DIR` names a directory, also chooses that user's.
    pub owner: u32,
    /// The directory for names without `/`. NULL: the one that `MAILBOX_DIR` names, or else the user's own,
    /// `/dev/shm/mailbox-<uid>`, which is made if it is missing; others must exist.
    pub dir: *const c_char,
    /// Writer: most bytes in a line. A smaller mailbox is made larger, a larger one stays as it is. 0: as it is; 4096
    /// for a new one.
    pub capacity: usize,
    /// Writer: permissions of the mailbox, 0600, 0640, 0644, 0660 or 0664 (octal). Who may write it is trusted; who may
    /// only read it can neither change it nor delay the writer. One that differs from an existing mailbox's is an
    /// error. 0: as it is; 0600 for a new one.
    pub mode: u32,
    /// Writer: copies of the line that a new mailbox has room for: 1, 2, 4 or 8. With 1, a reader may starve and a
    /// writer killed in the middle of a line leaves none. 0: 4.
    pub banks: u32,
}

/// Bytes of the first version's options: the least there can be.
const FIRST_SIZE: usize = 40;
const _: () = assert!(size_of::<mbx_options>() == FIRST_SIZE && offset_of!(mbx_options, size) == 0);

/// More is no size but whatever was in memory.
const MOST: usize = 4096;

/// The options that C gives, after the rules of openat2(2): fields that the caller does not know yet are zero, fields
/// that we do not know yet must be.
///
/// # Safety
///
/// `options` is null or points to what it says: `size` bytes, and strings.
pub unsafe fn options(options: *const mbx_options) -> Result<Options, Failure> {
    let invalid = |why: String| Err(Failure::new(libc::EINVAL, format!("invalid options: {why}")));
    if options.is_null() {
        return Ok(Options::new());
    }
    // SAFETY: not null, so there is the `size` at least, by the caller's word.
    let size = unsafe { options.cast::<usize>().read() };
    if !(FIRST_SIZE..=MOST).contains(&size) {
        return invalid(format!("a size of {size} bytes; begin with MBX_OPTIONS_INIT"));
    }
    // SAFETY: there are `size` bytes, by the caller's word, and these are the ones beyond what we know.
    let beyond = unsafe { std::slice::from_raw_parts(options.cast::<u8>().add(FIRST_SIZE), size - FIRST_SIZE) };
    if beyond.iter().any(|&byte| byte != 0) {
        let why = "invalid options: they ask for what this version of the library does not know";
        return Err(Failure::new(libc::E2BIG, why));
    }
    // SAFETY: there are `FIRST_SIZE` bytes.
    let given = unsafe { options.read() };
    if given.flags & !ALL_FLAGS != 0 {
        return invalid(format!("flags 0x{:x} are not known", given.flags & !ALL_FLAGS));
    }
    let is_set = |flag| given.flags & flag != 0;
    let mut options = Options::new()
        .timestamps(is_set(MBX_TIMESTAMPS))
        .always_wake(is_set(MBX_ALWAYS_WAKE))
        .skip_current(is_set(MBX_SKIP_CURRENT))
        .wait_for_mailbox(is_set(MBX_WAIT_FOR_MAILBOX));
    if is_set(MBX_OWNER) {
        options = options.owner(given.owner);
    }
    // SAFETY: null or a string, by the caller's word.
    if let Some(dir) = unsafe { path(&given.dir) } {
        options = options.dir(dir);
    }
    if given.capacity != 0 {
        options = options.capacity(given.capacity);
    }
    if given.mode != 0 {
        options = options.mode(given.mode);
    }
    if given.banks != 0 {
        options = options.banks(given.banks);
    }
    Ok(options)
}

/// The mailbox's name that C gives.
///
/// # Safety
///
/// `*name` is null or a string.
pub unsafe fn name(name: &*const c_char) -> Result<&Path, Failure> {
    // SAFETY: the caller's word.
    unsafe { path(name) }.ok_or_else(|| Failure::new(libc::EINVAL, "no name: a null pointer"))
}

/// # Safety
///
/// `*string` is null or a string, and stays while it is borrowed.
unsafe fn path(string: &*const c_char) -> Option<&Path> {
    // SAFETY: not null, so a string, by the caller's word.
    let string = (!string.is_null()).then(|| unsafe { CStr::from_ptr(*string) })?;
    Some(Path::new(OsStr::from_bytes(string.to_bytes())))
}
