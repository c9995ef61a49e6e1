// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ways to xenstored, and how they differ.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wire::{HEADER_LEN, PAYLOAD_MAX};

/// A non-blocking descriptor to xenstored.
#[derive(Debug)]
pub(super) enum Transport {
    /// The daemon's socket.
    Socket(UnixStream),
    /// `/dev/xen/xenbus`: the kernel takes whole messages, multiplexes them onto its own connection and keeps
    /// watches itself.
    Device(OwnedFd),
}

/// Why a message was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// Nothing was sent before the deadline; the connection is good.
    Timeout,
    /// The kernel refused this one message; the connection is good.
    Refused(Errno),
    /// The connection cannot be used any more.
    Broken(String),
}

impl Transport {
    /// Largest payload. The kernel's buffer has room for 4096 bytes *with* the header
    /// (`xenbus_dev_frontend.c`, `struct xenbus_file_priv`).
    pub(super) fn payload_max(&self) -> usize {
        match self {
            Transport::Socket(_) => PAYLOAD_MAX,
            Transport::Device(_) => PAYLOAD_MAX - HEADER_LEN,
        }
    }

    /// Sends one message. The caller holds the send lock, so that messages do not mix.
    pub(super) fn send(&self, message: &[u8], deadline: Instant) -> Result<(), SendError> {
        match self {
            Transport::Socket(stream) => send_all(stream, message, deadline),
            // The kernel acts on the message inside write(2) and returns the error of a failed WATCH there,
            // without any reply (`xenbus_write_watch`). The message is consumed either way.
            Transport::Device(fd) => loop {
                match nix::unistd::write(fd, message) {
                    Ok(sent) if sent == message.len() => return Ok(()),
                    Ok(sent) => {
                        return Err(SendError::Broken(format!(
                            "device took {sent} of {} bytes of a request",
                            message.len()
                        )));
                    }
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(SendError::Refused(errno)),
                }
            },
        }
    }

    /// Reads what is there. 0 means that the other side closed.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        nix::unistd::read(self.as_fd(), buffer)
    }

    /// Makes the other side see the end of the connection now, not when the last thread lets go of it.
    pub(super) fn shut(&self) {
        if let Transport::Socket(stream) = self {
            // ENOTCONN: the other side was faster.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Socket(stream) => stream.as_fd(),
            Transport::Device(fd) => fd.as_fd(),
        }
    }
}

fn send_all(stream: &UnixStream, message: &[u8], deadline: Instant) -> Result<(), SendError> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{MsgFlags, send};
    let mut sent = 0;
    while sent < message.len() {
        match send(stream.as_raw_fd(), &message[sent..], MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => sent += count,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(match sent {
                        0 => SendError::Timeout,
                        _ => SendError::Broken("xenstored stopped reading in the middle of a request".into()),
                    });
                }
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                // Any outcome, EINTR included, is seen by the next send.
                let _ = poll(&mut fds, timeout);
            }
            Err(errno) => return Err(SendError::Broken(format!("sending to xenstored: {}", errno.desc()))),
        }
    }
    Ok(())
}
