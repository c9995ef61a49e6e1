// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's own side: its pages, its grants, its ports.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::events;
use super::memory::GuestPage;
use super::state::Guest;
use crate::{Access, DomId, GrantRef, Port};

/// What a guest's kernel does. Clones are the same guest.
///
/// After the domain was destroyed nothing here panics or has an effect, so that guest threads of a test may run on.
#[derive(Clone)]
pub struct LoopGuest(pub(super) Arc<Guest>);

/// A grant that dom0 still maps cannot be ended: the page must not be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grant {0} is still mapped")]
pub struct StillMapped(pub GrantRef);

impl LoopGuest {
    /// The domain's number.
    pub fn id(&self) -> DomId {
        self.0.id
    }

    /// Whether the domain was not destroyed.
    pub fn is_alive(&self) -> bool {
        self.0.lock().alive
    }

    /// A zeroed page.
    pub fn alloc_page(&self) -> GuestPage {
        GuestPage(self.0.memory.alloc(1).remove(0))
    }

    /// Zeroed pages, each behind the one before in the guest's own address space, as the kernel's `vmap` makes them.
    ///
    /// # Panics
    /// If there is no room for that many.
    pub fn alloc_pages(&self, count: usize) -> Vec<GuestPage> {
        self.0.memory.alloc(count).into_iter().map(GuestPage).collect()
    }

    /// Grants a page to dom0.
    pub fn grant(&self, page: &GuestPage, access: Access) -> GrantRef {
        self.0.lock().grant(Arc::clone(&page.0), access)
    }

    /// Ends a grant; its number may be given out again at once.
    ///
    /// # Errors
    /// [`StillMapped`]; the grant stays then.
    ///
    /// # Panics
    /// If there is no such grant, in a domain that was not destroyed.
    pub fn end_access(&self, gref: GrantRef) -> Result<(), StillMapped> {
        let mut state = self.0.lock();
        match state.end_access(gref) {
            Some(true) => Ok(()),
            Some(false) => Err(StillMapped(gref)),
            None if !state.alive => Ok(()),
            None => {
                drop(state);
                panic!("domain {} ends grant {gref}, which it never made", self.0.id)
            }
        }
    }

    /// Number of grants that have not ended.
    pub fn active_grants(&self) -> usize {
        self.0.lock().active_grants()
    }

    /// Whether dom0 maps the page of a grant now (`GTF_reading`).
    pub fn is_mapped(&self, gref: GrantRef) -> bool {
        self.0.lock().is_mapped(gref)
    }

    /// Opens a port for dom0 to bind to.
    pub fn alloc_unbound(&self) -> Port {
        let mut state = self.0.lock();
        let port = state.events.alloc_unbound();
        if !state.alive {
            state.events.close_guest(port);
        }
        port
    }

    /// Whether dom0 is bound to a port of this guest.
    pub fn is_bound(&self, port: Port) -> bool {
        self.0.lock().events.is_bound(port)
    }

    /// Sends an event to dom0. An unbound port swallows it.
    pub fn notify(&self, port: Port) {
        self.0.lock().events.notify_host(port);
    }

    /// Waits for an event on a port of this guest and takes it: true if one came, false when the time is over or the port
    /// is closed. Events that came before count; several are one.
    pub fn wait(&self, port: Port, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let signal = self.0.lock().events.guest_signal(port);
        let Some(signal) = signal else { return false };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent spinning.
            let timeout =
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(signal.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return false,
                // Another thread may have been faster, so reading may find nothing. Closing raises the signal too.
                Ok(_) if signal.read().is_ok() => return self.0.lock().events.guest_signal(port).is_some(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("poll of an eventfd: {error}"),
            }
        }
    }

    /// A descriptor that is readable when [`LoopGuest::wait`] would not block; for poll and epoll. Of a destroyed domain's
    /// port it stays readable: there is nothing left to wait for.
    ///
    /// # Panics
    /// If there is no such port, in a domain that was not destroyed.
    pub fn event_fd(&self, port: Port) -> OwnedFd {
        let state = self.0.lock();
        let (signal, alive) = (state.events.guest_signal(port), state.alive);
        drop(state);
        let signal = match signal {
            Some(signal) => signal,
            None if !alive => events::closed_signal(),
            None => panic!("domain {} waits for port {port}, which is none of its own", self.0.id),
        };
        signal.as_fd().try_clone_to_owned().expect("a descriptor more")
    }

    /// Closes a port; dom0's end of it becomes unbound.
    pub fn close(&self, port: Port) {
        self.0.lock().events.close_guest(port);
    }
}
