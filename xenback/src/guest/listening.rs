// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one guest shares: turns of its listener, what is told of them, whether it lives, and its end.

use vesper_action::Failure;
use vesper_action::listener::{ChannelInfo, DeadCause, Domain, Export, Happening, Look, Vcpu, Verdict};
use vesper_grant::{DomainState, ShutdownReason};

use super::{Context, Guest, NOT_TAKEN_OVER, Then};
use crate::listener::{ListenerLine, now_ns};
use crate::{Error, Event, ListenerInfo, Uuid, nodes};

impl Guest {
    /// The listener's event channel is readable. Readers come first: if the guest has written anything for them, all the
    /// rest is left to the next run, which begins with [`Guest::take_ring`].
    pub(crate) fn rung(&mut self, context: &mut Context<'_>) {
        let Some(line) = self.device.as_mut().and_then(|device| device.listener_line.as_mut()) else {
            return;
        };
        self.listening = true;
        self.readers_first = self.listener.look_first(context.now);
        if self.readers_first {
            line.line().worked();
        }
    }

    /// Takes the event that [`Guest::rung`] was told of. The guest is heard again when its turn is over.
    pub(crate) fn take_ring(&mut self, context: &mut Context<'_>) {
        self.readers_first = false;
        let Some(line) = self.listener_line() else { return };
        if let Err(error) = line.line().take_kick() {
            self.fail(format!("its listener's event channel cannot be read: {error}"), context);
            return;
        }
        if !self.listening {
            self.unmask_listener(context);
        }
    }

    /// The guest is heard again, unless it kicked for nothing.
    fn unmask_listener(&mut self, context: &mut Context<'_>) {
        let Some(line) = self.listener_line() else { return };
        match line.line().unmask(context.limits, context.now) {
            Ok(spurious) => self.tally.spurious_kicks += u64::from(spurious),
            Err(error) => {
                self.fail(format!("its listener's event channel cannot be unmasked: {error}"), context);
            }
        }
    }

    /// The next run takes a turn, because someone began to read.
    pub(crate) fn wake(&mut self) {
        self.listening = self.listener_line().is_some();
    }

    /// One turn of the listener: at most the budgets of requests and of records.
    pub(crate) fn listen(&mut self, context: &mut Context<'_>) {
        self.listening = false;
        let Some(device) = self.device.as_mut() else { return };
        let Some(line) = device.listener_line.as_mut() else { return };
        let (store, domid, unwritten) = (context.store, self.domid, &mut device.listener_unwritten);
        let ends = line.ends();
        // Before the guest hears that it is mapped: a daemon that dies in between leaves its successor the list and the
        // request.
        let mut note = |exports: &[vesper_ring::wire::listener::Export]| {
            *unwritten |= nodes::store_exports(store, domid, ends, exports).is_err();
        };
        let turn = match line.serve(&mut self.listener, &mut note, context.limits.budget, context) {
            Ok(turn) => turn,
            Err(violation) if device.taken_over.listener => {
                log::warn!("domain {domid}: in what a predecessor left: {violation}");
                self.again(NOT_TAKEN_OVER, context);
                return;
            }
            Err(violation) => {
                self.fail(violation.to_string(), context);
                return;
            }
        };
        let heard = line.hear(&mut self.listener);
        let looked = self.listener.turn(context.limits.watch_budget, context.now);
        self.tally.requests += u64::from(turn.requests);
        if heard || looked.moved {
            line.line().worked();
        }
        if turn.more || looked.more {
            self.listening = true;
        } else {
            self.unmask_listener(context);
        }
        if let Some(device) = self.device.as_mut() {
            device.taken_over.listener = false;
            if device.listener_unwritten {
                device.retry(context.now);
            }
        }
        self.harvest(context);
    }

    /// Lets time pass.
    pub(super) fn listener_tick(&mut self, context: &mut Context<'_>) {
        self.listening |= self.listener.take_rung();
        self.listener_at = self.listener.tick(context.now);
        if let Some(line) = self.listener_line()
            && let Err(error) = line.line().tick(context.now)
        {
            self.fail(format!("its listener's event channel cannot be unmasked: {error}"), context);
        }
    }

