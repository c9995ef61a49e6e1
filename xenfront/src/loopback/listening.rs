// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's part of the device's connection, as `kmod/vesper_listener.c`.

use std::format;
use std::os::fd::OwnedFd;
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

use vesper_grant::{Access, PAGE_SIZE, Port};
use vesper_ring::wire::listener::WORDS;
use vesper_ring::wire::xenbus::{
    FEATURE_LISTENER, LISTENER_EVENT_CHANNEL, LISTENER_HEARTBEAT_REF, LISTENER_MAX_EXPORTS,
    LISTENER_MAX_PAGES, LISTENER_RING_REF, LISTENER_WORDS_REF,
};
use vesper_xenstore::{Store, Tx, read_u32_or};

use super::grants::Granted;
use super::relay::{Handle, Shared, Task};
use crate::frontend::Progress;
use crate::listener::Listener;
use crate::traits::Fault;

/// Clocks drift: how often the host's is asked for.
const TIME_PERIOD: Duration = Duration::from_secs(10);

/// The ring, the port and the pages that are there as long as the connection.
pub(super) struct Listening {
    relay: Arc<Shared>,
    core: Listener<Handle, Handle>,
    ring: Option<Granted>,
    port: Option<Port>,
    pages: Vec<Granted>,
    started: bool,
    next_time: Instant,
}

impl Listening {
    pub(super) fn new(relay: Arc<Shared>) -> Self {
        let core = Listener::new(Handle::new(&relay), Handle::new(&relay));
        let next_time = Instant::now();
        Self { relay, core, ring: None, port: None, pages: Vec::new(), started: false, next_time }
    }

    /// Makes ring and port if that backend has a listener. The nodes to publish: those without a value must not be left
    /// of a connection before.
    pub(super) fn open(&mut self, store: &dyn Store, backend: &str) -> Vec<(String, Option<String>)> {
        let read = |node: &str, absent: u32| {
            read_u32_or(store, Tx::NONE, &format!("{backend}/{node}"), 0..=u32::MAX, absent).unwrap_or(absent)
        };
        if read(FEATURE_LISTENER, 0) > 0 {
            self.relay.set_quota(read(LISTENER_MAX_PAGES, 4096), read(LISTENER_MAX_EXPORTS, 16));
            self.share();
        }
        let refs = (0..=WORDS).map(|at| self.pages.get(at).map(|granted| granted.gref.0.to_string()));
        let names = std::iter::once(LISTENER_HEARTBEAT_REF.to_string())
            .chain((0..WORDS).map(|place| format!("{LISTENER_WORDS_REF}{place}")));
        let ring = self.ring.as_ref().map(|ring| ring.gref.0.to_string());
        let port = self.port.map(|port| port.0.to_string());
        let own = [(LISTENER_RING_REF.to_string(), ring), (LISTENER_EVENT_CHANNEL.to_string(), port)];
        own.into_iter().chain(names.zip(refs)).collect()
    }

    fn share(&mut self) {
        let (ring, pages) = self.relay.with_grants(|grants| {
            let share = |page| grants.share(page, Access::ReadOnly);
            (grants.grant(Access::ReadWrite), self.relay.pages().map(share).collect())
        });
        // SAFETY: the page lives until `release`, which detaches first; the host has the only other access.
        let attached = unsafe { self.core.attach(ring.page.as_ptr(), PAGE_SIZE) };
        attached.expect("a page holds a ring");
        let port = self.relay.guest().alloc_unbound();
        (self.ring, self.pages, self.port) = (Some(ring), pages, Some(port));
        self.relay.set_bell(self.port);
    }

    /// Both ends are connected, and whoever sees our state is to find it so.
    pub(super) fn connected(&mut self) {
        self.started = self.port.is_some();
        if self.started {
            self.relay.connected();
            self.next_time = Instant::now() + TIME_PERIOD;
        }
    }

    /// Asks the first question.
    pub(super) fn start(&mut self) -> Result<(), Fault> {
        if self.started { self.core.start() } else { Ok(()) }
    }

    /// What to wait for; as of the loader's port.
    pub(super) fn event_fd(&self) -> Option<OwnedFd> {
        let guest = self.relay.guest();
        let hears = self.started && guest.is_alive();
        self.port.filter(|_| hears).map(|port| guest.event_fd(port))
    }

    /// How long until there is something to do by itself.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.started.then(|| self.next_time.saturating_duration_since(Instant::now()))
    }

    /// Takes the answers that are there, tells what there is to tell, asks for the time when it is due.
    pub(super) fn run(&mut self) -> Result<(), Fault> {
        if self.started && self.port.is_some_and(|port| self.relay.guest().wait(port, Duration::ZERO)) {
            while self.core.run()? == Progress::More {}
        }
        while let Some(task) = self.relay.next_task() {
            match task {
                Task::Export(slot) => self.core.export(slot)?,
                Task::Unexport(slot, number) => self.core.unexport(slot, number)?,
            }
        }
        if self.pause() == Some(Duration::ZERO) {
            self.next_time = Instant::now() + TIME_PERIOD;
            self.core.time()?;
        }
        Ok(())
    }

    /// Nothing is said or heard any more until the next connection.
    pub(super) fn stop(&mut self) {
        self.started = false;
    }

    /// Gives back all that a connection has.
    pub(super) fn release(&mut self) {
        self.started = false;
        self.relay.set_bell(None);
        self.core.detach();
        if let Some(port) = self.port.take() {
            self.relay.guest().close(port);
        }
        self.relay.released();
        let pages = std::mem::take(&mut self.pages).into_iter().chain(self.ring.take());
        self.relay.with_grants(|grants| pages.for_each(|granted| grants.end(granted)));
    }

    pub(super) fn owes(&self) -> bool {
        self.relay.with_grants(|grants| grants.owes())
    }

    pub(super) fn settle(&mut self) {
        self.relay.with_grants(|grants| grants.settle());
    }

    /// The module goes out, and so have those that use it.
    pub(super) fn unload(&mut self) {
        self.relay.forget();
        self.relay.with_grants(|grants| grants.leave_to_kernel());
    }
}
