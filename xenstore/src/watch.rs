// SPDX-License-Identifier: MIT OR Apache-2.0
//! A watch is one dirty flag; all watches of a connection share one wake descriptor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Error;

/// A registered watch. Dropping it unregisters it.
///
/// The flag is set at registration (xenstored fires every new watch once), so a caller that reads after
/// [`take_dirty`](Watch::take_dirty) misses nothing that happened before.
#[must_use = "a watch that is dropped is unregistered at once"]
pub struct Watch {
    path: String,
    token: u64,
    flag: Arc<Flag>,
    owner: Weak<dyn Unwatch>,
}

impl Watch {
    pub(crate) fn new(path: &str, token: u64, flag: Arc<Flag>, owner: Weak<dyn Unwatch>) -> Watch {
        Watch { path: path.to_owned(), token, flag, owner }
    }

    /// Whether something changed since the last call; clears the flag. Read the nodes *after* this call.
    pub fn take_dirty(&self) -> bool {
        self.flag.dirty.swap(false, Ordering::AcqRel)
    }

    /// The path as it was given at registration.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.unwatch(&self.path, self.token);
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watch").field("path", &self.path).field("dirty", &self.flag.dirty).finish()
    }
}

/// What a dropped watch tells its connection. Must not block for an answer.
pub(crate) trait Unwatch: Send + Sync {
    fn unwatch(&self, path: &str, token: u64);
}

/// The dirty flag that a watch shares with its connection.
#[derive(Debug)]
pub(crate) struct Flag {
    dirty: AtomicBool,
    wake: Arc<Wake>,
}

impl Flag {
    /// A flag that is dirty from the start.
    pub(crate) fn new(wake: &Arc<Wake>) -> Arc<Flag> {
        wake.signal();
        Arc::new(Flag { dirty: AtomicBool::new(true), wake: wake.clone() })
    }

    /// Marks the watch dirty. Only the first mark after a `take_dirty` costs a system call.
    pub(crate) fn mark(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.wake.signal();
        }
    }
}

/// The eventfd of a connection.
#[derive(Debug)]
pub(crate) struct Wake(EventFd);

impl Wake {
    pub(crate) fn new() -> Result<Arc<Wake>, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fd = EventFd::from_value_and_flags(0, flags).map_err(|errno| Error::io("eventfd", errno))?;
        Ok(Arc::new(Wake(fd)))
    }

    pub(crate) fn signal(&self) {
        // EAGAIN means that the counter is full: the descriptor is readable already, which is all we want.
        let _ = self.0.write(1);
    }

    pub(crate) fn drain(&self) {
        // EAGAIN means that nothing was pending.
        let _ = self.0.read();
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
