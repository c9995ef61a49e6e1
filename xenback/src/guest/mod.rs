// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest: its identity, its loader, and its device while it has one.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what a guest is, commands, one turn of serving, what can be told of it |
//! | `lifecycle.rs` | the xenbus states: what each end says and what follows |
//! | `connect.rs` | the way into a connection and out of it: connect, close, fail, reopen, remove |
//! | `listening.rs` | its channels: turns, what is told of them, its end |
//!
//! Loader and listener live as long as the guest, not as long as its device, so that a result that comes after a detach
//! and an attach is still understood, and a channel that is announced again goes on.

mod connect;
mod lifecycle;
mod listening;

pub(crate) use listening::domain;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;
use vesper_action::listener::{self, DeadCause, Listener, Quota, Remains};
use vesper_action::{Command, CommandId, Failure, Loader, LogLimit, Memory, Run};
use vesper_grant::{DomId, DomainState, Host};
use vesper_ring::wire::xenbus::State;
use vesper_xenstore::{Store, Watch};

use crate::listener::ListenerLine;
use crate::loader::LoaderLine;
use crate::nodes::{self, Published};
use crate::{Counters, DeviceState, Error, Event, GuestInfo, Limits, RETRY, Uuid};

/// What a guest needs of the backend to act.
pub(crate) struct Context<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) store: &'a dyn Store,
    pub(crate) epoll: &'a Epoll,
    pub(crate) limits: &'a Limits,
    pub(crate) events: &'a mut Vec<Event>,
    /// What is left of guests that ended.
    pub(crate) remains: &'a mut BTreeMap<DomId, Remains>,
    pub(crate) now: Instant,
}

/// One guest.
pub(crate) struct Guest {
    pub(crate) domid: DomId,
    pub(crate) uuid: Uuid,
    /// What it is called, as far as known.
    name: RefCell<String>,
    loader: Loader,
    listener: Listener,
    device: Option<Device>,
    /// A kick of the loader's was taken or a turn was cut short: it is to be served.
    pub(crate) signalled: bool,
    /// The same of the listener.
    pub(crate) listening: bool,
    /// Its turn waits until readers have had what it wrote.
    readers_first: bool,
    /// When the listener has something to do.
    listener_at: Option<Instant>,
    /// The node `loader-memory` is out of date.
    memory_changed: bool,
    /// The node `listener-heard` is out of date.
    heard_changed: bool,
    /// It was seen suspended, so that it is not dead when it is gone.
    suspended: bool,
    /// Its toolstack was seen to destroy it, and has paused it for that.
    taken_apart: bool,
    /// What ended it. It may be here all the same, kept as it was.
    ended: Option<DeadCause>,
    tally: Tally,
    fence: Fence,
    churn: Churn,
    log_limit: LogLimit,
}

/// The guest's VESPER device.
struct Device {
    /// `None` while there is no xenstore.
    watches: Option<Watches>,
    /// The toolstack's consoles were there when last looked at.
    has_consoles: bool,
    /// Our state.
    state: State,
    /// The frontend's state when it was last looked at.
    frontend: State,
    published: Option<Published>,
    loader_line: Option<LoaderLine>,
    /// `None` also with a frontend that has no listener.
    listener_line: Option<ListenerLine>,
    /// The connection was a predecessor's and nothing was taken from it yet. It may have died while it wrote an answer
    /// over a request, so what is wrong there is not the guest's fault (`docs/protocol.md`, "Restart of the daemon").
    taken_over: TakenOver,
    /// What comes after Closed.
    then: Then,
    /// Closing: when the frontend is no longer waited for.
    close_deadline: Option<Instant>,
    /// Why the device was stopped.
    failure: Option<String>,
    /// What the node `loader-memory` holds, or was to hold.
    memory: Memory,
    /// The node `loader-memory` could not be written.
    memory_unwritten: bool,
    /// What the node `listener-heard` holds, or was to hold.
    heard: listener::Memory,
    /// The nodes of the listener could not be written.
    listener_unwritten: bool,
    /// Our state could not be written.
    state_unwritten: bool,
    /// When to try again what failed for want of xenstore or of a device.
    retry_at: Option<Instant>,
}

