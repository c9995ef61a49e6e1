// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that tells clients of events.
//!
//! The loop does not do it, because it is busy just when there is most to tell: at a domain's end it copies what was recorded,
//! gives memory back and asks xenstore. A connection that asked for events has nothing else to say, so it is handed over whole.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollFlags;

use super::feed::Feed;
use super::{Shared, lock, raise};
use crate::clients::ClientId;
use crate::connection::Connection;

/// Until the kernel is asked again what it refused to say.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread, as others see it.
pub(super) struct Teller {
    shared: Arc<Shared>,
    door: Arc<Door>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told, when `Shared::to_tell` is readable.
#[derive(Default)]
struct Door {
    arrived: Mutex<Vec<Reader>>,
    stop: AtomicBool,
}

/// A client that reads events.
pub(crate) struct Reader {
    pub(crate) id: ClientId,
    /// Whose it is. Who has the other half knows that the seat is taken; it is free before the other end sees that it is over.
    #[expect(dead_code, reason = "it is there to be dropped, and before the connection")]
    pub(crate) seat: Arc<u32>,
    pub(crate) connection: Connection,
    pub(crate) feed: Feed,
}

impl Teller {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let door = Arc::new(Door::default());
        let (of_all, own) = (shared.clone(), door.clone());
        let thread = thread::Builder::new().name("teller".into()).spawn(move || run(&of_all, &own))?;
        Ok(Self { shared, door, thread: Some(thread) })
    }

    /// From now on this client is told.
    pub(super) fn take(&self, client: Reader) {
        lock(&self.door.arrived).push(client);
        raise(&self.shared.to_tell);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.door.stop.store(true, Ordering::Release);
        raise(&self.shared.to_tell);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that tells clients of events has failed");
        }
    }
}

fn run(shared: &Shared, door: &Door) {
    let mut clients = Vec::new();
    loop {
        // Before anything is looked at, so that what comes after that is a reason to look again.
        let _ = shared.to_tell.read();
        let stop = door.stop.load(Ordering::Acquire);
        clients.append(&mut lock(&door.arrived));
        clients.retain_mut(|client| {
            client.tell(shared).unwrap_or_else(|error| {
                log::debug!("client {}: {error}", client.id);
                false
            })
        });
        if stop {
            return;
        }
        wait(shared, &mut clients);
    }
}

/// Until something was told, somebody came or takes more. Who has hung up is let go.
fn wait(shared: &Shared, clients: &mut Vec<Reader>) {
    // A hang-up is always told, and nothing more is read.
    let interest = |client: &Reader| {
        let sends = client.connection.interest().contains(EpollFlags::EPOLLOUT);
        if sends { PollFlags::POLLOUT } else { PollFlags::empty() }
    };
    let told = PollFd::new(shared.to_tell.as_fd(), PollFlags::POLLIN);
    let of_clients = clients.iter().map(|client| PollFd::new(client.connection.as_fd(), interest(client)));
    let mut all: Vec<_> = std::iter::once(told).chain(of_clients).collect();
    match poll(&mut all, PollTimeout::NONE) {
        Ok(_) => {
            let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
            let is_there = |poll: &PollFd<'_>| !poll.revents().is_some_and(|what| what.intersects(gone));
            let mut are_there = all[1..].iter().map(is_there).collect::<Vec<_>>().into_iter();
            clients.retain(|_| are_there.next().unwrap_or(true));
        }
        Err(Errno::EINTR) => {}
        Err(errno) => {
            log::error!("clients are told of events a second later: poll: {errno}");
            thread::sleep(PAUSE);
        }
    }
}

