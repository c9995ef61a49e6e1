// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the workspace, the caches and the logs are.

use std::path::{Path, PathBuf};

/// The workspace's root folder: the one above this crate.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is a folder of the workspace")
        .to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// The lab's caches: unpacked packages, kernels, images.
pub fn lab() -> PathBuf {
    target().join("lab")
}
