// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Requests of the listener ring as values that can only be right: [`Asked`] is what [`Request::check`] lets through.
//!
//! Whether there is such an export, and what its descriptor says, is the backend's to check.

use super::{EXPORT, GRANTS, PART, Request, TIME, UNEXPORT};
use crate::wire::BadMessage;
use crate::wire::request::check_unused;

/// A request that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// [`EXPORT`]: "read this".
    Export(Export),
    /// [`UNEXPORT`]: "let go of this".
    Unexport {
        /// Number of the export, with all its parts.
        export: u32,
    },
    /// [`TIME`]: "what time is it?". The stamps are the guest's claims; any value passes.
    Time {
        /// Guest's clock when this was sent, in nanoseconds.
        sent: u64,
        /// Guest's clock when the TIME before was sent; 0 in the connection's first.
        prev_sent: u64,
        /// Guest's clock when its answer was there; 0 in the connection's first.
        prev_got: u64,
    },
}

/// What the guest offers for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Number of the export, not 0.
    pub export: u32,
    /// Grant of the [`ExportInfo`](super::ExportInfo) page, not 0.
    pub gref: u32,
    /// Grant of the first directory page, not 0.
    pub directory: u32,
    /// Grants that the directory lists, 1 to [`GRANTS`].
    pub grants: u32,
    /// Whether it is added to the export of that number, which is there.
    pub part: bool,
}

impl Request {
    /// Checks a request that was copied out of the ring.
    ///
    /// # Errors
    ///
    /// [`BadMessage`]: the peer does not keep to the protocol. Fields that the opcode does not use must be 0.
    pub fn check(&self) -> Result<Asked, BadMessage> {
        check_unused(&[("reserved", self.reserved != [0; 2])])?;
        match self.op {
            EXPORT => self.check_export(),
            UNEXPORT => self.check_unexport(),
            TIME => self.check_time(),
            other => Err(BadMessage::Opcode(other)),
        }
    }

    fn check_export(&self) -> Result<Asked, BadMessage> {
        self.check_flags(PART)?;
        self.check_number()?;
        self.check_no_time()?;
        if self.gref == 0 || self.directory == 0 {
            return Err(BadMessage::Grant(0));
        }
        if self.grants == 0 || self.grants > GRANTS {
            return Err(BadMessage::Grants(self.grants));
        }
        let (export, gref, directory, grants) = (self.export, self.gref, self.directory, self.grants);
        Ok(Asked::Export(Export { export, gref, directory, grants, part: self.flags & PART != 0 }))
    }

    fn check_unexport(&self) -> Result<Asked, BadMessage> {
        self.check_flags(0)?;
        self.check_number()?;
        self.check_no_grants()?;
        self.check_no_time()?;
        Ok(Asked::Unexport { export: self.export })
    }

    fn check_time(&self) -> Result<Asked, BadMessage> {
        self.check_flags(0)?;
        check_unused(&[("export", self.export != 0)])?;
        self.check_no_grants()?;
        Ok(Asked::Time { sent: self.sent, prev_sent: self.prev_sent, prev_got: self.prev_got })
    }

    fn check_flags(&self, allowed: u16) -> Result<(), BadMessage> {
        if self.flags & !allowed == 0 { Ok(()) } else { Err(BadMessage::Flags(self.flags)) }
    }

    fn check_number(&self) -> Result<(), BadMessage> {
        if self.export != 0 { Ok(()) } else { Err(BadMessage::NoExport) }
    }

    fn check_no_grants(&self) -> Result<(), BadMessage> {
        check_unused(&[
            ("gref", self.gref != 0),
            ("directory", self.directory != 0),
            ("grants", self.grants != 0),
        ])
    }

    fn check_no_time(&self) -> Result<(), BadMessage> {
        check_unused(&[
            ("sent", self.sent != 0),
            ("prev_sent", self.prev_sent != 0),
            ("prev_got", self.prev_got != 0),
        ])
    }
}

impl Asked {
    /// The request as it goes onto the ring, under an id of the frontend's choice.
    pub fn request(&self, id: u32) -> Request {
        match *self {
            Self::Export(Export { export, gref, directory, grants, part }) => {
                let flags = if part { PART } else { 0 };
                Request { op: EXPORT, flags, id, export, gref, directory, grants, ..Request::default() }
            }
            Self::Unexport { export } => Request { op: UNEXPORT, id, export, ..Request::default() },
            Self::Time { sent, prev_sent, prev_got } => {
                Request { op: TIME, id, sent, prev_sent, prev_got, ..Request::default() }
            }
        }
    }
}
