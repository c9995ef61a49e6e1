// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command that the guest works on.

use std::time::{Duration, Instant};

use crate::{Command, CommandId, SentCommand};

/// A command is noted for a successor only if it takes longer than this: what a successor must know is written to xenstore, which
/// takes longer than most commands. Of one that was not noted it finds out by a report of the guest.
const NOTED_AFTER: Duration = Duration::from_millis(500);

/// How far it is.
///
/// ```text
/// load:    Fetching ──all bytes there──▶ Running ──result──▶ over
/// unload:  Offered  ──PREPARED, PROCEED──▶ Running ──result──▶ over
/// any:     ──CANCELLED──▶ GivenUp ──next idle request──▶ over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A load whose data was filled without a gap up to this offset.
    Fetching { filled: u64 },
    /// An unload whose first step runs in the guest.
    Offered,
    /// The guest has all it needs: its kernel's module loader is at work.
    Running,
    /// The guest was answered CANCELLED; `errno` is the reason it gave itself, if it was its own wish.
    GivenUp { errno: Option<i32> },
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) id: CommandId,
    pub(super) command: Command,
    pub(super) deadline: Instant,
    /// When the guest was told of it.
    pub(super) since: Instant,
    pub(super) phase: Phase,
    /// Its outcome was delivered (its deadline passed); it is here only because the guest is still at it.
    pub(super) told: bool,
    /// The connection on which it was sent is over.
    pub(super) interrupted: bool,
    /// The guest is at it for a while already: a successor is to know of it.
    pub(super) noted: bool,
}

impl Current {
    pub(super) fn new(id: CommandId, command: Command, deadline: Instant, now: Instant) -> Self {
        let phase = match command {
            Command::Load { .. } => Phase::Fetching { filled: 0 },
            Command::Unload { .. } => Phase::Offered,
        };
        Self { id, command, deadline, since: now, phase, told: false, interrupted: false, noted: false }
    }

    /// When it is to be noted, if it is not yet.
    pub(super) fn note_at(&self) -> Option<Instant> {
        (self.phase == Phase::Running && !self.noted).then(|| self.since + NOTED_AFTER)
    }

    /// Whether the guest must bring its result before it may ask for anything else.
    pub(super) fn owed(&self) -> bool {
        !self.interrupted && !matches!(self.phase, Phase::GivenUp { .. })
    }

    pub(super) fn sent(&self) -> SentCommand {
        SentCommand {
            id: self.id,
            load: matches!(self.command, Command::Load { .. }),
            name: self.command.name().clone(),
        }
    }
}