/// The watches of one device.
struct Watches {
    /// Dirty when the frontend's state changed.
    frontend: Watch,
    /// Dirty when the toolstack may have asked for the device to go.
    online: Watch,
    /// Dirty when the toolstack may have begun to destroy the domain.
    consoles: Watch,
}

impl Watches {
    fn register(store: &dyn Store, guest: DomId) -> Result<Self, vesper_xenstore::Error> {
        Ok(Self {
            frontend: store.watch(&format!("{}/state", nodes::frontend(guest)))?,
            online: store.watch(&nodes::online(guest))?,
            consoles: store.watch(&nodes::consoles(guest))?,
        })
    }
}

/// Which rings were a predecessor's and have not been looked into.
#[derive(Clone, Copy, Debug, Default)]
struct TakenOver {
    loader: bool,
    listener: bool,
}

/// What comes after Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Nothing, until the frontend starts again.
    Stay,
    /// Offer the device again at once.
    Reopen,
    /// The device goes.
    Remove,
}

/// Why a connection is closed that a predecessor had made.
const NOT_TAKEN_OVER: &str = "its connection cannot be taken over";

/// Counters that neither the loader nor the devices keep.
#[derive(Default)]
struct Tally {
    requests: u64,
    spurious_kicks: u64,
    protocol_errors: u64,
    connections: u64,
}

/// Keeps a guest that broke the protocol from doing so all day: it may connect again by itself, but later and later.
#[derive(Default)]
struct Fence {
    delay: Duration,
    until: Option<Instant>,
}

/// Connections of late. Each costs the host transactions in xenstore and lines in its log, so they are counted.
#[derive(Default)]
struct Churn {
    since: Option<Instant>,
    connections: u32,
}

impl Churn {
    /// More in one [`Churn::PERIOD`] are taken for a breach of the protocol.
    const MAX: u32 = 60;
    const PERIOD: Duration = Duration::from_secs(60);

    /// Counts a connection that the guest asks for. False if it is one too many; then the count begins anew.
    fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::PERIOD) {
            *self = Self { since: Some(now), connections: 0 };
        }
        self.connections += 1;
        let admitted = self.connections <= Self::MAX;
        if !admitted {
            *self = Self::default();
        }
        admitted
    }
}

impl Fence {
    const FIRST: Duration = Duration::from_secs(1);

    fn raise(&mut self, limits: &Limits, now: Instant) {
        self.delay = (self.delay * 2).clamp(Self::FIRST.min(limits.max_fence), limits.max_fence);
        self.until = Some(now + self.delay);
    }

