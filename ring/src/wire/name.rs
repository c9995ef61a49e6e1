// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A module's name that has been checked.

use core::fmt;

use super::NAME_BYTES;

/// Name of a kernel module: 1 to 55 printable ASCII characters, no space, no slash, not `.` or `..`.
///
/// Holding one proves the spelling only, not that such a module exists. The kernel itself would take more (any byte
/// but a slash); what it never does is build one, and a name ends up in paths, logs and terminals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Closed and padded with zeros, as on the wire.
    bytes: [u8; NAME_BYTES],
}

/// Why some bytes are not a [`Name`], or not an [`ExportName`](super::listener::ExportName).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// No character.
    Empty,
    /// More than 55 characters, or no closing zero.
    TooLong,
    /// A byte that a name must not have.
    Byte(u8),
    /// `.` or `..`.
    Dots,
    /// Bytes other than zero after the closing zero.
    Padding,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong => write!(f, "the name has more than {} characters", NAME_BYTES - 1),
            Self::Byte(byte) => write!(f, "the name has the byte {byte:#04x}"),
            Self::Dots => f.write_str("the name is . or .."),
            Self::Padding => f.write_str("the name is not padded with zeros"),
        }
    }
}

impl core::error::Error for BadName {}

impl Name {
    /// Checks a name from this side: a file, a user.
    ///
    /// # Errors
    ///
    /// [`BadName`], see [`Name`] for the rule.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let mut bytes = [0; NAME_BYTES];
        // One byte is kept for the closing zero.
        if name.len() >= NAME_BYTES {
            return Err(BadName::TooLong);
        }
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            if from == 0 {
                return Err(BadName::Byte(0));
            }
            *to = from;
        }
        Self::from_wire(&bytes)
    }

    /// Checks a name as it stands in a message.
    ///
    /// # Errors
    ///
    /// [`BadName`], see [`Name`] for the rule.
    pub fn from_wire(bytes: &[u8; NAME_BYTES]) -> Result<Self, BadName> {
        let mut length = 0usize;
        let mut dots = true;
        let mut closed = false;
        for &byte in bytes {
            match byte {
                0 => closed = true,
                _ if closed => return Err(BadName::Padding),
                b'/' => return Err(BadName::Byte(byte)),
                0x21..=0x7e => {
                    length = length.wrapping_add(1);
                    dots = dots && byte == b'.';
                }
                _ => return Err(BadName::Byte(byte)),
            }
        }
        match (closed, length) {
            (false, _) => Err(BadName::TooLong),
            (true, 0) => Err(BadName::Empty),
            (true, 1 | 2) if dots => Err(BadName::Dots),
            (true, _) => Ok(Self { bytes: *bytes }),
        }
    }

    /// As it stands in a message, and as a C string: closed and padded with zeros.
    pub fn as_wire(&self) -> &[u8; NAME_BYTES] {
        &self.bytes
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
        // SAFETY: `from_wire`, the only constructor, lets ASCII through and nothing else.
        unsafe { core::str::from_utf8_unchecked(self.bytes.get(..length).unwrap_or(&[])) }
    }

    /// Whether the kernel takes both for the same module: it treats `-` as `_`.
    pub fn same_module(&self, other: &Self) -> bool {
        let fold = |byte: u8| if byte == b'-' { b'_' } else { byte };
        self.bytes.iter().zip(&other.bytes).all(|(&a, &b)| fold(a) == fold(b))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
