//! The shared-memory format: what lies at which offset, and what a file must say to be a mailbox.
//!
//! The only file that knows an offset. `docs/protocol.md` draws it; a change here is a new [`VERSION`].
//!
//! ```text
//!        0 ┌──────────────────────────┐
//!          │ header, never changed    │  magic, version, instance, sizes
//!      128 ├──────────────────────────┤
//!          │ latest                   │  two cache lines of its own: changes with every message
//!      256 ├──────────────────────────┤
//!          │ leaving, always_wake,    │  seldom changed: stays in everybody's cache
//!          │ writer_pid, lock's bits  │
//!     page ├──────────────────────────┤
//!          │ waiters                  │  the wait page, the only one that readers write
//!          │ epoch                    │
//!   2 page ├──────────────────────────┤
//!          │ bank 0: sequence, length,│  `stride` bytes each
//!          │   time, payload          │
//!          │ bank 1 ...               │
//!          └──────────────────────────┘
//! ```
//!
//! All numbers are little-endian and of fixed width. Distances are written out by hand: 128 bytes is the pair of cache
//! lines that x86-64 and many AArch64 processors fetch together (Intel's *Optimization Reference Manual*, "Spatial
//! Prefetcher"; crossbeam-utils `CachePadded`), but that type's size differs by architecture, which a format must not.

#[cfg(not(target_os = "linux"))]
compile_error!("shm-mailbox needs Linux: futexes shared between processes, epoll, open-file-description locks");

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("shm-mailbox supports 64-bit little-endian targets only: the format is mapped, not converted");

use std::fmt;

use crate::protocol::copy;
use crate::protocol::eventcount::{Eventcount, FAN_OUT};
use crate::protocol::seqlock::{Bank, Slot};
use crate::protocol::sync::{AtomicU32, AtomicU64};

/// The first eight bytes of a mailbox, written last when it is made.
pub const MAGIC: [u8; 8] = *b"MAILBOX\0";
/// The version of this layout.
pub const VERSION: u32 = 1;
/// Bytes at the start of the file that a check needs to see.
pub const HEADER: usize = 512;
/// Most bytes in a line that any mailbox may have: 1 TiB, far from every overflow.
pub const MAX_CAPACITY: u64 = 1 << 40;
/// Bytes of a line that share the cache line of their bank's sequence.
pub const INLINE: usize = CACHE_LINE - BANK_PAYLOAD;

const CACHE_LINE: usize = 64;
/// Two cache lines, which processors may fetch together: see above.
const LINE_PAIR: usize = 128;

// Header. Never changed after the file has a name, but for the words from LATEST on.
const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_PAGE: usize = 12;
const AT_INSTANCE: usize = 16;
const AT_CAPACITY: usize = 32;
const AT_STRIDE: usize = 40;
const AT_BANKS: usize = 48;
const AT_LATEST: usize = LINE_PAIR;
const AT_LEAVING: usize = 2 * LINE_PAIR;
const AT_ALWAYS_WAKE: usize = AT_LEAVING + 4;
const AT_WRITER_PID: usize = AT_LEAVING + 8;
const AT_LOCK: usize = AT_LEAVING + 16;

// Wait page, from its start. Readers set `waiters`, writers poll it: apart from `epoch`, which sleepers compare.
const WAIT_WAITERS: usize = 0;
const WAIT_EPOCH: usize = LINE_PAIR;

// Bank, from its start.
const BANK_SEQUENCE: usize = 0;
const BANK_LENGTH: usize = 8;
const BANK_TIME: usize = 16;
const BANK_PAYLOAD: usize = 24;

const _: () = {
    assert!(AT_BANKS + 4 <= AT_LATEST && AT_LOCK + 16 <= HEADER && HEADER <= 4096);
    assert!(AT_LATEST.is_multiple_of(LINE_PAIR) && AT_LEAVING.is_multiple_of(LINE_PAIR) && AT_LOCK.is_multiple_of(8));
    assert!(WAIT_EPOCH + 4 <= 4096 && BANK_PAYLOAD.is_multiple_of(copy::WORD));
    assert!(INLINE == 40);
};

/// The numbers of a header that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// 128 random bits, new for each mailbox made; growth and taking a swept name again carry them over.
    pub instance: [u8; 16],
    /// Most bytes in a line; 1 to [`MAX_CAPACITY`].
    pub capacity: u64,
    /// Distance of two banks; a multiple of a cache line, at least what a bank needs.
    pub stride: u64,
    /// 1, 2, 4 or 8.
    pub banks: u32,
    /// The maker's page size; where the wait page begins.
    pub page: u32,
}

