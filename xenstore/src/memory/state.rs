// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes, transactions and watches of a [`MemoryStore`](super::MemoryStore).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::path;
use super::tree::{Need, Node};
use crate::watch::{Flag, Wake};
use crate::{Error, Perm, Tx};

/// Watches of a domain other than dom0: `quota_nb_watch_per_domain` is 128, and xenstored's comparison lets one
/// more through.
const WATCHES_PER_DOMAIN: usize = 129;
/// Transactions of a domain other than dom0: `quota_max_transaction` is 10, and one more.
const TRANSACTIONS_PER_DOMAIN: usize = 11;

#[derive(Debug)]
pub(super) struct State {
    nodes: HashMap<String, Node>,
    generation: u64,
    last_id: u64,
    transactions: HashMap<u32, Transaction>,
    watches: BTreeMap<u64, Registered>,
    introduced: BTreeSet<u16>,
}

#[derive(Debug)]
struct Transaction {
    conn: u64,
    domid: u16,
    touched: HashMap<String, Touched>,
    events: Vec<Event>,
}

/// A node that a transaction read or wrote.
#[derive(Debug)]
struct Touched {
    /// The generation at the first touch; `None`: it did not exist.
    base: Option<u64>,
    now: Option<Node>,
    written: bool,
}

#[derive(Debug)]
struct Registered {
    conn: u64,
    domid: u16,
    path: String,
    flag: Arc<Flag>,
}

/// A change that watches may want to know of.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) path: String,
    /// Only watches on this very node fire, not those above.
    pub(super) exact: bool,
    /// The permissions before the change: who could read the node may learn that it changed.
    pub(super) before: Option<Vec<Perm>>,
}

impl Event {
    pub(super) fn at(path: &str) -> Event {
        Event { path: path.to_owned(), exact: false, before: None }
    }
}

/// The store as one request sees it: who asks, in which transaction.
pub(super) struct View<'a> {
    state: &'a mut State,
    pub(super) domid: u16,
    tx: Tx,
}

