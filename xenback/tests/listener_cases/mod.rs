// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalogue of the listener. Each case begins with a guest that is connected and shares export 1, `panic`.

mod descriptor;
mod directory;
mod nodes;
mod positions;
mod requests;

use crate::Case;

/// All cases.
pub static CASES: std::sync::LazyLock<Vec<Case>> = std::sync::LazyLock::new(|| {
    [descriptor::CASES, directory::CASES, nodes::CASES, positions::CASES, requests::CASES].concat()
});
