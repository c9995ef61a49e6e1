// SPDX-License-Identifier: MIT OR Apache-2.0
//! The desk: takes requests, hands them to the backend, and says how they ended.

mod events;
mod faults;
mod happened;
mod life;
mod listener;
mod load;
mod order;
mod probing;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use events::Asked;
use life::Judging;
use listener::Known;
pub(crate) use listener::{Notice, add_words};
use order::{By, Load, Order, What};
use probing::Probing;
use vesper_action::image;
use vesper_action::{Command, CommandId, ModuleName};
use vesper_api::{Attached, Done, ErrorKind, Failure, GuestStatus, Guests, Reply, Request, Right};
use vesper_config::{Inject, Rules};
use vesper_grant::DomId;
use vesper_probes::Directories;
use vesper_xenback::{Backend, DeviceState, GuestInfo};
use vesper_xenstore::Store;
use watch::Watch;

use crate::clients::ClientId;
use crate::closer::Foreign;
use crate::config::{AttachRule, Config};
use crate::events::{Events, Feed, Heard, Reader};
use crate::failures::{self, label};
use crate::files::Files;
use crate::images::{Images, JobId, Origin};
use crate::peer::Peer;
use crate::rights::Rights;
use crate::saver::Saver;
use crate::streams::Stream;
use crate::{resolve, view};

/// Longest time limit that a request may ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// A reply that was not ready when its request came.
pub(crate) struct Answer {
    pub(crate) client: ClientId,
    pub(crate) reply: Reply,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) id: ClientId,
    pub(crate) peer: &'a Peer,
    pub(crate) rights: &'a Rights,
}

/// What comes of a request at once.
pub(crate) enum Response {
    /// Nothing yet; an [`Answer`] comes.
    Later,
    /// This.
    Reply(Reply),
    /// This, and a stream behind it.
    Stream(Reply, Box<Stream>),
    /// This, and events behind it.
    Feed(Reply, Feed),
}

/// What the desk has to say to clients.
pub(crate) enum Told {
    /// The reply to a request.
    Answer(Answer),
    /// Something happened that streams of this guest are told.
    Notice(DomId, Notice),
}

pub(crate) struct Desk {
    // Unmounted before the channels end.
    files: Files,
    backend: Backend,
    images: Images,
    /// Guests that are attached without being asked to, once each, when they appear. A guest that reboots is a new domain, so it
    /// appears again; one that was detached by hand stays so until then, or until the daemon is restarted.
    auto_attach: AttachRule,
    /// Which probes go into which guest.
    rules: Arc<Rules>,
    /// Where these are.
    directories: Arc<Directories>,
    probing: Probing,
    image_bytes: u64,
    /// Which modules may be loaded.
    inject: Arc<Inject>,
    waiting_bytes: u64,
    timeout: Duration,
    /// Loads whose image is being prepared.
    preparing: HashMap<JobId, Order>,
    /// Loads and unloads that the backend has.
    running: HashMap<CommandId, Order>,
    /// Attaches and detaches.
    waiting: Vec<Order>,
    /// Questions whether a guest is alive.
    judging: Vec<Judging>,
    known: Known,
    saver: Saver,
    events: Events,
    asked: Asked,
    watch: Watch,
    told: Vec<Told>,
    store_lost: bool,
}

impl Desk {
    pub(crate) fn new(
        backend: Backend,
        files: Files,
        saver: Saver,
        events: Events,
        config: &Config,
    ) -> io::Result<Self> {
        Ok(Self {
            files,
            backend,
            images: Images::start()?,
            auto_attach: config.attach.clone(),
            rules: config.rules.clone(),
            directories: load::directories(config),
            probing: Probing::default(),
            image_bytes: config.image_bytes,
            inject: config.inject.clone().into(),
            waiting_bytes: config.waiting_bytes,
            timeout: config.timeout,
            preparing: HashMap::new(),
            running: HashMap::new(),
            waiting: Vec::new(),
            judging: Vec::new(),
            known: Known::default(),
            saver,
            events,
            asked: Asked::default(),
            watch: Watch::new(config.events.watch),
            told: Vec::new(),
            store_lost: false,
        })
    }

