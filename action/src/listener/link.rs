// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's trait towards the Communication layer, and what passes through it.

use vesper_relay_mirror::{Geometry, Regions};

use super::{ExportName, GuestStamps};
use crate::Violation;

/// What the guest asks of the listener. Every field is an *allegation*: well-formed, but true only as far as the listener
/// finds it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// "Read this."
    Export {
        /// Its number, which is the guest's: the same as long as the export lives, and never that of another one.
        number: u32,
        /// What is shared.
        offer: Offer,
    },
    /// "Read this too": buffers of CPUs that came later.
    Part {
        /// The export that they belong to.
        number: u32,
        /// What is shared.
        offer: Offer,
    },
    /// "Let go of this."
    Unexport {
        /// The export, with all its parts.
        number: u32,
    },
    /// "What time is it?"
    Time {
        /// The guest's clock when it asked, nanoseconds.
        sent_ns: u64,
        /// The host's clock when the question was taken, nanoseconds.
        got_ns: u64,
        /// The guest's stamps of the exchange before; `None`: this is the first of the connection.
        before: Option<GuestStamps>,
    },
}

/// What the guest offers to share: an export, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The export's name.
    pub name: ExportName,
    /// The module that exported it. **Guest text.**
    pub owner: Option<String>,
    /// Size and number of its buffers.
    pub geometry: Geometry,
    /// The CPU of each buffer; `None` for one that all CPUs share. As many as the geometry has buffers.
    pub cpus: Vec<Option<u16>>,
    /// Bytes of the text that describes its records; 0: there is none.
    pub schema_bytes: u32,
}

/// What the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Export`], [`Ask::Part`] and [`Ask::Unexport`]: done (0), or why not (−errno).
    Done {
        /// 0 or −errno.
        status: i32,
    },
    /// To [`Ask::Time`]; the link adds when it was sent.
    TimeIs {
        /// The host's clock when the question was taken, nanoseconds.
        got_ns: u64,
    },
}

/// What was offered, mapped.
pub struct Mapped {
    /// The memory.
    pub regions: Regions,
    /// The text that describes the records, a private copy; empty: there is none.
    pub schema: Vec<u8>,
}

/// Why an export or a part of one is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The guest has as many as it may.
    #[error("it has {0} exports already, no more are taken")]
    TooManyExports(u32),
    /// The guest would share more than it may.
    #[error("it would share {wanted} pages, at most {most} of records are taken")]
    TooManyPages {
        /// Pages that it would share.
        wanted: u64,
        /// Pages of records that it may.
        most: u64,
    },
    /// All guests together would share more than they may.
    #[error("all guests together share as much as they may, {most} pages")]
    HostIsFull {
        /// That many.
        most: u32,
    },
    /// It announces exports faster than they can be mapped for it.
    #[error("it announces too much too often")]
    TooOften,
    /// Another export has the name, or this one is there already.
    #[error("{0} is there already")]
    Exists(ExportName),
    /// There is no such export.
    #[error("it has no export {0}")]
    Unknown(u32),
    /// What is offered contradicts itself.
    #[error("it is unusable: {0}")]
    Unusable(String),
    /// What is offered cannot be mapped.
    #[error("it cannot be mapped: {0}")]
    Unmappable(String),
}

impl Refusal {
    /// Linux's error number, as the guest is told it, negative.
    pub fn status(&self) -> i32 {
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const EEXIST: i32 = 17;
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        -match self {
            Self::TooManyExports(_)
            | Self::TooManyPages { .. }
            | Self::HostIsFull { .. }
            | Self::TooOften => ENOSPC,
            Self::Exists(_) => EEXIST,
            Self::Unknown(_) => ENOENT,
            Self::Unusable(_) => EINVAL,
            Self::Unmappable(_) => EIO,
        }
    }
}

/// The way to one guest, implemented once for each kind of VMM.
pub trait Link {
    /// Maps what the outstanding [`Ask::Export`] or [`Ask::Part`] offers. Called only after all that can be known
    /// without it has been checked.
    ///
    /// # Errors
    /// [`Refusal::Unusable`] or [`Refusal::Unmappable`]; nothing stays mapped then.
    fn map(&mut self) -> Result<Mapped, Refusal>;

    /// Answers the request that is outstanding, which is then no longer so. Returns the host's clock when the answer
    /// was sent, nanoseconds.
    ///
    /// # Errors
    /// [`Violation`] if the way itself was found broken by the guest.
    fn answer(&mut self, answer: Answer) -> Result<u64, Violation>;
}
