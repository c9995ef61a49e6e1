// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mirror of a guest's relay channel on the host.
//!
//! A relay channel (`struct rchan`, `include/linux/relay.h`) is a set of buffers, one per CPU or one in all, each of them
//! so many sub-buffers that are filled in turn. The guest shares the pages; what relay knows of them (how far it has
//! written, how much of each sub-buffer is padding, how far it has been read) is built here by hand from the positions
//! that the guest publishes ([`vesper_ring::wire::listener`] has their layout). `relay_open` is never called.
//!
//! | file | what |
//! |---|---|
//! | `region` | [`Regions`]: the shared memory as it is handed in |
//! | `channel`, `life` | [`Channel`]: the mirror; looking, arming, waiting; parts, and how mapping begins and ends |
//! | `reader` | [`Reader`]: what one reader is given [`Next`] |
//! | `piece`, `outlet` | [`Piece`]: bytes where they lie, copied or written out, then verified |
//! | `memory` | one buffer as it is mapped, and every access that is made to it |
//! | `seen` | what was seen of its positions: clamped, in 64 bits, never going back |
//! | `buffer`, `cursor`, `refused` | who reads a buffer, what comes next for each, where writes were refused |
//! | `asking` | what the guest is told: consumed, and when to kick |
//! | `leaving`, `kept` | what is taken over before a buffer is unmapped |
//! | `signal` | who waits |
//! | `sync` | locks and atomics, or loom's |
//! | `writer` (feature `loopback`) | the guest's side over plain memory, for tests and benchmarks |
//!
//! What this crate lives by:
//!
//! 1. No reference and no slice to shared memory, ever. Words are atomics behind a raw pointer; bytes are copied and
//!    then verified against positions that were read after the copy.
//! 2. A position is clamped, never goes back and is counted in 64 bits, whatever the guest writes. The worst that it
//!    reaches is that its own data counts as lost.
//! 3. What a reader does not get is told to it, exactly and in its place.
//! 4. The guest is asked for nothing and never waits: it may write on, stop or vanish at any moment.

mod asking;
mod buffer;
mod channel;
mod cursor;
mod kept;
mod leaving;
mod life;
mod memory;
mod outlet;
mod piece;
mod reader;
mod refused;
mod region;
mod seen;
mod signal;
mod sync;
#[cfg(feature = "loopback")]
pub mod writer;

pub use channel::{BufferStatus, Channel, Update};
pub use outlet::{Outlet, WriteError};
pub use piece::{Overwritten, Piece, Raw};
pub use reader::{Lost, Next, Reader, Start};
pub use region::{BadRegions, Region, Regions};
pub use vesper_ring::wire::listener::Geometry;