impl Geometry {
    /// The geometry of a new mailbox.
    pub fn new(instance: [u8; 16], capacity: u64, banks: u32, page: u32) -> Self {
        let mut stride = (BANK_PAYLOAD as u64 + capacity).next_multiple_of(LINE_PAIR as u64);
        if stride.is_multiple_of(4096) {
            // Banks at equal offsets in their pages would compete for the same sets of the cache.
            stride += LINE_PAIR as u64;
        }
        Self { instance, capacity, stride, banks, page }
    }

    /// Where the wait page begins.
    pub fn wait_page(&self) -> u64 {
        self.page.into()
    }

    /// Bytes of the whole file.
    pub fn footprint(&self) -> u64 {
        2 * u64::from(self.page) + u64::from(self.banks) * self.stride
    }

    /// The bytes of the header, magic included.
    pub fn encode(&self, lock: [u8; 16]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(AT_MAGIC, &MAGIC);
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(AT_PAGE, &self.page.to_le_bytes());
        put(AT_INSTANCE, &self.instance);
        put(AT_CAPACITY, &self.capacity.to_le_bytes());
        put(AT_STRIDE, &self.stride.to_le_bytes());
        put(AT_BANKS, &self.banks.to_le_bytes());
        put(AT_LOCK, &lock);
        bytes
    }
}

/// A header that was checked: copied out of the file first, so that nobody can change it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where everything is.
    pub geometry: Geometry,
    /// The random bits of the lock under which the mailbox was made, or its lock taken again.
    pub lock: [u8; 16],
    /// The writer's process id: a hint for people, in the writer's namespace.
    pub writer_pid: u32,
}

/// Why a file is not a mailbox that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Too short for a header.
    Short(u64),
    /// All zeros where the magic belongs: made by something that did not finish.
    Unfinished,
    /// Another magic.
    Foreign,
    /// Another layout version.
    Version(u32),
    /// The header names an impossible value for this field.
    Field(&'static str),
    /// The file is shorter than the header says.
    Truncated {
        /// Bytes there are.
        is: u64,
        /// Bytes there must be.
        needs: u64,
    },
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ELSE: &str = "choose another name, or remove it by hand";
        const AFRESH: &str = "to start afresh: mailbox rm";
        match *self {
            Self::Short(is) => {
                write!(f, "not a mailbox: the file has {is} bytes, a mailbox at least {HEADER}; {ELSE}")
            }
            Self::Unfinished => write!(f, "not a mailbox: its header was never written; {ELSE}"),
            Self::Foreign => write!(f, "not a mailbox: the file begins with other bytes; {ELSE}"),
            Self::Version(is) => {
                write!(f, "it has layout version {is}, and this program knows version {VERSION}; {AFRESH}")
            }
            Self::Field(field) => write!(f, "damaged: its header says an impossible {field}; {AFRESH}"),
            Self::Truncated { is, needs } => {
                write!(f, "damaged: the file has {is} bytes, and its header says {needs}; {AFRESH}")
            }
        }
    }
}

/// Checks the header of a file of `length` bytes. Pure: no input makes it panic or read elsewhere.
pub fn parse(bytes: &[u8; HEADER], length: u64) -> Result<Header, Reject> {
    fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
        bytes[at..at + N].try_into().expect("N bytes")
    }
    let u32_at = |at| u32::from_le_bytes(field(bytes, at));
    let u64_at = |at| u64::from_le_bytes(field(bytes, at));

    match field::<8>(bytes, AT_MAGIC) {
        MAGIC => {}
        [0, 0, 0, 0, 0, 0, 0, 0] => return Err(Reject::Unfinished),
        _ => return Err(Reject::Foreign),
    }
    match u32_at(AT_VERSION) {
        VERSION => {}
        other => return Err(Reject::Version(other)),
    }
    let geometry = Geometry {
        instance: field(bytes, AT_INSTANCE),
        capacity: u64_at(AT_CAPACITY),
        stride: u64_at(AT_STRIDE),
        banks: u32_at(AT_BANKS),
        page: u32_at(AT_PAGE),
    };
    if !geometry.page.is_power_of_two() || !(4096..=1 << 20).contains(&geometry.page) {
        return Err(Reject::Field("page size"));
    }
    if !matches!(geometry.banks, 1 | 2 | 4 | 8) {
        return Err(Reject::Field("number of banks"));
    }
    if geometry.capacity == 0 || geometry.capacity > MAX_CAPACITY {
        return Err(Reject::Field("capacity"));
    }
    // Bounded on both sides, so that no sum or product below can overflow.
    let needed = BANK_PAYLOAD as u64 + geometry.capacity.next_multiple_of(copy::WORD as u64);
    if geometry.stride < needed || geometry.stride > 2 * MAX_CAPACITY || !geometry.stride.is_multiple_of(64) {
        return Err(Reject::Field("distance between banks"));
    }
    if length < geometry.footprint() {
        return Err(Reject::Truncated { is: length, needs: geometry.footprint() });
    }
    Ok(Header { geometry, lock: field(bytes, AT_LOCK), writer_pid: u32_at(AT_WRITER_PID) })
}

