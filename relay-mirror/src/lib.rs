// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mirror of a guest's relay channel on the host.
//!
//! A relay channel (`struct rchan`, `include/linux/relay.h`) is a set of buffers, one per CPU or one in all, each of them
//! so many sub-buffers that are filled in turn. The guest shares the pages; what relay knows of them (how far it has
//! written, how much of each sub-buffer is padding, how far it has been read) is built here by hand from the positions
//! that the guest publishes. `relay_open` is never called.
//!
//! | module | what |
//! |---|---|
//! | [`geometry`] | sizes of a channel, checked |
//! | [`region`] | the shared memory, and every access that is made to it |
//! | [`channel`] | [`Channel`]: the mirror; mapping, arming, waiting, leaving |
//! | [`reader`] | [`Reader`]: what one reader is given next: data, a loss, nothing, the end |
//! | [`piece`] | [`Piece`]: bytes where they lie, copied or written out, then verified |
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

pub mod channel;
pub mod geometry;
pub mod piece;
pub mod reader;
pub mod region;

pub use channel::{BufferStatus, Channel, Update};
pub use geometry::{BadGeometry, Geometry};
pub use piece::{Outlet, Overwritten, Piece, Raw, WriteError};
pub use reader::{Lost, Next, Reader, Start};
pub use region::{BadRegions, Region, Regions};
