// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong at the devices.

use std::{fmt, io};

use crate::{DomId, GrantRef, Port};

/// Why a device did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device file could not be opened: not dom0, the module is not loaded, or not permitted.
    #[error("{path} cannot be opened: {source}")]
    Open {
        /// The device file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused one operation.
    #[error("{operation} for domain {guest} failed: {source}")]
    Device {
        /// The operation, by the name its header gives it.
        operation: &'static str,
        /// The domain it was about.
        guest: DomId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Xen refused to copy one segment of a grant copy. Earlier segments may have been copied.
    #[error("grant {grant} of domain {guest} could not be copied: {status}")]
    Copy {
        /// The granting domain.
        guest: DomId,
        /// The grant of the first segment that failed.
        grant: GrantRef,
        /// What Xen said of it.
        status: GrantStatus,
    },
    /// The request itself cannot be right; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// This set of devices holds no such port.
    #[error("port {0} is not bound here")]
    NotBound(Port),
    /// The guest does not exist.
    #[error("there is no domain {0}")]
    NoDomain(DomId),
    /// The running Xen speaks no version of the interface that this build knows; `xl` can still be asked.
    #[error("this Xen's {interface} interface is not among the known versions ({known})")]
    UnknownInterface {
        /// `domctl` or `sysctl`.
        interface: &'static str,
        /// The versions that were tried.
        known: String,
    },
    /// `xl` could not be run or its answer not be understood.
    #[error("xl list: {0}")]
    Xl(String),
}

impl Error {
    /// The kernel's errno where one was given.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. } | Self::Device { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The error of a system call that has just failed.
    pub(crate) fn last_os(operation: &'static str, guest: DomId) -> Self {
        Self::Device { operation, guest, source: io::Error::last_os_error() }
    }

    /// An error as the kernel would have given it, for the loopback.
    pub(crate) fn os(operation: &'static str, guest: DomId, errno: i32) -> Self {
        Self::Device { operation, guest, source: io::Error::from_raw_os_error(errno) }
    }
}

/// A `GNTST_*` code of `xen/include/public/grant_table.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantStatus(pub i16);

impl GrantStatus {
    /// Done.
    pub const OKAY: Self = Self(0);
    /// Undefined error.
    pub const GENERAL_ERROR: Self = Self(-1);
    /// No such domain.
    pub const BAD_DOMAIN: Self = Self(-2);
    /// The reference is not granted, or not for this.
    pub const BAD_GNTREF: Self = Self(-3);
    /// Not enough privilege: writing to a read-only grant.
    pub const PERMISSION_DENIED: Self = Self(-8);
    /// The copy would cross a page boundary.
    pub const BAD_COPY_ARG: Self = Self(-10);
    /// Not done, try again: the page is paged out.
    pub const EAGAIN: Self = Self(-12);

    /// The name in the header and its meaning.
    pub fn name_and_meaning(self) -> (&'static str, &'static str) {
        match self.0 {
            0 => ("GNTST_okay", "done"),
            -1 => ("GNTST_general_error", "undefined error"),
            -2 => ("GNTST_bad_domain", "no such domain"),
            -3 => ("GNTST_bad_gntref", "reference not granted, or not for this use"),
            -4 => ("GNTST_bad_handle", "unrecognised or inappropriate handle"),
            -5 => ("GNTST_bad_virt_addr", "inappropriate virtual address to map"),
            -6 => ("GNTST_bad_dev_addr", "inappropriate device address to unmap"),
            -7 => ("GNTST_no_device_space", "out of space in the I/O MMU"),
            -8 => ("GNTST_permission_denied", "not enough privilege for the operation"),
            -9 => ("GNTST_bad_page", "the page was invalid for the operation"),
            -10 => ("GNTST_bad_copy_arg", "the copy crosses a page boundary"),
            -11 => ("GNTST_address_too_big", "page address too large"),
            -12 => ("GNTST_eagain", "not done, the page is paged out"),
            -13 => ("GNTST_no_space", "out of handles"),
            _ => ("GNTST_?", "a status this build does not know"),
        }
    }
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, meaning) = self.name_and_meaning();
        write!(f, "{name} ({}): {meaning}", self.0)
    }
}
