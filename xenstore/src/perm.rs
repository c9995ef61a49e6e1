// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permissions of a node, as xenstore writes them: `n5`, `r0`, `w0`, `b0`.

use std::fmt;

/// One entry of a node's permission list.
///
/// The first entry of a list names the **owner** (who may always do everything) and, with its flags, what all
/// domains that are not listed may do. The others name one domain each. Source: `docs/misc/xenstore.txt` of
/// Xen, SET_PERMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Perm {
    /// The domain.
    pub domid: u16,
    /// May read.
    pub read: bool,
    /// May write, and create nodes below.
    pub write: bool,
}

impl Perm {
    /// `n<domid>`: nothing, except for an owner.
    pub const fn none(domid: u16) -> Perm {
        Perm { domid, read: false, write: false }
    }

    /// `r<domid>`: may read.
    pub const fn read(domid: u16) -> Perm {
        Perm { domid, read: true, write: false }
    }

    /// `b<domid>`: may read and write.
    pub const fn both(domid: u16) -> Perm {
        Perm { domid, read: true, write: true }
    }

    /// Reads the form of the wire; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Perm> {
        let (read, write) = match text.as_bytes().first()? {
            b'n' => (false, false),
            b'r' => (true, false),
            b'w' => (false, true),
            b'b' => (true, true),
            _ => return None,
        };
        let digits = &text[1..];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Perm { domid: digits.parse().ok()?, read, write })
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        write!(out, "{letter}{}", self.domid)
    }
}

#[cfg(test)]
mod tests {
    use super::Perm;

    #[test]
    fn every_form_goes_round() {
        for text in ["n5", "r0", "w17", "b65535"] {
            assert_eq!(Perm::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "n", "x5", "r-1", "r+1", "b65536", "r5 ", "5"] {
            assert_eq!(Perm::parse(text), None, "{text:?}");
        }
    }
}
