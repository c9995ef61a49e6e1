// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a stream as they come from the daemon, until ^C.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use vesper_api::{Done, ErrorKind, Failure, Request, Saved, Streaming};

/// Bytes that are taken at once.
const CHUNK: usize = 64 << 10;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Bytes have come.
    Bytes,
    /// The time is over.
    Nothing,
    /// The user wants no more.
    Stop,
    /// The daemon has closed the connection.
    End,
}

/// A connection with a stream in it.
pub(super) struct Feed {
    stream: UnixStream,
    stop: UnixStream,
    /// What came behind the reply.
    first: Vec<u8>,
}

/// What the daemon has of a guest.
pub(super) enum Opened {
    Live(Streaming, Feed),
    Saved(Saved),
    Events(Feed),
}

impl Feed {
    /// Asks for a stream.
    pub(super) fn open(socket: &Path, request: &Request) -> Result<Opened, Failure> {
        let stream =
            UnixStream::connect(socket).map_err(|error| vesper_client::unreachable(socket, &error))?;
        let (reply, first) = vesper_client::exchange(&stream, request, None, None);
        let reply = reply.into_result()?;
        let stop = signals().map_err(|error| {
            Failure::new(ErrorKind::Internal, format!("signals cannot be waited for: {error}"))
        })?;
        let feed = Self { stream, stop, first };
        match reply {
            Done::Streaming(streaming) => Ok(Opened::Live(streaming, feed)),
            Done::Events(_) => Ok(Opened::Events(feed)),
            Done::Saved(saved) => Ok(Opened::Saved(saved)),
            _ => Err(not_a_stream()),
        }
    }

    /// Waits for bytes, at most until `due`, and puts them behind what is in `out`.
    pub(super) fn next(&mut self, out: &mut Vec<u8>, due: Option<Instant>) -> io::Result<Came> {
        if !self.first.is_empty() {
            out.append(&mut self.first);
            return Ok(Came::Bytes);
        }
        loop {
            let wait =
                due.map(|due| due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000));
            let timeout = wait.map_or(PollTimeout::NONE, |wait| {
                PollTimeout::try_from(wait.min(i32::MAX as u128) as i32).unwrap_or(PollTimeout::MAX)
            });
            let mut waited = [
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waited, timeout) {
                Ok(0) => return Ok(Came::Nothing),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if waited[0].any() == Some(true) {
                return Ok(Came::Stop);
            }
            let from = out.len();
            out.resize(from + CHUNK, 0);
            let read = self.stream.read(&mut out[from..]);
            out.truncate(from + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => return Ok(Came::End),
                Ok(_) => return Ok(Came::Bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Came::End),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Readable once the user wants no more.
fn signals() -> io::Result<UnixStream> {
    let (stop, signal) = UnixStream::pair()?;
    for number in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
    }
    Ok(stop)
}

/// The daemon ended before the stream did.
pub(super) fn cut_off(why: &str) -> Failure {
    Failure::new(ErrorKind::DaemonUnreachable, format!("vesperd went away before the stream ended: {why}"))
        .remedy("start it: systemctl start vesperd")
}

/// The daemon said something else than was asked for.
pub(super) fn not_a_stream() -> Failure {
    Failure::new(ErrorKind::Internal, "the daemon's answer is not what was asked for")
}
