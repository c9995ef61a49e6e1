// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a device: the xenbus states of both ends (`public/io/xenbus.h`), seen from the backend.
//!
//! | our state | frontend says | what happens |
//! |---|---|---|
//! | 2 InitWait | 3 or 4 | connect → 4 |
//! | 4 Connected | 3 or 4 with other nodes, or 3 after 4 | it starts anew: drop the connection, connect → 4 |
//! | 4 Connected | 1 | it was resumed or restarted: drop the connection → 2 |
//! | 2, 4 | 5 | it goes away: drop the connection, its commands end → 5 |
//! | 2, 4 | 6 | it wants a fresh start: drop the connection, its commands wait → 6 |
//! | 5 Closing | 6, 1, nothing, or 5 s over | → 6, then removed if that is why, offered again (→ 2) if that is why |
//! | 6 Closed | 1 | → 2, behind the fence if the guest broke the protocol |
//! | 4 Connected | no node | nothing: a node that vanished is no guest that vanished |
//!
//! What fails because xenstore or a device of dom0 fails is not the guest's fault: it is tried again every second,
//! without a fence.

use std::time::Instant;

use vesper_action::listener::{self, ExportEnd};
use vesper_action::{Failure, LoadedModule};
use vesper_ring::wire::xenbus::State;

use super::{Churn, Context, Device, Fence, Guest, NOT_TAKEN_OVER, TakenOver, Then, Watches};
use crate::{Error, nodes};

impl Guest {
    /// Makes the device, or gives one that was closed or stopped another chance.
    pub(crate) fn attach(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let missing = nodes::state(context.store, &nodes::backend(self.domid))? == State::Unknown;
        (self.fence, self.churn) = (Fence::default(), Churn::default());
        match &mut self.device {
            Some(device) if !missing => {
                match device.state {
                    State::Closed => {
                        device.then = Then::Stay;
                        self.offer_again(context);
                    }
                    State::Closing => device.then = Then::Reopen,
                    _ => {}
                }
                self.look(context);
                Ok(())
            }
            // The nodes vanished under a device, or there is none.
            _ => {
                nodes::create(context.store, self.domid, context.limits)?;
                self.loader.disconnected();
                self.drop_lines(context);
                self.device = None;
                log::info!("domain {}: attached, waiting for its frontend", self.domid);
                self.adopt(context)
            }
        }
    }

    /// Begins to take the device away.
    pub(crate) fn detach(&mut self, force: bool, context: &mut Context<'_>) -> Result<(), Error> {
        let domid = self.domid;
        if self.device.is_none() {
            return Err(Error::NotAttached(domid));
        }
        let modules: &[LoadedModule] = self.loader.modules();
        if !force && !modules.is_empty() {
            return Err(Error::ModulesLoaded { domid, modules: modules.to_vec() });
        }
        log::info!("domain {domid}: being detached");
        self.abandon(context);
        self.close(Then::Remove, context);
        Ok(())
    }

    /// The frontend or the device goes away for good: commands and channels end.
    fn abandon(&mut self, context: &mut Context<'_>) {
        self.loader.abandon(&Failure::NotAttached);
        self.hear_out();
        self.listener.end(ExportEnd::Detached, context.now);
    }

    /// Whether the guest has a device.
    pub(crate) fn is_attached(&self) -> bool {
        self.device.is_some()
    }

