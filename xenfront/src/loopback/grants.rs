// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants of a guest's pages, and those whose end the host holds up.

use std::thread;
use std::time::Duration;
use std::vec::Vec;

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_grant::{Access, GrantRef};

/// After which time a grant that the host held up is tried again. Linux: one second.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// A granted page.
pub(super) struct Granted {
    pub(super) page: GuestPage,
    pub(super) gref: GrantRef,
}

/// The grants of one part of the frontend.
pub(super) struct Grants {
    pub(super) guest: LoopGuest,
    /// Those that the host still maps.
    held: Vec<Granted>,
}

impl Grants {
    pub(super) fn new(guest: LoopGuest) -> Self {
        Self { guest, held: Vec::new() }
    }

    /// Grants a page of its own, zeroed.
    pub(super) fn grant(&self, access: Access) -> Granted {
        self.share(&self.guest.alloc_page(), access)
    }

    /// Grants a page that is somebody's already.
    pub(super) fn share(&self, page: &GuestPage, access: Access) -> Granted {
        Granted { page: page.clone(), gref: self.guest.grant(page, access) }
    }

    /// Ends a grant, now or when the host lets go of the page.
    pub(super) fn end(&mut self, granted: Granted) {
        if self.guest.end_access(granted.gref).is_err() {
            self.held.push(granted);
        }
    }

    pub(super) fn owes(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn settle(&mut self) {
        for granted in std::mem::take(&mut self.held) {
            self.end(granted);
        }
    }

    /// The module goes out. Grants that the host holds up are the kernel's from here on: its timer
    /// (`gnttab_handle_deferred` of `drivers/xen/grant-table.c`) tries until the host lets go.
    pub(super) fn leave_to_kernel(&mut self) {
        let (guest, mut held) = (self.guest.clone(), std::mem::take(&mut self.held));
        if held.is_empty() {
            return;
        }
        thread::spawn(move || {
            while !held.is_empty() {
                thread::sleep(RETRY);
                held.retain(|granted| guest.end_access(granted.gref).is_err());
            }
        });
    }
}
