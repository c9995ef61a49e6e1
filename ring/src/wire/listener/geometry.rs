// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! How large the buffers of an export are, and where in its pages everything lies.

use core::num::{NonZeroU32, NonZeroU64};

use super::BadExport;
use super::positions::Positions;
use crate::wire::PAGE_SIZE;

/// Most buffers of an export, or of a part of one: as many as the consumed page has words.
pub const BUFFERS: u32 = 512;
/// Most sub-buffers of a buffer.
pub const SUBBUFS: u32 = 65536;
/// Most bytes of a buffer.
pub const BUFFER_BYTES: u32 = 32 << 20;
/// Most bytes of a schema.
pub const SCHEMA_BYTES: u32 = 16384;
/// Most grants of one EXPORT, those of descriptor and directory not counted.
pub const GRANTS: u32 = 65536;
/// Pages of the consumed words of one EXPORT.
pub const CONSUMED_PAGES: u32 = 1;

/// Size and number of buffers, within the limits: nothing that is computed here overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    subbuf_size: NonZeroU32,
    subbufs: NonZeroU32,
    buffers: NonZeroU32,
}

impl Geometry {
    /// Checks the sizes.
    ///
    /// # Errors
    ///
    /// [`BadExport::Size`], [`BadExport::Buffers`].
    pub const fn new(subbuf_size: u32, subbufs: u32, buffers: u32) -> Result<Self, BadExport> {
        let bad = BadExport::Size { subbuf_size, subbufs };
        let (Some(size), Some(count)) = (NonZeroU32::new(subbuf_size), NonZeroU32::new(subbufs)) else {
            return Err(bad);
        };
        match subbuf_size.checked_mul(subbufs) {
            Some(bytes) if bytes <= BUFFER_BYTES && subbufs <= SUBBUFS => {}
            _ => return Err(bad),
        }
        match NonZeroU32::new(buffers) {
            Some(number) if buffers <= BUFFERS => {
                Ok(Self { subbuf_size: size, subbufs: count, buffers: number })
            }
            _ => Err(BadExport::Buffers(buffers)),
        }
    }

    /// Bytes of a sub-buffer.
    pub const fn subbuf_size(&self) -> u32 {
        self.subbuf_size.get()
    }

    /// Sub-buffers of a buffer.
    pub const fn subbufs(&self) -> u32 {
        self.subbufs.get()
    }

    /// Buffers.
    pub const fn buffers(&self) -> u32 {
        self.buffers.get()
    }

    /// Bytes of a buffer that are used, at most [`BUFFER_BYTES`].
    pub const fn buffer_bytes(&self) -> u32 {
        self.subbuf_size().wrapping_mul(self.subbufs())
    }

    /// Pages of a buffer, the last one not always full.
    pub const fn pages_per_buffer(&self) -> u32 {
        pages(self.buffer_bytes())
    }

    /// Pages of all buffers: what the quota counts.
    pub const fn data_pages(&self) -> u32 {
        self.buffers().wrapping_mul(self.pages_per_buffer())
    }

    /// Bytes from the positions of one buffer to those of the next: a multiple of 64.
    pub const fn stride(&self) -> u32 {
        let words = self.subbufs().wrapping_mul(size_of::<u64>() as u32);
        (size_of::<Positions>() as u32).wrapping_add(words).wrapping_add(63) & !63
    }

    /// Pages of the positions of all buffers.
    pub const fn positions_pages(&self) -> u32 {
        pages(self.buffers().wrapping_mul(self.stride()))
    }

    /// Grants of an export with a schema of that many bytes: positions, consumed page, schema, buffers.
    pub const fn grants(&self, schema_bytes: u32) -> u64 {
        let own = self.positions_pages().wrapping_add(CONSUMED_PAGES).wrapping_add(self.data_pages());
        (own as u64).wrapping_add(schema_bytes.div_ceil(PAGE_SIZE as u32) as u64)
    }

    /// Offset of a buffer's [`Positions`] in the positions pages; `None`: there is no such buffer.
    pub const fn positions(&self, buffer: u32) -> Option<usize> {
        if buffer < self.buffers() { Some(buffer.wrapping_mul(self.stride()) as usize) } else { None }
    }

    /// Offset of the [`SubBuffer`](super::SubBuffer) word of sub-buffer `number` in its buffer's positions.
    ///
    /// Numbers have 64 bits here: the low 32 alone do not tell the place once they have wrapped.
    pub fn sub(&self, number: u64) -> usize {
        size_of::<Positions>().wrapping_add((self.place(number) as usize).wrapping_mul(size_of::<u64>()))
    }

    /// Offset of the bytes of sub-buffer `number` in its buffer.
    pub fn bytes(&self, number: u64) -> usize {
        self.place(number).wrapping_mul(self.subbuf_size()) as usize
    }

    /// Which place in the buffer sub-buffer `number` has.
    fn place(&self, number: u64) -> u32 {
        (number % NonZeroU64::from(self.subbufs)) as u32
    }
}

const fn pages(bytes: u32) -> u32 {
    bytes.div_ceil(PAGE_SIZE as u32)
}
