// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of the guest's kernel that lie one behind the other, as `vmap` makes them.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

use vesper_grant::PAGE_SIZE;
use vesper_grant::loopback::{GuestPage, LoopGuest};

/// Some pages in a row.
pub(super) struct Run(Vec<GuestPage>);

impl Run {
    /// New pages, zeroed; at least one.
    pub(super) fn new(guest: &LoopGuest, pages: usize) -> Self {
        assert!(pages > 0, "at least a page");
        Self(guest.alloc_pages(pages))
    }

    pub(super) fn pages(&self) -> &[GuestPage] {
        &self.0
    }

    /// Where a page begins; the pages behind it follow.
    pub(super) fn start(&self, page: usize) -> NonNull<u8> {
        self.0[page].as_ptr()
    }

    /// A word that the host shares, at an offset in bytes.
    ///
    /// # Panics
    ///
    /// When the pages have no such word.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(
            offset.is_multiple_of(8) && offset < self.0.len() * PAGE_SIZE,
            "{offset} is no word's offset"
        );
        // SAFETY: within the pages, which the borrow keeps, and aligned; shared with the host, which is what an atomic is for.
        unsafe { AtomicU64::from_ptr(self.start(0).as_ptr().add(offset).cast()) }
    }

    /// Copies bytes to the pages, from that page on.
    pub(super) fn fill(&self, page: usize, bytes: &[u8]) {
        for (page, part) in self.0[page..].iter().zip(bytes.chunks(PAGE_SIZE)) {
            page.write(0, part);
        }
    }
}
