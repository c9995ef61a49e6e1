// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[events]`: what is made of what happens to guests.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use vesper_events::journal::LIMIT_MIN;

use super::place::Place;
use super::{ConfigError, unplaced};

/// What was told about events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Where they are written down.
    pub journal_dir: PathBuf,
    /// Most bytes of that.
    pub journal_limit: u64,
    /// Where programs are that act on them.
    pub hooks_dir: PathBuf,
    /// How long one of these may run.
    pub hook_timeout: Duration,
    /// Guests whose hooks may run at the same time.
    pub hooks_at_once: usize,
    /// How often each guest is looked at for whether it is hung or paused; `None`: never.
    pub watch: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    journal_dir: Spanned<PathBuf>,
    journal_limit_mib: Spanned<i64>,
    hooks_dir: Spanned<PathBuf>,
    hook_timeout_s: Spanned<i64>,
    hooks_at_once: Spanned<i64>,
    watch_ms: Spanned<i64>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            journal_dir: unplaced("/var/lib/vesper/events".into()),
            journal_limit_mib: unplaced(16),
            hooks_dir: unplaced("/etc/vesper/hooks.d".into()),
            hook_timeout_s: unplaced(30),
            hooks_at_once: unplaced(8),
            watch_ms: unplaced(250),
        }
    }
}

impl Section {
    pub(super) fn check(&self, place: &Place<'_>) -> Result<Events, ConfigError> {
        let least = (LIMIT_MIN >> 20) as i64;
        let mib = place.number(&self.journal_limit_mib, "events.journal_limit_mib", least..=1 << 16)?;
        let timeout = place.number(&self.hook_timeout_s, "events.hook_timeout_s", 1..=3600)?;
        let watch = match *self.watch_ms.get_ref() {
            0 => None,
            _ => Some(place.number(&self.watch_ms, "events.watch_ms", 50..=60_000)? as u64),
        };
        Ok(Events {
            journal_dir: place.absolute(&self.journal_dir, "events.journal_dir")?,
            journal_limit: (mib as u64) << 20,
            hooks_dir: place.absolute(&self.hooks_dir, "events.hooks_dir")?,
            hook_timeout: Duration::from_secs(timeout as u64),
            hooks_at_once: place.number(&self.hooks_at_once, "events.hooks_at_once", 1..=64)? as usize,
            watch: watch.map(Duration::from_millis),
        })
    }
}
