// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accounting: what is in use, and what has been done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A snapshot of one [`crate::Devices`]. The first two must return to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Grants mapped now.
    pub grants_mapped: u64,
    /// Ports bound now.
    pub ports_bound: u64,
    /// Grants mapped since the devices were opened.
    pub grants_mapped_total: u64,
    /// Ports bound since the devices were opened.
    pub ports_bound_total: u64,
    /// Events sent to the guest.
    pub notifications: u64,
    /// Events taken by `pending`.
    pub events: u64,
    /// Grant copies, by segment.
    pub copies: u64,
    /// Bytes copied out of the guest's pages.
    pub bytes_from_guest: u64,
    /// Bytes copied into the guest's pages.
    pub bytes_to_guest: u64,
    /// Mappings that could not be given back properly; must stay zero.
    pub unmap_failures: u64,
}

/// The live counters behind [`Counters`]; shared with mappings, which may outlive the devices.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) grants_mapped: AtomicU64,
    pub(crate) ports_bound: AtomicU64,
    pub(crate) grants_mapped_total: AtomicU64,
    pub(crate) ports_bound_total: AtomicU64,
    pub(crate) notifications: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) copies: AtomicU64,
    pub(crate) bytes_from_guest: AtomicU64,
    pub(crate) bytes_to_guest: AtomicU64,
    pub(crate) unmap_failures: AtomicU64,
}

impl Tally {
    pub(crate) fn mapped(&self, pages: usize) {
        self.grants_mapped.fetch_add(pages as u64, Relaxed);
        self.grants_mapped_total.fetch_add(pages as u64, Relaxed);
    }

    pub(crate) fn unmapped(&self, pages: usize) {
        self.grants_mapped.fetch_sub(pages as u64, Relaxed);
    }

    pub(crate) fn bound(&self) {
        self.ports_bound.fetch_add(1, Relaxed);
        self.ports_bound_total.fetch_add(1, Relaxed);
    }

    pub(crate) fn unbound(&self) {
        self.ports_bound.fetch_sub(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            grants_mapped: self.grants_mapped.load(Relaxed),
            ports_bound: self.ports_bound.load(Relaxed),
            grants_mapped_total: self.grants_mapped_total.load(Relaxed),
            ports_bound_total: self.ports_bound_total.load(Relaxed),
            notifications: self.notifications.load(Relaxed),
            events: self.events.load(Relaxed),
            copies: self.copies.load(Relaxed),
            bytes_from_guest: self.bytes_from_guest.load(Relaxed),
            bytes_to_guest: self.bytes_to_guest.load(Relaxed),
            unmap_failures: self.unmap_failures.load(Relaxed),
        }
    }
}
