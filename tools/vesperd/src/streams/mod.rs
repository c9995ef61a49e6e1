// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams: what a guest records, on its way to one client.
//!
//! A stream is served in the daemon's one thread, a frame at a time and so many bytes a turn. A client that does not read
//! makes its own stream wait and nothing else: its readers stand still in the guest's pages, and nothing is kept for it here
//! but one frame. A guest that would then have to wait is not held up: a reader that stands still for too long is left
//! behind, and told what it lost (relay-mirror).

mod flow;
mod sink;
mod source;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::os::fd::BorrowedFd;

use vesper_grant::DomId;
use vesper_stream::Frame;
use vesper_stream::frame::Gone;

pub(crate) use flow::{Drain, Flow, Wanted};
use sink::{Sink, Waiting};

/// Bytes of one stream before others have their turn.
const TURN: usize = 512 << 10;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is nothing to send.
    Idle,
    /// There is more, for another turn; or the client must read first.
    More,
    /// Everything has been said.
    Over,
}

/// One client's stream.
pub(crate) struct Stream {
    domid: DomId,
    /// What is told.
    pub(crate) flow: Flow,
    waiting: Waiting,
}

impl Stream {
    /// A stream of this guest.
    pub(crate) fn new(domid: DomId, flow: Flow) -> Self {
        Self { domid, flow, waiting: Waiting::default() }
    }

    pub(crate) fn domid(&self) -> DomId {
        self.domid
    }

    /// Sends what there is into the client's socket, as far as the client takes it and no more than a turn.
    ///
    /// # Errors
    /// The kernel's; the client is gone then.
    pub(crate) fn serve(&mut self, socket: BorrowedFd<'_>) -> io::Result<Turn> {
        let mut sink = Sink::new(socket, &mut self.waiting)?;
        let mut left = TURN;
        while sink.flush()? {
            if self.flow.is_over() {
                return Ok(Turn::Over);
            }
            if left == 0 || !sink.has_room()? {
                return Ok(Turn::More);
            }
            match self.flow.step(&mut sink)? {
                // What is no data costs something, too.
                Some(bytes) => left = left.saturating_sub(bytes.max(1024)),
                None => return Ok(Turn::Idle),
            }
        }
        Ok(Turn::More)
    }

    /// The daemon stops: says so, if the client takes it at once. Else it sees that the connection ends.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn stop(&mut self, socket: BorrowedFd<'_>, gone: Gone) -> io::Result<()> {
        let mut sink = Sink::new(socket, &mut self.waiting)?;
        sink.say(&Frame::Gone(gone), &[])?;
        sink.flush().map(drop)
    }
}
