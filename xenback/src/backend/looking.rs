// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which guests and devices there are, by what Xen and xenstore say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use vesper_action::listener::{DeadCause, Domain};
use vesper_grant::{DomId, DomainState};
use vesper_ring::wire::xenbus::State;

use super::Backend;
use crate::guest::{Guest, domain};
use crate::{Error, Event, RETRY, Uuid, nodes};

/// First domain number that Xen never gives to a guest (`DOMID_FIRST_RESERVED`, `public/xen.h`).
const FIRST_RESERVED: u16 = 0x7ff0;
/// How often Xen is asked for its domains while there is no xenstore to tell of changes.
const POLL_WITHOUT_STORE: Duration = Duration::from_secs(1);

impl Backend {
    /// Acts on every watch that is dirty, which some may be if the store's descriptor `is_readable`.
    pub(super) fn look_at_store(&mut self, is_readable: bool, now: Instant) {
        if self.poll_at.is_some() {
            if self.poll_at.is_some_and(|at| at <= now) {
                self.poll_at = Some(now + POLL_WITHOUT_STORE);
                self.look_at_domains(now);
            }
            return;
        }
        // No short circuit: both are to be cleared.
        let again = self.retry_at.take_if(|at| *at <= now).is_some();
        if !(std::mem::take(&mut self.watches_are_new) | is_readable | again) {
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
        if self.watches.introduced.take_dirty() | self.watches.released.take_dirty() | again {
            self.look_at_domains(now);
        }
        if self.watches.backends.take_dirty() || again {
            self.look_at_backends(now);
        }
        for domid in self.guests.keys().copied().collect::<Vec<_>>() {
            self.visit(domid, now, Guest::look_if_dirty);
        }
    }

    pub(super) fn forget_store(&self) {
        if let Err(errno) = self.epoll.delete(self.store.wake_fd()) {
            log::error!("xenstore's descriptor cannot be taken out of epoll: {errno}");
        }
    }

    /// Asks Xen which domains there are: the only thing that says that a guest came or went.
    pub(super) fn look_at_domains(&mut self, now: Instant) {
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
        let mut gone = BTreeSet::new();
        for (domid, uuid) in self.guests.values().map(|guest| (guest.domid, guest.uuid)).collect::<Vec<_>>() {
            let state = known.get(&domid).copied().filter(|state| Uuid(state.uuid) == uuid);
            if let Some(state) = state.filter(|state| !state.dying) {
                self.visit(domid, now, |guest, context| guest.xen_says(state, context));
                continue;
            }
            let Some(guest) = self.guests.remove(&domid) else { continue };
            self.turns.remove(domid);
            gone.insert(domid);
            let cause = match domain(state) {
                Domain::Dead(cause) => cause,
                _ => DeadCause::Destroyed,
            };
            if !guest.gone(cause, &mut self.parts(now).1) {
                self.retry_later(now);
            }
        }
        let mut appeared = false;
        for (domid, state) in known {
            if self.guests.contains_key(&domid) || state.dying {
                continue;
            }
            if gone.contains(&domid) {
                // The number is used again. First comes what there is to tell of the one before, while nobody else has it.
                self.look_again(now);
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
            appeared = true;
            if matches!(domain(Some(state)), Domain::Dead(_)) {
                // It ended while nobody looked, and is kept. Xen will not tell of it again; its channels are taken up first.
                self.retry_later(now);
            }
        }
        if appeared {
            self.look_at_backends(now);
        }
    }

    fn new_guest(&self, domid: DomId, uuid: Uuid) -> Guest {
        Guest::new(domid, uuid, &self.run, &self.quota, &self.limits, self.turns.ringer(domid))
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
        let mut failed = false;
        for domid in with_backend {
            if let Err(error) = self.look_at_backend(domid, now) {
                log::error!("domain {domid}: its device's nodes cannot be taken up or removed: {error}");
                self.retry_later(now);
                failed = true;
            }
        }
        // What is found from now on is of guests that were seen to go.
        self.finds_predecessors &= failed;
    }

    fn look_at_backend(&mut self, domid: DomId, now: Instant) -> Result<(), Error> {
        match self.guests.get(&domid).map(Guest::is_attached) {
            // A directory that is still being made has no state yet; its watch fires again.
            Some(false) if self.has_state(domid)? => {
                self.visit(domid, now, Guest::adopt).transpose()?;
            }
            None if self.is_over(domid)? && self.has_state(domid)? => {
                log::info!("domain {domid} is gone; removing what its device left in xenstore");
                let whose = nodes::load_guest(&*self.store, domid)?.filter(|_| self.finds_predecessors);
                nodes::remove(&*self.store, domid, false)?;
                self.events.extend(whose.map(|(uuid, name)| Event::WentUnseen { domid, uuid, name }));
            }
            // Its own watches tell of one that is attached, so that what one guest has written down costs no look at all.
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Whether there is no such domain, or Xen is taking it apart.
    fn is_over(&self, domid: DomId) -> Result<bool, Error> {
        Ok(self.host.domain(domid)?.is_none_or(|state| state.dying))
    }

    fn retry_later(&mut self, now: Instant) {
        self.look_again(now + RETRY);
    }

    fn look_again(&mut self, at: Instant) {
        self.retry_at = Some(self.retry_at.map_or(at, |before| before.min(at)));
    }

    fn has_state(&self, domid: DomId) -> Result<bool, Error> {
        Ok(nodes::state(&*self.store, &nodes::backend(domid))? != State::Unknown)
    }
}
