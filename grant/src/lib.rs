// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's devices as Linux user space in dom0 has them, and a loopback of them for tests, behind the same traits.
//!
//! What this crate lives by:
//!
//! * **Everything given is given back.** A [`Mapping`] unmaps itself; closing a [`Devices`] closes every port. Every
//!   grant and port in use is counted ([`Counters`]), and the counts return to zero.
//! * **No reference to shared memory, ever.** A guest may change a mapped byte at any moment, so a mapping hands out a
//!   raw pointer and a length, and reading through it is the caller's volatile or atomic business.
//! * **One guest, one set of descriptors.** The event channel descriptor is restricted to its guest, so a mistake can
//!   reach that guest and no other.
//! * **The C headers are the authority.** Every ioctl number, size and offset in [`xen`] is compared with them by a test.
//! * **The loopback lies about nothing.** [`loopback`] shares real memory and keeps Xen's rules: masking until unmask,
//!   zombie domains while pages are mapped, notification at unmap.
//!
//! Start with [`Host::open`]; in dom0 the host is [`XenHost`], in a test [`loopback::Machine`].

mod counters;
mod devices;
mod domain;
mod error;
pub mod loopback;
mod mapping;
mod types;
pub mod xen;

pub use counters::Counters;
pub use devices::{Devices, Host};
pub use domain::{DomainState, ShutdownReason, VcpuState};
pub use error::{Error, GrantStatus};
pub use mapping::Mapping;
pub use types::{Access, DomId, GrantRef, PAGE_SIZE, Port};
pub use xen::XenHost;
