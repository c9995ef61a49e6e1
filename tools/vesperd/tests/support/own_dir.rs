// SPDX-License-Identifier: MIT OR Apache-2.0
//! A place for what the daemon trusts only where nobody else can change it.

use tempfile::TempDir;

/// A directory that nobody else can put another in the place of; what is below /tmp somebody could.
pub fn own_dir() -> TempDir {
    let mut places = ["XDG_RUNTIME_DIR", "HOME"].into_iter().filter_map(std::env::var_os);
    places.find_map(|place| tempfile::tempdir_in(place).ok()).expect("a home")
}
