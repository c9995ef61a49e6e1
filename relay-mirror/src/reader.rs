// SPDX-License-Identifier: MIT OR Apache-2.0
//! Readers: what each of them is given next.

use std::sync::Arc;

use crate::buffer::Step;
use crate::seen::TRIES;
use crate::{Channel, Piece};

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
    /// sub-buffer. They come again until [`Reader::advance`] has passed them.
    Data(Piece),
    /// Something is missing here. It is told once.
    Lost(Lost),
    /// Nothing now. The guest was asked to kick when there is more, so that [`Channel::wait`] misses nothing.
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
pub struct Reader {
    channel: Arc<Channel>,
    id: u64,
}

impl Reader {
    pub(crate) fn new(channel: Arc<Channel>, id: u64) -> Self {
        Self { channel, id }
    }

    /// The channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// What comes next in that buffer (0 up to [`Channel::buffers`]). Takes nothing away, except a loss, which is told
    /// once.
    pub fn next(&mut self, buffer: usize) -> Next {
        let inner = self.channel.read();
        let Some(slot) = inner.buffers.get(buffer) else {
            return if inner.closed { Next::End } else { Next::Nothing };
        };
        let (mut state, at) = (slot.lock(), slot.mapped.as_ref());
        let Some(mine) = state.cursors.iter().position(|cursor| cursor.id == self.id) else {
            return Next::End;
        };
        let mut cursor = state.cursors[mine];
        let mut asked = false;
        if let Some(at) = at {
            state.look(at);
        }
        let mut step = Step::Nothing;
        for _ in 0..TRIES {
            step = state.step(&mut cursor, at);
            state.cursors[mine] = cursor;
            let Some(at) = at.filter(|_| matches!(step, Step::Nothing) && !state.seen.ended) else { break };
            if !state.ask(at) {
                break;
            }
            asked = true;
            if !state.look_again(at) {
                break;
            }
        }
        let over = inner.closed || state.seen.ended;
        let raise = asked && state.missed;
        drop(state);
        drop(inner);
        if raise {
            self.channel.signal.raise();
        }
        match step {
            Step::Data { number, offset, bytes, kept } => {
                Next::Data(Piece::new(Arc::clone(&self.channel), buffer, (number, offset), bytes, kept))
            }
            Step::Lost(lost) => Next::Lost(lost),
            Step::Nothing if over => Next::End,
            Step::Nothing => Next::Nothing,
        }
    }

    /// Takes the first `bytes` bytes of a piece that [`next`](Self::next) gave as read. A piece that does not begin where
    /// the reader stands (of another reader, or passed before) changes nothing.
    pub fn advance(&mut self, piece: &Piece, bytes: usize) {
        let inner = self.channel.read();
        let Some(slot) = inner.buffers.get(piece.buffer()) else { return };
        let (mut state, at) = (slot.lock(), slot.mapped.as_ref());
        let bytes = bytes.min(piece.len()) as u32;
        let mut raise = false;
        if state.advance(self.id, piece.place(), bytes, at)
            && let Some(at) = at.filter(|_| !state.seen.ended)
        {
            state.look(at);
            raise = state.ask(at) && state.missed;
        }
        drop(state);
        drop(inner);
        if raise {
            self.channel.signal.raise();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.channel.remove_reader(self.id);
    }
}
