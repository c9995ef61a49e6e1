// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine inside this process: guests with real shared memory and event channels, and a dom0 that sees them through
//! the same [`Host`](crate::Host) and [`Devices`](crate::Devices) as on Xen.
//!
//! It keeps to what Xen and Linux do where a user of the traits could notice:
//!
//! * guest pages are one memory file, so the host's mapping and the guest's page are the same memory;
//! * grants are checked at each map and copy, ended only when unmapped, and their numbers reused last in, first out;
//! * a destroyed domain stays as a dying one until its last page is unmapped, and mapped pages stay readable;
//! * a port that was reported stays masked until unmasked, and then reports what came in between; binding leaves the
//!   local port pending; a closed end leaves the other one unbound;
//! * the notification at unmap holds its port open, as gntdev does, so it works also when the devices close first.
//!
//! Where it differs: a guest may have any number of grants up to its memory (Xen: 32,768 by default), one grant any
//! number of mappings (Xen counts them in 8 bits, a PV dom0 makes two for each), and devices opened
//! for a domain stay with that domain, so they never reach a later one of the same number.

mod events;
mod guest;
mod host;
mod machine;
mod memory;
mod state;

pub use guest::{LoopGuest, StillMapped};
pub use machine::Machine;
pub use memory::GuestPage;
