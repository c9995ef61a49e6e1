// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's exports, as `kmod/vesper_relay.c` and `kmod/vesper_export.c` keep them.

use std::sync::Arc;
use std::vec::Vec;

use vesper_ring::wire::listener::ExportName;

use super::channel::Channel;
use super::part::Part;
use super::{EEXIST, ENOENT, ENOSPC, Shared};
use crate::listener::{Kernel, Offer, Pages, SLOTS};
use crate::loopback::grants::Grants;
use crate::loopback::kernel::errno;
use crate::traits::Errno;

/// What the communication thread is to tell the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Task {
    Export(u32),
    Unexport(u32, u32),
}

/// All of them; the lock is `Shared::exports`.
pub(super) struct Exports {
    pub(super) grants: Grants,
    slots: Vec<Option<Export>>,
    last_number: u32,
    pub(super) quota_pages: u32,
    pub(super) quota_exports: u32,
    pub(super) connected: bool,
}

/// One of them, until the host has let go of it.
pub(super) struct Export {
    pub(super) channel: Arc<Channel>,
    pub(super) parts: Vec<Part>,
    /// The part whose offer is not answered.
    offering: Option<usize>,
    tell: bool,
    unexport: bool,
    pub(super) leaving: bool,
    /// What the host said of it.
    pub(super) status: Option<i32>,
}

impl Export {
    /// The part that is to be offered next. Without the first, the host has nothing to add the others to.
    fn not_offered(&self) -> Option<usize> {
        let next = self.parts.iter().position(|part| !part.offered)?;
        (next == 0 || self.parts[0].is_granted()).then_some(next)
    }

    fn end(&mut self, grants: &mut Grants) {
        for part in &mut self.parts {
            part.end(grants);
        }
    }
}

impl Exports {
    pub(super) fn new(grants: Grants) -> Self {
        let slots = (0..SLOTS).map(|_| None).collect();
        let (quota_pages, quota_exports) = (4096, 16);
        Self { grants, slots, last_number: 0, quota_pages, quota_exports, connected: false }
    }

    /// Those that have not begun to leave.
    pub(super) fn live(&self) -> impl Iterator<Item = &Export> {
        self.slots.iter().flatten().filter(|export| !export.leaving)
    }

    /// The export of that number, if the host may still have it.
    pub(super) fn get(&mut self, slot: u32, number: u32) -> Option<&mut Export> {
        self.slots[slot as usize].as_mut().filter(|export| export.channel.number == number)
    }

    /// Whether the host takes so many more.
    pub(super) fn check_quota(&self, pages: u32, exports: usize) -> Result<(), Errno> {
        let all: u64 =
            self.slots.iter().flatten().flat_map(|e| &e.parts).map(|p| u64::from(p.data_pages())).sum();
        let exports = self.slots.iter().flatten().count() + exports;
        let within =
            all + u64::from(pages) <= self.quota_pages.into() && exports <= self.quota_exports as usize;
        if within { Ok(()) } else { Err(errno(ENOSPC)) }
    }

    /// A slot and a number for another one.
    pub(super) fn reserve(&mut self, name: &ExportName, pages: u32) -> Result<(u32, u32), Errno> {
        if self.live().any(|export| export.channel.name == *name) {
            return Err(errno(EEXIST));
        }
        self.check_quota(pages, 1)?;
        let slot = self.slots.iter().position(Option::is_none).ok_or(errno(ENOSPC))?;
        self.last_number += 1;
        Ok((slot as u32, self.last_number))
    }

    /// It is to be announced.
    pub(super) fn add(&mut self, channel: Arc<Channel>, part: Part) {
        let slot = channel.slot as usize;
        self.slots[slot] = Some(Export {
            channel,
            parts: std::vec![part],
            offering: None,
            tell: true,
            unexport: false,
            leaving: false,
            status: None,
        });
    }

    /// More of it is to be announced. False: it leaves.
    pub(super) fn add_part(&mut self, slot: u32, number: u32, part: Part) -> bool {
        match self.get(slot, number) {
            Some(export) if !export.leaving => {
                export.parts.push(part);
                export.tell = true;
                true
            }
            _ => false,
        }
    }

    /// It begins to leave: no record any more. False: it has begun already, or has ended.
    pub(super) fn leave(&mut self, slot: u32, number: u32) -> bool {
        self.get(slot, number).is_some_and(|export| !std::mem::replace(&mut export.leaving, true))
    }

    /// Its positions are final: it is to be taken back.
    pub(super) fn unexport(&mut self, slot: u32, number: u32) {
        if let Some(export) = self.get(slot, number) {
            export.unexport = true;
        }
    }

    pub(super) fn next_task(&mut self) -> Option<Task> {
        self.slots.iter_mut().flatten().find_map(|export| {
            let (slot, number) = (export.channel.slot, export.channel.number);
            if std::mem::take(&mut export.tell) {
                Some(Task::Export(slot))
            } else if std::mem::take(&mut export.unexport) {
                Some(Task::Unexport(slot, number))
            } else {
                None
            }
        })
    }

    /// The connection is gone.
    pub(super) fn release(&mut self) {
        for export in self.slots.iter_mut().flatten() {
            export.end(&mut self.grants);
            for part in &mut export.parts {
                part.offered = false;
            }
            export.offering = None;
            // It will be announced to the next host.
            export.status = Some(0);
        }
        self.connected = false;
    }

    /// The frontend's module is out, and so are those that use it.
    pub(super) fn forget(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }

    fn open(&mut self, slot: u32) -> Result<Offer, Errno> {
        let export = self.slots[slot as usize].as_mut().ok_or(errno(ENOENT))?;
        let at = export.not_offered().ok_or(errno(ENOENT))?;
        export.offering = Some(at);
        Ok(export.parts[at].offer(&self.grants, export.channel.number, at > 0))
    }

    /// True: there is more to tell.
    fn answered(&mut self, slot: u32, status: i32) -> bool {
        let Some(export) = self.slots[slot as usize].as_mut() else { return false };
        let Some(at) = export.offering.take() else { return false };
        if status != 0 {
            export.parts[at].end(&mut self.grants);
        }
        if at == 0 {
            export.status = Some(status);
        }
        export.tell |= export.not_offered().is_some();
        export.tell
    }

    fn ended(&mut self, slot: u32) {
        if let Some(mut export) = self.slots[slot as usize].take() {
            export.end(&mut self.grants);
        }
    }
}

/// The kernel as the listener's core sees it.
pub(in super::super) struct Handle(Arc<Shared>);

impl Handle {
    pub(in super::super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Pages for Handle {
    fn kick(&mut self) {
        self.0.kick();
    }

    fn open(&mut self, slot: u32) -> Result<Offer, Errno> {
        self.0.exports().open(slot)
    }
}

impl Kernel for Handle {
    fn clock(&mut self) -> u64 {
        self.0.clock()
    }

    fn answered(&mut self, slot: u32, status: i32) {
        let more = self.0.exports().answered(slot, status);
        self.0.changed.notify_all();
        if more {
            self.0.wake();
        }
    }

    fn ended(&mut self, slot: u32) {
        self.0.exports().ended(slot);
        self.0.changed.notify_all();
    }
}
