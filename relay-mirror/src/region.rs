// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory shared with the guest, as it is handed to the mirror.

use std::ptr::NonNull;

use vesper_ring::wire::PAGE_SIZE;
use vesper_ring::wire::listener::{CONSUMED_PAGES, Geometry};

/// Memory of the guest that is mapped here. Dropping it unmaps it.
///
/// # Safety
///
/// For as long as the value lives, `start()` and `len()` stay the same and `start()..start() + len()` may be read (that
/// of [`Regions::consumed`] also written) by any thread; `start()` is aligned to a page. Nothing in this process makes a
/// Rust reference to it.
#[expect(clippy::len_without_is_empty, reason = "nobody maps nothing")]
pub unsafe trait Region: Send + Sync {
    /// The first byte.
    fn start(&self) -> NonNull<u8>;
    /// Bytes.
    fn len(&self) -> usize;
}

/// What is mapped of one part of a channel.
pub struct Regions {
    /// Positions of its buffers, one behind the other; read only.
    pub positions: Box<dyn Region>,
    /// The page that the host writes: one word per buffer of this part.
    pub consumed: Box<dyn Region>,
    /// Data of its buffers, each from a page of its own; read only.
    pub data: Box<dyn Region>,
}

/// Memory that cannot be the channel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRegions {
    /// Too small for what is to be in it.
    #[error("{what}: {bytes} bytes are mapped, {needed} are needed")]
    TooSmall {
        /// Which memory.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// What is needed.
        needed: usize,
    },
    /// A part whose sub-buffers are not those of the channel.
    #[error("a part with {subbufs} sub-buffers of {subbuf_size} bytes, unlike its channel")]
    Unlike {
        /// Bytes of a sub-buffer of the part.
        subbuf_size: u32,
        /// Sub-buffers of a buffer of the part.
        subbufs: u32,
    },
}

impl Regions {
    /// Whether all that the geometry has lies within the memory.
    pub(crate) fn check(&self, geometry: &Geometry) -> Result<(), BadRegions> {
        let wanted = [
            ("positions", &self.positions, geometry.positions_pages()),
            ("consumed page", &self.consumed, CONSUMED_PAGES),
            ("data", &self.data, geometry.data_pages()),
        ];
        for (what, region, pages) in wanted {
            let (bytes, needed) = (region.len(), pages as usize * PAGE_SIZE);
            if bytes < needed {
                return Err(BadRegions::TooSmall { what, bytes, needed });
            }
        }
        Ok(())
    }
}
