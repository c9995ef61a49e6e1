// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a guest is alive, and how that is known.

use serde::{Deserialize, Serialize};

use crate::GuestRef;

/// Result of `alive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The guest.
    pub guest: GuestRef,
    /// The answer: of the guest, and of the module where one was asked for.
    pub alive: bool,
    /// How that is known.
    pub because: Because,
    /// vCPUs that do not beat although Xen lets them run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hung_vcpus: Vec<u32>,
    /// The module that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleState>,
    /// Asked with `now`: what happened to the guest in this boot and still counts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// Something that happened to a guest, in short; the event has the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number.
    pub fault: u64,
    /// The kind of the event.
    pub event: String,
    /// How bad it is.
    pub severity: String,
    /// What failed with it, as the rules say: `guest`, or only a `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The service that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Why, in one line; what the guest wrote of it is escaped.
    pub cause: String,
}

/// How it is known whether a guest is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Because {
    /// Alive: its vCPUs beat.
    Beating,
    /// Alive, though nothing can beat: it is paused.
    Paused,
    /// Alive, though nothing can beat: it is being suspended or migrated.
    Saving,
    /// Alive, though it does not beat: Xen does not let it run.
    Starved,
    /// Alive as far as Xen says; nothing in it is connected that could beat.
    NotConnected,
    /// Alive as far as Xen says; whether it beats is not known yet.
    Undecided,
    /// Not alive: vCPUs that run do not beat.
    Hung,
    /// Not alive: its kernel crashed.
    Crashed,
    /// Not alive: it was shut down.
    ShutDown,
    /// Not alive: it is being rebooted.
    Rebooting,
    /// Not alive: it goes on with another kernel, its crash kernel or one by kexec (`SHUTDOWN_soft_reset`).
    SoftReset,
    /// Not alive: its watchdog ended it.
    Watchdog,
    /// Not alive: it was destroyed.
    Destroyed,
    /// The guest is alive, but the module that was asked for is not in.
    NoModule,
    /// The guest is alive, but the module recorded something fatal; without a module: the guest reported its end.
    Fatal,
    /// A reason that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// What is known of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleState {
    /// Its name.
    pub name: String,
    /// It was loaded through VESPER and is in.
    pub loaded: bool,
    /// The names of its channels.
    pub channels: Vec<String>,
}
