//! Byte-wise atomic copy between ordinary bytes and the payload words of a bank.
//!
//! A payload is read while another process may be writing it; a seqlock throws such a read away afterwards, but the
//! accesses themselves must not be a data race. So every access to a payload, of every size, by writer and readers
//! alike, is a `Relaxed` atomic access of one aligned 8-byte word: racing atomics of different sizes would be undefined
//! again. Relaxed accesses say nothing about the order in which words arrive; that is the work of the fences in
//! [`seqlock`](super::seqlock).
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
    let (whole, rest) = bytes.as_chunks::<WORD>();
    for (word, bytes) in payload.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        payload[whole.len()].store(u64::from_ne_bytes(last), Relaxed);
    }
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
    let (whole, rest) = bytes.as_chunks_mut::<WORD>();
    for (word, bytes) in payload.iter().zip(whole.iter_mut()) {
        *bytes = word.load(Relaxed).to_ne_bytes();
    }
    if !rest.is_empty() {
        let last = payload[whole.len()].load(Relaxed).to_ne_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
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
        #[test]
        fn what_is_stored_is_loaded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let payload = payload(words(bytes.len()) + 1, u64::MAX);
            store(&payload, &bytes);
            let mut back = vec![0; bytes.len()];
            load(&payload, &mut back);
            prop_assert_eq!(&back, &bytes);
            // The word behind the last one belongs to nobody: it is left alone.
            prop_assert_eq!(payload[words(bytes.len())].load(Relaxed), u64::MAX);
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