    /// Tells what happened.
    pub(super) fn harvest_listener(&mut self, context: &mut Context<'_>) {
        let domid = self.domid;
        while let Some(happening) = self.listener.happened() {
            context.events.push(match happening {
                Happening::Exported { number, name } => Event::Exported { domid, export: number, name },
                Happening::Unexported { number, name, why } => {
                    Event::Unexported { domid, export: number, name, why }
                }
                Happening::Moved => Event::Moved { domid },
                Happening::LastWords(words) => Event::LastWords { domid, words },
                Happening::Fatal { number, name, owner, schema, record } => {
                    Event::Fatal { domid, export: number, name, owner, schema, record }
                }
            });
        }
        self.heard_changed = self
            .device
            .as_ref()
            .is_some_and(|device| device.listener_line.is_some() && device.heard != self.listener.memory());
    }

    /// What came of its last words in this place is safe.
    pub(crate) fn words_noted(&mut self, boot_id: &str, slot: u32) {
        if self.listener.boot_id() == Some(boot_id) {
            self.listener.words_noted(slot);
        }
    }

    /// Writes down what was heard and need not be heard again, so that a successor does not tell it again.
    pub(super) fn persist_heard(&mut self, context: &mut Context<'_>) {
        if !std::mem::take(&mut self.heard_changed) {
            return;
        }
        let (Some(device), Some(boot_id)) = (self.device.as_mut(), self.listener.boot_id()) else { return };
        device.heard = self.listener.memory();
        if nodes::store_heard(context.store, self.domid, &device.heard, boot_id).is_err() {
            device.listener_unwritten = true;
            device.retry(context.now);
        }
    }

    /// Writes down what could not be written.
    pub(super) fn rewrite_listener(&mut self, context: &mut Context<'_>) {
        let Some(device) = self.device.as_mut().filter(|device| device.listener_unwritten) else { return };
        let Some(line) = &device.listener_line else { return };
        let exports = nodes::store_exports(context.store, self.domid, line.ends(), line.shared());
        let heard = self.listener.boot_id().map_or(Ok(()), |boot_id| {
            nodes::store_heard(context.store, self.domid, &self.listener.memory(), boot_id)
        });
        device.listener_unwritten = exports.and(heard).is_err();
        if device.listener_unwritten {
            device.retry(context.now);
        }
    }

    /// Hears what the guest said last, while its pages are still mapped.
    pub(super) fn hear_out(&mut self) {
        if let Some(line) = self.device.as_ref().and_then(|device| device.listener_line.as_ref()) {
            line.hear(&mut self.listener);
        }
    }

    /// The guest has ended: what can be read of it is copied, then everything is given back.
    pub(super) fn bury(&mut self, cause: DeadCause, context: &mut Context<'_>) {
        if self.ended.replace(cause).is_some() {
            return;
        }
        self.hear_out();
        let remains = self.listener.bury(now_ns(), context.now);
        self.harvest(context);
        log::info!("domain {}: it has ended: {cause:?}", self.domid);
        context.remains.insert(self.domid, remains);
        context.events.push(Event::GuestEnded { domid: self.domid, uuid: self.uuid, cause });
    }

    /// What Xen says of the domain, which is not gone.
    pub(crate) fn xen_says(&mut self, state: &DomainState, context: &mut Context<'_>) {
        self.suspended = state.shutdown == Some(ShutdownReason::Suspend);
        match (self.domain(Some(state)), self.ended) {
            (Domain::Dead(cause), None) => {
                self.loader.abandon(&Failure::GuestGone);
                self.bury(cause, context);
                self.drop_lines(context);
                if let Some(device) = self.device.as_mut() {
                    // It may begin anew where it is (kexec).
                    device.then = Then::Stay;
                    self.closed(context);
                }
            }
            (Domain::Dead(_), Some(_)) => {}
            _ => self.ended = None,
        }
    }

