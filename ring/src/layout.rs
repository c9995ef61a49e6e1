// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Where the entries lie, and how many there are: `__CONST_RING_SIZE` of `public/io/ring.h`.

use core::marker::PhantomData;
use core::mem::{align_of, size_of};

use crate::error::BadMemory;
use crate::memory::{HEADER_BYTES, Memory};
use crate::wire::Wire;

/// Mark of a stopped end in its consumer index, above the 32 bits of an index: the comparison with the peer's index that
/// must be there anyway then never says "nothing there", and the next one refuses whatever it is.
pub(crate) const STOPPED: u64 = 1 << 32;

/// Entries of a ring of these messages: each is as large as the larger of the two (`union __name##_sring_entry`).
pub(crate) struct Layout<Req, Rsp>(PhantomData<(Req, Rsp)>);

impl<Req: Wire, Rsp: Wire> Layout<Req, Rsp> {
    /// Bytes of one entry.
    pub(crate) const ENTRY: usize = {
        let bytes = if size_of::<Req>() > size_of::<Rsp>() { size_of::<Req>() } else { size_of::<Rsp>() };
        assert!(bytes > 0 && bytes.is_multiple_of(16), "an entry is copied by words of 16 bytes");
        assert!(align_of::<Req>() <= 8 && align_of::<Rsp>() <= 8);
        assert!(size_of::<Req>().is_multiple_of(8) && size_of::<Rsp>().is_multiple_of(8));
        bytes
    };

    /// Entries in `memory`: as many as fit, rounded down to a power of two.
    pub(crate) fn entries<M: Memory>(memory: &M) -> Result<u32, BadMemory> {
        let bytes = memory.bytes();
        let fit = bytes.saturating_sub(HEADER_BYTES) / Self::ENTRY;
        // Indexes run freely over 32 bits, so half of that range is the most that can be told apart.
        match u32::try_from(fit).unwrap_or(u32::MAX).checked_ilog2() {
            Some(log) => Ok(1 << if log > 30 { 30 } else { log }),
            None => Err(BadMemory::TooSmall { bytes }),
        }
    }

    /// Offset of the entry of the free-running `index`; always within the memory that `mask` was made for.
    #[inline(always)]
    pub(crate) fn offset(index: u32, mask: u32) -> usize {
        HEADER_BYTES.wrapping_add(((index & mask) as usize).wrapping_mul(Self::ENTRY))
    }
}
