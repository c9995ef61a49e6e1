// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the backend did not do as asked.

use vesper_action::LoadedModule;
use vesper_grant::DomId;

use crate::Uuid;

/// Why the backend did not do as asked. What a guest does wrong is never an error here but an [`crate::Event`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such domain, or dom0 itself.
    #[error("there is no guest {0}")]
    NoSuchGuest(DomId),
    /// The domain is another guest than the one that was meant: the number was reused.
    #[error("domain {domid} is not the guest {uuid} any more")]
    OtherGuest {
        /// The domain.
        domid: DomId,
        /// The guest that was meant.
        uuid: Uuid,
    },
    /// The guest has no device.
    #[error("guest {0} is not attached")]
    NotAttached(DomId),
    /// The guest has a device, but no frontend in the guest is connected to it.
    #[error("guest {0} is attached, but its frontend is not connected")]
    NotConnected(DomId),
    /// The device was stopped for a protocol error.
    #[error("the device of guest {domid} was stopped: {reason}")]
    DeviceStopped {
        /// The guest.
        domid: DomId,
        /// Which rule was broken.
        reason: String,
    },
    /// The command was not accepted.
    #[error("guest {domid}: {source}")]
    Submit {
        /// The guest.
        domid: DomId,
        /// Why not.
        source: vesper_action::SubmitError,
    },
    /// Modules that were loaded through VESPER are in, so the guest is not detached unless forced.
    #[error("guest {domid} has modules loaded through VESPER: {}", names(.modules))]
    ModulesLoaded {
        /// The guest.
        domid: DomId,
        /// The modules.
        modules: Vec<LoadedModule>,
    },
    /// xenstore refused.
    #[error("xenstore: {0}")]
    Store(#[from] vesper_xenstore::Error),
    /// A device refused.
    #[error(transparent)]
    Device(#[from] vesper_grant::Error),
    /// A system call failed.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

fn names(modules: &[LoadedModule]) -> String {
    modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(", ")
}
