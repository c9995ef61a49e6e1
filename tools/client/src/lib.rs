// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's side of vesperd's socket: one connection, one request, its reply. Used by the command and by libvesper.
//!
//! What keeps the daemon from answering is a reply, too: its exit status says so.

use std::fs::File;
use std::io::{self, ErrorKind as Io, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use vesper_api::{ErrorKind, Failure, Reply, Request};

/// Longest reply that is taken: the list of every guest that a machine could have is far shorter.
const MAX_REPLY: usize = 64 << 20;

/// Told once a second how long the reply has been waited for.
pub type Waiting<'a> = &'a mut dyn FnMut(Duration);

/// Where the daemon listens: what the environment says ([`vesper_api::SOCKET_VARIABLE`]), else its usual place.
pub fn socket() -> PathBuf {
    std::env::var_os(vesper_api::SOCKET_VARIABLE).map_or_else(|| vesper_api::SOCKET.into(), PathBuf::from)
}

/// Asks the daemon at `socket`; `file` goes beside the request. Without `waiting` there is no wake-up before the reply.
pub fn ask(socket: &Path, request: &Request, file: Option<&File>, waiting: Option<Waiting<'_>>) -> Reply {
    match UnixStream::connect(socket) {
        Ok(stream) => exchange(&stream, request, file, waiting).0,
        Err(error) => Err(unreachable(socket, &error)).into(),
    }
}

/// Sends the request and waits for the reply. Also what came behind the reply's line: the beginning of a stream.
pub fn exchange(
    stream: &UnixStream,
    request: &Request,
    file: Option<&File>,
    waiting: Option<Waiting<'_>>,
) -> (Reply, Vec<u8>) {
    let answered = send(stream, request, file).and_then(|()| receive(stream, waiting));
    let failed = |why: &str| (Err(lost(request, why)).into(), Vec::new());
    match answered {
        Ok((line, rest)) if line.ends_with(b"\n") => match vesper_api::from_line(&line) {
            Ok(reply) => (reply, rest),
            Err(error) => failed(&format!("its answer cannot be read ({error})")),
        },
        // An empty or partial line: the daemon ended before it had answered.
        Ok(_) => failed("it closed the connection"),
        Err(error) => failed(&error.to_string()),
    }
}

/// Sends the line, with the file beside its first byte.
fn send(mut stream: &UnixStream, request: &Request, file: Option<&File>) -> io::Result<()> {
    let line = vesper_api::to_line(request);
    let mut sent = 0;
    if let Some(file) = file {
        let descriptors = [file.as_raw_fd()];
        let beside = [ControlMessage::ScmRights(&descriptors)];
        let parts = [IoSlice::new(&line)];
        match sendmsg::<()>(stream.as_raw_fd(), &parts, &beside, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(count) => sent = count,
            Err(errno) => return unless_closed(errno.into()),
        }
    }
    stream.write_all(&line[sent..]).or_else(unless_closed)
}

/// If the daemon has closed its side already it has maybe said why.
fn unless_closed(error: io::Error) -> io::Result<()> {
    if matches!(error.kind(), Io::BrokenPipe | Io::ConnectionReset) { Ok(()) } else { Err(error) }
}

/// Waits for the reply's line; what was read behind it is the second.
fn receive(mut stream: &UnixStream, mut waiting: Option<Waiting<'_>>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let started = Instant::now();
    stream.set_read_timeout(waiting.is_some().then_some(Duration::from_secs(1)))?;
    let mut line = Vec::new();
    let mut chunk = [0; 16 << 10];
    while line.len() <= MAX_REPLY {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let from = line.len();
                line.extend_from_slice(&chunk[..count]);
                if let Some(end) = line[from..].iter().position(|byte| *byte == b'\n') {
                    let rest = line.split_off(from + end + 1);
                    stream.set_read_timeout(None)?;
                    return Ok((line, rest));
                }
            }
            Err(error) if error.kind() == Io::Interrupted => {}
            Err(error) if error.kind() == Io::WouldBlock => {
                if let Some(waiting) = waiting.as_deref_mut() {
                    waiting(started.elapsed());
                }
            }
            // Closed with something unread: what was said before that has been read by now.
            Err(error) if error.kind() == Io::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok((line, Vec::new()))
}

/// Nobody answers at the socket, or not to this user.
pub fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let shown = socket.display();
    if error.kind() == Io::PermissionDenied {
        return Failure::new(ErrorKind::NotPermitted, format!("you are not permitted to use {shown}"))
            .remedy("run it as root, or join the group of the socket: adduser USER vesper");
    }
    Failure::new(ErrorKind::DaemonUnreachable, format!("vesperd cannot be reached at {shown}: {error}"))
        .remedy("start it: systemctl start vesperd")
}

/// The daemon was there and did not answer.
fn lost(request: &Request, why: &str) -> Failure {
    match request {
        Request::List {}
        | Request::Status { .. }
        | Request::Channels { .. }
        | Request::Stream { .. }
        | Request::Events { .. }
        | Request::Alive { .. } => {
            Failure::new(ErrorKind::DaemonUnreachable, format!("vesperd went away before it answered: {why}"))
                .remedy("start it: systemctl start vesperd")
        }
        _ => Failure::new(
            ErrorKind::OutcomeUnknown,
            format!("vesperd went away before it answered: {why}; outcome unknown"),
        )
        .remedy(format!(
            "once it runs again, see what became of it: vesper status {}",
            request.dom().unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that is turned away is told why at once, maybe before it has asked anything.
    #[test]
    fn what_was_said_before_the_request_is_read() {
        let request =
            Request::Insmod { dom: "1".into(), file: "x.ko".into(), args: vec![], timeout_ms: None };
        let file = File::open("/dev/null").unwrap();
        for file in [None, Some(&file)] {
            let (stream, mut daemon) = UnixStream::pair().unwrap();
            let refusal = Reply::from(Err(Failure::new(ErrorKind::QueueFull, "64 clients")));
            daemon.write_all(&vesper_api::to_line(&refusal)).unwrap();
            drop(daemon);
            let failure = exchange(&stream, &request, file, None).0.into_result().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::QueueFull, "{}", failure.message);
        }
    }

    /// What a daemon sends behind its reply belongs to the caller, not to the reply.
    #[test]
    fn the_beginning_of_a_stream_is_handed_over() {
        let (stream, mut daemon) = UnixStream::pair().unwrap();
        let mut said = vesper_api::to_line(&Reply::from(Err(Failure::new(ErrorKind::Internal, "x"))));
        said.extend_from_slice(b"and more\nbehind");
        daemon.write_all(&said).unwrap();
        let (reply, rest) = exchange(&stream, &Request::List {}, None, None);
        assert_eq!(reply.status(), 4);
        assert_eq!(rest, b"and more\nbehind");
    }
}
