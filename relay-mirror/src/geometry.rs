// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of a relay channel, checked against what the protocol allows.

/// Sizes of one part of a channel: the buffers that were announced together. All parts of a channel have the same
/// sub-buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    subbuf_size: u32,
    subbufs: u32,
    buffers: u32,
}

/// Sizes that no relay channel can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGeometry {
    /// No bytes, no sub-buffers, or no buffers.
    #[error("{buffers} buffers of {subbufs} sub-buffers of {subbuf_size} bytes: one of them is 0")]
    Zero {
        /// Bytes of a sub-buffer.
        subbuf_size: u32,
        /// Sub-buffers of a buffer.
        subbufs: u32,
        /// Buffers.
        buffers: u32,
    },
    /// More sub-buffers than the protocol allows.
    #[error("{0} sub-buffers, at most {max} are allowed", max = Geometry::MAX_SUBBUFS)]
    SubBuffers(u32),
    /// More buffers than the protocol allows.
    #[error("{0} buffers, at most {max} are allowed", max = Geometry::MAX_BUFFERS)]
    Buffers(u32),
    /// A buffer is too large.
    #[error("a buffer of {0} bytes, at most {max} are allowed", max = Geometry::MAX_BUFFER_BYTES)]
    BufferBytes(u64),
}

impl Geometry {
    /// Most sub-buffers of a buffer.
    pub const MAX_SUBBUFS: u32 = 65536;
    /// Most buffers of one part.
    pub const MAX_BUFFERS: u32 = 512;
    /// Most bytes of one buffer: 32 MiB.
    pub const MAX_BUFFER_BYTES: u64 = 32 << 20;

    /// The sizes as the guest alleges them.
    ///
    /// # Errors
    ///
    /// What of it cannot be.
    pub fn new(subbuf_size: u32, subbufs: u32, buffers: u32) -> Result<Self, BadGeometry> {
        if subbuf_size == 0 || subbufs == 0 || buffers == 0 {
            return Err(BadGeometry::Zero { subbuf_size, subbufs, buffers });
        }
        if subbufs > Self::MAX_SUBBUFS {
            return Err(BadGeometry::SubBuffers(subbufs));
        }
        if buffers > Self::MAX_BUFFERS {
            return Err(BadGeometry::Buffers(buffers));
        }
        let bytes = u64::from(subbuf_size) * u64::from(subbufs);
        if bytes > Self::MAX_BUFFER_BYTES {
            return Err(BadGeometry::BufferBytes(bytes));
        }
        Ok(Self { subbuf_size, subbufs, buffers })
    }

    /// Bytes of a sub-buffer (`rchan.subbuf_size`).
    pub fn subbuf_size(&self) -> u32 {
        self.subbuf_size
    }

    /// Sub-buffers of a buffer (`rchan.n_subbufs`).
    pub fn subbufs(&self) -> u32 {
        self.subbufs
    }

    /// Buffers.
    pub fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Pages of one buffer; it begins on a page of its own.
    pub fn pages_per_buffer(&self) -> u32 {
        (self.subbuf_size * self.subbufs).div_ceil(PAGE)
    }

    /// Pages of the data of all buffers.
    pub fn data_pages(&self) -> u32 {
        self.pages_per_buffer() * self.buffers
    }

    /// Pages of the positions.
    pub fn positions_pages(&self) -> u32 {
        (self.positions_stride() * self.buffers).div_ceil(PAGE)
    }

    /// Bytes from one buffer's positions to the next one's.
    pub(crate) fn positions_stride(&self) -> u32 {
        (64 + 8 * self.subbufs).next_multiple_of(64)
    }
}

const PAGE: u32 = vesper_ring::wire::PAGE_SIZE as u32;
