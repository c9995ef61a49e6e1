// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one guest may cost.

use std::time::Duration;

use vesper_action::listener;

/// Limits of the backend, the same for each guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that may wait for one guest, the current one not counted.
    pub queue_length: usize,
    /// Requests taken from one guest before the others have their turn.
    pub budget: u32,
    /// Longest pause before a port that was kicked for nothing is heard again.
    pub max_kick_pause: Duration,
    /// How long a guest may take to close its end before the host goes on without it.
    pub close_wait: Duration,
    /// Longest wait before a guest whose device was stopped for a protocol error may connect again by itself.
    pub max_fence: Duration,
    /// What guests may share, each and all together.
    pub shared: listener::Limits,
    /// Headers of records that are looked at for one guest before the others have their turn.
    pub watch_budget: u32,
    /// How long a reader may stand still before a full channel goes on without it.
    pub lag_limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_length: 64,
            budget: 64,
            max_kick_pause: Duration::from_secs(1),
            close_wait: Duration::from_secs(5),
            max_fence: Duration::from_secs(60),
            shared: listener::Limits::default(),
            watch_budget: 4096,
            lag_limit: Duration::from_secs(10),
        }
    }
}