/// The atomic words of a mapped mailbox.
#[derive(Clone, Copy)]
pub struct View {
    header: *const u8,
    wait: *const u8,
    banks: *const u8,
    stride: usize,
    mask: u64,
    capacity: usize,
}

// SAFETY: a View is addresses only; what they point to is atomic words, which any thread may use through a shared
// reference.
unsafe impl Send for View {}
// SAFETY: as for Send.
unsafe impl Sync for View {}

impl View {
    /// The words of a mailbox of this geometry that is mapped at `file`, its wait page once more at `wait`.
    ///
    /// # Safety
    ///
    /// * `file` is page-aligned and stays mapped, readable, for `geometry.footprint()` bytes while the view or any
    ///   reference from it is used, and `geometry` came from [`Geometry::new`] or [`parse`].
    /// * `wait` is page-aligned and stays mapped, readable, for a page of the geometry, as long.
    /// * Every process accesses these bytes by the atomic accesses of this module only. Another process with the right
    ///   to write can break this rule; the file's mode decides who that is.
    pub unsafe fn new(file: *const u8, wait: *const u8, geometry: &Geometry) -> Self {
        Self {
            header: file,
            wait,
            banks: file.wrapping_add(2 * geometry.page as usize),
            stride: geometry.stride as usize,
            mask: u64::from(geometry.banks) - 1,
            capacity: geometry.capacity as usize,
        }
    }

    /// `leaving`: not 0 when the file is about to lose its name, or has.
    #[inline(always)]
    pub fn leaving(&self) -> &AtomicU32 {
        // SAFETY: AT_LEAVING is a multiple of 4 within the header, which is mapped and accessed atomically (`new`).
        unsafe { &*self.header.add(AT_LEAVING).cast() }
    }

    /// `always_wake`: not 0 while the writer wakes sleepers without being asked.
    pub fn always_wake(&self) -> &AtomicU32 {
        // SAFETY: as `leaving`.
        unsafe { &*self.header.add(AT_ALWAYS_WAKE).cast() }
    }

    /// The writer's process id: a hint for people.
    pub fn writer_pid(&self) -> &AtomicU32 {
        // SAFETY: as `leaving`.
        unsafe { &*self.header.add(AT_WRITER_PID).cast() }
    }

    /// The random bits of the writer's lock; read and written by the holder of the lock only.
    pub fn lock(&self) -> [&AtomicU64; 2] {
        // SAFETY: AT_LOCK is a multiple of 8, and 16 bytes from it are within the header; else as `leaving`.
        unsafe { [&*self.header.add(AT_LOCK).cast(), &*self.header.add(AT_LOCK + 8).cast()] }
    }

    /// The wait page's words. Writable only where the wait page was mapped so.
    #[inline(always)]
    pub fn eventcount(&self) -> Eventcount<'_> {
        // SAFETY: both offsets are multiples of 4 within the wait page, which is mapped and accessed atomically
        // (`new`).
        unsafe {
            Eventcount {
                waiters: &*self.wait.add(WAIT_WAITERS).cast(),
                epoch: &*self.wait.add(WAIT_EPOCH).cast(),
                fan_out: FAN_OUT,
            }
        }
    }
}

impl Slot for View {
    #[inline(always)]
    fn latest(&self) -> &AtomicU64 {
        // SAFETY: as `leaving`, and AT_LATEST is a multiple of 8.
        unsafe { &*self.header.add(AT_LATEST).cast() }
    }

    #[inline(always)]
    fn banks(&self) -> u64 {
        self.mask + 1
    }

