// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels between one guest and the devices that dom0 opened for it. All under the guest's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Port;

/// The channels of one guest, both ends.
#[derive(Default)]
pub(super) struct Events {
    guest: BTreeMap<Port, GuestEnd>,
    host: BTreeMap<Port, HostEnd>,
    queues: BTreeMap<u64, Queue>,
}

/// The guest's end of a channel.
struct GuestEnd {
    peer: Option<Port>,
    signal: Arc<EventFd>,
}

/// dom0's end of a channel.
struct HostEnd {
    queue: u64,
    peer: Option<Port>,
    masked: bool,
    pending: bool,
    /// Unmap notifications that will use this port.
    holds: usize,
    /// Unbound by its user; only holds keep it.
    closed: bool,
}

/// What one opened event channel device has to report.
struct Queue {
    ports: VecDeque<Port>,
    signal: Arc<EventFd>,
}

/// A new eventfd, not signalled.
pub(super) fn signal() -> Arc<EventFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Arc::new(EventFd::from_value_and_flags(0, flags).expect("eventfd"))
}

/// What is left of a closed port: signalled for ever.
pub(super) fn closed_signal() -> Arc<EventFd> {
    let signal = signal();
    raise(&signal);
    signal
}

fn raise(signal: &EventFd) {
    // It can only refuse when its counter is full, and then it is raised already.
    let _ = signal.write(1);
}

fn lower(signal: &EventFd) -> bool {
    signal.read().is_ok()
}

impl Events {
    // ---- dom0's side ----

    pub(super) fn open_queue(&mut self, queue: u64, signal: Arc<EventFd>) {
        self.queues.insert(queue, Queue { ports: VecDeque::new(), signal });
    }

    /// Closes every port of an opened device.
    pub(super) fn close_queue(&mut self, queue: u64) {
        let ports: Vec<Port> =
            self.host.iter().filter(|(_, end)| end.queue == queue).map(|(port, _)| *port).collect();
        for port in ports {
            self.unbind(queue, port);
        }
        self.queues.remove(&queue);
    }

    /// Binds `local` to the guest's unbound `remote`; false if there is no such port or it is bound.
    pub(super) fn bind(&mut self, queue: u64, local: Port, remote: Port) -> bool {
        match self.guest.get_mut(&remote) {
            Some(end) if end.peer.is_none() => end.peer = Some(local),
            _ => return false,
        }
        let end =
            HostEnd { queue, peer: Some(remote), masked: false, pending: false, holds: 0, closed: false };
        self.host.insert(local, end);
        // The guest may have notified while unbound, so Xen raises the local port at every bind
        // (`evtchn_bind_interdomain`).
        self.fire_host(local);
        true
    }

    pub(super) fn unbind(&mut self, queue: u64, local: Port) -> bool {
        let Some(end) = self.bound(queue, local) else { return false };
        end.closed = true;
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.ports.retain(|port| *port != local);
            if queue.ports.is_empty() {
                lower(&queue.signal);
            }
        }
        self.drop_if_unused(local);
        true
    }

    /// An event to the guest; false if the port is not bound here. With the guest's end closed it goes nowhere.
    pub(super) fn notify_guest(&mut self, queue: u64, local: Port) -> bool {
        let Some(end) = self.bound(queue, local) else { return false };
        let peer = end.peer;
        self.fire_guest(peer);
        true
    }

    pub(super) fn take_pending(&mut self, queue: u64) -> Vec<Port> {
        let Some(queue) = self.queues.get_mut(&queue) else { return Vec::new() };
        lower(&queue.signal);
        queue.ports.drain(..).collect()
    }

    pub(super) fn unmask(&mut self, queue: u64, local: Port) -> bool {
        let Some(end) = self.bound(queue, local) else { return false };
        end.masked = false;
        if std::mem::take(&mut end.pending) {
            self.fire_host(local);
        }
        true
    }

    // ---- unmap notifications ----

    /// Keeps a bound port of dom0's for a notification at unmap; false if there is none.
    pub(super) fn hold(&mut self, local: Port) -> bool {
        match self.host.get_mut(&local) {
            Some(end) if !end.closed => {
                end.holds += 1;
                true
            }
            _ => false,
        }
    }

    /// Lets go of a port that was held.
    pub(super) fn let_go(&mut self, local: Port) {
        if let Some(end) = self.host.get_mut(&local) {
            end.holds -= 1;
            self.drop_if_unused(local);
        }
    }

    /// Sends the event of an unmap and lets go of the port.
    pub(super) fn unmapped(&mut self, local: Port) {
        let peer = self.host.get(&local).and_then(|end| end.peer);
        self.fire_guest(peer);
        self.let_go(local);
    }

    // ---- the guest's side ----

    /// Opens an unbound port: the lowest free one, as Xen does.
    pub(super) fn alloc_unbound(&mut self) -> Port {
        let port =
            (1..).map(Port).find(|port| !self.guest.contains_key(port)).expect("fewer than 2^32 ports");
        self.guest.insert(port, GuestEnd { peer: None, signal: signal() });
        port
    }

    /// What the guest waits on for a port of its own.
    pub(super) fn guest_signal(&self, port: Port) -> Option<Arc<EventFd>> {
        self.guest.get(&port).map(|end| Arc::clone(&end.signal))
    }

    /// An event to dom0; an unbound port swallows it.
    pub(super) fn notify_host(&mut self, port: Port) {
        if let Some(local) = self.guest.get(&port).and_then(|end| end.peer) {
            self.fire_host(local);
        }
    }

    /// Whether dom0 is bound to the port.
    pub(super) fn is_bound(&self, port: Port) -> bool {
        self.guest.get(&port).is_some_and(|end| end.peer.is_some())
    }

    /// Closes the guest's end; dom0's becomes unbound and whoever waits on the guest's wakes.
    pub(super) fn close_guest(&mut self, port: Port) {
        if let Some(end) = self.guest.remove(&port) {
            raise(&end.signal);
            if let Some(host) = end.peer.and_then(|local| self.host.get_mut(&local)) {
                host.peer = None;
            }
        }
    }

    pub(super) fn close_all_guest(&mut self) {
        while let Some((&port, _)) = self.guest.first_key_value() {
            self.close_guest(port);
        }
    }

    // ---- inside ----

    fn bound(&mut self, queue: u64, local: Port) -> Option<&mut HostEnd> {
        self.host.get_mut(&local).filter(|end| end.queue == queue && !end.closed)
    }

    fn drop_if_unused(&mut self, local: Port) {
        if self.host.get(&local).is_some_and(|end| end.closed && end.holds == 0)
            && let Some(end) = self.host.remove(&local)
            && let Some(guest) = end.peer.and_then(|port| self.guest.get_mut(&port))
        {
            guest.peer = None;
        }
    }

    fn fire_guest(&self, peer: Option<Port>) {
        if let Some(end) = peer.and_then(|port| self.guest.get(&port)) {
            raise(&end.signal);
        }
    }

    fn fire_host(&mut self, local: Port) {
        let Some(end) = self.host.get_mut(&local).filter(|end| !end.closed) else { return };
        if end.masked {
            end.pending = true;
            return;
        }
        end.masked = true;
        if let Some(queue) = self.queues.get_mut(&end.queue) {
            queue.ports.push_back(local);
            raise(&queue.signal);
        }
    }
}
