// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of a sub-buffer where they lie.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes in the guest's pages (or, after [`Channel::close`](crate::Channel::close), in a private copy of them). The guest
/// may write over them at any moment, so they are no slice: what is made of them is verified afterwards, and is good only
/// if that says so.
#[derive(Debug)]
pub struct Piece {}

/// The guest wrote over the bytes while they were used, or before. What was made of them is worthless; the reader's
/// [`next`](crate::Reader::next) tells the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest wrote over the data while it was read")]
pub struct Overwritten;

/// Why a piece was not written out, or not to be trusted there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// So many of its bytes were written, and some of them may be of later data.
    #[error("the guest wrote over the data while its first {written} bytes were written out")]
    Overwritten {
        /// Bytes that are out.
        written: usize,
    },
    /// Nothing was written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A descriptor that writing to does not block for long: [`Channel::close`](crate::Channel::close) waits for a write that
/// is under way.
#[derive(Debug)]
pub struct Outlet(OwnedFd);

#[allow(unused_variables, reason = "signatures first")]
impl Outlet {
    /// # Errors
    ///
    /// `InvalidInput` for a descriptor that is neither a regular file nor non-blocking; what the system said.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        unimplemented!()
    }

    /// The descriptor, to wait on.
    pub fn fd(&self) -> impl AsFd + '_ {
        &self.0
    }
}

/// A look at the bytes of a piece in their place.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The first byte. Readable for `len` bytes; the guest may change them between any two reads.
    pub start: *const u8,
    /// Bytes.
    pub len: usize,
    mapped: std::marker::PhantomData<&'a ()>,
}

#[allow(unused_variables, reason = "signatures first")]
impl Raw<'_> {
    /// The 8 bytes at `at`, little endian, read once; `None` beyond the end.
    pub fn u64_at(&self, at: usize) -> Option<u64> {
        unimplemented!()
    }
}

#[allow(unused_variables, reason = "signatures first")]
#[expect(clippy::len_without_is_empty, reason = "a piece has at least one byte")]
impl Piece {
    /// Bytes, at least 1.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// The buffer that it is of.
    pub fn buffer(&self) -> usize {
        unimplemented!()
    }

    /// Number of its sub-buffer, from 0, and where in it the piece begins.
    pub fn place(&self) -> (u64, u32) {
        unimplemented!()
    }

    /// Copies as much as there is room for, from its beginning. Returns the bytes copied.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; what is in `to` is then worthless.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<usize, Overwritten> {
        unimplemented!()
    }

    /// Appends the whole piece.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; `to` is then as it was.
    pub fn append_to(&self, to: &mut Vec<u8>) -> Result<(), Overwritten> {
        unimplemented!()
    }

    /// Writes the piece out of the guest's pages with one `write(2)`, from its beginning; returns how many bytes the
    /// system took.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`]: nothing was written (`WouldBlock` when the outlet is full). [`WriteError::Overwritten`]: what
    /// was written cannot be trusted.
    pub fn write_to(&self, outlet: &Outlet) -> Result<usize, WriteError> {
        unimplemented!()
    }

    /// Lets `look` read the bytes where they lie. The channel is not closed meanwhile, so it must be short, and must not
    /// use the channel.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; what `look` found is then worthless.
    pub fn inspect<R>(&self, look: impl FnOnce(Raw<'_>) -> R) -> Result<R, Overwritten> {
        unimplemented!()
    }
}
