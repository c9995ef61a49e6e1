// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in a buffer writes were refused.

use std::collections::VecDeque;

/// Places that are remembered. Of more, the oldest are told at the next one.
const PLACES: usize = 64;

/// Writes that the guest refused, each at the place where its bytes are missing.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// In the order of their places, which is that of their totals.
    places: VecDeque<Place>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    offset: u32,
    /// Writes that were refused up to here, since the buffer was made.
    total: u64,
}

impl Refused {
    /// `total` writes were refused by now, the last of them there.
    pub(crate) fn add(&mut self, number: u64, offset: u32, total: u64) {
        let place = match self.places.back_mut() {
            // A place that is found late is not before one that was told.
            Some(last) if (last.number, last.offset) >= (number, offset) => return last.total = total,
            _ => Place { number, offset, total },
        };
        if self.places.len() == PLACES {
            self.places.pop_front();
        }
        self.places.push_back(place);
    }

    /// Writes that were refused up to that place, as far as is remembered.
    pub(crate) fn up_to(&self, number: u64, offset: u32) -> u64 {
        let before = self.places.partition_point(|place| (place.number, place.offset) <= (number, offset));
        before.checked_sub(1).map_or(0, |last| self.places[last].total)
    }

    /// The next place behind that one in the same sub-buffer.
    pub(crate) fn next_in(&self, number: u64, offset: u32) -> Option<u32> {
        let before = self.places.partition_point(|place| (place.number, place.offset) <= (number, offset));
        self.places.get(before).filter(|place| place.number == number).map(|place| place.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_in_its_place_and_none_is_forgotten() {
        let mut refused = Refused::default();
        refused.add(3, 0, 5);
        refused.add(3, 8, 6);
        refused.add(3, 8, 7);
        refused.add(2, 0, 9);
        assert_eq!(refused.up_to(2, 99), 0);
        assert_eq!(refused.up_to(3, 0), 5);
        assert_eq!(refused.next_in(3, 0), Some(8));
        assert_eq!(refused.next_in(3, 8), None);
        assert_eq!(refused.up_to(3, 8), 9, "the late one is told there, not lost");
        for number in 10..10 + 2 * PLACES as u64 {
            refused.add(number, 0, number);
        }
        assert_eq!(refused.places.len(), PLACES);
        assert_eq!(refused.up_to(10 + PLACES as u64, 0), 10 + PLACES as u64);
    }
}
