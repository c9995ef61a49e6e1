// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What can be wrong with the pages of an export.

use core::fmt;

use crate::wire::BadName;

/// A descriptor or directory that no frontend makes which keeps to `docs/protocol.md`.
///
/// Unlike a [`BadMessage`](crate::wire::BadMessage) it stops nothing: that one EXPORT is refused (−EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExport {
    /// The name breaks the rule of [`super::ExportName`].
    Name(BadName),
    /// The owner's name breaks the rule of [`crate::wire::Name`].
    Owner(BadName),
    /// Flags that do not exist.
    Flags(u32),
    /// A field is not 0 although it is not used.
    Unused(&'static str),
    /// No buffer, or more than [`super::BUFFERS`].
    Buffers(u32),
    /// No sub-buffer, more than [`super::SUBBUFS`], no byte in one, or more than [`super::BUFFER_BYTES`] in all.
    Size {
        /// Bytes of a sub-buffer.
        subbuf_size: u32,
        /// Sub-buffers of a buffer.
        subbufs: u32,
    },
    /// The schema is larger than [`super::SCHEMA_BYTES`].
    Schema(u32),
    /// The CPUs of the buffers are not in ascending order, or are none; or a global export has one.
    Cpu(u16),
    /// A number of pages that does not follow from the rest.
    Pages {
        /// The field.
        field: &'static str,
        /// What it says.
        says: u32,
        /// What follows from the rest.
        needs: u64,
    },
    /// A part that is not like the export it is added to.
    Part(&'static str),
    /// A grant in the directory is 0.
    NoGrant,
    /// The directory ends before all grants are listed.
    ShortDirectory,
    /// The directory goes on, at that grant, after all grants are listed.
    LongDirectory(u32),
}

impl fmt::Display for BadExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Name(e) => e.fmt(f),
            Self::Owner(e) => write!(f, "owner: {e}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#x}"),
            Self::Unused(field) => write!(f, "unused field {field} is not 0"),
            Self::Buffers(buffers) => write!(f, "{buffers} buffers where 1 to {} can be", super::BUFFERS),
            Self::Size { subbuf_size, subbufs } => {
                write!(f, "{subbufs} sub-buffers of {subbuf_size} bytes are no buffer")
            }
            Self::Schema(bytes) => {
                write!(f, "a schema of {bytes} bytes, at most {} can be", super::SCHEMA_BYTES)
            }
            Self::Cpu(cpu) => write!(f, "CPU {cpu} is out of order"),
            Self::Pages { field, says, needs } => {
                write!(f, "{field} is {says}, {needs} follows from the rest")
            }
            Self::Part(field) => write!(f, "a part whose {field} is not that of its export"),
            Self::NoGrant => f.write_str("a grant in the directory is 0"),
            Self::ShortDirectory => f.write_str("the grant directory ends too early"),
            Self::LongDirectory(next) => write!(f, "the grant directory goes on at grant {next}"),
        }
    }
}

impl core::error::Error for BadExport {}
