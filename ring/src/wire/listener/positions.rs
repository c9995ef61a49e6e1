// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Where a buffer stands: words that the guest writes and the host reads.
//!
//! Each word is a single aligned release store by the CPU that owns the buffer. On a switch it stores
//!
//! ```text
//! sub word of the old sub-buffer, total, padding, head = (produced + 1, NOT_BEGUN); full fence; reads the consumed word;
//! and, when there is room, head = (produced + 1, 0) before the first byte of the new one
//! ```
//!
//! so that a host which reads the head again *after* copying knows what of its copy is whole ([`Head::holds`]).

use core::mem::{offset_of, size_of};

use super::Geometry;
use crate::wire::Wire;

/// [`Head::offset`]: the current sub-buffer has not begun. The buffer is full, or in the middle of a switch.
pub const NOT_BEGUN: u32 = u32::MAX;

/// Bit of [`Positions::state`]: the buffer is closed, its head does not move any more.
pub const FINAL: u64 = 1;

/// Head of a buffer's positions; a [`SubBuffer`] word for each sub-buffer follows, then zeros up to the next multiple of
/// 64. Only a description of the layout: each word is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Positions {
    /// A [`Head`].
    pub head: u64,
    /// Writes that were refused, in total: no room, larger than a sub-buffer, or in an NMI.
    pub dropped: u64,
    /// Sequence numbers that were given to records, in total, those of dropped ones included. 0 for the channel of a
    /// module that does not use `vesper_record`.
    pub records: u64,
    /// [`FINAL`] or 0.
    pub state: u64,
    /// Sub-buffers that were completed, all 64 bits, of which the head has the lower 32. See [`Head::number`].
    pub total: u64,
    /// `produced << 32 | padding`: bytes at the ends of all those sub-buffers that hold nothing, lower 32 bits, counted from
    /// any beginning. Stored before the head. By it a reader that was overtaken knows how many bytes it missed.
    pub padding: u64,
    /// 0.
    pub zero: [u64; 2],
}

// SAFETY: repr(C), only integers, no padding (asserted below), size a multiple of 8.
unsafe impl Wire for Positions {}

const _: () = {
    assert!(size_of::<Positions>() == 64);
    assert!(offset_of!(Positions, dropped) == 8);
    assert!(offset_of!(Positions, records) == 16);
    assert!(offset_of!(Positions, state) == 24);
    assert!(offset_of!(Positions, total) == 32);
    assert!(offset_of!(Positions, padding) == 40);
    assert!(offset_of!(Positions, zero) == 48);
};

/// How far a buffer is: `produced << 32 | offset`. Any word is one; what it claims is clamped where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Sub-buffers completed so far, which is the number of the current one; lower 32 bits.
    pub produced: u32,
    /// Bytes of the current sub-buffer that are safe to read, or [`NOT_BEGUN`].
    pub offset: u32,
}

impl Head {
    /// Takes the word apart.
    pub const fn from_word(word: u64) -> Self {
        Self { produced: (word >> 32) as u32, offset: word as u32 }
    }

    /// As it stands in the page.
    pub const fn word(self) -> u64 {
        (self.produced as u64) << 32 | self.offset as u64
    }

    /// Bytes of the current sub-buffer that can be read: none before it has begun, never more than it has.
    pub fn safe_bytes(self, geometry: &Geometry) -> u32 {
        if self.offset == NOT_BEGUN { 0 } else { self.offset.min(geometry.subbuf_size()) }
    }

    /// Whether sub-buffer `number` (lower 32 bits) is still whole: a copy of it is good when this is so for a head that was
    /// read after copying. The current one is, up to its [safe bytes](Self::safe_bytes); one that is still to come is not.
    pub fn holds(self, number: u32, geometry: &Geometry) -> bool {
        let behind = self.produced.wrapping_sub(number);
        // The place of the one that is `subbufs` behind is the current one's.
        behind < geometry.subbufs() || (behind == geometry.subbufs() && self.offset == NOT_BEGUN)
    }

    /// Number of the current sub-buffer in 64 bits, with a [`Positions::total`] that was read near the head, before or after.
    pub const fn number(self, total: u64) -> u64 {
        total.wrapping_add_signed(self.produced.wrapping_sub(total as u32) as i32 as i64)
    }
}

/// A completed sub-buffer: `(number + 1) << 32 | bytes`; 0 as long as none was completed in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubBuffer {
    /// Its number, lower 32 bits.
    pub number: u32,
    /// Bytes in it, without padding.
    pub bytes: u32,
}

impl SubBuffer {
    /// Takes the word apart; `None`: none was completed there.
    pub const fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => None,
            _ => Some(Self { number: ((word >> 32) as u32).wrapping_sub(1), bytes: word as u32 }),
        }
    }

    /// As it stands in the page.
    pub const fn word(self) -> u64 {
        (self.number.wrapping_add(1) as u64) << 32 | self.bytes as u64
    }

    /// Bytes that can be read of sub-buffer `number` (lower 32 bits), never more than it has; `None` when this is
    /// another one.
    pub fn bytes_of(self, number: u32, geometry: &Geometry) -> Option<u32> {
        if self.number == number { Some(self.bytes.min(geometry.subbuf_size())) } else { None }
    }
}

/// What of the completed sub-buffers was padding: `produced << 32 | bytes`. By it a reader that was overtaken knows how many
/// bytes it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Padding {
    /// Sub-buffers completed when this was stored, lower 32 bits.
    pub produced: u32,
    /// Bytes of padding in all of them, modulo 2³², counted from any number.
    pub bytes: u32,
}

impl Padding {
    /// Takes the word apart.
    pub const fn from_word(word: u64) -> Self {
        Self { produced: (word >> 32) as u32, bytes: word as u32 }
    }

    /// As it stands in the page.
    pub const fn word(self) -> u64 {
        (self.produced as u64) << 32 | self.bytes as u64
    }
}
