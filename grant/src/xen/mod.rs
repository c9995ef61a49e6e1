// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real devices: `/dev/xen/gntdev`, `/dev/xen/evtchn` and `/dev/xen/privcmd`.

pub mod abi;
mod domctl;
mod evtchn;
mod gntdev;
mod grant_copy;
mod host;
mod hypercall;
pub mod xl;

pub use domctl::DomainControl;
pub use host::XenHost;
