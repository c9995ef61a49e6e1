// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of a sub-buffer where they lie.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Channel;
use crate::kept::Kept;
use crate::sync::fence;

/// Bytes in the guest's pages (or, after [`Channel::close`], in a private copy of them). The guest may write over them at
/// any moment, so they are no slice: what is made of them is verified afterwards, and is good only if that says so.
pub struct Piece {
    channel: Arc<Channel>,
    buffer: usize,
    number: u64,
    offset: u32,
    bytes: u32,
    kept: Option<Arc<Kept>>,
}

/// The guest wrote over the bytes while they were used, or before. What was made of them is worthless; the reader's
/// [`next`](crate::Reader::next) tells the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest wrote over the data while it was read")]
pub struct Overwritten;

/// The bytes of a piece in their place, for [`Piece::inspect`].
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    start: *const u8,
    len: usize,
    mapped: PhantomData<&'a ()>,
}

#[expect(clippy::len_without_is_empty, reason = "as a piece, it has at least one byte")]
impl Raw<'_> {
    /// The first byte: readable for [`len`](Self::len) bytes. The guest may change them between any two reads.
    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// `N` bytes from `at` on, as they are now; `None` when they are not all within it.
    pub fn bytes_at<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        // SAFETY: within the piece, which is readable while this is there; an array of bytes has no alignment and takes any
        // value.
        (end <= self.len).then(|| unsafe { self.start.add(at).cast::<[u8; N]>().read_volatile() })
    }
}

#[expect(clippy::len_without_is_empty, reason = "a piece has at least one byte")]
impl Piece {
    pub(crate) fn new(
        channel: Arc<Channel>,
        buffer: usize,
        (number, offset): (u64, u32),
        bytes: u32,
        kept: Option<Arc<Kept>>,
    ) -> Self {
        Self { channel, buffer, number, offset, bytes, kept }
    }

    /// Bytes, at least 1.
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// The buffer that it is of.
    pub fn buffer(&self) -> usize {
        self.buffer
    }

    /// Number of its sub-buffer, from 0, and where in it the piece begins.
    pub fn place(&self) -> (u64, u32) {
        (self.number, self.offset)
    }

    /// Its first `bytes` bytes (at least 1, at most all): what is written out at once can be bounded so.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes);
        Self { bytes, ..self }
    }

    /// Copies as much as there is room for, from its beginning. Returns the bytes copied.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; what is in `to` is then worthless.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<usize, Overwritten> {
        let bytes = to.len().min(self.len());
        // SAFETY: `to` is private, has room for them, and cannot overlap with memory that nobody has a reference to.
        self.verified(|from| unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), bytes) })?;
        self.channel.copied.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Appends the whole piece.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; `to` is then as it was.
    pub fn append_to(&self, to: &mut Vec<u8>) -> Result<(), Overwritten> {
        let (bytes, before) = (self.len(), to.len());
        to.reserve(bytes);
        let room = to.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: there is room for them, of a vector's own.
        self.verified(|from| unsafe { std::ptr::copy_nonoverlapping(from, room, bytes) })?;
        // SAFETY: so many more were written.
        unsafe { to.set_len(before + bytes) };
        self.channel.copied.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Lets `look` read the bytes where they lie. The channel cannot be closed meanwhile, so it must be short, and must
    /// not use the channel.
    ///
    /// # Errors
    ///
    /// [`Overwritten`]; what `look` found is then worthless.
    pub fn inspect<R>(&self, look: impl FnOnce(Raw<'_>) -> R) -> Result<R, Overwritten> {
        self.verified(|start| look(Raw { start, len: self.len(), mapped: PhantomData }))
    }

    /// Hands the bytes to `read`, which are readable until it returns, and then looks whether they were whole all the
    /// time.
    pub(crate) fn verified<R>(&self, read: impl FnOnce(*const u8) -> R) -> Result<R, Overwritten> {
        if let Some(kept) = &self.kept {
            return self.read_kept(kept, read);
        }
        let inner = self.channel.read();
        let slot = inner.buffers.get(self.buffer).ok_or(Overwritten)?;
        let Some(at) = &slot.mapped else {
            let kept = slot.lock().kept.clone();
            drop(inner);
            let kept = kept.ok_or(Overwritten)?;
            return self.read_kept(&kept, read);
        };
        let result = read(at.bytes(self.number, self.offset));
        // What was read comes before the positions that are read now.
        fence(Ordering::Acquire);
        if at.holds(self.number) {
            return Ok(result);
        }
        let mut buffer = slot.lock();
        buffer.look(at);
        if buffer.seen.holds(self.number) { Ok(result) } else { Err(Overwritten) }
    }

    fn read_kept<R>(&self, kept: &Kept, read: impl FnOnce(*const u8) -> R) -> Result<R, Overwritten> {
        let bytes = kept.bytes(self.number, self.offset).and_then(|bytes| bytes.get(..self.len()));
        Ok(read(bytes.ok_or(Overwritten)?.as_ptr()))
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (buffer, place) = (self.buffer, self.place());
        f.debug_struct("Piece")
            .field("buffer", &buffer)
            .field("place", &place)
            .field("len", &self.len())
            .finish()
    }
}
