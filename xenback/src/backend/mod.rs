// SPDX-License-Identifier: MIT OR Apache-2.0
//! All guests in one thread.

mod looking;
mod turns;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use turns::Turns;
use vesper_action::listener::{ChannelInfo, Export, Quota, Remains, Verdict};
use vesper_action::{Command, CommandId, Run};
use vesper_grant::{DomId, Host};
use vesper_xenstore::{Store, Watch};

use crate::guest::{Context, Guest};
use crate::{Error, Event, GuestInfo, Limits, ListenerInfo, Uuid, listener, nodes};

/// Marks of descriptors in the epoll; smaller ones are domain numbers, with [`listener::MARK`] for the listener's.
const STORE: u64 = 1 << 32;
const AGAIN: u64 = 2 << 32;
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
    events: Vec<Event>,
    turns: Turns,
    /// Whose listener was rung for in the last run: their events are still to be taken.
    rung: Vec<DomId>,
    /// The watches are to be looked at even if the store tells of no change.
    watches_are_new: bool,
    // Dropped after everything that is registered in it, and the watches before their store.
    watches: Watches,
    store: Arc<dyn Store>,
    /// `Some` while the store is lost: when to look at the domains.
    poll_at: Option<Instant>,
    /// When to look again at the domains and the backend nodes, because a look failed or could not do it all.
    retry_at: Option<Instant>,
    /// The backend nodes have not been looked at yet, and may be of guests that went while no backend ran.
    finds_predecessors: bool,
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
        let turns = Turns::new().map_err(os("eventfd"))?;
        let readable = |mark| EpollEvent::new(EpollFlags::EPOLLIN, mark);
        epoll.add(turns.as_fd(), readable(AGAIN)).map_err(os("epoll_ctl"))?;
        epoll.add(store.wake_fd(), readable(STORE)).map_err(os("epoll_ctl for xenstore"))?;
        Ok(Self {
            watches: Watches::register(&*store)?,
            host,
            quota: Quota::new(limits.shared),
            limits,
            remains: BTreeMap::new(),
            run: Run::new().map_err(|source| Error::Os { what: "/dev/urandom", source })?,
            guests: BTreeMap::new(),
            events: Vec::new(),
            turns,
            rung: Vec::new(),
            watches_are_new: true,
            store,
            poll_at: None,
            retry_at: None,
            finds_predecessors: true,
            epoll,
        })
    }

    /// Readable when [`Backend::run`] has something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// When [`Backend::run`] is to be called even if nothing is readable; `None`: never.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.turns.next_deadline().into_iter().chain(self.poll_at.or(self.retry_at)).min()
    }

    /// Does what there is to do, with a budget per guest, and never blocks on a guest. Returns what happened since the
    /// last call. Call it again until it returns nothing: that is cheaper than to be told by [`Backend::as_fd`] that there
    /// is more.
    pub fn run(&mut self, now: Instant) -> Vec<Event> {
        self.remains.clear();
        for domid in std::mem::take(&mut self.rung) {
            self.visit(domid, now, Guest::take_ring);
        }
        let ready = self.take_ready();
        if ready.contains(&AGAIN) {
            self.turns.hear();
        }
        self.look_at_store(ready.contains(&STORE), now);
        for mark in ready.into_iter().filter(|mark| *mark < STORE) {
            let domid = DomId(mark as u16);
            if mark & listener::MARK == 0 {
                self.visit(domid, now, Guest::kicked);
            } else {
                self.visit(domid, now, Guest::rung);
                self.rung.push(domid);
            }
        }
        self.serve(now);
        // An event that is not taken yet says the same.
        if self.rung.is_empty() && self.turns.is_wanted() {
            self.turns.raise();
        }
        std::mem::take(&mut self.events)
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
        self.with(guest, Instant::now(), |guest, _| guest.wake());
    }

    /// What came of the guest's last words in this place is safe, so that the next daemon need not hear them again. Another
    /// boot's are not meant.
    pub fn words_noted(&mut self, guest: DomId, boot_id: &str, slot: u32) {
        self.with(guest, Instant::now(), |guest, _| guest.words_noted(boot_id, slot));
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
        // All is looked at anyway.
        (self.watches_are_new, self.retry_at) = (true, None);
        self.watches = watches;
        self.store = store;
        for domid in self.guests.keys().copied().collect::<Vec<_>>() {
            self.visit(domid, now, Guest::new_store);
        }
        self.turns.raise();
        Ok(())
    }

    /// As [`Backend::visit`], for a caller that is told of what follows by the next [`Backend::run`].
    fn with<T>(
        &mut self,
        domid: DomId,
        now: Instant,
        act: impl FnOnce(&mut Guest, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let result = self.visit(domid, now, act);
        if !self.events.is_empty() || self.turns.is_wanted() {
            self.turns.raise();
        }
        result
    }

    /// Runs `act` on one guest, and sees to what follows: what there is to tell, and when it wants a turn. `None` if there is no such guest.
    fn visit<T>(
        &mut self,
        domid: DomId,
        now: Instant,
        act: impl FnOnce(&mut Guest, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (guests, mut context) = self.parts(now);
        let guest = guests.get_mut(&domid)?;
        let result = act(guest, &mut context);
        guest.harvest(&mut context);
        let (has_work, due) = (guest.has_work(), guest.next_deadline());
        self.turns.set(domid, has_work, due);
        Some(result)
    }

    /// The guests, and what they work with.
    fn parts(&mut self, now: Instant) -> (&mut BTreeMap<DomId, Guest>, Context<'_>) {
        let context = Context {
            host: &*self.host,
            store: &*self.store,
            epoll: &self.epoll,
            limits: &self.limits,
            events: &mut self.events,
            remains: &mut self.remains,
            now,
        };
        (&mut self.guests, context)
    }

    /// The marks of what is readable. What does not fit stays so.
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
        ready[..count].iter().map(EpollEvent::data).collect()
    }

    /// One turn for each guest that has work, was rung for, or is due.
    fn serve(&mut self, now: Instant) {
        for domid in self.turns.rung() {
            // A turn since then may have seen already what it was rung for.
            self.visit(domid, now, |_, _| {});
        }
        for domid in self.turns.take(now) {
            self.visit(domid, now, |guest, context| {
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
}
