// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's pages in this process, given back when dropped.

use std::fmt;
use std::ptr::NonNull;

use crate::{Access, Error, PAGE_SIZE, Port};

/// What stands behind a mapping and takes it back: gntdev, or the loopback.
pub(crate) trait Backing: Send + Sync {
    /// See [`Mapping::set_unmap_notify`]; the offset has been checked.
    fn set_unmap_notify(&self, clear_byte: Option<usize>, event: Option<Port>) -> Result<(), Error>;

    /// Unmaps and gives the grants back. Called once, by [`Mapping`]'s drop.
    fn release(&self, start: NonNull<u8>, len: usize);
}

/// Pages of a guest, mapped one after another. Dropping it unmaps them and gives the grants back.
///
/// The guest may change the bytes at any moment, so no Rust reference to them is ever made: read and write through
/// [`Mapping::as_ptr`] with volatile or atomic accesses, and never look twice at a byte that was checked.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    access: Access,
    backing: Box<dyn Backing>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and the only shared state here is an address; what is
// done through that address is unsafe code of the caller's.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives an address, a length and one ioctl that the kernel serialises.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes charge of `len` bytes mapped at `start`, to be given back through `backing`.
    pub(crate) fn new(start: NonNull<u8>, len: usize, access: Access, backing: Box<dyn Backing>) -> Self {
        Self { start, len, access, backing }
    }

    /// The first byte. Valid for [`Mapping::len`] bytes while the mapping lives; page-aligned.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes: whole pages, never 0.
    #[expect(clippy::len_without_is_empty, reason = "a mapping has at least one page")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.len / PAGE_SIZE
    }

    /// Whether it may be written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Asks the kernel to clear a byte of the mapping and/or to send an event when it is unmapped, even if this
    /// process is killed: the guest learns so that its peer is gone. Both `None` takes the request back.
    ///
    /// Only for writable mappings: for a read-only one Linux answers EINVAL, or, asked before `mmap`, would write
    /// through it (`gntdev.c`, `gntdev_ioctl_notify`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a read-only mapping or an offset outside it; [`Error::Device`] for a port that is not
    /// bound here.
    pub fn set_unmap_notify(
        &self,
        clear_byte_offset: Option<usize>,
        event: Option<Port>,
    ) -> Result<(), Error> {
        if self.access == Access::ReadOnly {
            return Err(Error::Invalid("an unmap notification needs a writable mapping".into()));
        }
        if let Some(offset) = clear_byte_offset
            && offset >= self.len
        {
            return Err(Error::Invalid(format!(
                "unmap notification at byte {offset} of a mapping of {} bytes",
                self.len
            )));
        }
        self.backing.set_unmap_notify(clear_byte_offset, event)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.backing.release(self.start, self.len);
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("pages", &self.pages()).field("access", &self.access).finish()
    }
}
