// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pieces written out of the guest's pages, without a copy in this process.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Piece;

/// A descriptor that writing to does not block for long: [`Channel::close`](crate::Channel::close) waits for a write that
/// is under way.
#[derive(Clone, Copy, Debug)]
pub struct Outlet<'fd>(BorrowedFd<'fd>);

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
    Io(#[from] Error),
}

impl<'fd> Outlet<'fd> {
    /// # Errors
    ///
    /// `InvalidInput` for a descriptor that is neither a regular file nor non-blocking; what the system said.
    pub fn new(fd: BorrowedFd<'fd>) -> Result<Self, Error> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: an open descriptor, and room for what is told of it.
        if unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the call has filled it.
        let kind = unsafe { stat.assume_init() }.st_mode & libc::S_IFMT;
        // SAFETY: an open descriptor; this only asks.
        let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
        match flags {
            -1 => Err(Error::last_os_error()),
            _ if kind == libc::S_IFREG || flags & libc::O_NONBLOCK != 0 => Ok(Self(fd)),
            _ => Err(Error::new(ErrorKind::InvalidInput, "writing to this descriptor may block for ever")),
        }
    }
}

impl Piece {
    /// Writes the piece with one `write(2)`, from its beginning; returns how many bytes the system took.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`]: nothing was written (`WouldBlock` when the outlet is full). [`WriteError::Overwritten`]: what
    /// was written cannot be trusted.
    pub fn write_to(&self, outlet: &Outlet<'_>) -> Result<usize, WriteError> {
        let mut written = Ok(0);
        let whole = self.verified(|from| {
            written = loop {
                // SAFETY: readable for that many bytes until this returns. The kernel may find the guest writing there: it
                // copies what it finds.
                let took = unsafe { libc::write(outlet.0.as_raw_fd(), from.cast(), self.len()) };
                match usize::try_from(took).map_err(|_| Error::last_os_error()) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
        });
        match (written?, whole) {
            (written, Ok(())) => Ok(written),
            (written, Err(_)) => Err(WriteError::Overwritten { written }),
        }
    }
}
