// SPDX-License-Identifier: MIT OR Apache-2.0
//! One ring to a guest with its event channel, mapped, bound and in the epoll. The loader has one and the listener
//! another, each with devices of its own.

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vesper_action::Violation;
use vesper_grant::{Access, Counters, Devices, DomId, GrantRef, Mapping, Port};
use vesper_ring::wire::Wire;
use vesper_ring::{AttachError, BackRing};

use crate::{Error, Limits};

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The guest offered something that cannot be used.
    #[error("{0}")]
    Guest(String),
    /// This side could not do its part.
    #[error(transparent)]
    Host(#[from] Error),
}

/// What a frontend publishes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) ring: GrantRef,
    pub(crate) port: Port,
}

/// A ring that is in use. Dropping it gives everything back; [`Line::close`] also tells the epoll.
pub(crate) struct Line<Req, Rsp> {
    // Order of drop: the ring before its memory, the mapping (whose unmapping notifies through the port) before the
    // devices.
    ring: BackRing<Req, Rsp>,
    _page: Mapping,
    devices: Box<dyn Devices>,
    guest: DomId,
    port: Port,
    kicks: Kicks,
}

/// What is known of the kicks of a guest's event channel.
#[derive(Default)]
struct Kicks {
    /// One was taken and the port is masked since.
    masked: bool,
    /// There was work since it was unmasked last.
    worked: bool,
    /// The event that binding leaves behind has been seen.
    first_seen: bool,
    /// In a row, with nothing behind them.
    spurious: u32,
    /// When to unmask the port that was kicked for nothing.
    unmask_at: Option<Instant>,
}

impl<Req: Wire, Rsp: Wire> Line<Req, Rsp> {
    /// Maps, binds and takes up the ring that the frontend published; `mark` is its place in the epoll. The caller
    /// [kicks](Line::kick) the frontend once when all is there, because a predecessor may have died between an answer
    /// and its kick.
    pub(crate) fn connect(
        devices: Box<dyn Devices>,
        guest: DomId,
        ends: Ends,
        epoll: &Epoll,
        mark: u64,
    ) -> Result<Self, ConnectError> {
        let page = devices
            .map(&[ends.ring], Access::ReadWrite)
            .map_err(|error| ConnectError::Guest(format!("its ring page cannot be mapped: {error}")))?;
        // SAFETY: the mapping is page-aligned, `len` bytes long, and stored beside the ring, which is dropped first.
        // The memory is shared with the guest, which is what the ring is made for.
        let ring = unsafe { BackRing::attach(page.as_ptr(), page.len()) }.map_err(|error| match error {
            AttachError::Poison(poison) => ConnectError::Guest(format!("its ring is unusable: {poison}")),
            AttachError::Memory(memory) => ConnectError::Guest(format!("its ring page is no ring: {memory}")),
        })?;
        let port = devices.bind(ends.port).map_err(|error| {
            ConnectError::Guest(format!("its event channel {} cannot be bound: {error}", ends.port))
        })?;
        page.set_unmap_notify(None, Some(port)).map_err(Error::from)?;
        epoll
            .add(devices.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, mark))
            .map_err(|errno| Error::Os { what: "epoll_ctl for an event channel", source: errno.into() })?;
        Ok(Self { ring, _page: page, devices, guest, port, kicks: Kicks::default() })
    }

    /// Gives everything back.
    pub(crate) fn close(self, epoll: &Epoll) {
        // A memory file behind the descriptor may live on elsewhere, so epoll is told and not left to find out.
        if let Err(errno) = epoll.delete(self.devices.event_fd()) {
            log::error!("domain {}: its event channel cannot be taken out of epoll: {errno}", self.guest);
        }
    }

    /// The guest.
    pub(crate) fn guest(&self) -> DomId {
        self.guest
    }

    /// The devices, for the pages that messages name.
    pub(crate) fn devices(&self) -> &dyn Devices {
        &*self.devices
    }

    /// What is in use and was done.
    pub(crate) fn counters(&self) -> Counters {
        self.devices.counters()
    }

    /// Takes the pending event; true if the guest kicked.
    pub(crate) fn take_kick(&mut self) -> Result<bool, vesper_grant::Error> {
        let kicked = self.devices.pending()?.contains(&self.port);
        self.kicks.masked |= kicked;
        Ok(kicked)
    }

    /// Copies the next request out.
    pub(crate) fn take(&mut self) -> Result<Option<Req>, Violation> {
        let request = self.ring.take().map_err(violation)?;
        self.kicks.worked |= request.is_some();
        Ok(request)
    }

    /// There was other work than requests behind the kick.
    pub(crate) fn worked(&mut self) {
        self.kicks.worked = true;
    }

    /// Before sleeping; true if there is a request after all.
    pub(crate) fn final_check(&mut self) -> Result<bool, Violation> {
        self.ring.final_check().map_err(violation)
    }

    /// Answers the oldest request that has no answer, and kicks the guest if it wants that.
    pub(crate) fn answer(&mut self, response: &Rsp) -> Result<(), Violation> {
        self.ring.push(response).map_err(violation)?;
        if self.ring.publish() {
            self.devices.notify(self.port).map_err(violation)?;
        }
        Ok(())
    }

    /// Kicks the guest.
    pub(crate) fn kick(&self) -> Result<(), vesper_grant::Error> {
        self.devices.notify(self.port)
    }

    /// Hears the guest again after its kick was served: at once if there was work behind it, later and later if not.
    /// True if the kick was for nothing.
    pub(crate) fn unmask(&mut self, limits: &Limits, now: Instant) -> Result<bool, vesper_grant::Error> {
        let worked = self.kicks.worked;
        if worked {
            self.kicks.spurious = 0;
        }
        if !self.kicks.masked {
            return Ok(false);
        }
        let spurious = !worked && self.kicks.first_seen;
        self.kicks.first_seen = true;
        if spurious && self.kicks.unmask_at.is_none() {
            self.kicks.spurious = self.kicks.spurious.saturating_add(1);
            let pause = kick_pause(self.kicks.spurious).min(limits.max_kick_pause);
            if pause > Duration::ZERO {
                self.kicks.unmask_at = Some(now + pause);
                return Ok(true);
            }
        } else if !worked && self.kicks.unmask_at.is_some_and(|at| at > now) {
            return Ok(false);
        }
        (self.kicks.masked, self.kicks.worked) = (false, false);
        self.kicks.unmask_at = None;
        self.devices.unmask(self.port)?;
        Ok(spurious)
    }

    /// Unmasks the port if its pause is over.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), vesper_grant::Error> {
        if self.kicks.unmask_at.is_some_and(|at| at <= now) {
            self.kicks.unmask_at = None;
            self.kicks.masked = false;
            self.devices.unmask(self.port)?;
        }
        Ok(())
    }

    /// When [`Line::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.kicks.unmask_at
    }
}

/// Pause after the `n`th kick in a row with nothing behind it: none for the first, which an honest guest may send when
/// its request was seen before its kick, then 1 ms, 2 ms, 4 ms and so on (as `lateeoi` of Linux, `events_base.c`).
fn kick_pause(n: u32) -> Duration {
    match n {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(1 << (n - 2).min(20)),
    }
}

/// What a guest may not do.
pub(crate) fn violation(error: impl ToString) -> Violation {
    Violation(error.to_string())
}
