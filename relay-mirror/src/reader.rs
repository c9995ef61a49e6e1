// SPDX-License-Identifier: MIT OR Apache-2.0
//! Readers: what each of them has read, and what it is given next.

use crate::{Channel, Piece};
use std::sync::Arc;

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest sub-buffer that is still whole. That may be older than what was consumed.
    Oldest,
    /// Behind what is there now.
    Now,
}

/// What comes next in a buffer.
#[derive(Debug)]
pub enum Next {
    /// Bytes, never none; all of one sub-buffer, without padding. A writer's record is never cut by the end of a
    /// sub-buffer. It comes again until [`Reader::advance`] has passed it.
    Data(Piece),
    /// Something is missing here. It is told once.
    Lost(Lost),
    /// Nothing now. The guest was asked to kick when there is more, so [`Channel::wait`] misses nothing.
    Nothing,
    /// Nothing will come any more.
    End,
}

/// What a reader does not get, at this place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Sub-buffers that were written over before they were read, or read to their end.
    pub sub_buffers: u64,
    /// Bytes in them that were not read.
    pub bytes: u64,
    /// Writes that the guest refused because the buffer was full.
    pub writes: u64,
}

/// One reader of a channel. Dropped, it holds nothing back any more.
pub struct Reader {}

#[allow(unused_variables, reason = "signatures first")]
impl Reader {
    /// The channel.
    pub fn channel(&self) -> &Arc<Channel> {
        unimplemented!()
    }

    /// What comes next in that buffer (0 up to [`Channel::buffers`]). Takes nothing away, except a loss, which is told
    /// once.
    pub fn next(&mut self, buffer: usize) -> Next {
        unimplemented!()
    }

    /// Takes the first `bytes` bytes of a piece that [`next`](Self::next) gave as read. A piece that does not begin where
    /// the reader stands (of another reader, or passed before) changes nothing.
    pub fn advance(&mut self, piece: &Piece, bytes: usize) {
        unimplemented!()
    }
}
