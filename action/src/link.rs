// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one trait towards the Communication layer, and what passes through it.
//!
//! The guest always asks and the host only answers (paper, section 4.1.1), so the layer below calls
//! [`crate::Loader::asked`] with each [`Ask`] of the guest, and the loader calls back through [`Link`].

use std::time::Duration;

use crate::{CommandId, LoadedModule, ModuleName};

/// What the guest asks. Every field is an *allegation*: well-formed, but true only as far as the loader finds it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The modules that were loaded through VESPER and are in.
    Report {
        /// Part of the list.
        modules: Vec<LoadedModule>,
        /// Another part follows.
        more: bool,
    },
    /// "Give me work", with the result of the last command where there is one.
    Idle {
        /// The result.
        result: Option<CommandResult>,
    },
    /// "Fill my window."
    Fetch {
        /// For which command.
        command: CommandId,
        /// Offset in the command's data: the image followed by the arguments.
        offset: u64,
        /// Bytes wanted.
        bytes: u32,
    },
    /// The first step of an unload is done or has failed.
    Prepared {
        /// For which command.
        command: CommandId,
        /// 0 or −errno.
        status: i32,
    },
}

/// What the guest says became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// Which command.
    pub command: CommandId,
    /// 0 or −errno.
    pub status: i32,
    /// Time in the guest's kernel.
    pub took: Duration,
    /// The guest's kernel log of it, raw.
    pub log: Vec<u8>,
    /// More was logged.
    pub log_truncated: bool,
}

/// What the host answers to the one request that is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To a report: taken.
    Done,
    /// To idle: load this module.
    Load {
        /// Which command.
        command: CommandId,
        /// The module.
        name: &'a ModuleName,
        /// Bytes of the image.
        image_bytes: u64,
        /// Bytes of the arguments.
        args_bytes: u32,
    },
    /// To idle: unload this module.
    Unload {
        /// Which command.
        command: CommandId,
        /// The module.
        name: &'a ModuleName,
    },
    /// To a fetch: the bytes are in the window (0), or could not be put there (−errno).
    Filled {
        /// Which command.
        command: CommandId,
        /// 0 or −errno.
        status: i32,
    },
    /// To prepared: go on with the second step.
    Proceed {
        /// Which command.
        command: CommandId,
    },
    /// To a fetch or prepared: the command is given up.
    Cancelled {
        /// Which command, as the request named it.
        command: CommandId,
    },
}

/// The window could not be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The guest offered a page that cannot be read or written. It is told so and may try again.
    #[error("{0}")]
    Page(String),
    /// What the guest offered is no window at all.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// The guest broke the protocol: its device is to be stopped, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// The way to one guest, implemented once for each kind of VMM.
pub trait Link {
    /// Answers the request that is outstanding, which is then no longer so.
    ///
    /// # Errors
    /// [`Violation`] if the way itself was found broken by the guest.
    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Violation>;

    /// Puts `head` followed by `tail` into the window that the outstanding [`Ask::Fetch`] offers.
    ///
    /// # Errors
    /// [`FillError`]; any part may have been written.
    fn fill(&mut self, head: &[u8], tail: &[u8]) -> Result<(), FillError>;
}
