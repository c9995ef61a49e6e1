// SPDX-License-Identifier: MIT OR Apache-2.0
//! The traits: what a xenstore can do.

use std::os::fd::BorrowedFd;

use crate::{Error, Perm, Watch};

/// A transaction of one store, or [`Tx::NONE`] for a request outside any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tx(pub(crate) u32);

impl Tx {
    /// No transaction: the request takes effect at once.
    pub const NONE: Tx = Tx(0);
}

/// All of xenstore that a backend needs, over one connection.
///
/// Paths are absolute, or relative to `/local/domain/<own id>/`. All calls are synchronous and end within the
/// connection's time limit. They may be made from any thread.
pub trait Store: Send + Sync {
    /// The value of a node. [`Error::NoEntry`] if it does not exist.
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error>;

    /// Writes a node, creating it and its parents where they are missing. New nodes take their parent's
    /// permissions.
    fn write(&self, tx: Tx, path: &str, value: &[u8]) -> Result<(), Error>;

    /// Creates an empty node and its parents where they are missing; an existing node stays as it is.
    fn mkdir(&self, tx: Tx, path: &str) -> Result<(), Error>;

    /// Removes a node and all below it. As with xenstored, a missing node is no error while its parent exists.
    fn remove(&self, tx: Tx, path: &str) -> Result<(), Error>;

    /// The names of the node's children, in no particular order; directories of any size.
    fn list(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error>;

    /// The permissions of a node; see [`Perm`] for the meaning of the first entry.
    fn get_perms(&self, tx: Tx, path: &str) -> Result<Vec<Perm>, Error>;

    /// Sets the permissions of a node; the first entry names the owner.
    fn set_perms(&self, tx: Tx, path: &str, perms: &[Perm]) -> Result<(), Error>;

    /// Starts a transaction. Use [`transaction()`](crate::transaction()), which also ends and repeats it.
    fn begin(&self) -> Result<Tx, Error>;

    /// Ends a transaction. A commit that conflicts with another change gives [`Error::Again`] and changes
    /// nothing.
    fn end(&self, tx: Tx, commit: bool) -> Result<(), Error>;

    /// Watches a node and all below it, or the special `@introduceDomain` and `@releaseDomain`. The watch is
    /// dirty from the start, and unregistered when dropped.
    fn watch(&self, path: &str) -> Result<Watch, Error>;

    /// A descriptor for epoll: readable when a watch of this connection became dirty or the connection ended.
    /// After a wake-up call [`drain_wake`](Store::drain_wake) first, then look at
    /// [`is_connected`](Store::is_connected) and the watches: in this order no change is missed.
    fn wake_fd(&self) -> BorrowedFd<'_>;

    /// Resets the wake descriptor.
    fn drain_wake(&self);

    /// False once the connection has ended; it never comes back.
    fn is_connected(&self) -> bool;

    /// The home directory of a domain, `/local/domain/<domid>`, whether the domain exists or not.
    fn domain_path(&self, domid: u16) -> Result<String, Error>;

    /// Whether xenstored knows the domain as running.
    fn is_introduced(&self, domid: u16) -> Result<bool, Error>;
}

/// The part of xenstore that every client library offers: no transactions, permissions or watches. Every
/// [`Store`] is one too.
pub trait Basic: Send + Sync {
    /// The value of a node.
    fn get(&self, path: &str) -> Result<Vec<u8>, Error>;

    /// Writes a node.
    fn put(&self, path: &str, value: &[u8]) -> Result<(), Error>;

    /// The names of the node's children.
    fn children(&self, path: &str) -> Result<Vec<String>, Error>;

    /// Removes a node and all below it.
    fn delete(&self, path: &str) -> Result<(), Error>;
}

impl<S: Store + ?Sized> Basic for S {
    fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.read(Tx::NONE, path)
    }

    fn put(&self, path: &str, value: &[u8]) -> Result<(), Error> {
        self.write(Tx::NONE, path, value)
    }

    fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        self.list(Tx::NONE, path)
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        self.remove(Tx::NONE, path)
    }
}
