// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared by the test targets; each uses a part of it.
#![allow(dead_code)]

#[cfg(feature = "real-xenstored")]
pub mod daemon;
pub mod scenarios;
