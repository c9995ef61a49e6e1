// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be told of a guest, and what happens to one.

use std::sync::Arc;
use std::time::Instant;

use vesper_action::listener::{Clock, DeadCause, ExportEnd, ExportName, FatalRecord, Words};
use vesper_action::{CommandId, LoadedModule, Outcome};
use vesper_grant::{DomId, DomainState};

use crate::Uuid;

/// Where a guest's device is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// The nodes are there; no frontend has answered yet.
    Waiting,
    /// In use.
    Connected,
    /// Being closed; the frontend has not closed its end yet.
    Closing,
    /// Closed; the frontend may connect again.
    Closed,
    /// Stopped because the guest broke the protocol. [`crate::Backend::attach`] gives it another chance.
    Failed {
        /// Which rule was broken.
        reason: String,
    },
}

/// One guest as the backend sees it now. All text but `name` and `uuid` comes from the guest: escape it.
#[derive(Clone, Debug)]
pub struct GuestInfo {
    /// Its domain.
    pub domid: DomId,
    /// Its name in xenstore (dom0's node); empty if there is none.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its VESPER device; `None` if it is not attached.
    pub device: Option<DeviceState>,
    /// What Xen says of it; `None` if it cannot be asked.
    pub domain: Option<DomainState>,
    /// Its kernel's release, as published by the frontend.
    pub kernel_release: Option<String>,
    /// Its kernel's vermagic, as published by the frontend.
    pub vermagic: Option<String>,
    /// 32 hexadecimal digits, the same as long as the guest's frontend module lives.
    pub boot_id: Option<String>,
    /// Version of the frontend module.
    pub frontend_version: Option<String>,
    /// Protocol version in use.
    pub protocol: Option<u32>,
    /// Modules loaded through VESPER that are in.
    pub modules: Vec<LoadedModule>,
    /// Commands that wait.
    pub queue_length: usize,
    /// The command that the guest works on.
    pub current: Option<CommandId>,
    /// Since when the guest works on a command; it may be past its deadline.
    pub busy_since: Option<Instant>,
    /// What was done and what is in use.
    pub counters: Counters,
}

/// Counters of one guest since it was first seen; the last two say what is in use now and return to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands accepted.
    pub commands: u64,
    /// Commands that ended well.
    pub succeeded: u64,
    /// Commands that did not.
    pub errors: u64,
    /// Results that came after their command's outcome, or of another run.
    pub late_results: u64,
    /// Requests taken from the ring.
    pub requests: u64,
    /// Bytes of images and arguments sent.
    pub bytes: u64,
    /// Kicks with no request behind them.
    pub spurious_kicks: u64,
    /// Times the device was stopped for a protocol error.
    pub protocol_errors: u64,
    /// Times the device was connected.
    pub connections: u64,
    /// Grants mapped now.
    pub grants_mapped: u64,
    /// Ports bound now.
    pub ports_bound: u64,
}

/// One guest's listener as the backend sees it now.
#[derive(Clone, Debug)]
pub struct ListenerInfo {
    /// The frontend that is connected, or was last.
    pub boot_id: Option<String>,
    /// The distance of the guest's clock from `CLOCK_MONOTONIC`; `None` before the guest has asked for the time twice.
    pub clock: Option<Clock>,
    /// Time between two beats of a vCPU, nanoseconds; `None` without a heartbeat.
    pub beat_period_ns: Option<u64>,
    /// Last words that were heard since the guest's frontend was loaded.
    pub words: Vec<Words>,
    /// Last words for which the guest had no place.
    pub words_lost: u64,
    /// Exports that were offered.
    pub exports: u64,
    /// Exports and parts that were refused.
    pub refused: u64,
    /// Records that reported the guest's end and were not told, because there were too many.
    pub fatal_left_out: u64,
}

/// What happened. Returned by [`crate::Backend::run`] in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A domain other than dom0 was seen for the first time.
    GuestAppeared {
        /// Its domain.
        domid: DomId,
        /// Its UUID.
        uuid: Uuid,
    },
    /// The domain is gone. What it held is given back; its commands have had their outcome.
    GuestGone {
        /// Its domain, which may be reused from now on.
        domid: DomId,
        /// Its UUID.
        uuid: Uuid,
    },
    /// A guest that a predecessor had attached went while no backend ran. How it ended is not known.
    WentUnseen {
        /// Its domain, which may be reused.
        domid: DomId,
        /// Its UUID.
        uuid: Uuid,
        /// What it was called when its device was taken up last.
        name: String,
    },
    /// The device is connected.
    Attached {
        /// The guest.
        domid: DomId,
    },
    /// The device is closed and its nodes are removed.
    Detached {
        /// The guest.
        domid: DomId,
    },
    /// The device was stopped because the guest broke the protocol.
    DeviceFailed {
        /// The guest.
        domid: DomId,
        /// Which rule was broken.
        reason: String,
    },
    /// A command has its outcome.
    Finished {
        /// Which command.
        id: CommandId,
        /// The guest.
        domid: DomId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A channel of the guest can be read.
    Exported {
        /// The guest.
        domid: DomId,
        /// The channel's number, which is the guest's: with its boot id it is never another's.
        export: u32,
        /// Its name.
        name: ExportName,
    },
    /// A channel has ended. Its readers get what they have not read, then the end.
    Unexported {
        /// The guest.
        domid: DomId,
        /// The channel's number.
        export: u32,
        /// Its name.
        name: ExportName,
        /// Why.
        why: ExportEnd,
    },
    /// There is something to read in one or more channels of the guest.
    Moved {
        /// The guest.
        domid: DomId,
    },
    /// The guest wrote last words, outside of any channel.
    LastWords {
        /// The guest.
        domid: DomId,
        /// What it wrote.
        words: Words,
    },
    /// A channel has a record that reports the end of the guest.
    Fatal {
        /// The guest.
        domid: DomId,
        /// The channel's number.
        export: u32,
        /// Its name.
        name: ExportName,
        /// The module that exported it. **Guest text.**
        owner: Option<String>,
        /// The text that describes its records. The channel itself may be gone by now. **Guest text.**
        schema: Option<Arc<str>>,
        /// The record.
        record: FatalRecord,
    },
    /// The guest has ended: the domain is gone or has shut down (it may be kept, as a crashed one is with
    /// `on_crash="preserve"`). All that could be read of it was copied before it was unmapped; until the next
    /// [`crate::Backend::run`] it can be had from [`crate::Backend::remains`]. [`Event::GuestGone`] follows when there
    /// is no such domain any more.
    GuestEnded {
        /// The guest.
        domid: DomId,
        /// Its UUID.
        uuid: Uuid,
        /// What ended it.
        cause: DeadCause,
    },
    /// The connection to xenstore ended. Devices in use go on; see [`crate::Backend::set_store`].
    StoreLost,
}