    fn is_up(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

impl Guest {
    pub(crate) fn new(
        domid: DomId,
        uuid: Uuid,
        run: &Arc<Run>,
        quota: &Arc<Quota>,
        limits: &Limits,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let label = format!("domain {domid}");
        Self {
            domid,
            uuid,
            loader: Loader::new(Arc::clone(run), limits.queue_length, label.clone()),
            listener: Listener::new(Arc::clone(quota), limits.lag_limit, label, wake),
            device: None,
            signalled: false,
            listening: false,
            readers_first: false,
            listener_at: None,
            memory_changed: false,
            heard_changed: false,
            name: RefCell::default(),
            suspended: false,
            taken_apart: false,
            ended: None,
            tally: Tally::default(),
            fence: Fence::default(),
            churn: Churn::default(),
            log_limit: LogLimit::default(),
        }
    }

    /// Accepts a command and hands it to the guest if that waits for one.
    pub(crate) fn submit(
        &mut self,
        command: Command,
        timeout: Duration,
        context: &mut Context<'_>,
    ) -> Result<CommandId, Error> {
        let domid = self.domid;
        let device = self.device.as_ref().ok_or(Error::NotAttached(domid))?;
        if let Some(reason) = &device.failure {
            return Err(Error::DeviceStopped { domid, reason: reason.clone() });
        }
        // A guest that was connected and is coming back (resumed, or taken over) is worth waiting for.
        let coming_back = device.state == State::InitWait && device.published.is_some();
        if device.state != State::Connected && !coming_back {
            return Err(Error::NotConnected(domid));
        }
        let id = self
            .loader
            .submit(command, timeout, context.now)
            .map_err(|source| Error::Submit { domid, source })?;
        if let Some(line) = self.device.as_mut().and_then(|device| device.loader_line.as_mut())
            && let Err(violation) = self.loader.pump(line, context.now)
        {
            self.fail(violation.to_string(), context);
        }
        Ok(id)
    }

    /// The guest's event channel is readable.
    pub(crate) fn kicked(&mut self, context: &mut Context<'_>) {
        let Some(line) = self.device.as_mut().and_then(|device| device.loader_line.as_mut()) else { return };
        match line.line().take_kick() {
            Ok(kicked) => self.signalled |= kicked,
            Err(error) => self.fail(format!("its event channel cannot be read: {error}"), context),
        }
    }

    /// One turn: at most the budget of requests.
    pub(crate) fn serve(&mut self, context: &mut Context<'_>) {
        self.signalled = false;
        let Some(device) = self.device.as_mut() else { return };
        let Some(line) = device.loader_line.as_mut() else { return };
        let turn = match line.serve(&mut self.loader, context.limits.budget, context.now) {
            Ok(turn) => turn,
            Err(violation) if device.taken_over.loader => {
                log::warn!("domain {}: in what a predecessor left: {violation}", self.domid);
                self.again(NOT_TAKEN_OVER, context);
                return;
            }
            Err(violation) => {
                self.fail(violation.to_string(), context);
                return;
            }
        };
        device.taken_over.loader = false;
        self.tally.requests += u64::from(turn.requests);
        if self.loader.wants_report() {
            self.again("it did something that is not known here", context);
            return;
        }
        if turn.more {
            self.signalled = true;
        } else {
            match line.line().unmask(context.limits, context.now) {
                Ok(spurious) => self.tally.spurious_kicks += u64::from(spurious),
                Err(error) => self.fail(format!("its event channel cannot be unmasked: {error}"), context),
            }
        }
    }

    /// Whether it wants another turn at once.
    pub(crate) fn has_work(&self) -> bool {
        let due = self.signalled || self.listening || self.memory_changed || self.heard_changed;
        (due || self.listener.is_rung()) && !self.readers_first
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, context: &mut Context<'_>) {
        self.retry_if_due(context);
        self.persist(context);
        self.loader.tick(context.now);
        if let Some(line) = self.device.as_mut().and_then(|device| device.loader_line.as_mut())
            && let Err(error) = line.line().tick(context.now)
        {
            self.fail(format!("its event channel cannot be unmasked: {error}"), context);
        }
        self.listener_tick(context);
        self.lifecycle_tick(context);
    }

    /// When [`Guest::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let device = self.device.as_ref();
        let loader = device.and_then(|device| device.loader_line.as_ref());
        let loader = loader.and_then(LoaderLine::next_deadline);
        let listener = device.and_then(|device| device.listener_line.as_ref());
        let listener = listener.and_then(ListenerLine::next_deadline);
        let close = device.and_then(|device| device.close_deadline);
        let fence = self.fence.until.filter(|_| self.waits_behind_fence());
        let retry = device.and_then(|device| device.retry_at);
        [self.loader.next_deadline(), loader, listener, self.listener_at, close, fence, retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// The domain is gone: everything is given back at once, so that no page holds the domain up. Returns whether its
    /// nodes are gone too.
    pub(crate) fn gone(mut self, cause: DeadCause, context: &mut Context<'_>) -> bool {
        log::info!("domain {} ({}) is gone", self.domid, self.uuid);
        self.loader.abandon(&Failure::GuestGone);
        self.bury(if self.suspended { DeadCause::Saved } else { cause }, context);
        let mut removed = true;
        if self.device.is_some() {
            self.drop_lines(context);
            if let Err(error) = nodes::remove(context.store, self.domid, false) {
                log::warn!("domain {}: its backend nodes cannot be removed: {error}", self.domid);
                removed = false;
            }
            self.device = None;
        }
        self.harvest(context);
        context.events.push(Event::GuestGone { domid: self.domid, uuid: self.uuid });
        removed
    }

    /// Delivers outcomes. Whoever does something with a guest does this last.
    pub(crate) fn harvest(&mut self, context: &mut Context<'_>) {
        while let Some(finished) = self.loader.finished() {
            if finished.outcome.result.is_ok() {
                (self.fence, self.churn) = (Fence::default(), Churn::default());
            }
            let domid = self.domid;
            context.events.push(Event::Finished { id: finished.id, domid, outcome: finished.outcome });
        }
        self.memory_changed =
            self.device.as_ref().is_some_and(|device| device.memory != self.loader.memory());
        self.harvest_listener(context);
    }

    /// Writes down what a successor must know. A turn later than the change, so that no outcome waits for xenstore.
    fn persist(&mut self, context: &mut Context<'_>) {
        self.persist_heard(context);
        if !std::mem::take(&mut self.memory_changed) {
            return;
        }
        let Some(device) = self.device.as_mut() else { return };
        let memory = self.loader.memory();
        if memory != device.memory || device.memory_unwritten {
            let written = nodes::store_memory(context.store, self.domid, &memory);
            device.memory_unwritten = written.is_err();
            if let Err(error) = written {
                device.retry(context.now);
                self.log_limit.warn(context.now, || {
                    format!("domain {}: its modules cannot be written down: {error}", self.domid)
                });
            }
            device.memory = memory;
        }
    }

    /// The vermagic that its frontend published.
    pub(crate) fn vermagic(&self) -> Option<&str> {
        self.device.as_ref()?.published.as_ref()?.vermagic.as_deref()
    }

    /// What it is called. Its node goes before it does, and with xenstore.
    fn name(&self, store: &dyn Store) -> String {
        let now = nodes::name(store, self.domid);
        if !now.is_empty() {
            self.name.replace(now);
        }
        self.name.borrow().clone()
    }

    /// What can be told of it.
    pub(crate) fn info(&self, domain: Option<DomainState>, store: &dyn Store) -> GuestInfo {
        let device = self.device.as_ref();
        let published = device.and_then(|device| device.published.as_ref());
        let text = |field: fn(&Published) -> &Option<String>| published.and_then(|p| field(p).clone());
        let status = self.loader.status();
        GuestInfo {
            domid: self.domid,
            name: self.name(store),
            uuid: self.uuid,
            device: device.map(Device::told_state),
            domain,
            kernel_release: text(|p| &p.kernel_release),
            vermagic: text(|p| &p.vermagic),
            boot_id: text(|p| &p.boot_id),
            frontend_version: text(|p| &p.frontend_version),
            protocol: published.map(|p| p.version),
            modules: self.loader.modules().to_vec(),
            queue_length: status.queue_length,
            current: status.current,
            busy_since: status.busy_since,
            counters: self.counters(),
        }
    }

    fn counters(&self) -> Counters {
        let loader = self.loader.counters();
        let device = self.device.as_ref();
        let one = device.and_then(|device| device.loader_line.as_ref()).map(LoaderLine::counters);
        let other = device.and_then(|device| device.listener_line.as_ref()).map(ListenerLine::counters);
        let sum =
            |count: fn(&vesper_grant::Counters) -> u64| [&one, &other].into_iter().flatten().map(count).sum();
        Counters {
            commands: loader.commands,
            succeeded: loader.succeeded,
            errors: loader.errors,
            late_results: loader.late_results,
            requests: self.tally.requests,
            bytes: loader.bytes,
            spurious_kicks: self.tally.spurious_kicks,
            protocol_errors: self.tally.protocol_errors,
            connections: self.tally.connections,
            grants_mapped: sum(|counters| counters.grants_mapped),
            ports_bound: sum(|counters| counters.ports_bound),
        }
    }
}

impl Device {
    fn retry(&mut self, now: Instant) {
        self.retry_at.get_or_insert(now + RETRY);
    }

    fn told_state(&self) -> DeviceState {
        match (&self.failure, self.state) {
            (Some(reason), _) => DeviceState::Failed { reason: reason.clone() },
            (None, State::Connected) => DeviceState::Connected,
            (None, State::Closing) => DeviceState::Closing,
            (None, State::Closed) => DeviceState::Closed,
            (None, _) => DeviceState::Waiting,
        }
    }
}
