// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way into a connection and out of it. When which is gone is in `lifecycle.rs`.

use vesper_action::Failure;
use vesper_ring::wire::xenbus::State;
use vesper_xenstore::Written;

use super::{Churn, Context, Guest, Then};
use crate::line::ConnectError;
use crate::loader::LoaderLine;
use crate::{Error, Event, nodes};

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
        self.device
            .as_ref()
            .and_then(|device| device.published.as_ref())
            .is_some_and(|old| (old.loader, &old.boot_id) == (published.loader, &published.boot_id))
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
            .and_then(|published| {
                let devices = context.host.open(self.domid).map_err(Error::from)?;
                let line = LoaderLine::connect(devices, self.domid, published.loader, context.epoll)?;
                Ok((published, line))
            });
        match connected {
            Ok((_, line)) if !self.churn.admit(context.now) => {
                line.close(context.epoll);
                self.fail(format!("it connected more than {} times within a minute", Churn::MAX), context);
            }
            Ok((published, line)) => {
                let domid = self.domid;
                self.log_limit.line(log::Level::Info, context.now, || {
                    let kernel = published.kernel_release.as_deref().unwrap_or("unknown").escape_default();
                    format!("domain {domid}: connected (protocol {}, kernel {kernel})", published.version)
                });
                device.published = Some(published);
                device.loader_line = Some(line);
                device.taken_over = taking_over;
                self.tally.connections += 1;
                self.signalled = true;
                self.set_state(State::Connected, context);
                context.events.push(Event::Attached { domid: self.domid });
            }
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
        self.harvest(context);
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

    /// Gives the mapping, the port and the descriptors back.
    pub(super) fn drop_lines(&mut self, context: &Context<'_>) {
        self.signalled = false;
        if let Some(line) = self.device.as_mut().and_then(|device| device.loader_line.take()) {
            line.close(context.epoll);
        }
    }

    /// Changes our state, and the node if it is still there.
    pub(super) fn set_state(&mut self, state: State, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut() else { return };
        device.state = state;
        let domid = self.domid;
        let written = nodes::set_state(context.store, domid, state);
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
