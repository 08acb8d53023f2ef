//! The payload: touched on both sides, and checked.

use crate::Outcome;

/// A line of a given size that says which message it is in the first word of each of its cache lines.
pub struct Line {
    bytes: Vec<u8>,
    number: u64,
}

const CACHE_LINE: usize = 64;
const WORD: usize = 8;

impl Line {
    /// # Panics
    ///
    /// If `size` is less than a word.
    pub fn new(size: usize) -> Self {
        assert!(size >= WORD, "a line holds its number");
        Self { bytes: vec![0; size], number: 0 }
    }

    /// Makes it the next message.
    #[inline]
    pub fn next(&mut self) -> &[u8] {
        self.number += 1;
        for word in self.bytes.chunks_mut(CACHE_LINE).filter_map(|line| line.first_chunk_mut::<WORD>()) {
            *word = self.number.to_ne_bytes();
        }
        &self.bytes
    }

    /// The message made last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether these bytes are the message made last, as far as that can be told by a word of each cache line.
    #[inline]
    pub fn check(&self, bytes: &[u8]) -> Outcome {
        let is_right = bytes.len() == self.bytes.len()
            && bytes
                .chunks(CACHE_LINE)
                .filter_map(|line| line.first_chunk::<WORD>())
                .all(|word| *word == self.number.to_ne_bytes());
        if is_right { Ok(()) } else { Err(self.wrong(bytes)) }
    }

    #[cold]
    fn wrong(&self, bytes: &[u8]) -> Box<dyn std::error::Error> {
        let found = bytes.first_chunk::<WORD>().map(|word| u64::from_ne_bytes(*word));
        format!(
            "message {} of {} bytes was expected, and {found:?} of {} bytes came, or a torn one",
            self.number,
            self.bytes.len(),
            bytes.len()
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_knows_itself_and_no_other() {
        for size in [8, 32, 64, 65, 100, 4096] {
            let mut line = Line::new(size);
            let first = line.next().to_vec();
            assert!(line.check(&first).is_ok());
            let second = line.next().to_vec();
            assert!(line.check(&second).is_ok() && line.check(&first).is_err(), "{size}");
            let mut torn = second.clone();
            let last = (size - WORD) / CACHE_LINE * CACHE_LINE;
            torn[last..last + WORD].copy_from_slice(&first[..WORD]);
            assert!(line.check(&torn).is_err(), "{size}");
            assert!(line.check(&second[1..]).is_err());
        }
    }
}
