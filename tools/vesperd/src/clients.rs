// SPDX-License-Identifier: MIT OR Apache-2.0
//! All connections but those that are told of events, and what epoll is told of each.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vesper_api::{ErrorKind, Failure, MAX_LINE, Reply, Since};
use vesper_grant::DomId;
use vesper_relay_mirror::Start;

use crate::closer::{Closer, Foreign};
use crate::connection::{Connection, Line};
use crate::desk::{Caller, Desk, Notice, Response, Told, add_words};
use crate::events::{Feed, Reader};
use crate::peer::Peer;
use crate::rights::Rights;
use crate::seats::{self, Full};
use crate::streams::{Stream, Turn};
use crate::view;

/// A connection's number; never used again within a run, so that a late reply cannot reach another client.
pub(crate) type ClientId = u64;

/// Requests of one client that are worked on before others have their turn.
const LINES_A_TURN: u32 = 16;

pub(crate) struct Clients {
    connections: HashMap<ClientId, (Connection, EpollFlags)>,
    /// Of those connections that have one. Nothing is read from them any more.
    streams: HashMap<ClientId, Stream>,
    /// The same by guest, so that what happens in one costs nothing for streams of the others.
    readers: BTreeSet<(DomId, ClientId)>,
    /// The users of those that are told of events. Their connections are elsewhere, and have a seat as long as they are there.
    elsewhere: Vec<Weak<u32>>,
    next: ClientId,
    limit: usize,
    rights: Rights,
    closer: Closer,
}

impl Clients {
    /// No clients yet. Their numbers start at `first`; smaller ones are free for other descriptors of the same epoll.
    pub(crate) fn new(first: ClientId, limit: usize, rights: Rights, closer: Closer) -> Self {
        let (connections, streams, readers) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        let elsewhere = Vec::new();
        Self { connections, streams, readers, elsewhere, next: first, limit, rights, closer }
    }

    /// Takes a new connection in, or tells it why not.
    pub(crate) fn welcome(&mut self, epoll: &Epoll, stream: UnixStream) -> io::Result<()> {
        // Whatever has been passed through it already is closed with it.
        let stream = Foreign::new(stream, &self.closer);
        let peer = Peer::of(&*stream)?;
        self.elsewhere.retain(|seat| seat.strong_count() > 0);
        let refusal = self.rights.welcome(&peer).and_then(|()| {
            let here = self.connections.values().map(|(connection, _)| connection.peer.uid);
            let elsewhere = self.elsewhere.iter().filter_map(Weak::upgrade).map(|uid| *uid);
            seats::find(self.limit, peer.uid, here.chain(elsewhere)).map_err(|full| {
                let message = match full {
                    Full::All(taken) => format!("{taken} clients are connected already, no more are taken"),
                    Full::User(taken) => {
                        format!("user {} has {taken} clients connected already, no more are taken", peer.uid)
                    }
                };
                Failure::new(ErrorKind::QueueFull, message).remedy(
                    "try again when other commands have ended, or raise limits.connections in /etc/vesper/vesper.toml",
                )
            })
        });
        let mut connection = Connection::new(stream, peer.into(), self.closer.clone());
        if let Err(failure) = refusal {
            // One attempt: a reply as short as this fits into an empty socket buffer.
            connection.answer(&Reply::from(Err(failure)));
            return connection.flush();
        }
        let id = self.next;
        self.next += 1;
        let interest = connection.interest();
        epoll.add(&connection, EpollEvent::new(interest, id))?;
        self.connections.insert(id, (connection, interest));
        Ok(())
    }

