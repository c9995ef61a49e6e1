// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Guest side of VESPER: the frontend's protocol and state machines, of the probe loader and, in [`listener`], of the
//! probe listener.
//!
//! | module | what |
//! |---|---|
//! | [`action`] | Action part: what is loaded and unloaded, and what is asked next; knows no Xen |
//! | [`modules`] | Action part: the modules that were loaded through VESPER |
//! | [`comm`] | Communication part: the loader's questions as messages, the check of each answer |
//! | [`mod@line`] | a ring with at most one open question |
//! | [`traits`] | what the parts want of each other ([`Link`]) and of the kernel ([`Pages`], [`Kernel`]) |
//! | [`frontend`] | the two parts put together: what the kernel module and the tests drive |
//! | [`listener`] | the same set of files for the listener |
//! | `ffi` | feature `kernel`: the same as C functions, for `kmod/` |
//! | `loopback` | feature `loopback`: the real core as a guest in this process, for the tests of the host's side |
//!
//! What this crate lives by:
//!
//! 1. No I/O: it is told what happened and says what to do, through the traits. So the code that runs in the guest's
//!    kernel is the code that the tests run.
//! 2. One question is open on each ring at any time. A response that does not answer it stops the device until it is
//!    connected anew; nothing that the host sends makes it panic, block or allocate.
//! 3. A load that has begun belongs to the guest: it goes on when the connection is lost, and its result is told,
//!    again and again, until a question that carried it was answered.
//! 4. No allocation, no stack of the size of a page, no panic that can be reached.
#![no_std]

#[cfg(feature = "loopback")]
extern crate std;

pub mod action;
pub mod comm;
#[cfg(feature = "kernel")]
pub mod ffi;
pub mod frontend;
pub mod line;
pub mod listener;
#[cfg(feature = "loopback")]
pub mod loopback;
pub mod modules;
pub mod traits;

pub use frontend::{Frontend, Progress};
pub use traits::{Errno, Fault, Kernel, Link, Pages};
