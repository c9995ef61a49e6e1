// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations on nodes, inside a transaction or not: the rules of `xenstored_core.c`.

use std::collections::BTreeSet;

use super::path;
use super::state::{Event, View};
use crate::{Error, Perm};

/// Nodes that a domain other than dom0 may own (`quota_nb_entry_per_domain`).
const NODES_PER_DOMAIN: usize = 1000;

/// Bytes that a node of such a domain may not reach (`quota_max_entry_size`), see [`Node::size`].
const NODE_SIZE: usize = 2048;

/// A node of the store.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Vec<u8>,
    pub(super) perms: Vec<Perm>,
    pub(super) children: BTreeSet<String>,
    /// Changes with every write of the node or of its list of children.
    pub(super) generation: u64,
}

/// What a request needs to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    Own,
}

impl Node {
    /// Bytes of the node's record in xenstored: header, permissions, value, names of the children.
    fn size(&self) -> usize {
        24 + 8 * self.perms.len()
            + self.value.len()
            + self.children.iter().map(|name| name.len() + 1).sum::<usize>()
    }

    /// `perm_for_conn`: the owner and dom0 may do everything, a listed domain what its entry says, all others
    /// what the first entry says.
    pub(super) fn allows(perms: &[Perm], domid: u16, need: Need) -> bool {
        let owner = perms[0];
        if domid == 0 || owner.domid == domid {
            return true;
        }
        let entry = perms[1..].iter().find(|entry| entry.domid == domid).unwrap_or(&owner);
        match need {
            Need::Read => entry.read,
            Need::Write => entry.write,
            Need::Own => false,
        }
    }
}

impl View<'_> {
    /// `get_node`: the node, if the caller may do to it what it needs. Whether a node exists is told only to
    /// those who have the same right on its nearest existing parent (`errno_from_parents`).
    fn get(&mut self, full: &str, need: Need) -> Result<Node, Error> {
        let no_access = || Error::Access { path: full.to_owned() };
        if let Some(node) = self.load(full) {
            return if Node::allows(&node.perms, self.domid, need) { Ok(node) } else { Err(no_access()) };
        }
        let mut above = full;
        while let Some((parent, _)) = path::split(above) {
            if let Some(node) = self.load(parent) {
                let told = Node::allows(&node.perms, self.domid, need);
                return Err(if told { Error::NoEntry { path: full.to_owned() } } else { no_access() });
            }
            above = parent;
        }
        Err(Error::NoEntry { path: full.to_owned() })
    }

    pub(super) fn readable(&mut self, full: &str) -> Result<Node, Error> {
        self.get(full, Need::Read)
    }

    pub(super) fn write(&mut self, full: &str, value: &[u8]) -> Result<(), Error> {
        match self.get(full, Need::Write) {
            Ok(node) => {
                let node = Node { value: value.to_vec(), ..node };
                self.check_size(full, &node)?;
                self.save(full, Some(node));
            }
            Err(Error::NoEntry { .. }) => self.create(full, value)?,
            Err(error) => return Err(error),
        }
        self.fire(Event::at(full));
        Ok(())
    }

    pub(super) fn mkdir(&mut self, full: &str) -> Result<(), Error> {
        match self.get(full, Need::Write) {
            Ok(_) => Ok(()),
            Err(Error::NoEntry { .. }) => {
                self.create(full, &[])?;
                self.fire(Event::at(full));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn check_size(&self, full: &str, node: &Node) -> Result<(), Error> {
        let fits = self.domid == 0 || node.size() < NODE_SIZE;
        if fits { Ok(()) } else { Err(Error::Quota { path: full.to_owned() }) }
    }

    /// Creates a node and what is missing above it. A guest owns what it creates (`construct_node`).
    fn create(&mut self, full: &str, value: &[u8]) -> Result<(), Error> {
        let mut missing = vec![full];
        let mut parent = loop {
            let (above, _) = path::split(missing[missing.len() - 1]).expect("the root always exists");
            match self.load(above) {
                Some(node) => break (above, node),
                None => missing.push(above),
            }
        };
        if self.domid != 0 && self.owned() + missing.len() > NODES_PER_DOMAIN {
            return Err(Error::Quota { path: full.to_owned() });
        }
        let mut made = Vec::new();
        for child in missing.into_iter().rev() {
            let (_, name) = path::split(child).expect("a missing node is not the root");
            parent.1.children.insert(name.to_owned());
            let mut perms = parent.1.perms.clone();
            if self.domid != 0 {
                perms[0].domid = self.domid;
            }
            let value = if child == full { value.to_vec() } else { Vec::new() };
            let node = Node { value, perms, children: BTreeSet::new(), generation: 0 };
            made.push(std::mem::replace(&mut parent, (child, node)));
        }
        made.push(parent);
        // All or nothing.
        made.iter().try_for_each(|(_, node)| self.check_size(full, node))?;
        for (path, node) in made {
            self.save(path, Some(node));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, full: &str) -> Result<(), Error> {
        let Some((above, name)) = path::split(full) else {
            return Err(Error::Invalid { path: full.to_owned() });
        };
        let node = match self.get(full, Need::Write) {
            Ok(node) => node,
            // "Didn't exist already? Fine, if parent exists." (`do_rm`)
            Err(Error::NoEntry { .. }) if self.load(above).is_some() => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(mut parent) = self.load(above) {
            parent.children.remove(name);
            self.save(above, Some(parent));
        }
        self.save(full, None);
        self.fire(Event { path: full.to_owned(), exact: false, before: Some(node.perms) });
        let mut below: Vec<String> = node.children.iter().map(|child| path::join(full, child)).collect();
        while let Some(child) = below.pop() {
            if let Some(node) = self.load(&child) {
                below.extend(node.children.iter().map(|name| path::join(&child, name)));
                self.save(&child, None);
                // Watches below the removed node fire on their own node only.
                self.fire(Event { path: child, exact: true, before: Some(node.perms) });
            }
        }
        Ok(())
    }

    pub(super) fn set_perms(&mut self, full: &str, perms: &[Perm]) -> Result<(), Error> {
        let Some(first) = perms.first() else {
            return Err(Error::Invalid { path: full.to_owned() });
        };
        let node = self.get(full, Need::Own)?;
        let owner = node.perms[0].domid;
        if self.domid != 0 && first.domid != owner {
            return Err(Error::Access { path: full.to_owned() });
        }
        let before = Some(node.perms.clone());
        self.save(full, Some(Node { perms: perms.to_vec(), ..node }));
        self.fire(Event { path: full.to_owned(), exact: false, before });
        Ok(())
    }
}
