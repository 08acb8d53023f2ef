//! An input of libFuzzer's: of a mailbox's file what is ever looked at, close together. Otherwise nearly all mutations
//! would go into padding.
//!
//! ```text
//!    0  which specimen: its banks, with lines or without
//!    1  who tries the file, besides a new reader
//!    2  how many bytes longer it is than its own header says, or shorter: an i16
//!    4  bytes 0 to 63 of the header, 128 to 135, 256 to 287
//!  108  bytes 0 to 3 of the wait page, 128 to 131
//!  116  bank 0 with its payload: 64 bytes; bank 1 ... bank 7
//! ```
//!
//! Wait page and banks lie where the header says, as far as that can be, so that other page sizes and strides can be
//! tried with lines in them.

use std::ops::Range;

use libfuzzer_sys::fuzzer_mutate;

use crate::at;
use crate::damaged::Shape;

pub const CAPACITY: usize = 40;
pub const SIZE: usize = BANKS_FROM + 8 * BANK;

// `run` says so too.
const _: () = assert!(SIZE == 628);

const WHICH: usize = 0;
const WHO: usize = 1;
const BEYOND: usize = 2;
const HEADER_FROM: usize = 4;
const LATEST_FROM: usize = HEADER_FROM + 64;
const WAIT_FROM: usize = HEADER_FROM + 104;
const BANKS_FROM: usize = WAIT_FROM + 8;
const BANK: usize = 24 + CAPACITY;

/// The parts of the header and of the wait page, one after the other in an input.
const HEADER: [Range<usize>; 3] = [0..64, 128..136, 256..288];
const WAIT: [Range<usize>; 2] = [0..4, 128..132];

/// A file of greater pages, of greater strides or of more banks is not made; it is as long as the specimen's then.
const MOST_PAGE: u64 = 2 << 20;
const MOST_STRIDE: u64 = 32 << 10;
const MOST_BANKS: u64 = 8;

#[derive(Clone)]
pub struct Input([u8; SIZE]);

impl Input {
    /// Zeros follow what is missing.
    pub fn new(bytes: &[u8]) -> Self {
        let mut input = [0; SIZE];
        let length = bytes.len().min(SIZE);
        input[..length].copy_from_slice(&bytes[..length]);
        Self(input)
    }

