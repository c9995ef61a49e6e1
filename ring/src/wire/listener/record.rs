// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Header of a record that `vesper_record` writes, and of one in [last words](super::WordsHeader).

use core::mem::{offset_of, size_of};

use crate::wire::Wire;

/// Bits of [`RecordHeader::flags`].
pub mod record_flags {
    /// Published and kicked at once.
    pub const URGENT: u16 = 1;
    /// Reports the end of the guest.
    pub const FATAL: u16 = 1 << 1;
    /// Some of its text did not fit.
    pub const TRUNCATED: u16 = 1 << 2;
}

/// Begin of a record. The payload follows, padded with zeros to a multiple of 8: the fields that the schema names for its
/// event, one after the other without alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the whole record, this header included: a multiple of 8.
    pub bytes: u32,
    /// Number of the event in the schema, from 1.
    pub event: u16,
    /// Bits of [`record_flags`].
    pub flags: u16,
    /// Guest's clock, in nanoseconds.
    pub time: u64,
    /// Counts the records of one buffer, from 0, those included that found no room. Last words: number of the slot.
    pub seq: u64,
}

// SAFETY: repr(C), only integers, no padding (asserted below), size a multiple of 8.
unsafe impl Wire for RecordHeader {}

const _: () = {
    assert!(size_of::<RecordHeader>() == 24);
    assert!(offset_of!(RecordHeader, event) == 4);
    assert!(offset_of!(RecordHeader, flags) == 6);
    assert!(offset_of!(RecordHeader, time) == 8);
    assert!(offset_of!(RecordHeader, seq) == 16);
};

impl RecordHeader {
    /// Whether such a record can be the next of `left` bytes.
    pub fn fits(&self, left: usize) -> bool {
        let bytes = self.bytes as usize;
        bytes >= size_of::<Self>() && bytes <= left && bytes.is_multiple_of(8)
    }

    /// The probe wanted dom0 to see it at once.
    pub fn urgent(&self) -> bool {
        self.flags & record_flags::URGENT != 0
    }

    /// It reports the end of the guest.
    pub fn fatal(&self) -> bool {
        self.flags & record_flags::FATAL != 0
    }

    /// Not all of it fitted.
    pub fn truncated(&self) -> bool {
        self.flags & record_flags::TRUNCATED != 0
    }
}
