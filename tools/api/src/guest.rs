// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest as `list` and `status` show it.

use serde::{Deserialize, Serialize};

/// Which guest: all three come from nodes that dom0 owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRef {
    /// Domain number; used again for another guest after this one is gone.
    pub domid: u16,
    /// Name, as the toolstack gave it; empty when it has none.
    pub name: String,
    /// UUID in the usual form, lower case; stays through reboot and migration.
    pub uuid: String,
}

/// State of a guest's VESPER device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceStatus {
    /// There is none.
    Detached,
    /// It waits for the guest's frontend.
    Waiting,
    /// In use.
    Connected,
    /// Being closed.
    Closing,
    /// Closed by the guest, or left over.
    Closed,
    /// Stopped because the guest broke the protocol: see `device_reason`.
    Stopped,
    /// A state that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// One line of `vesper list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Which guest.
    #[serde(flatten)]
    pub guest: GuestRef,
    /// State of its domain: `running`, `idle`, `paused`, `shutdown`, `rebooting`, `suspended`, `crashed`, `dying` or
    /// `unknown`.
    pub domain: String,
    /// State of its device.
    pub device: DeviceStatus,
    /// Why the device is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_reason: Option<String>,
    /// Release of its kernel, as its frontend says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Modules in its kernel that were loaded through VESPER.
    pub modules: Vec<String>,
    /// Commands that wait or run.
    pub queue: usize,
    /// For how long its kernel has been at the current command, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
}

/// What `vesper status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStatus {
    /// As in the list.
    #[serde(flatten)]
    pub guest: Guest,
    /// vermagic of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vermagic: Option<String>,
    /// Boot id of its frontend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Version of its frontend module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<String>,
    /// Version of the protocol that both ends speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// Since the daemon has known the guest.
    pub counters: Counters,
    /// Now held for this guest; zero when it is detached.
    pub in_use: InUse,
    /// Probes that the daemon's rules want in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Wanted>,
}

/// A probe that a rule wants in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// As the rule says it: group, events, parameters.
    pub probe: String,
    /// The rule, `FILE:LINE`.
    pub rule: String,
    /// Whether it is in.
    pub state: WantedState,
    /// Why it is not, and what to do about it, if it could not be loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Where a probe that a rule wants is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WantedState {
    /// In the guest.
    In,
    /// Being loaded.
    Loading,
    /// Not in: the guest is not connected yet, or it was taken out by hand.
    Out,
    /// It could not be loaded; that is tried again when the guest connects anew, and when the daemon reads its configuration anew.
    Failed,
    /// A state that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// Things done for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Commands accepted.
    pub commands: u64,
    /// Commands that ended well.
    pub succeeded: u64,
    /// Commands that did not.
    pub errors: u64,
    /// Results that came after their command had ended, or that belong to an earlier run of the daemon.
    pub late_results: u64,
    /// Requests taken from the ring.
    pub requests: u64,
    /// Bytes of module images and arguments copied into the guest.
    pub bytes: u64,
    /// Events of the guest that came with nothing to do.
    pub spurious_kicks: u64,
    /// Times the device was stopped for a protocol error.
    pub protocol_errors: u64,
    /// Times the device was connected.
    pub connections: u64,
}

/// Things held for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// Grants mapped: the pages of its rings.
    pub grants: u64,
    /// Event channel ports bound.
    pub ports: u64,
}
