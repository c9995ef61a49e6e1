// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client may do.

use std::fmt;

/// A right at the socket. Root has all of them; each has a group whose members have it (`[rights]` in `docs/config.md`). None
/// contains another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// See guests, their state and what they record.
    Read,
    /// Be told of events.
    Events,
    /// Load modules into guests, and unload them.
    Inject,
    /// Attach guests and detach them.
    Configure,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 4] = [Self::Read, Self::Events, Self::Inject, Self::Configure];

    /// Its name, which is also its key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Events => "events",
            Self::Inject => "inject",
            Self::Configure => "configure",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
