// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is answered.

use serde::{Deserialize, Serialize};

use crate::{
    Alive, Channels, Checked, ErrorKind, Failure, Guest, GuestRef, GuestStatus, Log, Probed, Probes,
    Recorded, Saved,
};

/// The answer to one request: an exit status, and either `result` or `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    status: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Done>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl Reply {
    /// The exit status of a client that got this.
    pub fn status(&self) -> u8 {
        match (&self.result, &self.error) {
            (Some(done), None) => done.exit_status(),
            (_, Some(failure)) => failure.kind.exit_status(),
            (None, None) => ErrorKind::Internal.exit_status(),
        }
    }

    /// What was done, or why not.
    ///
    /// # Errors
    /// The failure that the daemon reported; one of kind [`ErrorKind::Internal`] if the document holds neither.
    pub fn into_result(self) -> Result<Done, Failure> {
        match (self.result, self.error) {
            (_, Some(failure)) => Err(failure),
            (Some(done), None) => Ok(done),
            (None, None) => {
                Err(Failure::new(ErrorKind::Internal, "the daemon's reply holds neither result nor error"))
            }
        }
    }
}

impl From<Result<Done, Failure>> for Reply {
    fn from(result: Result<Done, Failure>) -> Self {
        match result {
            Ok(done) => Self { status: done.exit_status(), result: Some(done), error: None },
            Err(failure) => Self { status: failure.kind.exit_status(), result: None, error: Some(failure) },
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
pub enum Done {
    /// The guest's device is connected.
    Attached(Attached),
    /// The guest's device is closed and removed.
    Detached(Detached),
    /// All guests.
    Guests(Guests),
    /// The module is in.
    Loaded(Loaded),
    /// The module is out.
    Unloaded(Unloaded),
    /// One guest in detail.
    Status(Box<GuestStatus>),
    /// What guests share to be read.
    Channels(Channels),
    /// Frames follow.
    Streaming(Streaming),
    /// Events follow.
    Events(EventsFollow),
    /// The guest is gone; what it recorded last was saved.
    Saved(Saved),
    /// Whether the guest, or a module in it, is alive.
    Alive(Alive),
    /// Probe modules are in. Only clients make this one.
    Probed(Probed),
    /// Probe modules that can be loaded. Only clients make this one.
    Probes(Probes),
    /// A recording has ended. Only clients make this one.
    Recorded(Recorded),
    /// A configuration is in order. Only clients make this one.
    Checked(Checked),
}

impl Done {
    /// Exit status of a command that did this: 0, except that a guest that is not alive is 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Alive(alive) if !alive.alive => 1,
            _ => 0,
        }
    }
}

/// Result of `attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The guest.
    pub guest: GuestRef,
    /// It was connected before.
    pub already: bool,
    /// Release of its kernel, as its frontend says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// From the request to the connected device, milliseconds.
    pub total_ms: u64,
}

/// Result of `detach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// The guest.
    pub guest: GuestRef,
    /// From the request to the removed device, milliseconds.
    pub total_ms: u64,
}

/// Result of `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guests {
    /// In the order of their domids; never dom0.
    pub guests: Vec<Guest>,
}

/// Result of `insmod`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The guest.
    pub guest: GuestRef,
    /// The module's name as the guest's kernel knows it.
    pub module: String,
    /// Bytes of the image, decompressed.
    pub bytes: u64,
    /// Time in the guest's kernel, from the complete image to the result, microseconds. The guest says so.
    pub kernel_us: u64,
    /// From the request to the result, microseconds.
    pub total_us: u64,
    /// What the guest's kernel printed meanwhile.
    #[serde(default, skip_serializing_if = "Log::is_empty")]
    pub log: Log,
}

/// Result of `rmmod`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unloaded {
    /// The guest.
    pub guest: GuestRef,
    /// The module's name as the guest's kernel knows it.
    pub module: String,
    /// Time in the guest's kernel, microseconds. The guest says so.
    pub kernel_us: u64,
    /// From the request to the result, microseconds.
    pub total_us: u64,
    /// What the guest's kernel printed meanwhile.
    #[serde(default, skip_serializing_if = "Log::is_empty")]
    pub log: Log,
}

/// Result of `stream`: the frames of the guest's channels follow behind this line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaming {
    /// The guest.
    pub guest: GuestRef,
    /// The names of the channels that are there now.
    pub channels: Vec<String>,
}

/// Result of `events`: one follows behind this line for each fault that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsFollow {
    /// The greatest serial that there was.
    pub last: u64,
    /// Those up to this serial are remembered no more; the journal's files may have them.
    pub gone: u64,
}
