// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be told of a guest, and what happens to one.

use std::time::Instant;

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
    /// The connection to xenstore ended. Devices in use go on; see [`crate::Backend::set_store`].
    StoreLost,
}