    /// The input that makes `file`, which is specimen `which`.
    pub fn of(file: &[u8], which: u8) -> Self {
        let mut input = Self([0; SIZE]);
        input.0[WHICH] = which;
        input.0[WHO] = 1;
        let shape = Shape::claimed(file);
        let mut put = |from: usize, at: u64, length: usize| {
            input.0[from..][..length].copy_from_slice(&file[at as usize..][..length]);
        };
        for (from, part) in parts(HEADER_FROM, &HEADER) {
            put(from, part.start as u64, part.len());
        }
        for (from, part) in parts(WAIT_FROM, &WAIT) {
            put(from, shape.page + part.start as u64, part.len());
        }
        for bank in 0..shape.banks {
            put(BANKS_FROM + BANK * bank as usize, 2 * shape.page + bank * shape.stride, BANK);
        }
        input
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Which specimen of `count`.
    pub fn which(&self, count: usize) -> usize {
        usize::from(self.0[WHICH]) % count
    }

    /// Who tries it: one of 256.
    pub fn who(&self) -> u8 {
        self.0[WHO]
    }

    pub fn header(&self) -> [u8; 512] {
        let mut header = [0; 512];
        for (from, part) in parts(HEADER_FROM, &HEADER) {
            header[part.clone()].copy_from_slice(&self.0[from..][..part.len()]);
        }
        header
    }

    /// Changes a part of the header.
    pub fn set_header(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        let (from, part) = parts(HEADER_FROM, &HEADER).find(|(_, part)| part.contains(&at)).expect("looked at");
        self.0[from + at - part.start..][..bytes.len()].copy_from_slice(bytes);
    }

    /// How long the file is, and the stretches that it has, those that count most last; `good` is the specimen's shape.
    pub fn file(&self, good: Shape) -> (u64, Vec<(u64, &[u8])>) {
        let claimed = self.claimed();
        let is_made = claimed.page <= MOST_PAGE && claimed.stride <= MOST_STRIDE && claimed.banks <= MOST_BANKS;
        let shape = if is_made { claimed } else { good };
        let beyond = i16::from_le_bytes([self.0[BEYOND], self.0[BEYOND + 1]]);
        let length = (2 * shape.page + shape.banks * shape.stride).saturating_add_signed(beyond.into());
        let mut stretches = Vec::new();
        let mut put = |at: u64, from: usize, bytes: usize| {
            if at < length {
                stretches.push((at, &self.0[from..][..bytes.min((length - at) as usize)]));
            }
        };
        for bank in 0..MOST_BANKS {
            put(2 * shape.page + bank * shape.stride, BANKS_FROM + BANK * bank as usize, BANK);
        }
        for (from, part) in parts(WAIT_FROM, &WAIT) {
            put(shape.page + part.start as u64, from, part.len());
        }
        for (from, part) in parts(HEADER_FROM, &HEADER) {
            put(part.start as u64, from, part.len());
        }
        (length, stretches)
    }

    fn claimed(&self) -> Shape {
        Shape::claimed(&self.header())
    }
}

fn parts(from: usize, parts: &[Range<usize>]) -> impl Iterator<Item = (usize, &Range<usize>)> {
    parts.iter().scan(from, |next, part| {
        let from = *next;
        *next += part.len();
        Some((from, part))
    })
}

/// Changes one field or one stretch as libFuzzer does, and leaves everything where it is: its own mutations insert and
/// erase bytes, after which no field is what it was.
pub fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    if most < SIZE {
        return fuzzer_mutate(data, size, most);
    }
    data[size.min(SIZE)..SIZE].fill(0);
    let mut random = Random(seed.into());
    // By chance alone, or those that reach most would take over, which are the slowest.
    data[WHO] = random.below(256) as u8;
    let banks = Input::new(data).claimed().banks.clamp(1, MOST_BANKS) as usize;
    let bank = BANKS_FROM + BANK * random.below(banks);
    let header = |at: u64, length: usize| (HEADER_FROM + at as usize, length);
    let (from, length) = match random.below(32) {
        0 => (WHICH, 1),
        1 => (BEYOND, 2),
        2 => (HEADER_FROM, BANKS_FROM - HEADER_FROM),
        3 => (BANKS_FROM, BANK * banks),
        4 => header(at::MAGIC, 8),
        5 => header(at::VERSION, 4),
        6 => header(at::INSTANCE, 16),
        7 | 8 => header(at::PAGE, 4),
        9 | 10 => header(at::CAPACITY, 8),
        11 | 12 => header(at::STRIDE, 8),
        13 | 14 => header(at::BANKS, 4),
        // As a writer would have left it: what is changed next is the only contradiction, or there is none.
        21 => return heal(data, banks, &mut random),
        // Latest, which is the second part; leaving and the rest, the third.
        15..=18 => (LATEST_FROM, 8),
        19 => (HEADER_FROM + 72, 12),
        20 => (HEADER_FROM + 88, 16),
        22 => (WAIT_FROM, 8),
        23..=26 => (bank, 8),
        27..=29 => (bank + 8, 8),
        30 => (bank + 16, 8),
        _ => (bank, BANK),
    };
    let part = &mut data[from..from + length];
    let left = fuzzer_mutate(part, length, length);
    part[left..].fill(0);
    SIZE
}

/// Puts into the banks the sequences that belong to `latest`; and into one, for every second time, that of the message
/// after it, begun or there.
fn heal(data: &mut [u8], banks: usize, random: &mut Random) -> usize {
    let latest = u64::from_le_bytes(data[LATEST_FROM..][..8].try_into().expect("8 bytes"));
    let next = (random.below(2) == 0).then(|| random.below(banks));
    for bank in 0..banks {
        let newest = latest.saturating_sub(latest.wrapping_sub(bank as u64) % banks as u64);
        let sequence = match next {
            Some(next) if next == bank => latest.wrapping_mul(2).wrapping_add(1 + random.below(2) as u64),
            _ => newest.wrapping_mul(2),
        };
        data[BANKS_FROM + BANK * bank..][..8].copy_from_slice(&sequence.to_le_bytes());
    }
    SIZE
}

/// The generator splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % end as u64) as usize
    }
}
