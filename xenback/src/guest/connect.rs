// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way into a connection and out of it. When which is gone is in `lifecycle.rs`.

use vesper_action::{Failure, listener};
use vesper_grant::DomId;
use vesper_ring::wire::xenbus::State;
use vesper_xenstore::Written;

use super::{Churn, Context, Guest, TakenOver, Then};
use crate::line::ConnectError;
use crate::listener::ListenerLine;
use crate::loader::LoaderLine;
use crate::nodes::{self, Published};
use crate::{Error, Event};

/// The rings of a connection that comes about.
struct Lines {
    loader: LoaderLine,
    /// `None`: the frontend has no listener.
    listener: Option<ListenerLine>,
}

impl Lines {
    fn close(self, context: &Context<'_>) {
        self.loader.close(context.epoll);
        if let Some(line) = self.listener {
            line.close(context.epoll);
        }
    }
}

/// Maps and binds both rings, or neither.
fn connect_lines(domid: DomId, published: &Published, context: &Context<'_>) -> Result<Lines, ConnectError> {
    let open = || context.host.open(domid).map_err(Error::from);
    let loader = LoaderLine::connect(open()?, domid, published.loader, context.epoll)?;
    let listener = published.listener.as_ref().map(|published| {
        open()
            .map_err(ConnectError::from)
            .and_then(|devices| ListenerLine::connect(devices, domid, published, context.epoll))
    });
    match listener.transpose() {
        Ok(listener) => Ok(Lines { loader, listener }),
        Err(error) => {
            loader.close(context.epoll);
            Err(error)
        }
    }
}

/// Maps again what a predecessor had mapped.
fn take_exports_over(
    line: &mut ListenerLine,
    listener: &mut listener::Listener,
    context: &Context<'_>,
) -> Result<(), String> {
    let exports = nodes::load_exports(context.store, line.guest(), line.ends()).map_err(|e| e.to_string())?;
    let exports = exports.ok_or("what it shares is not known")?;
    line.take_over(&exports, listener, context).map_err(|refusal| refusal.to_string())
}

impl Guest {
    /// Whether the frontend has published other nodes than those of the connection. One that cannot be read now says
    /// nothing; one that is unusable does, and connecting says why.
    pub(super) fn publishes_anew(&mut self, context: &Context<'_>) -> bool {
        match nodes::published(context.store, self.domid) {
            Ok(new) => !self.has_published(&new),
            Err(vesper_xenstore::Error::Value { .. } | vesper_xenstore::Error::NoEntry { .. }) => true,
            Err(error) => {
                self.line(&format!("what its frontend published cannot be read: {error}"), context);
                self.retry_later(context);
                false
            }
        }
    }

    pub(super) fn retry_later(&mut self, context: &Context<'_>) {
        if let Some(device) = self.device.as_mut() {
            device.retry(context.now);
        }
    }

    fn has_published(&self, published: &nodes::Published) -> bool {
        self.device.as_ref().and_then(|device| device.published.as_ref()).is_some_and(|old| {
            (old.loader, &old.listener, &old.boot_id)
                == (published.loader, &published.listener, &published.boot_id)
        })
    }

    /// Waits for the frontend, or connects if it is there.
    pub(super) fn offer(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_ref() else { return };
        match device.frontend {
            State::Initialised | State::Connected => self.connect(context),
            theirs => {
                self.set_state(State::InitWait, context);
                self.frontend_says(theirs, context);
            }
        }
    }

    /// Offers a closed device again. A frontend that sees 2 starts from the beginning.
    pub(super) fn offer_again(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        // Its nodes are still to be removed.
        if device.then == Then::Remove {
            return;
        }
        device.failure = None;
        device.published = None;
        self.fence.until = None;
        self.set_state(State::InitWait, context);
    }

    /// Closes the connection and offers it again, for a fresh start of both ends.
    pub(super) fn again(&mut self, why: &str, context: &mut Context<'_>) {
        self.line(&format!("{why}; closing its connection for a fresh start"), context);
        if let Some(device) = self.device.as_mut() {
            device.failure = None;
        }
        self.loader.disconnected();
        self.close(Then::Reopen, context);
    }

    /// Maps and binds what the frontend published.
    pub(super) fn connect(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        let taking_over = device.state == State::Connected && device.published.is_none();
        let connected = nodes::published(context.store, self.domid)
            .map_err(|error| match error {
                vesper_xenstore::Error::Value { .. } | vesper_xenstore::Error::NoEntry { .. } => {
                    ConnectError::Guest(format!("what its frontend published is unusable: {error}"))
                }
                error => ConnectError::Host(error.into()),
            })
            .and_then(|published| Ok((connect_lines(self.domid, &published, context)?, published)));
        match connected {
            Ok((lines, _)) if !self.churn.admit(context.now) => {
                lines.close(context);
                self.fail(format!("it connected more than {} times within a minute", Churn::MAX), context);
            }
            Ok((lines, published)) => self.established(lines, published, taking_over, context),
            Err(error) if taking_over => {
                self.line(&format!("taking over: {error}"), context);
            }
            Err(ConnectError::Host(error)) => {
                self.line(&format!("it cannot be connected now: {error}"), context);
                self.set_state(State::InitWait, context);
                self.retry_later(context);
            }
            Err(ConnectError::Guest(reason)) => self.fail(reason, context),
        }
    }

