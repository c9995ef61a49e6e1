// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command does itself, in the daemon's form.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{GuestRef, Loaded};

/// Result of `vesper probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// One load for each group, in their order.
    pub loaded: Vec<Loaded>,
}

/// Result of `vesper probes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// In the order of kernels and names.
    pub probes: Vec<Probe>,
}

/// A probe module in a directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The group, as `vesper probe` wants it.
    pub group: String,
    /// Release of the kernel that it was built for.
    pub kernel: String,
    /// Its file.
    pub file: PathBuf,
    /// The module's name in a kernel.
    pub module: String,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its parameters, each with what it says of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<(String, String)>,
}

/// Result of `vesper record`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The guest.
    pub guest: GuestRef,
    /// Where the recording is.
    pub dir: PathBuf,
    /// Bytes that it has.
    pub bytes: u64,
    /// Bytes that were removed because of the size limit, the oldest ones.
    #[serde(default)]
    pub removed: u64,
}

/// Result of `vesper check-config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The file; absent if there is none, so that every key has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How many rules it has.
    pub rules: usize,
}
