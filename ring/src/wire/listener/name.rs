// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! An export's name that has been checked.

use core::fmt;

use crate::wire::{BadName, NAME_BYTES, Name};

/// Name of an export, the paper's `modname`: 1 to 55 of `A-Z a-z 0-9 _ -`.
///
/// Stricter than a module's [`Name`]: it is a file name in the tree of channels, and part of arguments like
/// `guest/name`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExportName(Name);

impl ExportName {
    /// Checks a name from this side: a user, a module that exports.
    ///
    /// # Errors
    ///
    /// [`BadName`], see [`ExportName`] for the rule.
    pub fn new(name: &str) -> Result<Self, BadName> {
        Self::checked(Name::new(name)?)
    }

    /// Checks a name as it stands in a page.
    ///
    /// # Errors
    ///
    /// [`BadName`], see [`ExportName`] for the rule.
    pub fn from_wire(bytes: &[u8; NAME_BYTES]) -> Result<Self, BadName> {
        Self::checked(Name::from_wire(bytes)?)
    }

    fn checked(name: Name) -> Result<Self, BadName> {
        let bad = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        match name.as_str().bytes().find(bad) {
            Some(byte) => Err(BadName::Byte(byte)),
            None => Ok(Self(name)),
        }
    }

    /// As it stands in a page, and as a C string: closed and padded with zeros.
    pub fn as_wire(&self) -> &[u8; NAME_BYTES] {
        self.0.as_wire()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
