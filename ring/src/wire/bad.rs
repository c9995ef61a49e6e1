// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What can be wrong with a message. Always the peer's doing, and fail-stop like [`crate::Poison`].

use core::fmt;

use super::CommandId;
use super::name::BadName;

/// A message that no peer that keeps to `docs/protocol.md` sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// An opcode that does not exist, or is not of this ring.
    Opcode(u16),
    /// Flags that do not exist, or do not go with the opcode or with each other.
    Flags(u16),
    /// A field is not 0 although the opcode does not use it.
    Unused(&'static str),
    /// A command is needed, and run or number is 0.
    NoCommand(CommandId),
    /// Neither 0 nor −1 to −4095.
    Status(i32),
    /// A grant is needed and is 0, or the other way round.
    Grant(u32),
    /// Pages of a window out of range.
    Pages(u32),
    /// A number of bytes out of range.
    Bytes {
        /// What the message says.
        bytes: u64,
        /// The most there may be.
        limit: u64,
    },
    /// The response has another id than the request.
    Id {
        /// What the response says.
        got: u32,
        /// What was asked.
        asked: u32,
    },
    /// The response is of a kind that does not answer this request.
    NoAnswer {
        /// Opcode of the response.
        response: u16,
        /// Opcode of the request.
        request: u16,
    },
    /// The response is for another command than the request.
    OtherCommand(CommandId),
    /// The number of an export is needed, and is 0.
    NoExport,
    /// Number of grants of an export out of range.
    Grants(u32),
    /// The name breaks the rule of [`super::Name`].
    Name(BadName),
    /// The grant directory has a successor, which a window never needs.
    LongDirectory(u32),
}

impl From<BadName> for BadMessage {
    fn from(e: BadName) -> Self {
        Self::Name(e)
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode(op) => write!(f, "unknown opcode {op}"),
            Self::Flags(flags) => write!(f, "flags {flags:#x} do not go with the opcode"),
            Self::Unused(field) => write!(f, "unused field {field} is not 0"),
            Self::NoCommand(id) => write!(f, "command {:#x}/{} is none", id.run, id.seq),
            Self::Status(status) => write!(f, "status {status} is neither 0 nor a negative errno"),
            Self::Grant(0) => f.write_str("a grant is missing"),
            Self::Grant(gref) => write!(f, "grant {gref} where none belongs"),
            Self::Grants(grants) => write!(f, "an export of {grants} grants"),
            Self::Pages(pages) => write!(f, "a window of {pages} pages"),
            Self::Bytes { bytes, limit } => write!(f, "{bytes} bytes where 1 to {limit} can be"),
            Self::Id { got, asked } => write!(f, "response id {got} to request id {asked}"),
            Self::NoAnswer { response, request } => {
                write!(f, "response {response} does not answer request {request}")
            }
            Self::OtherCommand(id) => write!(f, "response for another command, {:#x}/{}", id.run, id.seq),
            Self::NoExport => f.write_str("export 0 is none"),
            Self::Name(e) => e.fmt(f),
            Self::LongDirectory(next) => write!(f, "the grant directory goes on at grant {next}"),
        }
    }
}

impl core::error::Error for BadMessage {}