    /// Something happened at a connection.
    pub(crate) fn serve(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId, what: EpollFlags) {
        let Some((connection, _)) = self.connections.get_mut(&id) else { return };
        // Both directions are closed: nobody is there to read a reply.
        if what.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return self.part(epoll, desk, id);
        }
        let moved = (|| {
            connection.flush()?;
            if connection.is_ready() { connection.receive() } else { Ok(()) }
        })();
        match moved {
            Ok(()) if self.streams.contains_key(&id) => self.stream(epoll, desk, id),
            Ok(()) => self.pump(epoll, desk, id),
            Err(error) => self.lose(epoll, desk, id, &error),
        }
    }

    /// Sends what the desk has to say: a reply, after which the client's next request has its turn; or news for streams.
    pub(crate) fn deliver(&mut self, epoll: &Epoll, desk: &mut Desk, told: Told) {
        match told {
            // Without a connection the client went away, which was logged then; how the command ended is logged at the desk.
            Told::Answer(answer) => {
                if let Some((connection, _)) = self.connections.get_mut(&answer.client) {
                    connection.answer(&answer.reply);
                    self.pump(epoll, desk, answer.client);
                }
            }
            Told::Notice(domid, notice) => {
                let meant = (domid, ClientId::MIN)..=(domid, ClientId::MAX);
                for (_, id) in self.readers.range(meant).copied().collect::<Vec<_>>() {
                    let Some(stream) = self.streams.get_mut(&id) else { continue };
                    notify(stream, desk, &notice);
                    if stream.flow.is_hopeless() {
                        log::warn!("domain {domid}: client {id} does not read, its stream is ended");
                        self.part(epoll, desk, id);
                    } else {
                        self.stream(epoll, desk, id);
                    }
                }
            }
        }
    }

    /// Hands a connection over to who tells of events. Nothing more is read from it.
    fn hand_over(&mut self, epoll: &Epoll, desk: &Desk, id: ClientId, feed: Feed) {
        let Some((connection, _)) = self.connections.remove(&id) else { return };
        if let Err(error) = epoll.delete(&connection) {
            return log::error!("client {id}: epoll: {error}");
        }
        let seat = Arc::new(connection.peer.uid);
        self.elsewhere.push(Arc::downgrade(&seat));
        desk.tell_events(Reader { id, seat, connection, feed });
    }

    /// Sends of a client's stream what it takes, and no more than a turn.
    fn stream(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId) {
        let (Some((connection, _)), Some(stream)) =
            (self.connections.get_mut(&id), self.streams.get_mut(&id))
        else {
            return;
        };
        // The reply goes first.
        let served = if connection.has_sent() { stream.serve(connection.as_fd()) } else { Ok(Turn::More) };
        connection.backlog = matches!(served, Ok(Turn::More));
        if stream.flow.has_moved_on() {
            desk.moved_on(stream.domid());
        }
        match served {
            Ok(Turn::Idle | Turn::More) => self.update(epoll, desk, id),
            Ok(Turn::Over) => {
                connection.busy = false;
                self.part(epoll, desk, id);
            }
            Err(error) => self.lose(epoll, desk, id, &error),
        }
    }

    /// The daemon stops: says so in every stream.
    pub(crate) fn stop(&mut self) {
        for (id, stream) in &mut self.streams {
            if let Some((connection, _)) = self.connections.get(id)
                && let Err(error) = stream.stop(connection.as_fd(), view::stopped())
            {
                log::debug!("client {id}: {error}");
            }
        }
    }

    fn lose(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId, error: &io::Error) {
        log::debug!("client {id}: {error}");
        self.part(epoll, desk, id);
    }

    /// Works through the lines that are there, as far as the client takes the replies.
    fn pump(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId) {
        let Some((connection, _)) = self.connections.get_mut(&id) else { return };
        connection.backlog = false;
        for turn in 0.. {
            if let Err(error) = connection.flush() {
                return self.lose(epoll, desk, id, &error);
            }
            if !connection.is_ready() {
                break;
            }
            if turn == LINES_A_TURN {
                connection.backlog = true;
                break;
            }
            match connection.next_line() {
                Line::Whole(line) => {
                    connection.busy = true;
                    let peer = connection.peer.clone();
                    let caller = Caller { id, peer: &peer, rights: &self.rights };
                    match desk.request(caller, &line, || connection.take_descriptor()) {
                        Response::Later => {}
                        Response::Reply(reply) => connection.answer(&reply),
                        Response::Stream(reply, stream) => {
                            connection.answer(&reply);
                            connection.busy = true;
                            connection.backlog = true;
                            self.readers.insert((stream.domid(), id));
                            self.streams.insert(id, *stream);
                            return self.update(epoll, desk, id);
                        }
                        Response::Feed(reply, feed) => {
                            connection.answer(&reply);
                            return self.hand_over(epoll, desk, id, feed);
                        }
                    }
                }
                Line::TooLong => {
                    let message = format!("the line is longer than {MAX_LINE} bytes");
                    connection.answer(&Reply::from(Err(Failure::new(ErrorKind::BadRequest, message))));
                    connection.end_input();
                }
                Line::None => break,
            }
        }
        if connection.is_over() {
            return self.part(epoll, desk, id);
        }
        self.update(epoll, desk, id);
    }

    fn update(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId) {
        let Some((connection, told)) = self.connections.get_mut(&id) else { return };
        let interest = connection.interest();
        if interest == *told {
            return;
        }
        *told = interest;
        if let Err(error) = epoll.modify(&*connection, &mut EpollEvent::new(interest, id)) {
            log::error!("client {id}: epoll: {error}");
            self.part(epoll, desk, id);
        }
    }

    fn part(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId) {
        let Some((connection, _)) = self.connections.remove(&id) else { return };
        if let Some(stream) = self.streams.remove(&id) {
            self.readers.remove(&(stream.domid(), id));
            // Its readers hold nothing back any more.
            desk.moved_on(stream.domid());
        } else if connection.busy {
            log::info!("process {} went away before its command ended", connection.peer.pid);
            desk.forget(id);
        }
        if let Err(error) = epoll.delete(&connection) {
            log::error!("client {id}: epoll: {error}");
        }
    }
}

/// Tells a stream what happened.
fn notify(stream: &mut Stream, desk: &Desk, notice: &Notice) {
    let (domid, flow) = (stream.domid(), &mut stream.flow);
    match notice {
        Notice::Moved => {
            for number in flow.grown() {
                desk.export(domid, number).iter().for_each(|export| flow.extend(export));
            }
            flow.moved();
        }
        Notice::Exported(export) => {
            if flow.wants(export.name.as_str()) {
                let reader = export.channel.reader(Start::Oldest);
                flow.add(view::export(export, Since::Boot), reader);
            }
        }
        Notice::Unexported(number, reason) => {
            if flow.ended(*number, *reason) {
                log::warn!("domain {domid}: a client does not read; channels that end are given up for it");
            }
        }
        Notice::Words(words) => add_words(flow, words),
        Notice::Booted(guest) => flow.booted(guest.clone()),
        Notice::Gone(gone, reason) => flow.gone(gone.clone(), *reason),
    }
    if flow.wants_clock(Instant::now()) {
        desk.clock(domid).into_iter().for_each(|clock| flow.clock(clock));
    }
}
