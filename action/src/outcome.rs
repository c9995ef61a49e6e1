// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a command ended.

use std::time::{Duration, Instant};

use crate::CommandId;

/// The end of a command. Each accepted command has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Done, or why not.
    pub result: Result<(), Failure>,
    /// Time that the command took in the guest's kernel, as the guest says; 0 if it did not get that far.
    pub took: Duration,
    /// What the guest's kernel logged during the command. **Guest text**: escape it before it reaches a terminal.
    pub log: String,
    /// More was logged than could be carried; `log` has the last lines.
    pub log_truncated: bool,
}

impl Outcome {
    /// The outcome of a command that never ran to its end.
    pub fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), took: Duration::ZERO, log: String::new(), log_truncated: false }
    }
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guest's kernel refused it.
    #[error("the guest's kernel refused it (errno {errno})")]
    Refused {
        /// Linux's error number, positive.
        errno: i32,
    },
    /// The guest went away. If the command was already with the guest, what it did there went with it.
    #[error("the guest went away")]
    GuestGone,
    /// The device was detached before the command was done.
    #[error("the guest was detached")]
    NotAttached,
    /// The deadline passed. If `sent`, the guest may still do it; a late result is logged.
    #[error("{}", if *.sent { "timed out; the guest has it and may still do it" } else { "timed out before it was sent" })]
    TimedOut {
        /// The guest had been told of the command.
        sent: bool,
    },
    /// An earlier command is past its deadline and the guest is still at it (a module's init that hangs).
    #[error("the guest's module loader has been busy with {command} for {} s", .since.elapsed().as_secs())]
    Busy {
        /// When the guest was given the command that keeps it busy.
        since: Instant,
        /// The command that keeps it busy.
        command: CommandId,
    },
    /// The guest broke the protocol and its device was stopped. If the command was with the guest, its outcome is unknown.
    #[error("the device was stopped: {reason}")]
    DeviceStopped {
        /// Which rule was broken.
        reason: String,
    },
    /// The connection was lost while the command was with the guest, and it came back without a result.
    #[error("the connection to the guest was lost midway; {}", if *.outcome_unknown { "outcome unknown" } else { "nothing of it was kept" })]
    Interrupted {
        /// Whether the guest may have carried it out. False: the image had not all been transferred.
        outcome_unknown: bool,
    },
    /// Given up on the host's side.
    #[error("cancelled")]
    Cancelled,
}

/// A command and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which command.
    pub id: CommandId,
    /// How it ended.
    pub outcome: Outcome,
}
