// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon's errors as error numbers. `man/libvesper.3` has the same table.

use std::ffi::c_int;
use std::io;

use vesper_api::{ErrorKind, Failure};

/// −errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negative(pub c_int);

impl From<&Failure> for Negative {
    fn from(failure: &Failure) -> Self {
        // What the guest's kernel said is passed on as it is.
        if let Some(errno) = &failure.errno {
            return Self(-errno.number);
        }
        Self(-match failure.kind {
            ErrorKind::Refused | ErrorKind::Internal => libc::EIO,
            ErrorKind::Busy | ErrorKind::ModulesLoaded => libc::EBUSY,
            ErrorKind::BadRequest => libc::EINVAL,
            ErrorKind::BadImage => libc::ENOEXEC,
            ErrorKind::AmbiguousGuest => libc::ENOTUNIQ,
            ErrorKind::QueueFull => libc::EAGAIN,
            ErrorKind::NoSuchGuest => libc::ENXIO,
            ErrorKind::NotAttached | ErrorKind::NoFrontend => libc::ENOTCONN,
            ErrorKind::GuestGone => libc::EHOSTDOWN,
            ErrorKind::DaemonUnreachable => libc::ECONNREFUSED,
            ErrorKind::Interrupted => libc::ECONNRESET,
            ErrorKind::TimedOut => libc::ETIMEDOUT,
            ErrorKind::NotPermitted => libc::EACCES,
            ErrorKind::DeviceStopped => libc::EPROTO,
            // Outcome unknown, and kinds that a newer daemon knows.
            _ => libc::EREMOTEIO,
        })
    }
}

impl From<io::Error> for Negative {
    fn from(error: io::Error) -> Self {
        Self(-error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// As a C function returns it.
pub fn status(result: Result<(), Negative>) -> c_int {
    result.map_or_else(|negative| negative.0, |()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_and_none_is_success() {
        for kind in ErrorKind::ALL {
            assert!(Negative::from(&Failure::new(kind, "x")).0 < 0, "{kind:?}");
        }
    }

    #[test]
    fn the_manual_page_has_every_number_that_is_returned() {
        let page = include_str!("../man/libvesper.3");
        let source = include_str!("errno.rs");
        let (source, _) = source.split_once("#[cfg(test)]").unwrap();
        for name in source.split("libc::").skip(1) {
            let name: String = name.chars().take_while(|c| c.is_ascii_uppercase()).collect();
            assert!(page.contains(&format!("\n.B {name}\n")), "{name} is not in libvesper.3");
        }
    }
}