    /// Descriptors to wait for: when one is readable, [`Desk::run`] has something to do.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        [self.backend.as_fd(), self.images.as_fd(), self.saver.as_fd(), self.events.as_fd()]
    }

    /// When [`Desk::run`] has something to do even if nothing is readable.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let orders = self.preparing.values().chain(&self.waiting).map(|order| order.deadline);
        let judging = self.judging.iter().map(|judging| judging.again);
        let own = self.watch.next().into_iter().chain(self.probing.next());
        orders.chain(judging).chain(self.backend.next_deadline()).chain(own).min()
    }

    /// Whether xenstore must be connected again: see [`Desk::set_store`].
    pub(crate) fn lost_store(&self) -> bool {
        self.store_lost
    }

    /// Goes on with a new connection to xenstore.
    pub(crate) fn set_store(&mut self, store: Arc<dyn Store>) -> Result<(), vesper_xenback::Error> {
        self.backend.set_store(store)?;
        self.store_lost = false;
        Ok(())
    }

    /// Takes a request. The reply comes at once, or later from [`Desk::run`].
    pub(crate) fn request(
        &mut self,
        caller: Caller<'_>,
        line: &[u8],
        descriptor: impl FnOnce() -> Option<Foreign<OwnedFd>>,
    ) -> Response {
        self.accept(caller, line, descriptor).unwrap_or_else(|failure| Response::Reply(Err(failure).into()))
    }

    fn accept(
        &mut self,
        caller: Caller<'_>,
        line: &[u8],
        descriptor: impl FnOnce() -> Option<Foreign<OwnedFd>>,
    ) -> Result<Response, Failure> {
        let request: Request = vesper_api::from_line(line).map_err(|error| {
            Failure::new(ErrorKind::BadRequest, format!("the line is no request: {error}"))
        })?;
        if let Err(failure) = caller.rights.check(caller.peer, &request) {
            if let Request::Insmod { .. } = request {
                // It came with this line and is not one of the next.
                drop(descriptor());
            }
            return Err(failure);
        }
        let now = Instant::now();
        let client = caller.id;
        let done = match request {
            Request::List {} => {
                let guests = self.backend.guests().iter().map(|info| view::guest(info, now)).collect();
                Some(Done::Guests(Guests { guests }))
            }
            Request::Channels { dom } => Some(self.channels(dom.as_deref())?),
            // Of a guest that is gone there may be something, too.
            Request::Stream { dom, channel, since, follow } => {
                return self.stream(client, &dom, channel, since, follow);
            }
            Request::Events { dom, since, follow } => return self.events(client, dom, since, follow),
            other => self.order(caller, other, descriptor, now)?,
        };
        Ok(done.map_or(Response::Later, |done| Response::Reply(Ok(done).into())))
    }

    /// A request that is about one guest which is there.
    fn order(
        &mut self,
        caller: Caller<'_>,
        request: Request,
        descriptor: impl FnOnce() -> Option<Foreign<OwnedFd>>,
        now: Instant,
    ) -> Result<Option<Done>, Failure> {
        // Looked at already while xenstore is asked for the guest's name.
        let image = match request {
            Request::Insmod { .. } => {
                descriptor().map(|file| self.images.prepare(Origin::Client(file), self.terms()))
            }
            _ => None,
        };
        let ordered = self.order_with(caller, request, image, now);
        if let (Err(_), Some(job)) = (&ordered, image) {
            self.images.forget(job);
        }
        ordered
    }

    fn order_with(
        &mut self,
        caller: Caller<'_>,
        request: Request,
        image: Option<JobId>,
        now: Instant,
    ) -> Result<Option<Done>, Failure> {
        let info = resolve::resolve(&self.backend, request.dom().unwrap_or_default())?;
        // Only what is logged with it needs to know.
        let who: Arc<str> = match request.right() {
            Right::Inject => caller.peer.to_string().into(),
            Right::Read | Right::Events | Right::Configure => "".into(),
        };
        let order = |what, timeout_ms: Option<u64>| -> Result<Order, Failure> {
            let timeout = timeout_ms.map_or(self.timeout, Duration::from_millis);
            if timeout.is_zero() || timeout > TIMEOUT_MAX {
                let message = format!("timeout_ms: 1 to {} is wanted", TIMEOUT_MAX.as_millis());
                return Err(Failure::new(ErrorKind::BadRequest, message));
            }
            let (domid, uuid, guest) = (info.domid, info.uuid, view::guest_ref(&info));
            let by = By::Client(caller.id, who.clone());
            Ok(Order { by, domid, uuid, guest, started: now, deadline: now + timeout, what })
        };
        match request {
            Request::List {} | Request::Channels { .. } | Request::Stream { .. } | Request::Events { .. } => {
                unreachable!("they are no orders")
            }
            Request::Alive { module, timeout_ms, now: at_once, .. } => {
                let module = module.as_deref().map(ModuleName::new).transpose();
                let module =
                    module.map_err(|error| Failure::new(ErrorKind::BadRequest, error.to_string()))?;
                let module = module.map(|module| module.to_string());
                if at_once && module.is_some() {
                    let message = "with now, a guest is asked about and not a module in it";
                    return Err(Failure::new(ErrorKind::BadRequest, message));
                }
                let order = order(What::Alive { module, now: at_once }, timeout_ms)?;
                self.judge(order, now)
            }
            Request::Status { .. } => {
                let wanted = self.wanted(&info);
                Ok(Some(Done::Status(Box::new(GuestStatus { wanted, ..view::status(&info, now) }))))
            }
            Request::Attach { timeout_ms, .. } => {
                let order = order(What::Attach, timeout_ms)?;
                self.attach(order, &info)
            }
            Request::Detach { force, timeout_ms, .. } => {
                let order = order(What::Detach, timeout_ms)?;
                self.detach(order, force, now)
            }
            Request::Insmod { file, args, timeout_ms, .. } => {
                let args = image::join_args(&args).map_err(|error| {
                    Failure::new(ErrorKind::BadRequest, format!("parameters: {error}"))
                        .guest(view::guest_ref(&info))
                })?;
                let order = order(What::Load(Box::new(Load::of(file, args))), timeout_ms)?;
                let Some(job) = image else {
                    let message = "an insmod line needs the module's file beside it, as a descriptor";
                    return Err(Failure::new(ErrorKind::BadRequest, message));
                };
                self.preparing.insert(job, order);
                Ok(None)
            }
            Request::Rmmod { name, timeout_ms, .. } => {
                let module = ModuleName::new(&name)
                    .map_err(|error| Failure::new(ErrorKind::BadRequest, error.to_string()))?;
                let order = order(What::Unload { module: module.to_string() }, timeout_ms)?;
                self.submit(order, Command::Unload { name: module }, now).map(|()| None)
            }
        }
    }

    fn attach(&mut self, order: Order, info: &GuestInfo) -> Result<Option<Done>, Failure> {
        // Also when it is connected: its nodes may have vanished, with a xenstore that was started anew.
        self.backend.attach(order.domid).map_err(|error| failures::of_backend(&error, &order.guest))?;
        let connected = |info: &GuestInfo| info.device == Some(DeviceState::Connected);
        if connected(info) && self.backend.guest(order.domid).as_ref().is_some_and(connected) {
            let (guest, kernel) = (order.guest, info.kernel_release.clone());
            return Ok(Some(Done::Attached(Attached { guest, already: true, kernel, total_ms: 0 })));
        }
        self.waiting.push(order);
        Ok(None)
    }

    fn detach(&mut self, order: Order, force: bool, now: Instant) -> Result<Option<Done>, Failure> {
        self.backend
            .detach(order.domid, force)
            .map_err(|error| failures::of_backend(&error, &order.guest))?;
        if self.backend.guest(order.domid).is_some_and(|info| info.device.is_none()) {
            // Closed at once: nothing was connected. The event that follows finds nobody waiting.
            let result = Ok(order.detached(now));
            order.log_end(&result, now);
            return result.map(Some);
        }
        self.waiting.push(order);
        Ok(None)
    }

    fn submit(&mut self, order: Order, command: Command, now: Instant) -> Result<(), Failure> {
        let timeout = order.deadline.saturating_duration_since(now);
        if timeout.is_zero() {
            let failure = order.timed_out(None);
            order.log_end(&Err(failure.clone()), now);
            return Err(failure);
        }
        match self.backend.submit(order.domid, order.uuid, command, timeout) {
            Ok(id) => {
                log::debug!("command {id}: {}", order.describe());
                order.log_begin();
                self.running.insert(id, order);
                Ok(())
            }
            Err(error) => {
                let failure = failures::of_backend(&error, &order.guest);
                order.log_end(&Err(failure.clone()), now);
                Err(failure)
            }
        }
    }

    /// Nobody is there any more for what this client asked. What the backend has been told goes on; an image that is still being
    /// looked at is not sent.
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.waiting.retain(|order| !order.is_of(client));
        self.judging.retain(|judging| !judging.order.is_of(client));
        self.known.waiting.retain(|(waiting, _)| *waiting != client);
        let jobs: Vec<_> = self.preparing.extract_if(|_, order| order.is_of(client)).collect();
        for (job, order) in jobs {
            self.images.forget(job);
            order.log_given_up();
        }
    }

    /// Does what there is to do, and returns what there is to say, in the order in which it happened.
    pub(crate) fn run(&mut self) -> Vec<Told> {
        self.images.drain_wake();
        while let Some(prepared) = self.images.finished() {
            self.image_ready(prepared);
        }
        let now = Instant::now();
        for event in self.backend.run(now) {
            self.happened(event, now);
        }
        self.judge_again(now);
        self.load_wanted(now);
        self.watch(now);
        self.look_at_saved();
        for Heard { domid, boot_id, slot } in self.events.heard() {
            self.backend.words_noted(domid, &boot_id, slot);
        }
        self.expire(now);
        mem::take(&mut self.told)
    }

    /// Gives up everything that is under way: the daemon stops.
    pub(crate) fn stop(&mut self) -> Vec<Told> {
        let mut orders: Vec<_> = self.preparing.drain().map(|(_, order)| order).collect();
        orders.extend(self.running.drain().map(|(_, order)| order));
        orders.append(&mut self.waiting);
        orders.extend(self.judging.drain(..).map(|judging| judging.order));
        let now = Instant::now();
        for order in orders {
            let failure = order.abandoned();
            self.answer(&order, Err(failure), now);
        }
        mem::take(&mut self.told)
    }

    /// From now on this client, which has asked for them, is told of events.
    pub(crate) fn tell_events(&self, client: Reader) {
        self.events.tell(client);
    }

    fn tell(&mut self, domid: DomId, notice: Notice) {
        self.told.push(Told::Notice(domid, notice));
    }

    fn answer_with(&mut self, client: ClientId, reply: Reply) {
        self.told.push(Told::Answer(Answer { client, reply }));
    }

    fn answer_to(&mut self, by: &By, domid: DomId, result: Result<Done, Failure>) {
        match by {
            By::Client(client, _) => self.answer_with(*client, result.into()),
            By::Rule { probe, again } => self.probed(domid, probe, *again, result),
        }
    }

    fn attach_as_configured(&mut self, domid: DomId) {
        let Some(info) = self.backend.guest(domid) else { return };
        if !self.auto_attach.matches(&info.name, info.uuid) {
            return;
        }
        let who = label(&view::guest_ref(&info));
        match self.backend.attach(domid) {
            Ok(()) => log::info!("{who} is being attached, as configured"),
            Err(error) => log::warn!("{who} cannot be attached as configured: {error}"),
        }
    }

    /// Answers every attach and detach that waits for this guest.
    fn settle(&mut self, domid: DomId, now: Instant, result: impl Fn(&Order) -> Result<Done, Failure>) {
        let (settled, waiting) =
            mem::take(&mut self.waiting).into_iter().partition(|order| order.is_for(domid));
        self.waiting = waiting;
        let settled: Vec<Order> = settled;
        for order in settled {
            self.answer(&order, result(&order), now);
        }
    }

    /// Answers what has waited too long. What the backend has is up to the backend.
    fn expire(&mut self, now: Instant) {
        let (late, waiting): (Vec<_>, _) =
            mem::take(&mut self.waiting).into_iter().partition(|order| order.deadline <= now);
        self.waiting = waiting;
        let mut late: Vec<Order> = late;
        for (job, order) in self.preparing.extract_if(|_, order| order.deadline <= now) {
            self.images.forget(job);
            late.push(order);
        }
        for order in late {
            let failure = order.timed_out(self.backend.guest(order.domid).as_ref());
            self.answer(&order, Err(failure), now);
        }
    }

    fn answer(&mut self, order: &Order, result: Result<Done, Failure>, now: Instant) {
        order.log_end(&result, now);
        self.answer_to(&order.by, order.domid, result);
    }
}
