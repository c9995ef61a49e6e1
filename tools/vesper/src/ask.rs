// SPDX-License-Identifier: MIT OR Apache-2.0
//! One request over the socket.

use std::fs::File;
use std::io::{self, ErrorKind as Io, IoSlice, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::say;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use vesper_api::{ErrorKind, Failure, Reply, Request, printable};

/// How long nothing is said; from then on a terminal sees that something goes on.
const QUIET: Duration = Duration::from_secs(2);

/// Longest reply that is taken: the list of every guest that a machine could have is far shorter.
const MAX_REPLY: usize = 64 << 20;

/// Asks the daemon. What keeps it from answering is a reply, too.
pub(crate) fn ask(socket: &Path, request: &Request, file: Option<&File>) -> Reply {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return Err(unreachable(socket, &error)).into(),
    };
    exchange(&stream, request, file)
}

/// Sends the request and waits for the reply.
fn exchange(stream: &UnixStream, request: &Request, file: Option<&File>) -> Reply {
    let answered = send(stream, request, file).and_then(|()| receive(stream, request));
    match answered {
        // An empty or partial line: the daemon ended before it had answered.
        Ok(line) if !line.ends_with(b"\n") => Err(lost(request, "it closed the connection")).into(),
        Ok(line) => vesper_api::from_line(&line).unwrap_or_else(|error| {
            Err(lost(request, &format!("its answer cannot be read ({error})"))).into()
        }),
        Err(error) => Err(lost(request, &error.to_string())).into(),
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

/// Waits for the reply's line.
fn receive(mut stream: &UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let started = Instant::now();
    let mut progress = Progress { shown: false, terminal: io::stderr().is_terminal() };
    if progress.terminal {
        // Only to have something to show; without a terminal there is no wake-up before the reply.
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    }
    let mut line = Vec::new();
    let mut chunk = [0; 16 << 10];
    while !line.ends_with(b"\n") && line.len() <= MAX_REPLY {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == Io::Interrupted => {}
            Err(error) if error.kind() == Io::WouldBlock => progress.show(request, started.elapsed()),
            // Closed with something unread: what was said before that has been read by now.
            Err(error) if error.kind() == Io::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

/// The line on a terminal that says that the command is still at work.
struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    fn show(&mut self, request: &Request, elapsed: Duration) {
        if self.terminal && elapsed >= QUIET {
            let dom = request.dom().map_or(String::new(), |dom| format!(" {}", printable(dom)));
            let seconds = elapsed.as_secs();
            say(&format!("\r\x1b[Kvesper {}{dom}: waiting, {seconds} s", request.command()));
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            say("\r\x1b[K");
        }
    }
}

/// Nobody answers at the socket, or not to this user.
fn unreachable(socket: &Path, error: &io::Error) -> Failure {
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
        Request::List {} | Request::Status { .. } => {
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
            let failure = exchange(&stream, &request, file).into_result().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::QueueFull, "{}", failure.message);
        }
    }
}