    #[inline(always)]
    fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    fn bank(&self, number: u64) -> Bank<'_> {
        let index = (number & self.mask) as usize;
        // SAFETY: `index < banks`, so `banks + index * stride + stride <= file + footprint`, which is mapped; the
        // stride is a multiple of 64 and at least BANK_PAYLOAD + capacity rounded up to words (`Geometry::new`,
        // `parse`), so that all fields and the payload's words are inside the bank and aligned to 8. Accessed
        // atomically (`new`).
        unsafe {
            let bank = self.banks.add(index * self.stride);
            Bank {
                sequence: &*bank.add(BANK_SEQUENCE).cast(),
                length: &*bank.add(BANK_LENGTH).cast(),
                time: &*bank.add(BANK_TIME).cast(),
                payload: std::slice::from_raw_parts(bank.add(BANK_PAYLOAD).cast(), copy::words(self.capacity)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good() -> (Geometry, [u8; HEADER]) {
        let geometry = Geometry::new([7; 16], 4096, 4, 4096);
        (geometry, geometry.encode([9; 16]))
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(capacity in 1..MAX_CAPACITY, banks in 0u32..4, page in 12u32..21) {
            let geometry = Geometry::new([7; 16], capacity, 1 << banks, 1 << page);
            let header = parse(&geometry.encode([9; 16]), geometry.footprint());
            prop_assert_eq!(header, Ok(Header { geometry, lock: [9; 16], writer_pid: 0 }));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), HEADER - 12), length: u64) {
            let mut header = [0; HEADER];
            header[..12].copy_from_slice(&good().1[..12]);
            header[12..].copy_from_slice(&bytes);
            if let Ok(header) = parse(&header, length) {
                prop_assert!(header.geometry.footprint() <= length);
            }
        }
    }

    #[test]
    fn every_single_bit_flip_is_refused_or_harmless() {
        let (geometry, bytes) = good();
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(header) = parse(&flipped, geometry.footprint()) {
                assert!(header.geometry.footprint() <= geometry.footprint(), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_greatest_numbers_are_taken_and_none_above_them() {
        let stride = 2 * MAX_CAPACITY;
        let largest = Geometry { capacity: MAX_CAPACITY, stride, ..good().0 };
        assert!(parse(&largest.encode([9; 16]), u64::MAX).is_ok());
        let beyond = Geometry { capacity: MAX_CAPACITY + 1, ..largest };
        assert_eq!(parse(&beyond.encode([9; 16]), u64::MAX), Err(Reject::Field("capacity")));
        let beyond = Geometry { stride: stride + 64, ..largest };
        assert_eq!(parse(&beyond.encode([9; 16]), u64::MAX), Err(Reject::Field("distance between banks")));
    }

    #[test]
    fn each_reason_says_what_to_do() {
        for reject in [Reject::Short(9), Reject::Unfinished, Reject::Foreign] {
            let text = reject.to_string();
            assert!(text.starts_with("not a mailbox: ") && text.ends_with("or remove it by hand"), "{text}");
        }
        for reject in [Reject::Version(9), Reject::Field("capacity"), Reject::Truncated { is: 9, needs: 10 }] {
            let text = reject.to_string();
            assert!(text.ends_with("; to start afresh: mailbox rm"), "{text}");
        }
    }

    #[test]
    fn the_locks_bits_are_where_the_header_has_them() {
        #[repr(align(8))]
        struct Aligned([u8; HEADER]);
        let (geometry, _) = good();
        let header = Aligned(geometry.encode(core::array::from_fn(|index| index as u8)));
        // SAFETY: only words of the header are looked at, which is here, aligned to 8, and used by nobody else.
        let view = unsafe { View::new(header.0.as_ptr(), header.0.as_ptr(), &geometry) };
        let words = view.lock().map(|word| word.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(words, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
    }

    #[test]
    fn each_reason_is_told_apart() {
        let (geometry, bytes) = good();
        let with = |at: usize, field: &[u8]| {
            let mut bytes = bytes;
            bytes[at..at + field.len()].copy_from_slice(field);
            parse(&bytes, geometry.footprint()).unwrap_err()
        };
        assert_eq!(with(AT_MAGIC, &[0; 8]), Reject::Unfinished);
        assert_eq!(with(AT_MAGIC, b"#!/bin/s"), Reject::Foreign);
        assert_eq!(with(AT_VERSION, &[2]), Reject::Version(2));
        assert_eq!(with(AT_PAGE, &[1]), Reject::Field("page size"));
        assert_eq!(with(AT_BANKS, &[3]), Reject::Field("number of banks"));
        assert_eq!(with(AT_CAPACITY, &[0; 8]), Reject::Field("capacity"));
        assert_eq!(with(AT_CAPACITY, &[0xff; 8]), Reject::Field("capacity"));
        assert_eq!(with(AT_STRIDE, &[0xff; 8]), Reject::Field("distance between banks"));
        assert_eq!(with(AT_STRIDE, &[0; 8]), Reject::Field("distance between banks"));
        let needs = geometry.footprint();
        assert_eq!(parse(&bytes, needs - 1), Err(Reject::Truncated { is: needs - 1, needs }));
    }
}