    /// Takes up a device whose nodes are there: made just now, by a predecessor, or by the toolstack.
    pub(crate) fn adopt(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let (store, domid) = (context.store, self.domid);
        let frontend = nodes::frontend(domid);
        let watches = Watches::register(store, domid)?;
        // Before the first look, so that a change between it and the look is not missed.
        watches.frontend.take_dirty();
        let ours = nodes::state(store, &nodes::backend(domid))?;
        let theirs = nodes::state(store, &frontend)?;
        let memory = nodes::load_memory(store, domid)?;
        nodes::store_guest(store, domid, self.uuid, &self.name(store))?;
        self.device = Some(Device {
            watches: Some(watches),
            has_consoles: false,
            state: ours,
            frontend: theirs,
            published: None,
            loader_line: None,
            listener_line: None,
            taken_over: TakenOver::default(),
            then: Then::Stay,
            close_deadline: None,
            failure: None,
            memory: memory.clone().unwrap_or_default(),
            memory_unwritten: false,
            heard: listener::Memory::default(),
            listener_unwritten: false,
            state_unwritten: false,
            retry_at: None,
        });
        if ours == State::Connected {
            log::info!("domain {domid}: taking over its connection");
        }
        match (ours, memory) {
            // A predecessor's connection, and it is known what it knew: go on where it stopped.
            (State::Connected, Some(memory)) => {
                self.loader.remember(memory);
                self.offer(context);
                if self.stands_without_connection() {
                    self.again(NOT_TAKEN_OVER, context);
                }
            }
            // What it knew is lost, or it was closing: the guest must report anew.
            (State::Connected | State::Closing, _) => self.again(NOT_TAKEN_OVER, context),
            (State::Closed, _) => self.frontend_says(theirs, context),
            _ => self.offer(context),
        }
        Ok(())
    }

    /// Looks at what its watches say has changed.
    pub(crate) fn look_if_dirty(&mut self, context: &mut Context<'_>) {
        let Some(watches) = self.device.as_ref().and_then(|device| device.watches.as_ref()) else { return };
        let (frontend, online) = (watches.frontend.take_dirty(), watches.online.take_dirty());
        let consoles = watches.consoles.take_dirty();
        if frontend {
            self.look(context);
        }
        if online {
            self.look_at_own_nodes(context);
        }
        if consoles {
            self.look_at_consoles(context);
        }
    }

    /// The toolstack may have begun to destroy the domain. Xen tells nobody before that is done; with `xl` it takes as long as its
    /// hotplug scripts.
    fn look_at_consoles(&mut self, context: &mut Context<'_>) {
        let Some(device) = &mut self.device else { return };
        // What cannot be asked now is told when the domain is gone.
        let Ok(there) = nodes::has_consoles(context.store, self.domid) else { return };
        let were_there = std::mem::replace(&mut device.has_consoles, there);
        // For a soft reset, too, they go, but the domain is released before.
        if there || !were_there || !matches!(context.store.is_introduced(self.domid.0), Ok(true)) {
            return;
        }
        let Ok(Some(state)) = self.ask_xen(context) else { return };
        // Until Xen says that it is not paused.
        self.taken_apart = true;
        self.xen_says(&state, context);
    }

    /// The toolstack may have asked for the device to go.
    fn look_at_own_nodes(&mut self, context: &mut Context<'_>) {
        let Some(device) = &mut self.device else { return };
        if device.then == Then::Remove {
            return;
        }
        let offline = nodes::is_offline(context.store, self.domid).unwrap_or_else(|error| {
            let domid = self.domid;
            self.log_limit
                .warn(context.now, || format!("domain {domid}: its node online cannot be read: {error}"));
            device.retry(context.now);
            false
        });
        if offline {
            log::info!("domain {}: the toolstack takes the device away", self.domid);
            self.abandon(context);
            self.close(Then::Remove, context);
        }
    }

    /// xenstore is there again, maybe empty: watch anew, keep the connection, write what could not be written.
    pub(crate) fn new_store(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        device.watches = None;
        // In an empty one nothing was taken away.
        device.has_consoles = false;
        (device.state_unwritten, device.memory_unwritten, device.listener_unwritten) = (true, true, true);
        self.try_again(context);
    }

    /// Does what failed before for want of xenstore or of a device, if its time has come.
    pub(super) fn retry_if_due(&mut self, context: &mut Context<'_>) {
        let due = |device: &Device| device.retry_at.is_some_and(|at| at <= context.now);
        if self.device.as_ref().is_some_and(due) {
            self.try_again(context);
        }
    }

