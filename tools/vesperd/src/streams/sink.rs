// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's side of a stream: frames into its socket, never waiting for it.
//!
//! A piece goes from the guest's pages into the socket's buffer with one `write(2)`: the kernel copies it, this program does
//! not. While that happens the guest may write over it, so the frame behind it says whether it did (`sure`, `torn`). A piece
//! is only begun when the socket has room for a whole frame. Should it not take all of one, the rest is copied here at
//! once, so that nothing of the guest is needed any more when the client reads on: there is at most one frame of it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use vesper_relay_mirror::{Outlet, Piece, WriteError};
use vesper_stream::Frame;
use vesper_stream::frame::Data;

use super::Drain;

/// Room that is kept for what waits next.
const KEPT: usize = 64 << 10;

/// What the client has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
}

#[cfg(test)]
impl Waiting {
    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The way into a client's socket, for a turn.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    socket: BorrowedFd<'a>,
    outlet: Outlet<'a>,
    waiting: &'a mut Waiting,
}

impl<'a> Sink<'a> {
    /// Into a socket that does not block.
    pub(super) fn new(socket: BorrowedFd<'a>, waiting: &'a mut Waiting) -> io::Result<Self> {
        Ok(Self { socket, outlet: Outlet::new(socket)?, waiting })
    }

    /// Sends what waits. True: nothing waits any more.
    ///
    /// # Errors
    /// The kernel's; the client is gone then.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Waiting { bytes, sent } = self.waiting;
        while *sent < bytes.len() {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), &bytes[*sent..], flags) {
                Ok(count) => *sent += count,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT);
        *sent = 0;
        Ok(true)
    }

    /// Whether there is room for a frame: the kernel calls a socket writable when three quarters of its buffer are free.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn has_room(&self) -> io::Result<bool> {
        let mut socket = [PollFd::new(self.socket, PollFlags::POLLOUT)];
        match poll(&mut socket, PollTimeout::ZERO) {
            // An error of the socket is room, too: the next call that sends tells it.
            Ok(_) => Ok(socket[0].any() == Some(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn put(&mut self, frame: &Frame) {
        self.waiting.bytes.extend_from_slice(&frame.line());
    }

    /// The frame has so many bytes left, and is worth nothing.
    fn tear(&mut self, left: usize) {
        let bytes = &mut self.waiting.bytes;
        bytes.resize(bytes.len() + left, 0);
        self.put(&Frame::Torn {});
    }
}

impl Drain for Sink<'_> {
    /// Behind what waits; sent with the next [`Sink::flush`].
    fn say(&mut self, frame: &Frame, payload: &[u8]) -> io::Result<()> {
        self.put(frame);
        self.waiting.bytes.extend_from_slice(payload);
        Ok(())
    }

    /// As one frame. If it was written over, the client is told that it is worthless, and the reader tells the loss when it
    /// reads on.
    fn send(&mut self, data: Data, piece: &Piece) -> io::Result<bool> {
        let bytes = piece.len();
        self.put(&Frame::Data(Data { bytes, unsure: true, ..data }));
        let written = if self.flush()? {
            match piece.write_to(&self.outlet) {
                Ok(written) => written,
                Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(WriteError::Io(error)) => return Err(error),
                Err(WriteError::Overwritten { written }) => {
                    self.tear(bytes - written);
                    return Ok(false);
                }
            }
        } else {
            0
        };
        if written < bytes {
            let mut whole = Vec::new();
            if piece.append_to(&mut whole).is_err() {
                self.tear(bytes - written);
                return Ok(false);
            }
            self.waiting.bytes.extend_from_slice(&whole[written..]);
        }
        self.put(&Frame::Sure {});
        Ok(true)
    }
}
