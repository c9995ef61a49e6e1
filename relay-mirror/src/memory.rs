// SPDX-License-Identifier: MIT OR Apache-2.0
//! One buffer as it is mapped, and the only accesses that are made to it.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vesper_ring::wire::PAGE_SIZE;
use vesper_ring::wire::listener::{Consumed, Geometry, Head, Padding, Positions, SubBuffer};

use crate::Regions;
use crate::sync::{AtomicU64, shared_word};

/// A buffer's positions, its word in the consumed page, its data. The memory stays mapped as long as this is there.
pub(crate) struct Mapped {
    geometry: Geometry,
    positions: NonNull<u8>,
    consumed: NonNull<u8>,
    data: NonNull<u8>,
    _regions: Arc<Regions>,
}

// SAFETY: the pointers lead into memory that any thread may use (`Region`) and that is held here; words are atomics, bytes
// are only copied.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The buffers of a part, whose regions were [checked](Regions::check) against this geometry.
    pub(crate) fn all(geometry: &Geometry, regions: Regions) -> Vec<Self> {
        let regions = Arc::new(regions);
        let bytes = geometry.pages_per_buffer() as usize * PAGE_SIZE;
        (0..geometry.buffers())
            .map_while(|buffer| Some((buffer as usize, geometry.positions(buffer)?)))
            .map(|(buffer, positions)| {
                // SAFETY: the regions are as large as the geometry needs for each of its buffers.
                let (positions, consumed, data) = unsafe {
                    (
                        regions.positions.start().add(positions),
                        regions.consumed.start().add(buffer * size_of::<u64>()),
                        regions.data.start().add(buffer * bytes),
                    )
                };
                Self { geometry: *geometry, positions, consumed, data, _regions: Arc::clone(&regions) }
            })
            .collect()
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: every offset that is asked for below lies within the positions of one buffer, and is a multiple of 8 from
        // an aligned begin. The word is shared with the guest, which is what an atomic is for; the reference does not
        // leave this file.
        unsafe { shared_word(self.positions, offset) }
    }

    /// Reads a word; what the guest wrote before it is seen by later reads.
    fn load(&self, offset: usize) -> u64 {
        u64::from_le(self.word(offset).load(Ordering::Acquire))
    }

    pub(crate) fn head(&self) -> Head {
        Head::from_word(self.load(offset_of!(Positions, head)))
    }

    /// Whether the guest says that sub-buffer `number` is whole.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.head().holds(number as u32, &self.geometry)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.load(offset_of!(Positions, dropped))
    }

    pub(crate) fn records(&self) -> u64 {
        self.load(offset_of!(Positions, records))
    }

    pub(crate) fn state(&self) -> u64 {
        self.load(offset_of!(Positions, state))
    }

    pub(crate) fn total(&self) -> u64 {
        self.load(offset_of!(Positions, total))
    }

    /// Padding of all sub-buffers before `number`, lower 32 bits; `None` when the guest tells that of others.
    pub(crate) fn padding(&self, number: u64) -> Option<u32> {
        let padding = Padding::from_word(self.load(offset_of!(Positions, padding)));
        match padding.produced.wrapping_sub(number as u32) {
            0 => Some(padding.bytes),
            // The guest is within a switch: `number` is complete and counted, and the head does not say so yet. It may
            // stay there for long, so looking again is no way out.
            1 => Some(padding.bytes.wrapping_sub(self.geometry.subbuf_size() - self.bytes_of(number)?)),
            _ => None,
        }
    }

    /// Bytes of the completed sub-buffer `number`; `None` when the guest tells those of another, or more than it has.
    pub(crate) fn bytes_of(&self, number: u64) -> Option<u32> {
        // 0 is "none", and also the last number of 32 bits when it is empty.
        let empty = SubBuffer { number: u32::MAX, bytes: 0 };
        let sub = SubBuffer::from_word(self.load(self.geometry.sub(number))).unwrap_or(empty);
        (sub.number == number as u32 && sub.bytes <= self.geometry.subbuf_size()).then_some(sub.bytes)
    }

    /// What stands in the consumed page; the guest can write there, too.
    pub(crate) fn consumed(&self) -> Consumed {
        Consumed::from_word(u64::from_le(self.consumed_word().load(Ordering::Acquire)))
    }

    pub(crate) fn store_consumed(&self, word: Consumed) {
        self.consumed_word().store(word.word().to_le(), Ordering::Release);
    }

    fn consumed_word(&self) -> &AtomicU64 {
        // SAFETY: a word of this buffer's own in the consumed page, writable and aligned; shared with the guest, as above.
        unsafe { shared_word(self.consumed, 0) }
    }

    /// The bytes of sub-buffer `number` from `offset` on: readable up to the sub-buffer's end while `self` is there, and
    /// what stands there may change at any time.
    pub(crate) fn bytes(&self, number: u64, offset: u32) -> *const u8 {
        let offset = offset.min(self.geometry.subbuf_size()) as usize;
        // SAFETY: within the buffer, or just behind its last byte.
        unsafe { self.data.as_ptr().add(self.geometry.bytes(number) + offset) }
    }
}
