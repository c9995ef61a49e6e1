// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection: requests out, one reader thread in.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::transport::{SendError, Transport};
use crate::watch::{Flag, Wake};
use crate::wire::{ERRORS, Frame, HEADER_LEN, Kind, PAYLOAD_MAX, Parser};
use crate::{Error, Tx};

/// One connection, shared by its client, its watches (weakly) and its reader thread.
#[derive(Debug)]
pub(super) struct Conn {
    transport: Transport,
    /// Held while one message is sent. Never taken with `state` held.
    sending: Mutex<()>,
    state: Mutex<State>,
    wake: Arc<Wake>,
    /// Fires when the client is dropped.
    quit: Arc<Wake>,
    limit: Duration,
}

#[derive(Debug)]
struct State {
    last_id: u32,
    last_token: u64,
    /// Requests without an answer, by request id; also those that nobody waits for any more.
    pending: BTreeMap<u32, Pending>,
    watches: HashMap<u64, Arc<Flag>>,
    /// What xenstored gave to a caller that had stopped waiting, to be given back.
    orphans: Vec<(Kind, Tx, Vec<u8>)>,
    /// Why the connection ended.
    dead: Option<String>,
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    /// The request's payload where an answer that comes too late must be undone (a watch).
    undo: Vec<u8>,
    answer: SyncSender<Frame>,
}

/// A mutex whose holder panicked is still good here: no invariant spans a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conn {
    pub(super) fn new(transport: Transport, limit: Duration) -> Result<Arc<Conn>, Error> {
        let state = State {
            last_id: 0,
            last_token: 0,
            pending: BTreeMap::new(),
            watches: HashMap::new(),
            orphans: Vec::new(),
            dead: None,
        };
        Ok(Arc::new(Conn {
            transport,
            sending: Mutex::new(()),
            state: Mutex::new(state),
            wake: Wake::new()?,
            quit: Wake::new()?,
            limit,
        }))
    }

    /// Makes one request and waits for its answer. `path` is for errors only.
    pub(super) fn request(&self, kind: Kind, tx: Tx, path: &str, payload: Vec<u8>) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + self.limit;
        let orphans = std::mem::take(&mut lock(&self.state).orphans);
        for (kind, tx, payload) in orphans {
            self.send(kind, tx, "", payload, deadline)?;
        }
        let (id, answer) = self.send(kind, tx, path, payload, deadline)?;
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(frame) => unpack(frame, path),
            Err(RecvTimeoutError::Disconnected) => Err(self.disconnected()),
            Err(RecvTimeoutError::Timeout) => match self.give_up(id, &answer) {
                Some(frame) => unpack(frame, path),
                None => Err(Error::Timeout { path: path.to_owned(), limit: self.limit }),
            },
        }
    }

    /// Sends a request; the answer arrives at the receiver, which disconnects when the connection ends.
    fn send(
        &self,
        kind: Kind,
        tx: Tx,
        path: &str,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> Result<(u32, std::sync::mpsc::Receiver<Frame>), Error> {
        let max = self.transport.payload_max();
        if payload.len() > max {
            return Err(Error::TooBig { path: path.to_owned(), len: payload.len(), max });
        }
        let (sender, answer) = sync_channel(1);
        // One message after the other, and in the order of their ids: the device's answers to WATCH and
        // UNWATCH carry no id and are matched by order.
        let sending = lock(&self.sending);
        let id = {
            let mut state = lock(&self.state);
            if let Some(why) = &state.dead {
                return Err(Error::Disconnected { why: why.clone() });
            }
            let undo = if kind == Kind::Watch { payload.clone() } else { Vec::new() };
            state.add(Pending { kind, undo, answer: sender })
        };
        let message = Frame { kind, req_id: id, tx_id: tx.0, payload }.encode();
        let sent = self.transport.send(&message, deadline);
        drop(sending);
        sent.map_err(|error| {
            lock(&self.state).pending.remove(&id);
            match error {
                SendError::Timeout => Error::Timeout { path: path.to_owned(), limit: self.limit },
                SendError::Refused(errno) => Error::from_errno(errno as i32, path),
                SendError::Broken(why) => {
                    self.end(&why);
                    self.disconnected()
                }
            }
        })?;
        Ok((id, answer))
    }

    /// Sends without waiting for the answer, which the reader throws away. Errors are of no use to the caller:
    /// it is being dropped.
    pub(super) fn tell(&self, kind: Kind, payload: Vec<u8>) {
        let _ = self.send(kind, Tx::NONE, "", payload, Instant::now() + self.limit);
    }

    /// Stops waiting for `id`, unless the answer came just now.
    fn give_up(&self, id: u32, answer: &std::sync::mpsc::Receiver<Frame>) -> Option<Frame> {
        // Under the lock the reader cannot be between taking the entry and sending the answer.
        let mut state = lock(&self.state);
        let came = answer.try_recv().ok();
        if let Some(pending) = state.pending.get_mut(&id) {
            // A channel without a receiver tells the reader that nobody waits.
            pending.answer = sync_channel(1).0;
        }
        came
    }

    /// Registers a flag under a new token.
    pub(super) fn add_watch(&self) -> (u64, Arc<Flag>) {
        let mut state = lock(&self.state);
        state.last_token += 1;
        let (token, flag) = (state.last_token, Flag::new(&self.wake));
        state.watches.insert(token, flag.clone());
        (token, flag)
    }

    /// Forgets a flag; events that are still under way for it are thrown away.
    pub(super) fn remove_watch(&self, token: u64) {
        lock(&self.state).watches.remove(&token);
    }

    /// Body of the reader thread.
    pub(super) fn run_reader(&self) {
        let mut parser = Parser::default();
        let mut buffer = vec![0; HEADER_LEN + PAYLOAD_MAX];
        let why = loop {
            let mut fds = [
                PollFd::new(self.transport.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.quit.fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => break format!("poll: {}", errno.desc()),
            }
            if fds[1].any() == Some(true) {
                break "the client was dropped".to_owned();
            }
            let count = match self.transport.receive(&mut buffer) {
                Ok(0) => break "xenstored closed the connection".to_owned(),
                Ok(count) => count,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => break format!("reading from xenstored: {}", errno.desc()),
            };
            let mut state = lock(&self.state);
            let mut wrong = None;
            let parsed = parser.push(&buffer[..count], |frame| {
                if wrong.is_none() {
                    wrong = state.accept(frame).err();
                }
            });
            let malformed = |error| format!("malformed message from xenstored: {error}");
            if let Some(why) = wrong.or(parsed.err().map(malformed)) {
                // Still under the lock: a caller whose answer was thrown away must find the reason.
                state.end(&why);
                break why;
            }
        };
        self.end(&why);
    }

    /// Ends the connection for ever and releases every waiter.
    fn end(&self, why: &str) {
        lock(&self.state).end(why);
        self.transport.shut();
        self.wake.signal();
    }

    /// Tells the reader thread to end.
    pub(super) fn stop(&self) {
        self.quit.signal();
    }

    pub(super) fn is_connected(&self) -> bool {
        lock(&self.state).dead.is_none()
    }

    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.fd()
    }

    pub(super) fn drain_wake(&self) {
        self.wake.drain();
    }

    fn disconnected(&self) -> Error {
        let why = lock(&self.state).dead.clone().unwrap_or_else(|| "connection ended".to_owned());
        Error::Disconnected { why }
    }
}

