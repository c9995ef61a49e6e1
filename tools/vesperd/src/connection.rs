// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: bytes and descriptors in, lines out; replies in, bytes out. Never blocks.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::sys::epoll::EpollFlags;
use vesper_api::{MAX_LINE, Reply};

use crate::closer::{Closer, Foreign};
use crate::passed;
use crate::peer::Peer;

/// Descriptors that wait for their lines; a client that sends more loses the later ones.
const WAITING_DESCRIPTORS: usize = 4;
/// Bytes taken at once, and how often before others have their turn.
const CHUNK: usize = 16 << 10;
const CHUNKS: usize = 4;

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole one, without its newline.
    Whole(Vec<u8>),
    /// More than [`MAX_LINE`] bytes and still no newline.
    TooLong,
    /// Not yet.
    None,
}

/// One client's connection.
pub(crate) struct Connection {
    stream: Foreign<UnixStream>,
    closer: Closer,
    pub(crate) peer: Arc<Peer>,
    inbox: Vec<u8>,
    descriptors: VecDeque<Foreign<OwnedFd>>,
    /// At most one reply, since the next request is only looked at when it has been sent.
    outbox: Vec<u8>,
    sent: usize,
    /// A request of this connection is being worked on.
    pub(crate) busy: bool,
    /// Nothing more comes in.
    input_ended: bool,
    /// Lines, or frames of a stream, are left for the next turn.
    pub(crate) backlog: bool,
}

impl Connection {
    pub(crate) fn new(stream: Foreign<UnixStream>, peer: Arc<Peer>, closer: Closer) -> Self {
        Self {
            stream,
            closer,
            peer,
            inbox: Vec::new(),
            descriptors: VecDeque::new(),
            outbox: Vec::new(),
            sent: 0,
            busy: false,
            input_ended: false,
            backlog: false,
        }
    }

    /// Takes in what has arrived, up to a bound.
    ///
    /// # Errors
    /// The kernel's; the connection is of no more use then.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS {
            if self.input_ended || self.inbox.len() > MAX_LINE {
                break;
            }
            let message = match passed::receive(&*self.stream, &mut chunk, &self.closer) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if message.truncated {
                return Err(io::Error::other("descriptors were lost (too many open files?)"));
            }
            for descriptor in message.descriptors {
                if self.descriptors.len() < WAITING_DESCRIPTORS {
                    self.descriptors.push_back(descriptor);
                }
            }
            if message.bytes == 0 {
                self.input_ended = true;
            }
            self.inbox.extend_from_slice(&chunk[..message.bytes]);
        }
        Ok(())
    }

    /// The next line that has arrived. A last line without a newline counts once the client has said all.
    pub(crate) fn next_line(&mut self) -> Line {
        let end = self.inbox.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        match end {
            Some(end) => {
                let rest = self.inbox.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.inbox, rest);
                line.pop();
                Line::Whole(line)
            }
            None if self.inbox.len() >= MAX_LINE => Line::TooLong,
            None if self.input_ended && !self.inbox.is_empty() => {
                Line::Whole(std::mem::take(&mut self.inbox))
            }
            None => Line::None,
        }
    }

    /// The descriptor that came beside a line.
    pub(crate) fn take_descriptor(&mut self) -> Option<Foreign<OwnedFd>> {
        self.descriptors.pop_front()
    }

    /// Puts a reply into the outbox. What is left of descriptors belongs to no line that could still come.
    pub(crate) fn answer(&mut self, reply: &Reply) {
        self.busy = false;
        self.outbox.extend_from_slice(&vesper_api::to_line(reply));
        if self.inbox.is_empty() {
            self.descriptors.clear();
        }
    }

    /// Puts more behind a reply into the outbox.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// The reply that is in the outbox is the last thing said here.
    pub(crate) fn end_input(&mut self) {
        self.input_ended = true;
        self.inbox.clear();
        self.descriptors.clear();
    }

    /// Sends what the client takes.
    ///
    /// # Errors
    /// The kernel's; the client is gone then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outbox.len() {
            match (&*self.stream).write(&self.outbox[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbox = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Whether the next request may be looked at.
    pub(crate) fn is_ready(&self) -> bool {
        !self.busy && self.outbox.is_empty()
    }

    /// Whether the client has taken all that was said.
    pub(crate) fn has_sent(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether everything has been said from both sides.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ready() && self.input_ended && self.inbox.is_empty()
    }

    /// What to wait for. A hang-up is always told. A backlog waits for what is the case already: the next turn.
    pub(crate) fn interest(&self) -> EpollFlags {
        if !self.outbox.is_empty() || self.backlog {
            EpollFlags::EPOLLOUT
        } else if self.busy || self.input_ended {
            EpollFlags::empty()
        } else {
            EpollFlags::EPOLLIN
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other end sees it now, even if the closer has something to do that takes long. It fails when that end is gone.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
