// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! I/O ring and wire messages of VESPER.
//!
//! | module | what |
//! |---|---|
//! | [`wire`] | the messages, their layout, their numbers and their checks: the one place where they are written down |
//! | [`FrontRing`], [`BackRing`] | the two ends of a ring with the layout and semantics of Xen's `public/io/ring.h` |
//! | [`error`] | what can be wrong; [`Poison`] is the name of a hostile peer |
//! | [`memory`] | the shared pages, and every access that is made to them |
//!
//! What this crate lives by:
//!
//! 1. No reference to shared memory. Indexes are atomics behind a raw pointer; an entry is copied out once, word by
//!    word, checked as a copy, and never looked at again.
//! 2. Size, mask and own indexes are private. What the peer can write decides nothing but "how many are there", and
//!    that is checked against what is possible.
//! 3. A peer that breaks the rules stops this ring end, for good and without a panic.
//! 4. Full fences in two places, `publish` and `final_check`: release and acquire alone lose wake-ups there.
//! 5. Only the front end initialises the shared header; a back end attaches to what it finds.
//! 6. No allocation, no Xen call, nothing that can panic: the same code runs in the daemon and in the guest's kernel.
#![no_std]

mod back;
pub mod error;
mod front;
mod layout;
pub mod memory;
pub mod wire;

pub use back::BackRing;
pub use error::{AnswerError, AttachError, BadMemory, Poison, PushError};
pub use front::FrontRing;
