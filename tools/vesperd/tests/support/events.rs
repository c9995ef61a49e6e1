// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients that read events.

use std::io::BufRead;

use vesper_api::{Done, Failure, Request};
use vesper_events::{Event, Kind};

use super::{Client, World};

/// All that there is.
pub fn events(world: &World) -> Vec<Event> {
    let request = Request::Events { dom: None, since: 0, follow: false };
    Fed::begin(world, &request).unwrap().rest()
}

/// What there is of a kind.
pub fn of_kind(world: &World, kind: Kind) -> Vec<Event> {
    events(world).into_iter().filter(|event| event.event == kind).collect()
}

/// A client that is told of events.
pub struct Fed {
    client: Client,
    /// The greatest serial that there was when it asked.
    pub last: u64,
}

impl Fed {
    pub fn begin(world: &World, request: &Request) -> Result<Self, Failure> {
        let mut client = Client::connect(world.socket());
        match client.ask(request, None).into_result()? {
            Done::Events(reply) => Ok(Self { client, last: reply.last }),
            other => panic!("no events: {other:?}"),
        }
    }

    /// Told of all guests' events behind a serial, and of those that come.
    pub fn follow(world: &World, since: u64) -> Self {
        Self::begin(world, &Request::Events { dom: None, since, follow: true }).unwrap()
    }

    /// The next one; `None`: the daemon has closed the connection.
    pub fn next(&mut self) -> Option<Event> {
        let mut line = String::new();
        let count = self.client.lines().read_line(&mut line).expect("another event");
        (count > 0).then(|| vesper_api::from_line(line.as_bytes()).expect(&line))
    }

    /// Waits for one of a kind.
    pub fn until(&mut self, kind: Kind) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("it ended before {kind} came"));
            if event.event == kind {
                return event;
            }
        }
    }

    /// What comes until the daemon closes the connection.
    pub fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
