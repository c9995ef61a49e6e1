// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the host may use, as `kmod/vesper_pages.c`.

use std::vec::Vec;

use vesper_grant::loopback::LoopGuest;
use vesper_grant::{Access, PAGE_SIZE, Port};

use super::grants::{Granted, Grants};
use super::kernel::FakeKernel;
use crate::traits::{Errno, Pages};

/// The pages of one frontend's loader.
pub(super) struct LoopPages {
    pub(super) grants: Grants,
    kernel: FakeKernel,
    pub(super) port: Option<Port>,
    directory: Option<Granted>,
    window: Vec<Granted>,
    text: Option<Granted>,
}

impl LoopPages {
    pub(super) fn new(guest: LoopGuest, kernel: FakeKernel) -> Self {
        let grants = Grants::new(guest);
        Self { grants, kernel, port: None, directory: None, window: Vec::new(), text: None }
    }

    pub(super) fn guest(&self) -> &LoopGuest {
        &self.grants.guest
    }

    /// Ends the grants of window and text.
    pub(super) fn end_all(&mut self) {
        self.window_close();
        if let Some(text) = self.text.take() {
            self.grants.end(text);
        }
    }
}

impl Pages for LoopPages {
    fn kick(&mut self) {
        if let Some(port) = self.port {
            self.grants.guest.notify(port);
        }
    }

    fn window_open(&mut self, pages: u32) -> Result<u32, Errno> {
        let directory = self.grants.grant(Access::ReadOnly);
        let gref = directory.gref.0;
        for index in 0..pages as usize {
            let granted = self.grants.grant(Access::ReadWrite);
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
            self.grants.end(granted);
        }
    }

    fn text(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        let text = match self.text.take() {
            Some(text) => text,
            None => self.grants.grant(Access::ReadOnly),
        };
        let mut page = std::vec![0; PAGE_SIZE];
        page.get_mut(..bytes.len()).ok_or(Errno::IO)?.copy_from_slice(bytes);
        text.page.write(0, &page);
        let gref = text.gref.0;
        self.text = Some(text);
        Ok(gref)
    }
}
