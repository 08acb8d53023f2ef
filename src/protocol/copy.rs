//! Byte-wise atomic copy between ordinary bytes and the payload words of a bank.
//!
//! A payload is read while another process may be writing it; a seqlock throws such a read away afterwards, but the
//! accesses themselves must not be a data race. So every access to a payload, of every size, by writer and readers
//! alike, is a `Relaxed` atomic access of one aligned 8-byte word: racing atomics of different sizes would be undefined
//! again. Relaxed accesses say nothing about the order in which words arrive; that is the work of the fences in
//! [`seqlock`](super::seqlock).
//!
//! Long lines go by vectors where there are some ([`lines`]), which are accesses to the same words.
//!
//! A length that is no multiple of 8 leaves a last word that is written whole, padded with zeros, and read whole.
//! Bytes keep their order in memory on every machine, because words are taken from bytes in native order.
//!
//! The idea is that of H.-J. Boehm, *Can seqlocks get along with programming language memory models?* (MSPC 2012), and
//! of the byte-wise atomic `memcpy` of C++ P1478.

use super::sync::{AtomicU64, Ordering::Relaxed};

/// Bytes in a payload word.
pub const WORD: usize = 8;

/// Number of words that hold `length` bytes.
pub const fn words(length: usize) -> usize {
    length.div_ceil(WORD)
}

/// Copies `bytes` into the first words of `payload`.
///
/// # Panics
///
/// If `payload` is too short for `bytes`: callers have compared the length with the capacity.
#[inline]
pub fn store(payload: &[AtomicU64], bytes: &[u8]) {
    let payload = &payload[..words(bytes.len())];
    if bytes.len() < LONG {
        return store_words(payload, bytes);
    }
    let done = lines::store(payload, bytes);
    store_words(&payload[done..], &bytes[done * WORD..]);
}

/// Copies the first `bytes.len()` bytes of `payload` to `bytes`.
///
/// What arrives is one line only if the read is validated afterwards.
///
/// # Panics
///
/// If `payload` is too short for `bytes`: callers have clamped the length to the capacity.
#[inline]
pub fn load(payload: &[AtomicU64], bytes: &mut [u8]) {
    let payload = &payload[..words(bytes.len())];
    if bytes.len() < LONG {
        return load_words(payload, bytes);
    }
    let done = lines::load(payload, bytes);
    load_words(&payload[done..], &mut bytes[done * WORD..]);
}

#[inline]
fn store_words(payload: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    for (word, bytes) in payload.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
    if !rest.is_empty() {
        payload[whole.len()].store(last_word(rest), Relaxed);
    }
}

#[inline]
fn load_words(payload: &[AtomicU64], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut::<WORD>();
    for (word, bytes) in payload.iter().zip(whole.iter_mut()) {
        *bytes = word.load(Relaxed).to_ne_bytes();
    }
    if !rest.is_empty() {
        put_last_word(payload[whole.len()].load(Relaxed), rest);
    }
}

/// The word whose first bytes are `bytes`, fewer than 8, and the others 0.
///
/// In pieces of known size, and in a register: `memcpy` of an unknown length is a call, and a load of what was just
/// stored in pieces waits for them; either takes as long as all the rest of a short line.
#[inline(always)]
fn last_word(mut bytes: &[u8]) -> u64 {
    let (mut word, mut shift) = (0, 0);
    if let Some((piece, rest)) = bytes.split_first_chunk::<4>() {
        word = u64::from(u32::from_le_bytes(*piece));
        (bytes, shift) = (rest, 32);
    }
    if let Some((piece, rest)) = bytes.split_first_chunk::<2>() {
        word |= u64::from(u16::from_le_bytes(*piece)) << shift;
        (bytes, shift) = (rest, shift + 16);
    }
    if let Some(&byte) = bytes.first() {
        word |= u64::from(byte) << shift;
    }
    u64::from_ne_bytes(word.to_le_bytes())
}

