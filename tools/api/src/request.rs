// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be asked.

use serde::{Deserialize, Serialize};

use crate::{Right, Since};

/// One request. `dom` is a domid when it is all digits, else a name or a UUID.
///
/// A time limit counts from the moment the daemon has read the line; absent, the daemon's own (30 s) holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Make the device of a guest and wait until it is connected.
    Attach {
        /// The guest.
        dom: String,
        /// Longest wait, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Close the device of a guest, wait until it is closed, and remove it.
    Detach {
        /// The guest.
        dom: String,
        /// Also when modules that were loaded through VESPER are still in.
        #[serde(default)]
        force: bool,
        /// Longest wait, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// All guests.
    List {},
    /// Load a module. The image comes beside this line as exactly one file descriptor of a regular file, open for reading;
    /// its bytes are taken from the start of the file, whatever the descriptor's position is.
    Insmod {
        /// The guest.
        dom: String,
        /// What the file is called, for messages only: the daemon opens no path that a client names.
        file: String,
        /// Parameters as on the command line of insmod, `PARAM=VALUE` each.
        #[serde(default)]
        args: Vec<String>,
        /// Longest wait, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Unload a module.
    Rmmod {
        /// The guest.
        dom: String,
        /// The module's name; `-` and `_` are the same.
        name: String,
        /// Longest wait, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// One guest in detail.
    Status {
        /// The guest.
        dom: String,
    },
    /// The channels that guests share.
    Channels {
        /// Of this guest only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dom: Option<String>,
    },
    /// What a guest records. Behind the reply's line come frames, until there is no more or the client closes.
    Stream {
        /// The guest.
        dom: String,
        /// Of this channel only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
        /// Where to begin.
        #[serde(default, skip_serializing_if = "Since::is_boot")]
        since: Since,
        /// Go on when all that is there has been sent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        follow: bool,
    },
    /// What happened to guests. Behind the reply's line comes an event a line (`docs/events.md`), until there is no more or
    /// the client closes.
    Events {
        /// To this guest only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dom: Option<String>,
        /// Only what has a greater serial.
        #[serde(default)]
        since: u64,
        /// Go on when all that is there has been sent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        follow: bool,
    },
    /// Whether a guest, or a module in it, is alive.
    Alive {
        /// The guest.
        dom: String,
        /// The module; `-` and `_` are the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        module: Option<String>,
        /// Longest wait, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Answer at once from what is known, with the faults that count. From then on the guest is looked at regularly.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        now: bool,
    },
}

impl Request {
    /// The name of the command, as the command line has it.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
            Self::List {} => "list",
            Self::Insmod { .. } => "insmod",
            Self::Rmmod { .. } => "rmmod",
            Self::Status { .. } => "status",
            Self::Channels { .. } => "channels",
            Self::Stream { .. } => "stream",
            Self::Events { .. } => "events",
            Self::Alive { .. } => "alive",
        }
    }

    /// The right that it needs. Each kind of request has one.
    pub fn right(&self) -> Right {
        match self {
            Self::List {}
            | Self::Status { .. }
            | Self::Channels { .. }
            | Self::Stream { .. }
            | Self::Alive { .. } => Right::Read,
            Self::Events { .. } => Right::Events,
            Self::Insmod { .. } | Self::Rmmod { .. } => Right::Inject,
            Self::Attach { .. } | Self::Detach { .. } => Right::Configure,
        }
    }

    /// The guest that it is about, as it was written.
    pub fn dom(&self) -> Option<&str> {
        match self {
            Self::List {} => None,
            Self::Channels { dom } | Self::Events { dom, .. } => dom.as_deref(),
            Self::Attach { dom, .. }
            | Self::Detach { dom, .. }
            | Self::Insmod { dom, .. }
            | Self::Rmmod { dom, .. }
            | Self::Stream { dom, .. }
            | Self::Alive { dom, .. }
            | Self::Status { dom } => Some(dom),
        }
    }
}