impl State {
    /// Notes the first reason; drops the senders, which is what the waiters see.
    fn end(&mut self, why: &str) {
        self.dead.get_or_insert_with(|| why.to_owned());
        self.pending.clear();
        self.orphans.clear();
    }

    fn add(&mut self, pending: Pending) -> u32 {
        // 0 is what the device answers to WATCH and UNWATCH; an id still in use belongs to a request that
        // xenstored has not answered for four billion others.
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.pending.contains_key(&self.last_id) {
                break;
            }
        }
        self.pending.insert(self.last_id, pending);
        self.last_id
    }

    /// Takes one message from xenstored. An error means that it is not one that can come.
    fn accept(&mut self, frame: Frame) -> Result<(), String> {
        if frame.kind == Kind::WatchEvent {
            // path NUL token NUL, and on the device perhaps more after it. The header's ids are not set there.
            let token = frame.payload.split(|&byte| byte == 0).nth(1).unwrap_or_default();
            let token = std::str::from_utf8(token).ok().and_then(|token| token.parse().ok());
            let token: u64 = token.ok_or("watch event from xenstored without a token of ours")?;
            // An unknown token is that of a watch dropped a moment ago.
            if let Some(flag) = self.watches.get(&token) {
                flag.mark();
            }
            return Ok(());
        }
        let id = match (frame.req_id, frame.kind) {
            // The kernel's own answers to these two have no id (`xenbus_write_watch`), but are in order.
            (0, Kind::Watch | Kind::Unwatch) => {
                self.pending.iter().find(|(_, pending)| pending.kind == frame.kind).map_or(0, |(&id, _)| id)
            }
            (id, _) => id,
        };
        let Some(pending) = self.pending.remove(&id) else {
            return Err(format!("answer from xenstored to request {id}, which was not made"));
        };
        if frame.kind != pending.kind && frame.kind != Kind::Error {
            return Err(format!("answer {:?} from xenstored to a request {:?}", frame.kind, pending.kind));
        }
        if let Err(unwanted) = pending.answer.try_send(frame) {
            self.undo(pending.kind, pending.undo, &unwanted);
        }
        Ok(())
    }

    /// Notes what must be given back, because the caller that asked for it has gone.
    fn undo(&mut self, kind: Kind, undo: Vec<u8>, answer: &std::sync::mpsc::TrySendError<Frame>) {
        let (std::sync::mpsc::TrySendError::Full(frame) | std::sync::mpsc::TrySendError::Disconnected(frame)) =
            answer;
        match (kind, frame.kind) {
            (Kind::Watch, Kind::Watch) => self.orphans.push((Kind::Unwatch, Tx::NONE, undo)),
            (Kind::TransactionStart, Kind::TransactionStart) => {
                if let Ok(tx) = super::ops::parse_tx(&frame.payload) {
                    self.orphans.push((Kind::TransactionEnd, tx, b"F\0".to_vec()));
                }
            }
            _ => {}
        }
    }
}

/// The payload of an answer, or the error it carries.
fn unpack(frame: Frame, path: &str) -> Result<Vec<u8>, Error> {
    if frame.kind != Kind::Error {
        return Ok(frame.payload);
    }
    let name = frame.payload.strip_suffix(&[0]).unwrap_or(&frame.payload);
    let known = ERRORS.iter().find(|(known, _)| known.as_bytes() == name);
    Err(Error::from_errno(known.map_or(libc::EIO, |&(_, errno)| errno), path))
}