impl Reader {
    /// Sends what the client takes, and no more than a turn. False: it has all it asked for.
    fn tell(&mut self, shared: &Shared) -> io::Result<bool> {
        self.connection.backlog = false;
        // The reply goes first.
        self.connection.flush()?;
        if !self.connection.has_sent() {
            return Ok(true);
        }
        let lines = self.feed.next(&shared.recent);
        if lines.is_empty() {
            return Ok(!self.feed.ends());
        }
        self.connection.say(&lines);
        self.connection.flush()?;
        self.connection.backlog = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;
    use std::sync::Weak;

    use vesper_api::{Done, EventsFollow, GuestRef, Reply};
    use vesper_events::{Book, Event, Kept, Kind, Report, Who};
    use vesper_stream::Moment;

    use super::super::feed::Meant;
    use super::*;
    use crate::closer::{Closer, Foreign};
    use crate::peer::Peer;

    /// Those with these serials, with causes of some hundred bytes.
    fn events(serials: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
        let mut book = Book::new(&Kept::nothing(), 0);
        let guest = GuestRef { domid: 1, name: "g1".into(), uuid: "u1".into() };
        let report = Report::seen(Kind::ProbeLost, "x".repeat(500), Moment { nanos: 0 });
        book.report(&Who::new(guest, None), report, 0);
        let told = book.told().remove(0).event;
        serials.map(|serial| Arc::new(Event { serial, fault: serial, ..told.clone() })).collect()
    }

    /// A client that has asked, and has not got its reply yet.
    fn client(teller: &Teller, follow: bool) -> (BufReader<UnixStream>, Weak<u32>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let closer = Closer::start().unwrap();
        let peer = Peer { pid: 1, uid: 0, gid: 0, groups: Vec::new() };
        let seat = Arc::new(peer.uid);
        let known = Arc::downgrade(&seat);
        let mut connection = Connection::new(Foreign::new(ours, &closer), peer.into(), closer);
        connection.answer(&Reply::from(Ok(Done::Events(EventsFollow { last: 0, gone: 0 }))));
        teller.take(Reader { id: 1, seat, connection, feed: Feed::new(Meant::All, 0, follow) });
        (BufReader::new(theirs), known)
    }

    fn line(client: &mut BufReader<UnixStream>) -> Vec<u8> {
        let mut line = Vec::new();
        client.read_until(b'\n', &mut line).expect("a line, or the end");
        line
    }

    fn serial(client: &mut BufReader<UnixStream>) -> u64 {
        vesper_api::from_line::<Event>(&line(client)).unwrap().serial
    }

    /// Waits until it is.
    fn is_free(seat: &Weak<u32>) {
        let free = (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            seat.strong_count() == 0
        });
        assert!(free, "it keeps its seat");
    }

    fn is_a_reply(line: &[u8]) -> bool {
        vesper_api::from_line::<Reply>(line).is_ok()
    }

    #[test]
    fn clients_are_told_with_nobody_else_at_work() {
        let shared = Arc::new(Shared::new().unwrap());
        let teller = Teller::start(shared.clone()).unwrap();
        shared.add(events(1..=2));
        let (mut follows, _) = client(&teller, true);
        assert!(is_a_reply(&line(&mut follows)), "the reply goes first");
        assert_eq!([serial(&mut follows), serial(&mut follows)], [1, 2]);
        let (mut asks, seat) = client(&teller, false);
        assert!(is_a_reply(&line(&mut asks)));
        assert_eq!([serial(&mut asks), serial(&mut asks)], [1, 2]);
        assert_eq!(line(&mut asks), b"", "it has all it asked for");
        assert_eq!(seat.strong_count(), 0, "who comes again at once has a seat");
        shared.add(events(3..=3));
        assert_eq!(serial(&mut follows), 3);
        // What is there when the daemon stops is told, too.
        lock(&shared.recent).add(events(4..=4).remove(0));
        drop(teller);
        assert_eq!(serial(&mut follows), 4);
        assert_eq!(line(&mut follows), b"");
    }

    #[test]
    fn one_that_does_not_read_or_went_away_costs_the_others_nothing() {
        let shared = Arc::new(Shared::new().unwrap());
        let teller = Teller::start(shared.clone()).unwrap();
        let (mut slow, _) = client(&teller, true);
        let (gone, seat) = client(&teller, true);
        let (mut reads, _) = client(&teller, true);
        assert!(is_a_reply(&line(&mut reads)));
        drop(gone);
        is_free(&seat);
        // More than a socket takes.
        let all = 1..=2000;
        shared.add(events(all.clone()));
        all.clone().for_each(|wanted| assert_eq!(serial(&mut reads), wanted));
        assert!(is_a_reply(&line(&mut slow)));
        all.for_each(|wanted| assert_eq!(serial(&mut slow), wanted));
    }
}
