// SPDX-License-Identifier: MIT OR Apache-2.0
//! All guests in one thread.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_action::listener::{ChannelInfo, DeadCause, Domain, Export, Quota, Remains, Verdict};
use vesper_action::{Command, CommandId, Run};
use vesper_grant::{DomId, DomainState, Host};
use vesper_ring::wire::xenbus::State;
use vesper_xenstore::{Store, Watch};

use crate::guest::{Context, Guest, domain};
use crate::{Error, Event, GuestInfo, Limits, ListenerInfo, Uuid, listener, nodes};

/// Marks of descriptors in the epoll; smaller ones are domain numbers, with [`listener::MARK`] for the listener's.
const STORE: u64 = 1 << 32;
const AGAIN: u64 = 2 << 32;
/// First domain number that Xen never gives to a guest (`DOMID_FIRST_RESERVED`, `public/xen.h`).
const FIRST_RESERVED: u16 = 0x7ff0;
/// How often Xen is asked for its domains while there is no xenstore to tell of changes.
const POLL_WITHOUT_STORE: Duration = Duration::from_secs(1);
/// How long to wait before something is tried again that failed for want of Xen, xenstore or a device.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The backend of all guests. It has no thread of its own: put [`Backend::as_fd`] into an epoll, and call
/// [`Backend::run`] when it is readable and when [`Backend::next_deadline`] has come.
///
/// Dropping it gives everything back and leaves xenstore as it is: the frontends see a dead peer, and the next backend
/// takes their connections over where this one stopped.
pub struct Backend {
    host: Arc<dyn Host>,
    limits: Limits,
    run: Arc<Run>,
    quota: Arc<Quota>,
    /// What is left of guests that ended, until the next run.
    remains: BTreeMap<DomId, Remains>,
    guests: BTreeMap<DomId, Guest>,
    /// The guest after the one that was served first in the last turn.
    next: DomId,
    events: Vec<Event>,
    /// Readable while there is work that no descriptor of a guest tells of.
    again: Arc<EventFd>,
    // Dropped after everything that is registered in it, and the watches before their store.
    watches: Watches,
    store: Arc<dyn Store>,
    /// `Some` while the store is lost: when to look at the domains.
    poll_at: Option<Instant>,
    /// When to look again at the domains and the backend nodes, because looking failed.
    retry_at: Option<Instant>,
    epoll: Epoll,
}

/// The watches that are not of one guest.
struct Watches {
    introduced: Watch,
    released: Watch,
    backends: Watch,
}

impl Watches {
    fn register(store: &dyn Store) -> Result<Self, Error> {
        Ok(Self {
            introduced: store.watch("@introduceDomain")?,
            released: store.watch("@releaseDomain")?,
            backends: store.watch(nodes::BACKENDS)?,
        })
    }
}

