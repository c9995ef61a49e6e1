// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was seen of one buffer's positions: clamped, in 64 bits, never going back.

use vesper_ring::wire::listener::{FINAL, Geometry, Head, NOT_BEGUN};

use crate::memory::Mapped;

/// How often a guest that is faster than we read is looked at again, before its words are taken for missing.
pub(crate) const TRIES: u32 = 4;

/// A guest cannot come this far: 2⁶² sub-buffers. Sums with it do not overflow.
const FAR: u64 = 1 << 62;
/// Most that a count of 32 bits goes ahead between two looks; more is taken for going back.
const AHEAD: u32 = 1 << 31;

/// One buffer's positions, as far as they can be believed.
#[derive(Debug)]
pub(crate) struct Seen {
    geometry: Geometry,
    /// Number of the current sub-buffer: so many are complete.
    pub(crate) produced: u64,
    /// Bytes of it that are safe to read.
    pub(crate) offset: u32,
    /// Whether it has begun. Before, the sub-buffer that had its place is still whole.
    pub(crate) begun: bool,
    /// The guest has closed the buffer.
    pub(crate) ended: bool,
    /// Writes that it refused.
    pub(crate) dropped: u64,
    /// Sequence numbers that it gave out.
    pub(crate) records: u64,
    /// Values that cannot be.
    pub(crate) nonsense: u64,
    /// Bytes in all sub-buffers before the current one, counted from any number, modulo 2⁶⁴.
    bytes: u64,
    /// Padding in them as the guest counts it, modulo 2³².
    padding: Option<u32>,
}

impl Seen {
    /// The first look.
    pub(crate) fn new(geometry: Geometry, at: &Mapped) -> Self {
        let head = at.head();
        // What a hostile guest says here only decides where in its own buffer is read.
        let produced = head.number(at.total()) & (FAR / 2 - 1);
        let mut seen = Self {
            geometry,
            produced,
            offset: 0,
            begun: false,
            ended: false,
            dropped: 0,
            records: 0,
            nonsense: 0,
            bytes: 0,
            padding: at.padding(produced),
        };
        seen.look(at);
        seen
    }

    /// Looks at the positions. True: something has moved.
    pub(crate) fn look(&mut self, at: &Mapped) -> bool {
        if self.ended {
            return false;
        }
        // The head is read last, so it is at least as new as what is read before it.
        let ended = at.state() & FINAL != 0;
        let dropped = at.dropped();
        let records = at.records();
        let mut moved = self.take(at, at.head());
        if dropped < self.dropped || records < self.records {
            self.nonsense += 1;
        }
        moved |= dropped > self.dropped || ended;
        self.dropped = self.dropped.max(dropped);
        self.records = self.records.max(records);
        self.ended = ended;
        moved
    }

    fn take(&mut self, at: &Mapped, head: Head) -> bool {
        let before = (self.produced, self.offset);
        let head = match self.number(head) {
            Some(number) if number > self.produced => self.count(at, head, number),
            Some(_) => head,
            None => {
                self.nonsense += 1;
                return false;
            }
        };
        match head.offset {
            NOT_BEGUN if self.begun => self.nonsense += 1,
            NOT_BEGUN => {}
            offset => {
                let safe = head.safe_bytes(&self.geometry);
                if safe != offset || safe < self.offset {
                    self.nonsense += 1;
                }
                self.offset = self.offset.max(safe);
                self.begun = true;
            }
        }
        (self.produced, self.offset) != before
    }

    /// The head's number in 64 bits; `None` when it went back, or too far.
    fn number(&self, head: Head) -> Option<u64> {
        let ahead = head.produced.wrapping_sub(self.produced as u32);
        let number = self.produced + u64::from(ahead);
        (ahead < AHEAD && number < FAR).then_some(number)
    }

    /// Goes on to sub-buffer `number` and counts the bytes before it. A guest that wrote over their lengths meanwhile is
    /// looked at again, so it may be a later head: returns that.
    fn count(&mut self, at: &Mapped, mut head: Head, mut number: u64) -> Head {
        for _ in 0..TRIES {
            if self.count_to(at, number) {
                break;
            }
            let newer = at.head();
            match self.number(newer) {
                Some(later) if later > number => (head, number) = (newer, later),
                _ => break,
            }
        }
        if self.produced != number {
            // It does not tell. No more than this can it be.
            self.bytes = self.bytes.wrapping_add(self.all(self.produced, number));
            self.padding = at.padding(number);
        }
        (self.produced, self.offset, self.begun) = (number, 0, false);
        head
    }

    fn count_to(&mut self, at: &Mapped, number: u64) -> bool {
        let all = self.all(self.produced, number);
        let told = at.padding(number);
        let bytes = match self.between(at, self.produced, number) {
            Some(bytes) => bytes,
            None => match (self.padding, told) {
                (Some(before), Some(now)) if u64::from(now.wrapping_sub(before)) <= all => {
                    all - u64::from(now.wrapping_sub(before))
                }
                _ => return false,
            },
        };
        self.bytes = self.bytes.wrapping_add(bytes);
        self.padding = told.or_else(|| self.padding.map(|before| before.wrapping_add((all - bytes) as u32)));
        self.produced = number;
        true
    }

    /// Bytes of so many sub-buffers without padding.
    fn all(&self, from: u64, to: u64) -> u64 {
        (to - from) * u64::from(self.geometry.subbuf_size())
    }

    /// Bytes in the sub-buffers `from..to`, all of them complete; `None` when not all their lengths are there.
    fn between(&self, at: &Mapped, from: u64, to: u64) -> Option<u64> {
        if to - from > self.geometry.subbufs().into() {
            return None;
        }
        (from..to).map(|number| at.bytes_of(number).map(u64::from)).sum()
    }

    /// Bytes before the current sub-buffer, in the same count as [`start_of`](Self::start_of).
    pub(crate) fn start(&self) -> u64 {
        self.bytes
    }

    /// Bytes before sub-buffer `number`, which is the current one or an earlier one; `None` when the guest has written over
    /// one of the lengths that tell.
    pub(crate) fn start_of(&self, at: &Mapped, number: u64) -> Option<u64> {
        Some(self.bytes.wrapping_sub(self.between(at, number, self.produced)?))
    }

    /// Whether the bytes of sub-buffer `number` are whole, as far as was seen. A copy that was made before the last look
    /// is good then.
    pub(crate) fn holds(&self, number: u64) -> bool {
        (self.oldest()..=self.produced).contains(&number)
    }

    /// The oldest sub-buffer that is whole. The place of the one before it is that of the current one.
    pub(crate) fn oldest(&self) -> u64 {
        (self.produced + u64::from(self.begun)).saturating_sub(self.geometry.subbufs().into())
    }

    /// Where a reader goes on that is slower than the guest: so far from where that writes that it gets something.
    pub(crate) fn ahead_of_guest(&self) -> u64 {
        if self.ended {
            return self.oldest();
        }
        self.produced.saturating_sub(u64::from(self.geometry.subbufs() / 2)).max(self.oldest())
    }

    /// Whether the guest has filled all that it was told may be written.
    pub(crate) fn is_full(&self, consumed: u64) -> bool {
        self.produced - consumed.min(self.produced) >= self.geometry.subbufs().into()
    }
}
