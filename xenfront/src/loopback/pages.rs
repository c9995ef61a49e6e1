// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the host may use, as `kmod/vesper_pages.c`.

use std::thread;
use std::time::Duration;
use std::vec::Vec;

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_grant::{Access, GrantRef, PAGE_SIZE, Port};

use super::kernel::FakeKernel;
use crate::traits::{Errno, Pages};

/// After which time a grant that the host held up is tried again. Linux: one second.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// A granted page.
pub(super) struct Granted {
    pub(super) page: GuestPage,
    pub(super) gref: GrantRef,
}

/// The pages of one frontend.
pub(super) struct LoopPages {
    guest: LoopGuest,
    kernel: FakeKernel,
    pub(super) port: Option<Port>,
    directory: Option<Granted>,
    window: Vec<Granted>,
    text: Option<Granted>,
    /// Grants whose end the host held up.
    held: Vec<Granted>,
}

impl LoopPages {
    pub(super) fn new(guest: LoopGuest, kernel: FakeKernel) -> Self {
        Self { guest, kernel, port: None, directory: None, window: Vec::new(), text: None, held: Vec::new() }
    }

    pub(super) fn guest(&self) -> &LoopGuest {
        &self.guest
    }

    pub(super) fn grant(&self, access: Access) -> Granted {
        let page = self.guest.alloc_page();
        let gref = self.guest.grant(&page, access);
        Granted { page, gref }
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

    /// Ends the grants of window and text.
    pub(super) fn end_all(&mut self) {
        self.window_close();
        if let Some(text) = self.text.take() {
            self.end(text);
        }
    }
}

impl Pages for LoopPages {
    fn kick(&mut self) {
        if let Some(port) = self.port {
            self.guest.notify(port);
        }
    }

    fn window_open(&mut self, pages: u32) -> Result<u32, Errno> {
        let directory = self.grant(Access::ReadOnly);
        let gref = directory.gref.0;
        for index in 0..pages as usize {
            let granted = self.grant(Access::ReadWrite);
            directory.page.write((index + 1) * 4, &granted.gref.0.to_le_bytes());
            self.window.push(granted);
        }
        self.directory = Some(directory);
        Ok(gref)
    }

    fn window_append(&mut self, bytes: u32) -> Result<(), Errno> {
        let mut left = bytes as usize;
        for granted in &self.window {
            let mut part = std::vec![0; left.min(PAGE_SIZE)];
            granted.page.read(0, &mut part);
            self.kernel.append(&part)?;
            left -= part.len();
        }
        if left == 0 { Ok(()) } else { Err(Errno::IO) }
    }

    fn window_close(&mut self) {
        for granted in self.directory.take().into_iter().chain(std::mem::take(&mut self.window)) {
            self.end(granted);
        }
    }

    fn text(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        let text = match self.text.take() {
            Some(text) => text,
            None => self.grant(Access::ReadOnly),
        };
        let mut page = std::vec![0; PAGE_SIZE];
        page.get_mut(..bytes.len()).ok_or(Errno::IO)?.copy_from_slice(bytes);
        text.page.write(0, &page);
        let gref = text.gref.0;
        self.text = Some(text);
        Ok(gref)
    }
}
