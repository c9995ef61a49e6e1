// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What the listener's parts want of each other and of the kernel.

use crate::traits::{Errno, Fault};

/// Two moments of one exchange of TIME on the guest's clock, in nanoseconds; 0 and 0: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When the question was asked.
    pub sent: u64,
    /// When its answer was there.
    pub got: u64,
}

/// What the Action part asks of the host, however it is carried there.
///
/// Each of the three questions may be asked when none is open.
pub trait Link {
    /// "Read this": shares what is in the slot, whole or, with `part`, what was added to it since. The inner error says
    /// why nothing could be asked.
    fn export(&mut self, slot: u32, part: bool) -> Result<Result<(), Errno>, Fault>;
    /// "Let go of the export of that number."
    fn unexport(&mut self, number: u32) -> Result<(), Fault>;
    /// "What time is it?", asked at `sent` on the guest's clock, with the exchange before.
    fn time(&mut self, sent: u64, before: Stamps) -> Result<(), Fault>;
}

/// What the host is offered of an export, in the Communication part's terms: a descriptor page (`ExportInfo`), and a
/// directory that lists the grants of everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offer {
    /// Number of the export: from 1, the same again after a reconnect, never reused for another export.
    pub export: u32,
    /// Grant of the descriptor page, not 0.
    pub gref: u32,
    /// Grant of the first directory page, not 0.
    pub directory: u32,
    /// Grants that the directory lists, at least 1.
    pub grants: u32,
    /// Flags of the request: whether it is a part.
    pub flags: u32,
}

/// What the Communication part wants of the kernel.
pub trait Pages {
    /// Notifies the host.
    fn kick(&mut self);
    /// Grants the pages of the export in the slot, those that the host has not been offered in this connection. They stay
    /// granted until the kernel is told that the export was refused or has ended, or detaches.
    fn open(&mut self, slot: u32) -> Result<Offer, Errno>;
}

/// What the Action part wants of the kernel.
pub trait Kernel {
    /// The guest's clock, in nanoseconds: the one that stamps its records.
    fn clock(&mut self) -> u64;
    /// An export was offered to the host: it has it (0), or does not want or could not be given it (−errno). Once for
    /// each offer, again for each connection.
    fn answered(&mut self, slot: u32, status: i32);
    /// An export that was to be taken back is: the host has let go of it, or is not there. The slot is free.
    fn ended(&mut self, slot: u32);
}
