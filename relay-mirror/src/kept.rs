// SPDX-License-Identifier: MIT OR Apache-2.0
//! What readers had not read yet when a buffer was unmapped.

use std::ops::Range;

/// Sub-buffers in private memory, consecutive, without their padding.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    first: u64,
    /// Where each of them ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Kept {
    /// An empty one for the sub-buffers up to `last`, of these lengths, **the last one first**.
    pub(crate) fn with_room(last: u64, lengths: &[u32]) -> Self {
        let mut end = 0;
        let ends: Vec<usize> = lengths
            .iter()
            .rev()
            .map(|&length| {
                end += length as usize;
                end
            })
            .collect();
        Self { first: last + 1 - lengths.len() as u64, ends, bytes: vec![0; end] }
    }

    /// The first sub-buffer that is here.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The last one, which was the current one; it may have gone on since.
    pub(crate) fn last(&self) -> u64 {
        self.first + (self.ends.len() as u64).saturating_sub(1)
    }

    /// Bytes that are here of a sub-buffer.
    pub(crate) fn length(&self, number: u64) -> Option<u32> {
        self.range(number).map(|range| range.len() as u32)
    }

    /// The bytes of a sub-buffer, from `offset` on.
    pub(crate) fn bytes(&self, number: u64, offset: u32) -> Option<&[u8]> {
        self.bytes.get(self.range(number)?)?.get(offset as usize..)
    }

    /// To be filled.
    pub(crate) fn bytes_mut(&mut self, number: u64) -> Option<&mut [u8]> {
        let range = self.range(number)?;
        self.bytes.get_mut(range)
    }

    /// Drops all before `number`, which could not be filled.
    pub(crate) fn begin_at(&mut self, number: u64) {
        let gone = number.saturating_sub(self.first).min(self.ends.len() as u64) as usize;
        let bytes = gone.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.bytes.drain(..bytes);
        self.ends.drain(..gone);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
        self.first = number;
    }

    fn range(&self, number: u64) -> Option<Range<usize>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        self.ends.get(at).map(|&end| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_found_again() {
        let mut kept = Kept::with_room(12, &[3, 2, 5]);
        for number in 10..=12 {
            kept.bytes_mut(number).expect("room").fill(number as u8);
        }
        assert_eq!(kept.bytes(9, 0), None);
        assert_eq!(kept.bytes(10, 0), Some(&[10; 5][..]));
        assert_eq!(kept.bytes(11, 1), Some(&[11; 1][..]));
        assert_eq!((kept.first(), kept.last()), (10, 12));
        kept.begin_at(11);
        assert_eq!(kept.length(10), None);
        assert_eq!(kept.bytes(12, 0), Some(&[12; 3][..]));
        assert_eq!(kept.bytes(11, 0), Some(&[11; 2][..]));
        assert_eq!(kept.bytes(13, 0), None);
    }
}