    /// [`domain`], of one that its toolstack may be destroying. One that runs again is not, and for a save or a soft reset it is shut
    /// down first.
    fn domain(&mut self, state: Option<&DomainState>) -> Domain {
        let domain = domain(state);
        self.taken_apart &= domain == Domain::Paused;
        if self.taken_apart { Domain::Dead(DeadCause::Destroyed) } else { domain }
    }

    /// What Xen has of the domain; nothing if that is another guest's by now.
    pub(super) fn ask_xen(&self, context: &Context<'_>) -> Result<Option<DomainState>, Error> {
        Ok(context.host.domain(self.domid)?.filter(|state| Uuid(state.uuid) == self.uuid))
    }

    /// Takes a look at the guest, and judges it by this and an earlier one.
    pub(crate) fn alive(&mut self, context: &mut Context<'_>) -> Result<Verdict, Error> {
        let state = self.ask_xen(context)?;
        let domain = self.domain(state.as_ref());
        // First the vCPUs, then the beats: see `listener::heart`.
        let vcpus = context.host.vcpus(self.domid)?;
        let line = self.device.as_ref().and_then(|device| device.listener_line.as_ref());
        let beats = line.map(ListenerLine::beats);
        Ok(self.listener.look(Look {
            at_ns: now_ns(),
            domain,
            vcpus: vcpus
                .iter()
                .map(|vcpu| Vcpu { online: vcpu.online, blocked: vcpu.blocked, ran_ns: vcpu.cpu_time_ns })
                .collect(),
            beats,
        }))
    }

    /// Its channels.
    pub(crate) fn channels(&self) -> Vec<ChannelInfo> {
        self.listener.channels()
    }

    /// The channel of that name.
    pub(crate) fn channel(&self, name: &str) -> Option<Export> {
        self.listener.export(name)
    }

    /// What can be told of its listener.
    pub(crate) fn listener_info(&self) -> ListenerInfo {
        let line = self.device.as_ref().and_then(|device| device.listener_line.as_ref());
        let beats = line.map(ListenerLine::beats);
        let counters = self.listener.counters();
        ListenerInfo {
            boot_id: self.listener.boot_id().map(str::to_owned),
            clock: self.listener.clock(now_ns()),
            beat_period_ns: beats.as_ref().map(|beats| beats.period_ns()),
            words: self.listener.words().to_vec(),
            words_lost: beats.map_or(0, |beats| beats.words_lost()),
            exports: counters.exports,
            refused: counters.refused,
            fatal_left_out: counters.fatal_left_out,
        }
    }

    pub(super) fn listener_line(&mut self) -> Option<&mut ListenerLine> {
        self.device.as_mut().and_then(|device| device.listener_line.as_mut())
    }
}

/// A domain in the Action layer's words; `None`: there is none.
pub(crate) fn domain(state: Option<&DomainState>) -> Domain {
    let Some(state) = state else { return Domain::Dead(DeadCause::Destroyed) };
    match state.shutdown {
        Some(ShutdownReason::Suspend) if !state.dying => Domain::Suspended,
        Some(ShutdownReason::Suspend) => Domain::Dead(DeadCause::Saved),
        Some(ShutdownReason::Poweroff) => Domain::Dead(DeadCause::PoweredOff),
        Some(ShutdownReason::Reboot) => Domain::Dead(DeadCause::Rebooted),
        Some(ShutdownReason::Crash) => Domain::Dead(DeadCause::Crashed),
        Some(ShutdownReason::Watchdog) => Domain::Dead(DeadCause::Watchdog),
        Some(ShutdownReason::SoftReset) => Domain::Dead(DeadCause::SoftReset),
        Some(ShutdownReason::Other(code)) => Domain::Dead(DeadCause::Other(code)),
        None if state.dying => Domain::Dead(DeadCause::Destroyed),
        None if state.paused => Domain::Paused,
        None => Domain::Up,
    }
}