impl State {
    pub(super) fn new() -> State {
        let root =
            Node { value: Vec::new(), perms: vec![Perm::none(0)], children: BTreeSet::new(), generation: 0 };
        State {
            nodes: HashMap::from([("/".to_owned(), root)]),
            generation: 0,
            last_id: 0,
            transactions: HashMap::new(),
            watches: BTreeMap::new(),
            introduced: BTreeSet::from([0]),
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn open(&mut self, conn: u64, domid: u16, tx: Tx) -> Result<View<'_>, Error> {
        if tx != Tx::NONE && self.transactions.get(&tx.0).is_none_or(|open| open.conn != conn) {
            return Err(no_such(tx));
        }
        Ok(View { state: self, domid, tx })
    }

    pub(super) fn begin(&mut self, conn: u64, domid: u16) -> Result<Tx, Error> {
        let open = self.transactions.values().filter(|open| open.domid == domid).count();
        if domid != 0 && open >= TRANSACTIONS_PER_DOMAIN {
            return Err(Error::Quota { path: "transaction".into() });
        }
        let id = (1..).find(|id| !self.transactions.contains_key(id)).unwrap_or(u32::MAX);
        let fresh = Transaction { conn, domid, touched: HashMap::new(), events: Vec::new() };
        self.transactions.insert(id, fresh);
        Ok(Tx(id))
    }

    pub(super) fn end(&mut self, conn: u64, tx: Tx, commit: bool) -> Result<(), Error> {
        if self.transactions.get(&tx.0).is_none_or(|open| open.conn != conn) {
            return Err(no_such(tx));
        }
        let Some(done) = self.transactions.remove(&tx.0) else { return Err(no_such(tx)) };
        if !commit {
            return Ok(());
        }
        let current = |path: &String| self.nodes.get(path).map(|node| node.generation);
        if done.touched.iter().any(|(path, touched)| current(path) != touched.base) {
            return Err(Error::Again);
        }
        for (path, touched) in done.touched {
            if touched.written {
                self.put(path, touched.now);
            }
        }
        for event in &done.events {
            self.notify(event);
        }
        Ok(())
    }

    fn put(&mut self, path: String, node: Option<Node>) {
        self.generation += 1;
        match node {
            Some(node) => drop(self.nodes.insert(path, Node { generation: self.generation, ..node })),
            None => drop(self.nodes.remove(&path)),
        }
    }

    pub(super) fn add_watch(
        &mut self,
        conn: u64,
        domid: u16,
        path: String,
        wake: &Arc<Wake>,
    ) -> Result<(u64, Arc<Flag>), Error> {
        let mine = self.watches.values().filter(|watch| watch.domid == domid).count();
        if domid != 0 && mine >= WATCHES_PER_DOMAIN {
            return Err(Error::Quota { path });
        }
        let (token, flag) = (self.new_id(), Flag::new(wake));
        self.watches.insert(token, Registered { conn, domid, path, flag: flag.clone() });
        Ok((token, flag))
    }

    pub(super) fn remove_watch(&mut self, token: u64) {
        self.watches.remove(&token);
    }

    /// `fire_watches`: a watch fires for its node and all below, if its domain may read the node, could read it
    /// before, or (when it is gone) may read its parent.
    fn notify(&self, event: &Event) {
        let now = self.nodes.get(&event.path);
        let shown = now.or_else(|| path::split(&event.path).and_then(|(above, _)| self.nodes.get(above)));
        for watch in self.watches.values() {
            let hit = match event.exact {
                true => event.path == watch.path,
                false => path::is_at_or_below(&event.path, &watch.path),
            };
            let may = |perms: &[Perm]| Node::allows(perms, watch.domid, Need::Read);
            let allowed = watch.domid == 0
                || event.before.as_deref().is_some_and(may)
                || shown.is_some_and(|node| may(&node.perms));
            if hit && allowed {
                watch.flag.mark();
            }
        }
    }

    /// Special watches fire for dom0 only, as with the permissions that xenstored gives them.
    pub(super) fn notify_special(&self, name: &str) {
        for watch in self.watches.values().filter(|watch| watch.domid == 0 && watch.path == name) {
            watch.flag.mark();
        }
    }

    pub(super) fn introduce(&mut self, domid: u16) {
        if self.introduced.insert(domid) {
            self.notify_special("@introduceDomain");
        }
    }

    pub(super) fn release(&mut self, domid: u16) {
        if self.introduced.remove(&domid) {
            self.watches.retain(|_, watch| watch.domid != domid);
            self.transactions.retain(|_, open| open.domid != domid);
            self.notify_special("@releaseDomain");
        }
    }

    pub(super) fn is_introduced(&self, domid: u16) -> bool {
        self.introduced.contains(&domid)
    }

    pub(super) fn disconnect(&mut self, conn: u64) {
        self.watches.retain(|_, watch| watch.conn != conn);
        self.transactions.retain(|_, open| open.conn != conn);
    }
}

impl View<'_> {
    fn transaction(&mut self) -> Option<&mut Transaction> {
        self.state.transactions.get_mut(&self.tx.0)
    }

    /// The node as this request sees it.
    pub(super) fn load(&mut self, path: &str) -> Option<Node> {
        let State { nodes, transactions, .. } = &mut *self.state;
        let Some(open) = transactions.get_mut(&self.tx.0) else { return nodes.get(path).cloned() };
        let touched = open.touched.entry(path.to_owned()).or_insert_with(|| {
            let now = nodes.get(path).cloned();
            Touched { base: now.as_ref().map(|node| node.generation), now, written: false }
        });
        touched.now.clone()
    }

    /// Writes or removes the node. Every caller has loaded it before.
    pub(super) fn save(&mut self, path: &str, node: Option<Node>) {
        if self.tx == Tx::NONE {
            return self.state.put(path.to_owned(), node);
        }
        // A node that was not touched yet gets its base generation now.
        self.load(path);
        if let Some(touched) = self.transaction().and_then(|open| open.touched.get_mut(path)) {
            touched.now = node;
            touched.written = true;
        }
    }

    /// Fires watches now, or at the commit.
    pub(super) fn fire(&mut self, event: Event) {
        match self.transaction() {
            Some(open) => open.events.push(event),
            None => self.state.notify(&event),
        }
    }

    /// How many nodes the caller owns, as this request sees the store.
    pub(super) fn owned(&self) -> usize {
        let mine = |node: &Node| node.perms[0].domid == self.domid;
        let open = self.state.transactions.get(&self.tx.0);
        let hidden = |path: &String| open.is_some_and(|open| open.touched.contains_key(path));
        let kept = self.state.nodes.iter().filter(|(path, node)| mine(node) && !hidden(path)).count();
        let touched = open.into_iter().flat_map(|open| open.touched.values());
        kept + touched.filter(|touched| touched.now.as_ref().is_some_and(mine)).count()
    }
}

fn no_such(tx: Tx) -> Error {
    Error::NoEntry { path: format!("transaction {}", tx.0) }
}
