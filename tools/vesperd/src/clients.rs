// SPDX-License-Identifier: MIT OR Apache-2.0
//! All connections, and what epoll is told of each.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vesper_api::{ErrorKind, Failure, MAX_LINE, Reply};

use crate::closer::{Closer, Foreign};
use crate::connection::{Connection, Line};
use crate::desk::{Answer, Desk};
use crate::peer::Peer;
use crate::seats::{self, Full};

/// A connection's number; never used again within a run, so that a late reply cannot reach another client.
pub(crate) type ClientId = u64;

/// Requests of one client that are worked on before others have their turn.
const LINES_A_TURN: u32 = 16;

pub(crate) struct Clients {
    connections: HashMap<ClientId, (Connection, EpollFlags)>,
    next: ClientId,
    limit: usize,
    group: Option<u32>,
    group_name: String,
    closer: Closer,
}

impl Clients {
    /// No clients yet. Their numbers start at `first`; smaller ones are free for other descriptors of the same epoll.
    pub(crate) fn new(
        first: ClientId,
        limit: usize,
        group: Option<u32>,
        group_name: &str,
        closer: Closer,
    ) -> Self {
        let group_name = group_name.to_owned();
        Self { connections: HashMap::new(), next: first, limit, group, group_name, closer }
    }

    /// Takes a new connection in, or tells it why not.
    pub(crate) fn welcome(&mut self, epoll: &Epoll, stream: UnixStream) -> io::Result<()> {
        // Whatever has been passed through it already is closed with it.
        let stream = Foreign::new(stream, &self.closer);
        let peer = Peer::of(&*stream)?;
        let refusal = if !peer.is_permitted(self.group) {
            log::warn!("process {} of user {} is not permitted to use the socket", peer.pid, peer.uid);
            let message = format!("user {} is neither root nor in the group {}", peer.uid, self.group_name);
            Some(Failure::new(ErrorKind::NotPermitted, message).remedy(format!(
                "run it as root, or add the user to the group: adduser USER {}",
                self.group_name
            )))
        } else {
            let taken = self.connections.values().map(|(connection, _)| connection.peer.uid);
            seats::find(self.limit, peer.uid, taken).err().map(|full| {
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
        };
        let mut connection = Connection::new(stream, peer, self.closer.clone());
        if let Some(failure) = refusal {
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
            Ok(()) => self.pump(epoll, desk, id),
            Err(error) => {
                log::debug!("client {id}: {error}");
                self.part(epoll, desk, id);
            }
        }
    }

    /// Sends a reply, and goes on with what the client asked next.
    pub(crate) fn deliver(&mut self, epoll: &Epoll, desk: &mut Desk, answer: Answer) {
        // Without a connection the client went away, which was logged then; how the command ended is logged at the desk.
        if let Some((connection, _)) = self.connections.get_mut(&answer.client) {
            connection.answer(&answer.reply);
            self.pump(epoll, desk, answer.client);
        }
    }

    /// Works through the lines that are there, as far as the client takes the replies.
    fn pump(&mut self, epoll: &Epoll, desk: &mut Desk, id: ClientId) {
        let Some((connection, _)) = self.connections.get_mut(&id) else { return };
        connection.backlog = false;
        for turn in 0.. {
            if let Err(error) = connection.flush() {
                log::debug!("client {id}: {error}");
                return self.part(epoll, desk, id);
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
                    if let Some(reply) = desk.request(id, &line, || connection.take_descriptor()) {
                        connection.answer(&reply);
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
        if connection.busy {
            log::info!("process {} went away before its command ended", connection.peer.pid);
            desk.forget(id);
        }
        if let Err(error) = epoll.delete(&connection) {
            log::error!("client {id}: epoll: {error}");
        }
    }
}
