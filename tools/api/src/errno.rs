// SPDX-License-Identifier: MIT OR Apache-2.0
//! Error numbers of a guest's kernel, by name and by what they mean for a module.

use serde::{Deserialize, Serialize};

/// An error number of Linux on x86-64, spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errno {
    /// The number, positive.
    pub number: i32,
    /// Its name, `ENOEXEC`; `errno 4095` for a number without one.
    pub name: String,
    /// What it means.
    pub meaning: String,
}

impl Errno {
    /// What `init_module` meant by it (`kernel/module/main.c`).
    pub fn of_load(number: i32) -> Self {
        let meaning = match number {
            linux::ENOEXEC => {
                "the kernel does not take this image: other vermagic or symbol versions, or a damaged file"
            }
            linux::ENOENT => {
                "a symbol that the module needs, or a parameter that was given, is unknown to it"
            }
            linux::EEXIST => "a module of this name is loaded already",
            linux::EPERM => {
                "the guest does not allow modules to be loaded (modules_disabled, lockdown or its own rule)"
            }
            linux::EKEYREJECTED => "the guest takes only modules signed with a key it trusts",
            linux::ENOKEY => "the guest takes only signed modules, and has no key for this one",
            linux::EBADMSG => "the module's signature is damaged",
            linux::EINVAL => {
                "a parameter has a value that the module does not take, or the image is not valid"
            }
            linux::ENOMEM => "the guest has not enough memory for the module",
            linux::EBUSY => {
                "a module of this name is being loaded or unloaded, or the guest is busy with an earlier command"
            }
            linux::ENODEV => "the module's init function found nothing to work on",
            linux::EFAULT => "the image could not be read",
            _ => return Self::plain(number),
        };
        Self { meaning: meaning.into(), ..Self::plain(number) }
    }

    /// What `delete_module` meant by it.
    pub fn of_unload(number: i32) -> Self {
        let meaning = match number {
            linux::ENOENT => "no module of this name is loaded",
            linux::EWOULDBLOCK => "the module is in use",
            linux::EBUSY => {
                "the module is in use, cannot be unloaded, or the guest is busy with an earlier command"
            }
            linux::EPERM => "the guest does not allow this module to be unloaded",
            _ => return Self::plain(number),
        };
        Self { meaning: meaning.into(), ..Self::plain(number) }
    }

    /// Name and general meaning.
    pub fn plain(number: i32) -> Self {
        let errno = nix::errno::Errno::from_raw(number);
        if errno == nix::errno::Errno::UnknownErrno {
            let meaning = "a number that Linux has no name for".into();
            return Self { number, name: format!("errno {number}"), meaning };
        }
        Self { number, name: format!("{errno:?}"), meaning: errno.desc().to_lowercase() }
    }
}

/// The numbers that have a meaning of their own here.
mod linux {
    pub(super) use nix::libc::{
        EBADMSG, EBUSY, EEXIST, EFAULT, EINVAL, EKEYREJECTED, ENODEV, ENOENT, ENOEXEC, ENOKEY, ENOMEM, EPERM,
        EWOULDBLOCK,
    };
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn the_same_number_means_another_thing_for_load_and_unload() {
        assert_eq!(Errno::of_load(2).name, "ENOENT");
        assert!(Errno::of_load(2).meaning.contains("symbol"));
        assert!(Errno::of_unload(2).meaning.contains("no module of this name"));
    }

    #[test]
    fn every_number_has_a_name() {
        for number in -4096..=4096 {
            for errno in [Errno::of_load(number), Errno::of_unload(number), Errno::plain(number)] {
                assert_eq!(errno.number, number);
                assert!(!errno.name.is_empty() && !errno.meaning.is_empty());
                assert!(!errno.name.contains("Unknown"), "{errno:?}");
            }
        }
        assert_eq!(Errno::plain(4095).name, "errno 4095");
        assert_eq!(Errno::plain(8).name, "ENOEXEC");
    }
}
