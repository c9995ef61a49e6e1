// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel module's name, checked.

use std::fmt;
use std::str::FromStr;

/// Longest module name in bytes: `MODULE_NAME_LEN` of the Linux kernel (56 on 64-bit machines) less the closing zero.
pub const NAME_MAX: usize = 55;

/// A module's name as the kernel knows it: 1 to 55 bytes of printable ASCII without `/` (not `.` or `..`), with `_` where a file name
/// has `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

/// Why a text is no module name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing at all.
    #[error("a module name cannot be empty")]
    Empty,
    /// More than [`NAME_MAX`] bytes.
    #[error("a module name has at most {NAME_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A slash, a blank, a control byte or a byte beyond ASCII.
    #[error("{0:?} holds a character that a module name cannot have")]
    Character(String),
    /// `.` or `..`.
    #[error("{0:?} is no module name")]
    Dots(String),
}

impl ModuleName {
    /// Checks a name; `-` becomes `_`, as for `modprobe` and `rmmod`.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(InvalidName::TooLong(name.len()));
        }
        if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(InvalidName::Character(name.to_owned()));
        }
        if matches!(name, "." | "..") {
            return Err(InvalidName::Dots(name.to_owned()));
        }
        Ok(Self(name.replace('-', "_")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_normalised() {
        assert_eq!(ModuleName::new("a-b_c").unwrap().as_str(), "a_b_c");
        assert_eq!(ModuleName::new(""), Err(InvalidName::Empty));
        assert_eq!(ModuleName::new(&"x".repeat(56)), Err(InvalidName::TooLong(56)));
        assert!(ModuleName::new(&"x".repeat(55)).is_ok());
        assert_eq!(ModuleName::new(".."), Err(InvalidName::Dots("..".into())));
        for bad in ["a/b", "a b", "a\0", "a\n", "ä"] {
            assert!(matches!(ModuleName::new(bad), Err(InvalidName::Character(_))), "{bad:?}");
        }
    }
}