/// Puts the first bytes of `word` into `bytes`, fewer than 8.
#[inline(always)]
fn put_last_word(word: u64, mut bytes: &mut [u8]) {
    let mut word = u64::from_le_bytes(word.to_ne_bytes());
    if bytes.len() >= 4 {
        let (piece, rest) = bytes.split_at_mut(4);
        piece.copy_from_slice(&(word as u32).to_le_bytes());
        (bytes, word) = (rest, word >> 32);
    }
    if bytes.len() >= 2 {
        let (piece, rest) = bytes.split_at_mut(2);
        piece.copy_from_slice(&(word as u16).to_le_bytes());
        (bytes, word) = (rest, word >> 16);
    }
    if let Some(byte) = bytes.first_mut() {
        *byte = word as u8;
    }
}

/// Bytes from which on it is worth asking for vectors.
const LONG: usize = 128;

/// Whole cache lines by vectors of 32 bytes: two to four times as fast as words (`mailbox-bench publish`).
///
/// The compiler makes no vectors of atomic accesses, so this is assembly. What it stands for is what [`store_words`]
/// and [`load_words`] do: a Relaxed access to each word, in some order. The shared side is aligned to a cache line, so
/// that no word lies across a boundary at which a processor may split a vector: Intel and AMD promise that of the two
/// halves of 16 bytes (*Software Developer's Manual* volume 3A, "Guaranteed Atomic Operations", of processors with AVX;
/// *Architecture Programmer's Manual* volume 2, 7.3.2), and how the halves follow each other is nobody's business,
/// since fences order the copy as a whole. On x86-64 those fences are instructions for the compiler alone, and this is
/// one that it moves nothing across (no `nomem`).
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
mod lines {
    use core::arch::asm;

    use super::{AtomicU64, WORD, load_words, store_words};

    const LINE: usize = 64;

    /// Copies words from the start of `bytes` to the start of `payload` and says how many.
    pub fn store(payload: &[AtomicU64], bytes: &[u8]) -> usize {
        let Some((head, lines)) = plan(payload, bytes.len()) else { return 0 };
        store_words(&payload[..head], &bytes[..head * WORD]);
        let (shared, bytes) = (&payload[head..], &bytes[head * WORD..]);
        // SAFETY: `lines` whole lines lie within both, by `plan`; the words may be written through a shared reference,
        // being atomic, and are accessed as such (see above).
        unsafe { copy(shared.as_ptr().cast_mut().cast(), bytes.as_ptr(), lines) };
        head + lines * LINE / WORD
    }

    /// Copies words from the start of `payload` to the start of `bytes` and says how many.
    pub fn load(payload: &[AtomicU64], bytes: &mut [u8]) -> usize {
        let Some((head, lines)) = plan(payload, bytes.len()) else { return 0 };
        load_words(&payload[..head], &mut bytes[..head * WORD]);
        let (shared, bytes) = (&payload[head..], &mut bytes[head * WORD..]);
        // SAFETY: as in `store`.
        unsafe { copy(bytes.as_mut_ptr(), shared.as_ptr().cast(), lines) };
        head + lines * LINE / WORD
    }

    /// Of `length` bytes: words before the first whole line of `payload`, and whole lines after these; `None` where
    /// there are no vectors.
    fn plan(payload: &[AtomicU64], length: usize) -> Option<(usize, usize)> {
        if !std::arch::is_x86_feature_detected!("avx") {
            return None;
        }
        let head = payload.as_ptr().addr().wrapping_neg() % LINE / WORD;
        let lines = (length - head * WORD) / LINE;
        (lines > 0).then_some((head, lines))
    }

