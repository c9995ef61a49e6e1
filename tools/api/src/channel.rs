// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests share with dom0 to be read: channels, and where a reader of one begins.

use serde::{Deserialize, Serialize};

use crate::GuestRef;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// With the oldest record that is still there.
    #[default]
    Boot,
    /// With the next record.
    Now,
}

impl Since {
    /// Whether it is the one that holds unless another is said.
    pub fn is_boot(&self) -> bool {
        *self == Self::Boot
    }
}

/// Result of `channels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// The guests that were asked for, in the order of their domids: all that are connected, or the one that was named.
    pub guests: Vec<GuestChannels>,
}

/// One guest's channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestChannels {
    /// The guest.
    #[serde(flatten)]
    pub guest: GuestRef,
    /// How wrong the time of its records may be, in nanoseconds either way; absent until its clock has been compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_ns: Option<u64>,
    /// Last words for which it had no place.
    #[serde(default)]
    pub words_lost: u64,
    /// Its channels, in the order of their numbers.
    pub channels: Vec<ChannelStatus>,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its number.
    pub export: u32,
    /// Its name.
    pub name: String,
    /// The module that exported it; empty when that is not known.
    pub owner: String,
    /// Bytes of a sub-buffer.
    pub subbuf_size: u32,
    /// Sub-buffers of each buffer.
    pub subbufs: u32,
    /// The kinds of its records; none for a foreign module's channel.
    pub events: Vec<String>,
    /// Whether somebody reads it now.
    pub read: bool,
    /// Its buffers.
    pub buffers: Vec<BufferStatus>,
}

/// One buffer of a channel. What the guest says of it is shown as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferStatus {
    /// Its CPU; absent in the one buffer of a global channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u16>,
    /// Sub-buffers that the guest has filled.
    pub produced: u64,
    /// Sub-buffers that dom0 needs no more.
    pub consumed: u64,
    /// Records that were made; 0 for a foreign module.
    pub records: u64,
    /// Writes that were refused because the buffer was full.
    pub dropped: u64,
}

/// What was saved of a guest that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The guest, as it was called last.
    pub guest: GuestRef,
    /// Its boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The directory with `stream.vsp` and `info.json`; members of the daemon's group may read it.
    pub dir: std::path::PathBuf,
}
