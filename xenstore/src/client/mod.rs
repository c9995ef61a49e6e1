// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Client`]: the real xenstored.

mod conn;
#[cfg(test)]
mod device_tests;
mod ops;
mod transport;

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::Error;
use conn::Conn;
use transport::Transport;

/// Where xenstored listens when `XENSTORED_PATH` does not say otherwise.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];
/// The kernel's connection, for domains without a xenstored of their own (`drivers/xen/xenbus`).
const DEVICE: &str = "/dev/xen/xenbus";
/// How long a request waits for its answer. xenstored answers in tens of microseconds; this is for one that
/// is stopped or being updated.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// A connection to the real xenstored.
///
/// Any number of threads may make requests at once; one reader thread hands every answer to its caller and
/// marks the watches. A connection that ended stays [`Error::Disconnected`]; build a new client then. It does
/// not reconnect by itself, because only its owner can register the watches again and read everything anew.
///
/// A request that ended in [`Error::Timeout`] may still take effect later. Transactions and watches whose
/// late answer arrives after all are given back to xenstored with the next request.
#[derive(Debug)]
pub struct Client {
    conn: Arc<Conn>,
    reader: Option<JoinHandle<()>>,
}

impl Client {
    /// Connects to this machine's xenstore: to `XENSTORED_PATH` if it is set, and to nothing else then; else
    /// to the socket in `/run/xenstored` or `/var/run/xenstored`; else over `/dev/xen/xenbus`.
    pub fn connect() -> Result<Client, Error> {
        if let Some(path) = std::env::var_os("XENSTORED_PATH") {
            let path = Path::new(&path);
            let is_device = path.metadata().is_ok_and(|meta| meta.file_type().is_char_device());
            return if is_device { Client::over_device(path) } else { Client::over_socket(path) };
        }
        for path in SOCKETS {
            if let Ok(client) = Client::over_socket(path) {
                return Ok(client);
            }
        }
        Client::over_device(DEVICE).map_err(|error| Error::Io {
            what: format!("xenstore: neither {} nor {} answers, and {DEVICE}", SOCKETS[0], SOCKETS[1]),
            errno: error.errno(),
        })
    }

    /// Connects to the daemon's socket at `path`, with a time limit of 5 s for every request.
    pub fn over_socket(path: impl AsRef<Path>) -> Result<Client, Error> {
        Client::over_socket_within(path, TIME_LIMIT)
    }

    /// Connects to the daemon's socket at `path`; every request waits at most `limit` for its answer.
    pub fn over_socket_within(path: impl AsRef<Path>, limit: Duration) -> Result<Client, Error> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path)
            .map_err(|error| failed(format!("connecting to xenstored at {}", path.display()), &error))?;
        Client::start_socket(stream, limit)
    }

    /// Speaks over a stream that is connected already: one that a broker handed over, or a bridge onto the store
    /// ring of a simulated guest.
    pub fn over_stream(stream: UnixStream) -> Result<Client, Error> {
        Client::start_socket(stream, TIME_LIMIT)
    }

    /// Connects through the kernel's device at `path`, normally `/dev/xen/xenbus`.
    pub fn over_device(path: impl AsRef<Path>) -> Result<Client, Error> {
        let path = path.as_ref();
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io(format!("opening {}", path.display()), errno))?;
        Client::start(Transport::Device(fd), TIME_LIMIT)
    }

    fn start_socket(stream: UnixStream, limit: Duration) -> Result<Client, Error> {
        stream.set_nonblocking(true).map_err(|error| failed("xenstore socket".into(), &error))?;
        Client::start(Transport::Socket(stream), limit)
    }

    fn start(transport: Transport, limit: Duration) -> Result<Client, Error> {
        let conn = Conn::new(transport, limit)?;
        let reader = std::thread::Builder::new()
            .name("xenstore-reader".into())
            .spawn({
                let conn = conn.clone();
                move || conn.run_reader()
            })
            .map_err(|error| failed("starting the xenstore reader thread".into(), &error))?;
        Ok(Client { conn, reader: Some(reader) })
    }

    /// Makes a domain known to xenstored, as a toolstack does: the page of its store ring and the event
    /// channel that it listens on. Only for privileged connections (and for tests without Xen).
    pub fn introduce(&self, domid: u16, gfn: u64, port: u32) -> Result<(), Error> {
        self.conn.introduce(domid, gfn, port)
    }

    /// Makes xenstored forget a domain; `@releaseDomain` fires.
    pub fn release(&self, domid: u16) -> Result<(), Error> {
        self.conn.release(domid)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.conn.stop();
        if let Some(reader) = self.reader.take() {
            // The reader has no panicking path; if it had one, dropping must not add a second panic.
            let _ = reader.join();
        }
    }
}

fn failed(what: String, error: &std::io::Error) -> Error {
    Error::Io { what, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}
