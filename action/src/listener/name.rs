// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of an export, checked.

use std::fmt;

use vesper_ring::wire::{NAME_BYTES, listener};

/// The paper's `modname`: 1 to 55 letters, digits, `_` and `-`, all ASCII, as [`listener::ExportName`] has it. So it may
/// stand in a path or on a terminal as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportName(String);

/// Why a text is no name of an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an export: 1 to {max} of A-Z a-z 0-9 _ -", max = ExportName::MAX)]
pub struct InvalidExportName(String);

impl ExportName {
    /// Longest name, in bytes.
    pub const MAX: usize = NAME_BYTES - 1;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidExportName`] with what was found.
    pub fn new(name: &str) -> Result<Self, InvalidExportName> {
        match listener::ExportName::new(name) {
            Ok(name) => Ok(Self(name.as_str().to_owned())),
            Err(_) => Err(InvalidExportName(name.chars().take(Self::MAX + 1).collect())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "Panic_probe-2", &"x".repeat(55)] {
            assert_eq!(ExportName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "ä", "a\n", "a.b", &"x".repeat(56)] {
            assert!(ExportName::new(bad).is_err(), "{bad:?}");
        }
    }
}