impl Backend {
    /// A backend that will find its guests, and take over devices that are there, at the first [`Backend::run`].
    ///
    /// # Errors
    /// When xenstore or the kernel refuses what is needed to begin.
    pub fn new(host: Arc<dyn Host>, store: Arc<dyn Store>, limits: Limits) -> Result<Self, Error> {
        let os = |what| move |errno: Errno| Error::Os { what, source: errno.into() };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os("epoll_create"))?;
        let again = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(os("eventfd"))?;
        let readable = |mark| EpollEvent::new(EpollFlags::EPOLLIN, mark);
        epoll.add(&again, readable(AGAIN)).map_err(os("epoll_ctl"))?;
        epoll.add(store.wake_fd(), readable(STORE)).map_err(os("epoll_ctl for xenstore"))?;
        Ok(Self {
            watches: Watches::register(&*store)?,
            host,
            quota: Quota::new(limits.shared),
            limits,
            remains: BTreeMap::new(),
            run: Run::new().map_err(|source| Error::Os { what: "/dev/urandom", source })?,
            guests: BTreeMap::new(),
            next: DomId(0),
            events: Vec::new(),
            again: Arc::new(again),
            store,
            poll_at: None,
            retry_at: None,
            epoll,
        })
    }

    /// Readable when [`Backend::run`] has something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// When [`Backend::run`] is to be called even if nothing is readable; `None`: never.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.guests.values().filter_map(Guest::next_deadline).chain(self.poll_at.or(self.retry_at)).min()
    }

    /// Does what there is to do, with a budget per guest, and never blocks on a guest. Returns what happened since the
    /// last call.
    pub fn run(&mut self, now: Instant) -> Vec<Event> {
        // EAGAIN means that it was not raised.
        let _ = self.again.read();
        self.remains.clear();
        let ready = self.take_ready();
        self.look_at_store(now);
        for mark in ready {
            let domid = DomId(mark as u16);
            let listener = mark & listener::MARK != 0;
            self.with(domid, now, if listener { Guest::rung } else { Guest::kicked });
        }
        self.serve_all(now);
        let events = std::mem::take(&mut self.events);
        // Raised meanwhile for events that are being returned now.
        let _ = self.again.read();
        self.raise_if_work_is_left(false);
        events
    }

    /// Makes the guest's device, or gives one that was closed or stopped another chance. Idempotent. That it is connected
    /// is told by [`Event::Attached`] and [`GuestInfo::device`]; how long to wait for it is the caller's.
    ///
    /// # Errors
    /// [`Error::NoSuchGuest`]; [`Error::Store`] if the nodes cannot be made.
    pub fn attach(&mut self, guest: DomId) -> Result<(), Error> {
        let now = Instant::now();
        if !self.guests.contains_key(&guest) {
            self.look_at_domains(now);
        }
        self.with(guest, now, Guest::attach).ok_or(Error::NoSuchGuest(guest))?
    }

    /// Begins to close the guest's device and to remove its nodes; [`Event::Detached`] tells when it is done, which takes
    /// no longer than [`Limits::close_wait`]. Its commands end at once.
    ///
    /// # Errors
    /// [`Error::NoSuchGuest`], [`Error::NotAttached`]; [`Error::ModulesLoaded`] unless `force`.
    pub fn detach(&mut self, guest: DomId, force: bool) -> Result<(), Error> {
        self.with(guest, Instant::now(), |guest, context| guest.detach(force, context))
            .ok_or(Error::NoSuchGuest(guest))?
    }

    /// All guests, in the order of their numbers.
    pub fn guests(&self) -> Vec<GuestInfo> {
        // Asked once for all: where `xl` has to be run, each question takes a while.
        let domains = self.host.domains().unwrap_or_default();
        let state = |id: DomId| domains.iter().find(|domain| domain.id == id).cloned();
        self.guests.values().map(|guest| guest.info(state(guest.domid), &*self.store)).collect()
    }

    /// One guest.
    pub fn guest(&self, guest: DomId) -> Option<GuestInfo> {
        let guest = self.guests.get(&guest)?;
        Some(guest.info(self.host.domain(guest.domid).unwrap_or_default(), &*self.store))
    }

    /// What the kernel of the guest that has this number *and* this UUID says of itself, if it says so; `None` if there
    /// is no such guest. Nobody is asked for it.
    pub fn vermagic(&self, guest: DomId, uuid: Uuid) -> Option<Option<&str>> {
        self.guests.get(&guest).filter(|known| known.uuid == uuid).map(Guest::vermagic)
    }

    /// Accepts a command for the guest that has this number *and* this UUID. Its one outcome comes as
    /// [`Event::Finished`], within `timeout`.
    ///
    /// # Errors
    /// Whatever keeps the command from being accepted; there is no outcome then.
    pub fn submit(
        &mut self,
        guest: DomId,
        uuid: Uuid,
        command: Command,
        timeout: Duration,
    ) -> Result<CommandId, Error> {
        let known = self.guests.get(&guest).ok_or(Error::NoSuchGuest(guest))?;
        if known.uuid != uuid {
            return Err(Error::OtherGuest { domid: guest, uuid });
        }
        self.with(guest, Instant::now(), |guest, context| guest.submit(command, timeout, context))
            .ok_or(Error::NoSuchGuest(guest))?
    }

    /// The guest's channels, in the order of their numbers; empty if there is no such guest.
    pub fn channels(&self, guest: DomId) -> Vec<ChannelInfo> {
        self.guests.get(&guest).map(Guest::channels).unwrap_or_default()
    }

    /// The guest's channel of that name. A clone of it stays good after the guest is gone; its readers then get what
    /// was left, and the end. After making a reader, call [`Backend::wake`].
    pub fn channel(&self, guest: DomId, name: &str) -> Option<Export> {
        self.guests.get(&guest)?.channel(name)
    }

    /// The guest's listener; `None` if there is no such guest.
    pub fn listener(&self, guest: DomId) -> Option<ListenerInfo> {
        Some(self.guests.get(&guest)?.listener_info())
    }

    /// Someone began to read the guest's channels: the next [`Backend::run`], which is due at once, sees to it that the
    /// guest tells of what it writes, and that a reader that stands still is noticed.
    pub fn wake(&mut self, guest: DomId) {
        self.with(guest, Instant::now(), Guest::wake);
    }

    /// Takes a look at the guest now, and judges by this and an earlier look whether it lives. [`Verdict::Undecided`]
    /// says when to ask again.
    ///
    /// # Errors
    /// [`Error::NoSuchGuest`]; [`Error::Device`] if Xen cannot be asked.
    pub fn alive(&mut self, guest: DomId) -> Result<Verdict, Error> {
        self.with(guest, Instant::now(), Guest::alive).ok_or(Error::NoSuchGuest(guest))?
    }

    /// What is left of a guest of which [`Event::GuestEnded`] has told, once, until the next [`Backend::run`].
    pub fn remains(&mut self, guest: DomId) -> Option<Remains> {
        self.remains.remove(&guest)
    }

    /// Goes on with a new connection to xenstore, after [`Event::StoreLost`]. Devices in use stay connected even if the
    /// store is empty; [`Backend::attach`] makes the nodes of one anew.
    ///
    /// # Errors
    /// When the new store refuses the watches; the backend then goes on without.
    pub fn set_store(&mut self, store: Arc<dyn Store>) -> Result<(), Error> {
        let now = Instant::now();
        let watches = Watches::register(&*store)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, STORE);
        self.epoll
            .add(store.wake_fd(), event)
            .map_err(|errno| Error::Os { what: "epoll_ctl for xenstore", source: errno.into() })?;
        if self.poll_at.take().is_none() {
            self.forget_store();
        }
        // The new watches are dirty, so all is looked at anyway.
        self.retry_at = None;
        self.watches = watches;
        self.store = store;
        for domid in self.guests.keys().copied().collect::<Vec<_>>() {
            self.with(domid, now, Guest::new_store);
        }
        self.raise_if_work_is_left(true);
        Ok(())
    }

    /// Runs `act` on one guest. `None` if there is no such guest.
    fn with<T>(
        &mut self,
        domid: DomId,
        now: Instant,
        act: impl FnOnce(&mut Guest, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let guest = self.guests.get_mut(&domid)?;
        let result = act(
            guest,
            &mut Context {
                host: &*self.host,
                store: &*self.store,
                epoll: &self.epoll,
                limits: &self.limits,
                events: &mut self.events,
                remains: &mut self.remains,
                now,
            },
        );
        self.raise_if_work_is_left(false);
        Some(result)
    }

    /// The marks of the guests' event channels that are readable.
    fn take_ready(&mut self) -> Vec<u64> {
        let mut ready = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => {
                log::error!("epoll_wait: {errno}");
                0
            }
        };
        ready[..count].iter().map(EpollEvent::data).filter(|mark| *mark < STORE).collect()
    }

    /// Acts on every watch that is dirty.
    fn look_at_store(&mut self, now: Instant) {
        if self.poll_at.is_some() {
            if self.poll_at.is_some_and(|at| at <= now) {
                self.poll_at = Some(now + POLL_WITHOUT_STORE);
                self.look_at_domains(now);
            }
            return;
        }
        self.store.drain_wake();
        if !self.store.is_connected() {
            log::error!("the connection to xenstore ended; devices in use go on");
            self.forget_store();
            self.poll_at = Some(now + POLL_WITHOUT_STORE);
            self.events.push(Event::StoreLost);
            return;
        }
        // Both flags are to be cleared, so no short circuit.
        let again = self.retry_at.take_if(|at| *at <= now).is_some();
        if self.watches.introduced.take_dirty() | self.watches.released.take_dirty() | again {
            self.look_at_domains(now);
        }
        if self.watches.backends.take_dirty() || again {
            self.look_at_backends(now);
        }
        for domid in self.guests.keys().copied().collect::<Vec<_>>() {
            self.with(domid, now, Guest::look_if_dirty);
        }
    }

    fn forget_store(&self) {
        if let Err(errno) = self.epoll.delete(self.store.wake_fd()) {
            log::error!("xenstore's descriptor cannot be taken out of epoll: {errno}");
        }
    }

    /// Asks Xen which domains there are: the only thing that says that a guest came or went.
    fn look_at_domains(&mut self, now: Instant) {
        let domains = match self.host.domains() {
            Ok(domains) => domains,
            Err(error) => {
                log::error!("the domains cannot be listed: {error}");
                self.retry_later(now);
                return;
            }
        };
        let known: BTreeMap<DomId, &DomainState> = domains
            .iter()
            .filter(|domain| domain.id.0 != 0 && domain.id.0 < FIRST_RESERVED)
            .map(|domain| (domain.id, domain))
            .collect();
        for (domid, uuid) in self.guests.values().map(|guest| (guest.domid, guest.uuid)).collect::<Vec<_>>() {
            let state = known.get(&domid).copied().filter(|state| Uuid(state.uuid) == uuid);
            if let Some(state) = state.filter(|state| !state.dying) {
                self.with(domid, now, |guest, context| guest.xen_says(state, context));
                continue;
            }
            let Some(guest) = self.guests.remove(&domid) else { continue };
            let cause = match domain(state) {
                Domain::Dead(cause) => cause,
                _ => DeadCause::Destroyed,
            };
            let removed = guest.gone(
                cause,
                &mut Context {
                    host: &*self.host,
                    store: &*self.store,
                    epoll: &self.epoll,
                    limits: &self.limits,
                    events: &mut self.events,
                    remains: &mut self.remains,
                    now,
                },
            );
            if !removed {
                self.retry_later(now);
            }
        }
        for (domid, state) in known {
            if self.guests.contains_key(&domid) || state.dying {
                continue;
            }
            let uuid = Uuid(state.uuid);
            // Before it is introduced, the toolstack is still making its nodes, and would remove ours.
            match self.store.is_introduced(domid.0) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    log::error!("domain {domid}: whether it is introduced cannot be asked: {error}");
                    self.retry_later(now);
                    continue;
                }
            }
            log::info!("domain {domid} ({uuid}) is there");
            let guest = self.new_guest(domid, uuid);
            self.guests.insert(domid, guest);
            self.events.push(Event::GuestAppeared { domid, uuid });
            self.look_at_backends(now);
        }
    }

    fn new_guest(&self, domid: DomId, uuid: Uuid) -> Guest {
        let again = Arc::clone(&self.again);
        let wake = move || {
            // EAGAIN means that it is raised as high as can be.
            let _ = again.write(1);
        };
        Guest::new(domid, uuid, &self.run, &self.quota, &self.limits, wake)
    }

    /// Takes up devices whose nodes appeared, and removes nodes whose guest is gone.
    fn look_at_backends(&mut self, now: Instant) {
        let with_backend = match nodes::with_backend(&*self.store) {
            Ok(guests) => guests,
            Err(error) => {
                log::error!("the backend nodes cannot be listed: {error}");
                self.retry_later(now);
                return;
            }
        };
        for domid in with_backend {
            if let Err(error) = self.look_at_backend(domid, now) {
                log::error!("domain {domid}: its device's nodes cannot be taken up or removed: {error}");
                self.retry_later(now);
            }
        }
    }

    fn look_at_backend(&mut self, domid: DomId, now: Instant) -> Result<(), Error> {
        match self.guests.get(&domid).map(Guest::is_attached) {
            Some(true) => {
                self.with(domid, now, Guest::look_at_own_nodes);
            }
            // A directory that is still being made has no state yet; its watch fires again.
            Some(false) if self.has_state(domid)? => {
                self.with(domid, now, Guest::adopt).transpose()?;
            }
            None if self.host.domain(domid)?.is_none() && self.has_state(domid)? => {
                log::info!("domain {domid} is gone; removing what its device left in xenstore");
                nodes::remove(&*self.store, domid, false)?;
            }
            Some(false) | None => {}
        }
        Ok(())
    }

    fn retry_later(&mut self, now: Instant) {
        self.retry_at.get_or_insert(now + RETRY);
    }

    fn has_state(&self, domid: DomId) -> Result<bool, Error> {
        Ok(nodes::state(&*self.store, &nodes::backend(domid))? != State::Unknown)
    }

    /// One turn for each guest that has work, beginning with another one each time.
    fn serve_all(&mut self, now: Instant) {
        let order: Vec<DomId> = self
            .guests
            .range(self.next..)
            .chain(self.guests.range(..self.next))
            .map(|(domid, _)| *domid)
            .collect();
        if let Some(first) = order.first() {
            self.next = DomId(first.0.saturating_add(1));
        }
        for domid in order {
            self.with(domid, now, |guest, context| {
                guest.tick(context);
                // First the listener: what it says of a guest that ends must not wait for a command.
                if guest.listening {
                    guest.listen(context);
                }
                if guest.signalled {
                    guest.serve(context);
                }
            });
        }
    }

    /// Keeps the descriptor readable while a guest has work left or an event waits to be fetched.
    fn raise_if_work_is_left(&self, always: bool) {
        if always || !self.events.is_empty() || self.guests.values().any(Guest::has_work) {
            // EAGAIN means that it is raised as high as can be.
            let _ = self.again.write(1);
        }
    }
}