    fn try_again(&mut self, context: &mut Context<'_>) {
        let (domid, now) = (self.domid, context.now);
        let Some(device) = self.device.as_mut() else { return };
        device.retry_at = None;
        if device.watches.is_none() {
            match Watches::register(context.store, domid) {
                Ok(watches) => device.watches = Some(watches),
                Err(error) => {
                    device.retry(now);
                    self.log_limit
                        .warn(now, || format!("domain {domid}: its nodes cannot be watched: {error}"));
                    return;
                }
            }
        }
        if device.then == Then::Remove && device.state == State::Closed {
            self.remove(context);
            return;
        }
        self.memory_changed |= device.memory_unwritten;
        self.rewrite_listener(context);
        let Some(device) = self.device.as_ref() else { return };
        let (state, state_unwritten) = (device.state, device.state_unwritten);
        if state_unwritten {
            self.set_state(state, context);
        }
        self.look_at_own_nodes(context);
        self.look(context);
    }

    /// What time brings: an end to waiting for the frontend, and to the fence.
    pub(super) fn lifecycle_tick(&mut self, context: &mut Context<'_>) {
        let Some(device) = &self.device else { return };
        if device.close_deadline.is_some_and(|deadline| deadline <= context.now) {
            log::warn!("domain {}: its frontend did not close its end; going on without it", self.domid);
            self.closed(context);
        }
        if self.waits_behind_fence() && !self.fence.is_up(context.now) {
            self.offer_again(context);
        }
    }

    /// Whether the frontend wants to start again and the fence keeps it.
    pub(super) fn waits_behind_fence(&self) -> bool {
        self.fence.until.is_some()
            && self.device.as_ref().is_some_and(|device| {
                device.state == State::Closed
                    && device.frontend == State::Initialising
                    && device.failure.is_some()
            })
    }

    /// A predecessor's connection could not be taken over.
    fn stands_without_connection(&self) -> bool {
        self.device
            .as_ref()
            .is_some_and(|device| device.state == State::Connected && device.loader_line.is_none())
    }

    /// Reads the frontend's state and acts on it.
    fn look(&mut self, context: &mut Context<'_>) {
        match nodes::state(context.store, &nodes::frontend(self.domid)) {
            Ok(state) => self.frontend_says(state, context),
            Err(error) => {
                self.log_limit.warn(context.now, || {
                    format!("domain {}: the state of its frontend cannot be read: {error}", self.domid)
                });
                self.retry_later(context);
            }
        }
    }

    pub(super) fn frontend_says(&mut self, theirs: State, context: &mut Context<'_>) {
        use State::{Closed, Closing, Connected, InitWait, Initialised, Initialising, Unknown};
        let Some(device) = self.device.as_mut() else { return };
        let before = std::mem::replace(&mut device.frontend, theirs);
        match (device.state, theirs) {
            (Connected, Unknown) => self.log_limit.warn(context.now, || {
                format!("domain {}: its frontend's nodes vanished; its connection is kept", self.domid)
            }),
            (InitWait, Initialised | Connected) => self.connect(context),
            (Connected, Initialised | Connected) => {
                let again = before == Connected && theirs == Initialised;
                if again || self.publishes_anew(context) {
                    self.line("its frontend starts anew", context);
                    self.loader.disconnected();
                    self.drop_lines(context);
                    self.connect(context);
                }
            }
            (Connected, Initialising) => {
                self.line("its frontend starts anew", context);
                self.loader.disconnected();
                self.drop_lines(context);
                self.set_state(InitWait, context);
            }
            // Not a change: it is still closed from before and has not yet seen that it is offered again.
            (InitWait, Closing | Closed) if before == theirs => {}
            (InitWait | Connected, Closing) => {
                self.line("its frontend closes", context);
                self.abandon(context);
                self.drop_lines(context);
                self.set_state(Closing, context);
                self.wait_for_close(context);
            }
            // Without Closing before it, this is how a frontend asks for a fresh start, for example after a resume.
            (InitWait | Connected, Closed) => {
                self.line("its frontend is closed", context);
                self.loader.disconnected();
                self.drop_lines(context);
                self.closed(context);
            }
            (Closing, Closed | Initialising | Unknown) => self.closed(context),
            (Closed, Initialising) if !self.fence.is_up(context.now) => self.offer_again(context),
            _ => {}
        }
    }

    /// One line on a change of life, bounded for a guest that changes all day.
    pub(super) fn line(&mut self, message: &str, context: &Context<'_>) {
        let (domid, now): (_, Instant) = (self.domid, context.now);
        self.log_limit.line(log::Level::Info, now, || format!("domain {domid}: {message}"));
    }
}
