// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`MemoryStore`]: xenstore inside one process, for tests, fuzzing and the loopback.

mod path;
mod state;
mod tree;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::watch::{Unwatch, Wake};
use crate::wire::PAYLOAD_MAX;
use crate::{Error, Perm, Store, Tx, Watch};
use state::State;
use tree::Node;

/// One connection to a store that lives in this process, with the behaviour of xenstored 4.17.
///
/// [`new`](MemoryStore::new) makes an empty store and gives dom0's connection to it;
/// [`as_domain`](MemoryStore::as_domain) opens further ones. Permissions hold for every domain but dom0.
/// Transactions conflict as in xenstored: a commit fails when a node that it read or wrote (the parent of a new
/// node included) was changed by others since it was first touched. Of the quotas there are those that a guest
/// meets first: the numbers of nodes, watches and transactions per domain, and
/// the size of a node.
#[derive(Debug)]
pub struct MemoryStore {
    world: Arc<World>,
    conn: u64,
    domid: u16,
    wake: Arc<Wake>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct World(Mutex<State>);

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwatch for World {
    fn unwatch(&self, _path: &str, token: u64) {
        self.lock().remove_watch(token);
    }
}

impl MemoryStore {
    /// An empty store, seen by dom0.
    pub fn new() -> Result<MemoryStore, Error> {
        MemoryStore::connect(&Arc::new(World(Mutex::new(State::new()))), 0)
    }

    /// A further connection to the same store, as the domain `domid`: its permissions, and relative paths
    /// below `/local/domain/<domid>/`.
    pub fn as_domain(&self, domid: u16) -> Result<MemoryStore, Error> {
        MemoryStore::connect(&self.world, domid)
    }

    fn connect(world: &Arc<World>, domid: u16) -> Result<MemoryStore, Error> {
        let wake = Wake::new()?;
        let conn = world.lock().new_id();
        Ok(MemoryStore { world: world.clone(), conn, domid, wake })
    }

    /// The domain appears: [`Store::is_introduced`], and `@introduceDomain` fires.
    pub fn introduce(&self, domid: u16) {
        self.world.lock().introduce(domid);
    }

    /// The domain is gone: its watches and transactions end, `@releaseDomain` fires. As with xenstored its nodes
    /// stay until a toolstack removes them.
    pub fn release(&self, domid: u16) {
        self.world.lock().release(domid);
    }

    /// A domain has shut down and is kept as it is: `@releaseDomain` fires, and nothing else happens.
    pub fn shut_down(&self) {
        self.world.lock().notify_special("@releaseDomain");
    }

    fn node_path(&self, path: &str) -> Result<String, Error> {
        path::resolve(path, self.domid)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.world.lock().disconnect(self.conn);
    }
}

impl Store for MemoryStore {
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        Ok(state.open(self.conn, self.domid, tx)?.readable(&full)?.value)
    }

    fn write(&self, tx: Tx, path: &str, value: &[u8]) -> Result<(), Error> {
        let len = path.len() + 1 + value.len();
        if len > PAYLOAD_MAX {
            return Err(Error::TooBig { path: path.to_owned(), len, max: PAYLOAD_MAX });
        }
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        state.open(self.conn, self.domid, tx)?.write(&full, value)
    }

    fn mkdir(&self, tx: Tx, path: &str) -> Result<(), Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        state.open(self.conn, self.domid, tx)?.mkdir(&full)
    }

    fn remove(&self, tx: Tx, path: &str) -> Result<(), Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        state.open(self.conn, self.domid, tx)?.remove(&full)
    }

    fn list(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        let Node { children, .. } = state.open(self.conn, self.domid, tx)?.readable(&full)?;
        Ok(children.into_iter().collect())
    }

    fn get_perms(&self, tx: Tx, path: &str) -> Result<Vec<Perm>, Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        Ok(state.open(self.conn, self.domid, tx)?.readable(&full)?.perms)
    }

    fn set_perms(&self, tx: Tx, path: &str, perms: &[Perm]) -> Result<(), Error> {
        let full = self.node_path(path)?;
        let mut state = self.world.lock();
        state.open(self.conn, self.domid, tx)?.set_perms(&full, perms)
    }

    fn begin(&self) -> Result<Tx, Error> {
        self.world.lock().begin(self.conn, self.domid)
    }

    fn end(&self, tx: Tx, commit: bool) -> Result<(), Error> {
        self.world.lock().end(self.conn, tx, commit)
    }

    fn watch(&self, path: &str) -> Result<Watch, Error> {
        let full = if path.starts_with('@') { path.to_owned() } else { self.node_path(path)? };
        let (token, flag) = self.world.lock().add_watch(self.conn, self.domid, full, &self.wake)?;
        let owner: Arc<dyn Unwatch> = self.world.clone();
        Ok(Watch::new(path, token, flag, Arc::downgrade(&owner)))
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.fd()
    }

    fn drain_wake(&self) {
        self.wake.drain();
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn domain_path(&self, domid: u16) -> Result<String, Error> {
        Ok(path::home(domid))
    }

    fn is_introduced(&self, domid: u16) -> Result<bool, Error> {
        Ok(self.world.lock().is_introduced(domid))
    }
}
