// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frontend in a guest of this process: real pages, grants, event channels and nodes, and a backend that does only
//! what a test says.

mod bench;
mod channels;
mod host;
mod listener;
mod loader;
mod pages;
