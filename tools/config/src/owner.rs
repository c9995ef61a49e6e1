// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether anybody but root and the daemon's own user has a say in a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Bits of a mode.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How somebody else has a say in it.
pub fn others(file: &Metadata) -> Option<String> {
    let me = nix::unistd::geteuid().as_raw();
    if file.uid() != 0 && file.uid() != me {
        return Some(format!("user {}'s, not root's", file.uid()));
    }
    (file.mode() & WRITABLE_BY_OTHERS != 0).then(|| "writable by its group or by others: chmod go-w".into())
}
