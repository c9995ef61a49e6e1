// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names Xen gives to things: domains, grants, ports.

use std::fmt;

/// Size in bytes of a page of a grant: Xen's `XEN_PAGE_SIZE`, 4096 on every architecture.
pub const PAGE_SIZE: usize = 4096;

/// A domain's number (`domid_t`). Reused by Xen: an identity that must last needs the UUID beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

/// A grant reference (`grant_ref_t`): an index into the granting domain's grant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

/// An event channel port (`evtchn_port_t`), local to the domain that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// What a grant or a mapping of it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only; a store through such a mapping is a segmentation fault.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
