// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is taken over of a buffer before it is unmapped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::buffer::Buffer;
use crate::kept::Kept;
use crate::memory::Mapped;
use crate::seen::TRIES;
use crate::sync::fence;

impl Buffer {
    /// Copies what readers have not read yet: at most the buffer. Returns the bytes copied.
    pub(crate) fn keep(&mut self, at: &Mapped) -> u64 {
        for _ in 0..TRIES {
            self.look(at);
            let here = (self.seen.produced, self.seen.offset);
            let slowest = self.cursors.iter().map(|cursor| (cursor.number, cursor.offset)).min();
            let Some((from, _)) = slowest.filter(|slowest| *slowest < here) else {
                self.kept = None;
                return 0;
            };
            if let Some(kept) = self.copy_from(from, at) {
                return self.hand_over(kept);
            }
        }
        // The guest goes round faster than one sub-buffer can be copied.
        let (number, start) = (self.seen.produced, self.seen.start());
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.number < number) {
            cursor.overtaken(number, start, self.geometry.subbuf_size());
        }
        self.kept = None;
        0
    }

    /// Copies from the newest to the oldest, so that a guest which goes on writing meanwhile ends it, and does not race with
    /// it. `None`: not even the newest is whole.
    fn copy_from(&mut self, from: u64, at: &Mapped) -> Option<(Kept, u64)> {
        let (last, offset, start) = (self.seen.produced, self.seen.offset, self.seen.start());
        let mut lengths = vec![offset];
        lengths.extend((from..last).rev().map_while(|number| self.length(number, at)));
        let mut kept = Kept::with_room(last, &lengths);
        for number in (kept.first()..=last).rev() {
            if !kept.bytes_mut(number).is_some_and(|room| self.copy(number, at, room)) {
                kept.begin_at(number + 1);
                break;
            }
        }
        let complete: u64 =
            (kept.first()..last).filter_map(|number| kept.length(number)).map(u64::from).sum();
        (kept.first() <= last).then_some((kept, start.wrapping_sub(complete)))
    }

    fn length(&self, number: u64, at: &Mapped) -> Option<u32> {
        let mapped = if self.seen.holds(number) { at.bytes_of(number) } else { None };
        mapped.or_else(|| self.kept_complete(number).map(|bytes| bytes.len() as u32))
    }

    /// A complete sub-buffer of an earlier private copy.
    fn kept_complete(&self, number: u64) -> Option<&[u8]> {
        self.kept.as_ref().filter(|kept| number < kept.last())?.bytes(number, 0)
    }

    fn copy(&mut self, number: u64, at: &Mapped, room: &mut [u8]) -> bool {
        if self.seen.holds(number) {
            // SAFETY: a sub-buffer's length is at most its size, and the memory is mapped; private memory does not overlap
            // with it. The guest may write meanwhile: the copy is used only if it did not.
            unsafe { std::ptr::copy_nonoverlapping(at.bytes(number, 0), room.as_mut_ptr(), room.len()) };
            fence(Ordering::Acquire);
            self.look(at);
            if self.seen.holds(number) {
                return true;
            }
        }
        match self.kept_complete(number) {
            Some(bytes) if bytes.len() == room.len() => room.copy_from_slice(bytes),
            _ => return false,
        }
        true
    }

    /// Readers go on in the copy, which begins `start` bytes from the begin.
    fn hand_over(&mut self, (kept, start): (Kept, u64)) -> u64 {
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.number < kept.first()) {
            cursor.overtaken(kept.first(), start, self.geometry.subbuf_size());
        }
        let bytes =
            (kept.first()..=kept.last()).filter_map(|number| kept.length(number)).map(u64::from).sum();
        self.kept = Some(Arc::new(kept));
        bytes
    }
}
