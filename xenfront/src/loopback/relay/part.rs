// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of an export, as `kmod/vesper_part.c`: what is offered to the host at once.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_grant::{Access, PAGE_SIZE};
use vesper_relay_mirror::writer::{Kick, WhenFull, Writer};
use vesper_ring::wire::bytes_of;
use vesper_ring::wire::listener::{Descriptor, PART};
use vesper_ring::wire::loader::DIRECTORY_GRANTS;

use super::super::grants::{Granted, Grants};
use super::memory::Run;
use crate::listener::Offer;

/// One relay buffer.
pub(super) struct Buffer {
    /// Until its export leaves.
    pub(super) writer: Option<Writer>,
    memory: Arc<Run>,
    /// Offsets in the memory.
    positions: usize,
    consumed: usize,
}

impl Buffer {
    /// A word of its positions.
    pub(super) fn position(&self, offset: usize) -> &AtomicU64 {
        self.memory.word(self.positions + offset)
    }

    /// Its word in the page that the host writes.
    pub(super) fn consumed(&self) -> &AtomicU64 {
        self.memory.word(self.consumed)
    }
}

/// The buffers that a channel has when it is exported, or one that came later.
pub(super) struct Part {
    info: Descriptor,
    descriptor: GuestPage,
    directory: Vec<GuestPage>,
    /// Positions, consumed page, schema, buffers.
    listed: Arc<Run>,
    granted: Vec<Granted>,
    /// In this connection.
    pub(super) offered: bool,
}

impl Part {
    pub(super) fn new(guest: &LoopGuest, info: Descriptor, schema: &str) -> Self {
        let listed = Run::new(guest, info.grants() as usize);
        listed.fill(info.schema().start, schema.as_bytes());
        let descriptor = guest.alloc_page();
        descriptor.write(0, bytes_of(&info.info()));
        let directory = guest.alloc_pages(listed.pages().len().div_ceil(DIRECTORY_GRANTS));
        Self { info, descriptor, directory, listed: Arc::new(listed), granted: Vec::new(), offered: false }
    }

    /// Its buffers, in the order of their CPUs.
    pub(super) fn buffers(&self, when_full: WhenFull, kick: &Kick) -> Vec<Buffer> {
        let [positions, consumed, data] =
            [self.info.positions(), self.info.consumed(), self.info.data()].map(|range| range.start);
        let start = [positions, consumed, data].map(|page| self.listed.start(page));
        let geometry = self.info.geometry();
        (0..geometry.buffers())
            .filter_map(|at| Some((at, geometry.positions(at)?)))
            .map(|(at, positions)| {
                let (hold, kick) = (Arc::clone(&self.listed), Arc::clone(kick));
                // SAFETY: the pages are as many as the geometry needs, in a row (`alloc_pages`), and held; this is the one
                // writer of that buffer.
                let writer = unsafe { Writer::over(geometry, at, 0, start, hold, when_full, kick) };
                let consumed = consumed * PAGE_SIZE + at as usize * 8;
                Buffer { writer: Some(writer), memory: Arc::clone(&self.listed), positions, consumed }
            })
            .collect()
    }

    /// Pages that the quota counts.
    pub(super) fn data_pages(&self) -> u32 {
        self.info.geometry().data_pages()
    }

    /// Whether the host may use it.
    pub(super) fn is_granted(&self) -> bool {
        !self.granted.is_empty()
    }

    /// Grants all of it.
    pub(super) fn offer(&mut self, grants: &Grants, export: u32, part: bool) -> Offer {
        let share = |page: &GuestPage| grants.share(page, Access::ReadOnly);
        let listed: Vec<_> = self
            .listed
            .pages()
            .iter()
            .enumerate()
            .map(|(at, page)| {
                let writable = self.info.consumed().contains(&at);
                grants.share(page, if writable { Access::ReadWrite } else { Access::ReadOnly })
            })
            .collect();
        let descriptor = share(&self.descriptor);
        let directory: Vec<_> = self.directory.iter().map(share).collect();
        for (at, refs) in listed.chunks(DIRECTORY_GRANTS).enumerate() {
            let next = directory.get(at + 1).map_or(0, |page| page.gref.0);
            let words = std::iter::once(next).chain(refs.iter().map(|granted| granted.gref.0));
            let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            bytes.resize(PAGE_SIZE, 0);
            self.directory[at].write(0, &bytes);
        }
        let offer = Offer {
            export,
            gref: descriptor.gref.0,
            directory: directory[0].gref.0,
            grants: listed.len() as u32,
            flags: if part { PART.into() } else { 0 },
        };
        self.offered = true;
        self.granted = listed.into_iter().chain([descriptor]).chain(directory).collect();
        offer
    }

    /// Ends the grants.
    pub(super) fn end(&mut self, grants: &mut Grants) {
        for granted in std::mem::take(&mut self.granted) {
            grants.end(granted);
        }
    }
}
