// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! I/O ring and wire messages of VESPER.
//!
//! * [`wire`]: the messages, their layout and their numbers: the one place where they are written down.
//!
//! No allocation, no Xen call, no reference to shared memory: an entry is copied out once, checked as a copy, and
//! never looked at again.
#![no_std]

pub mod wire;