    /// The rings are there: takes up what a predecessor had on them, and is connected.
    fn established(
        &mut self,
        mut lines: Lines,
        published: Published,
        taking_over: bool,
        context: &mut Context<'_>,
    ) {
        let domid = self.domid;
        let known = self.listener.boot_id().is_some();
        self.listener.connected(published.boot_id.as_deref(), context.now);
        if let Some(boot_id) = published.boot_id.as_deref().filter(|_| !known) {
            match nodes::load_heard(context.store, domid, boot_id) {
                Ok(memory) => self.listener.remember(&memory),
                Err(error) => self.line(&format!("what was heard of it is not known: {error}"), context),
            }
        }
        let listener = lines.listener.as_mut().map(|line| match taking_over {
            true => take_exports_over(line, &mut self.listener, context),
            false => nodes::store_exports(context.store, domid, line.ends(), &[]).map_err(|e| e.to_string()),
        });
        if taking_over && let Some(Err(reason)) = listener {
            self.listener.disconnected(context.now);
            lines.close(context);
            self.line(&format!("taking over: {reason}"), context);
            return;
        }
        self.log_limit.line(log::Level::Info, context.now, || {
            let kernel = published.kernel_release.as_deref().unwrap_or("unknown").escape_default();
            let listener = if lines.listener.is_some() { "" } else { ", no listener" };
            format!("domain {domid}: connected (protocol {}, kernel {kernel}{listener})", published.version)
        });
        let Some(device) = self.device.as_mut() else { return };
        device.published = Some(published);
        device.listener_unwritten = matches!(listener, Some(Err(_)));
        // As it was loaded, or to be written at once.
        device.heard = if known { listener::Memory::default() } else { self.listener.memory() };
        (device.loader_line, device.listener_line) = (Some(lines.loader), lines.listener);
        device.taken_over = TakenOver { loader: taking_over, listener: taking_over };
        self.tally.connections += 1;
        self.ended = None;
        (self.signalled, self.listening) = (true, true);
        self.set_state(State::Connected, context);
        context.events.push(Event::Attached { domid });
    }

    /// Stops the device: the guest broke the protocol, or cannot be reached.
    pub(super) fn fail(&mut self, reason: String, context: &mut Context<'_>) {
        let domid = self.domid;
        self.log_limit.warn(context.now, || format!("domain {domid}: its device is stopped: {reason}"));
        self.tally.protocol_errors += 1;
        self.fence.raise(context.limits, context.now);
        self.loader.abandon(&Failure::DeviceStopped { reason: reason.clone() });
        if let Some(device) = self.device.as_mut() {
            device.failure = Some(reason.clone());
        }
        context.events.push(Event::DeviceFailed { domid, reason });
        self.close(Then::Stay, context);
    }

    /// Drops the connection and goes to Closing; Closed follows when the frontend has closed its end.
    pub(super) fn close(&mut self, then: Then, context: &mut Context<'_>) {
        self.drop_lines(context);
        let Some(device) = self.device.as_mut() else { return };
        device.then = then;
        let idle = matches!(device.frontend, State::Closed | State::Initialising | State::Unknown);
        if device.state == State::Closed || idle {
            self.closed(context);
        } else {
            self.set_state(State::Closing, context);
            self.wait_for_close(context);
        }
    }

    pub(super) fn wait_for_close(&mut self, context: &Context<'_>) {
        if let Some(device) = self.device.as_mut() {
            device.close_deadline.get_or_insert(context.now + context.limits.close_wait);
        }
    }

    /// The frontend has closed its end, or is no longer waited for.
    pub(super) fn closed(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        device.close_deadline = None;
        let (then, theirs) = (std::mem::replace(&mut device.then, Then::Stay), device.frontend);
        self.set_state(State::Closed, context);
        match then {
            Then::Remove => self.remove(context),
            Then::Reopen => self.offer_again(context),
            Then::Stay if theirs == State::Initialising => self.frontend_says(theirs, context),
            Then::Stay => {}
        }
    }

    /// Removes the nodes, and then the device: not before, so that nothing is called detached that is not.
    pub(super) fn remove(&mut self, context: &mut Context<'_>) {
        let domid = self.domid;
        if let Err(error) = nodes::remove(context.store, domid, true) {
            self.log_limit.warn(context.now, || {
                format!("domain {domid}: its nodes cannot be removed, trying again: {error}")
            });
            if let Some(device) = self.device.as_mut() {
                device.then = Then::Remove;
                device.retry(context.now);
            }
            return;
        }
        self.device = None;
        log::info!("domain {domid}: detached");
        context.events.push(Event::Detached { domid });
    }

    /// Gives the mappings, the ports and the descriptors back. What is shared stays known: it may be announced again.
    pub(super) fn drop_lines(&mut self, context: &mut Context<'_>) {
        (self.signalled, self.listening) = (false, false);
        self.hear_out();
        self.listener.disconnected(context.now);
        let Some(device) = self.device.as_mut() else { return };
        if let Some(line) = device.listener_line.take() {
            line.close(context.epoll);
        }
        if let Some(line) = device.loader_line.take() {
            line.close(context.epoll);
        }
    }

    /// Changes our state, and the node if it is still there.
    pub(super) fn set_state(&mut self, state: State, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        device.state = state;
        let domid = self.domid;
        let written = nodes::set_state(context.store, domid, state, context.limits);
        device.state_unwritten = written.is_err();
        match written {
            Ok(Written::Changed | Written::Same) => {}
            Ok(Written::Gone) => self.line("the node of our state is gone", context),
            Err(error) => {
                device.retry(context.now);
                self.log_limit.warn(context.now, || {
                    format!("domain {domid}: our state {state:?} cannot be written: {error}")
                });
            }
        }
    }
}
