// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Last words: places for the records that report the end of the guest, which need no channel, no reader and no lock.

use core::mem::{offset_of, size_of};

use super::{ExportName, RecordHeader};
use crate::wire::{BadName, NAME_BYTES, PAGE_SIZE, Wire};

/// Places, each a page of its own.
pub const WORDS: usize = 8;
/// Offset of the record in its page.
pub const RECORD_OFFSET: usize = size_of::<WordsHeader>();

/// Values of [`WordsHeader::state`].
pub mod words_state {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// Claimed (compare and exchange), being written.
    pub const WRITING: u32 = 1;
    /// Done (release store): nothing in the page changes any more.
    pub const DONE: u32 = 2;
}

/// Begin of a page of last words; the record follows at [`RECORD_OFFSET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct WordsHeader {
    /// One of [`words_state`].
    pub state: u32,
    /// Bytes of the record, at most [`RECORD_BYTES`](Self::RECORD_BYTES).
    pub bytes: u32,
    /// Name of the export that they belong to, closed and padded with zeros; empty when it has none.
    pub name: [u8; NAME_BYTES],
    /// 0.
    pub zero: u64,
}

// SAFETY: repr(C), only integers, no padding (asserted below), size a multiple of 8.
unsafe impl Wire for WordsHeader {}

const _: () = {
    assert!(size_of::<WordsHeader>() == 72);
    assert!(offset_of!(WordsHeader, bytes) == 4);
    assert!(offset_of!(WordsHeader, name) == 8);
    assert!(offset_of!(WordsHeader, zero) == 64);
};

impl WordsHeader {
    /// Most bytes of a record.
    pub const RECORD_BYTES: usize = PAGE_SIZE - RECORD_OFFSET;

    /// Bytes of the record, never more than the page has; `None` when it is not done or holds no record.
    pub fn record_bytes(&self) -> Option<usize> {
        let bytes = self.bytes as usize;
        let fits = bytes <= Self::RECORD_BYTES && bytes >= size_of::<RecordHeader>();
        if self.state == words_state::DONE && fits { Some(bytes) } else { None }
    }

    /// The export's name; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`BadName`]: the words are as good as without a name.
    pub fn export(&self) -> Result<Option<ExportName>, BadName> {
        if self.name == [0; NAME_BYTES] { Ok(None) } else { ExportName::from_wire(&self.name).map(Some) }
    }
}