    /// # Safety
    ///
    /// `lines` whole lines, one at least, can be read at `from` and written at `to`; one of the two is the shared side,
    /// aligned to a line. The processor has AVX.
    unsafe fn copy(to: *mut u8, from: *const u8, lines: usize) {
        // SAFETY: touches the memory that the caller vouches for, and the registers named. Not `nomem`, so that the
        // compiler keeps it between the fences.
        unsafe {
            asm!(
                "2:",
                "vmovups ymm0, ymmword ptr [{from}]",
                "vmovups ymm1, ymmword ptr [{from} + 32]",
                "vmovups ymmword ptr [{to}], ymm0",
                "vmovups ymmword ptr [{to} + 32], ymm1",
                "add {from}, 64",
                "add {to}, 64",
                "dec {lines}",
                "jnz 2b",
                "vzeroupper",
                from = inout(reg) from => _,
                to = inout(reg) to => _,
                lines = inout(reg) lines => _,
                out("ymm0") _,
                out("ymm1") _,
                options(nostack),
            );
        }
    }
}

/// Elsewhere, words.
#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod lines {
    use super::AtomicU64;

    pub fn store(_: &[AtomicU64], _: &[u8]) -> usize {
        0
    }

    pub fn load(_: &[AtomicU64], _: &mut [u8]) -> usize {
        0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(words: usize, fill: u64) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(fill)).collect()
    }

    proptest! {
        /// At every distance of the payload from a cache line, so that heads, whole lines and tails of all sizes occur.
        #[test]
        fn what_is_stored_is_loaded(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::collection::vec(any::<u8>(), 0..2000),
            ],
            first in 0usize..8,
        ) {
            let memory = payload(first + words(bytes.len()) + 1, u64::MAX);
            let payload = &memory[first..];
            store(payload, &bytes);
            let mut back = vec![0; bytes.len()];
            load(payload, &mut back);
            prop_assert_eq!(&back, &bytes);
            // Words for words, whatever way they went; and those around them are left alone.
            store_words(payload, &bytes);
            load_words(payload, &mut back);
            prop_assert_eq!(&back, &bytes);
            prop_assert!(memory[..first].iter().all(|word| word.load(Relaxed) == u64::MAX));
            prop_assert_eq!(payload[words(bytes.len())].load(Relaxed), u64::MAX);
        }

        /// The two ways leave the same memory, and read the same from it.
        #[test]
        fn lines_are_words(bytes in proptest::collection::vec(any::<u8>(), 128..1000), first in 0usize..8) {
            let count = first + words(bytes.len());
            let (by_lines, by_words) = (payload(count, 0), payload(count, 0));
            store(&by_lines[first..], &bytes);
            store_words(&by_words[first..], &bytes);
            let all = |memory: &[AtomicU64]| memory.iter().map(|word| word.load(Relaxed)).collect::<Vec<_>>();
            prop_assert_eq!(all(&by_lines), all(&by_words));
        }
    }

    /// The bytes are the same whichever way they go, so this asks for the way.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[test]
    fn all_whole_lines_go_by_vectors() {
        if !std::arch::is_x86_feature_detected!("avx") {
            return;
        }
        let memory = payload(64, 0);
        for (first, length) in (0..8).flat_map(|first| (64..400).map(move |length| (first, length))) {
            let payload = &memory[first..];
            let mut bytes = vec![1; length];
            let head = payload.iter().position(|word| (&raw const *word).addr().is_multiple_of(64)).unwrap();
            let lines = (length - head * WORD) / 64;
            let words = if lines == 0 { 0 } else { head + lines * 8 };
            assert_eq!(lines::store(payload, &bytes), words, "{length} bytes, {head} words before a line");
            assert_eq!(lines::load(payload, &mut bytes), words, "{length} bytes, {head} words before a line");
        }
    }

    #[test]
    fn last_word_is_padded_with_zeros() {
        let payload = payload(1, u64::MAX);
        store(&payload, b"abc");
        assert_eq!(payload[0].load(Relaxed).to_ne_bytes(), *b"abc\0\0\0\0\0");
    }

    #[test]
    fn memory_holds_the_bytes_in_their_order() {
        let payload = payload(2, 0);
        store(&payload, b"0123456789");
        let memory: Vec<u8> = payload.iter().flat_map(|w| w.load(Relaxed).to_ne_bytes()).collect();
        assert_eq!(&memory[..10], b"0123456789");
    }
}
