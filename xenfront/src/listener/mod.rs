// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The probe listener's guest side: which relay channels the host may read, and what time it is.
//!
//! | module | what |
//! |---|---|
//! | [`action`] | Action part: the table of exports and what is asked next; knows no Xen |
//! | [`comm`] | Communication part: the questions as messages, the check of each answer |
//! | [`traits`] | what the parts want of each other ([`Link`]) and of the kernel ([`Pages`], [`Kernel`]) |
//! | [`frontend`] | the two parts put together ([`Listener`]) |
//! | `ffi` | feature `kernel`: the same as C functions |
//!
//! Records never come this way: a probe stores into pages that the host reads, and rings the event channel itself. So
//! nothing here is on the path of a probe, and a host that never answers holds up no guest: the kernel waits for
//! [`Kernel::answered`] and [`Kernel::ended`] as long as it likes, and need not.

pub mod action;
pub mod comm;
#[cfg(feature = "kernel")]
pub mod ffi;
pub mod frontend;
pub mod traits;

pub use action::SLOTS;
pub use frontend::Listener;
pub use traits::{Kernel, Link, Offer, Pages, Stamps};
