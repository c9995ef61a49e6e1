// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[listener]`: what guests may share, and what becomes of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use vesper_xenback::action::listener::Limits;

use super::place::Place;
use super::{ConfigError, unplaced};

/// Least MiB of what is saved, unless nothing is: a recording that is cut needs so many.
const SAVE_MIN: i64 = (vesper_stream::store::LIMIT_MIN >> 20) as i64;

/// What the probe listener was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What guests may share, each and all together.
    pub limits: Limits,
    /// How long a reader that stands still may hold a guest's channel up.
    pub lag_limit: Duration,
    /// Where what a guest recorded last is saved when it ends.
    pub save_dir: PathBuf,
    /// Most bytes that are saved, of all guests together; 0: nothing is.
    pub save_limit: u64,
    /// Where the channels are shown as files; `None`: nowhere.
    pub tree: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_pages_per_guest: Spanned<i64>,
    max_exports_per_guest: Spanned<i64>,
    max_pages_total: Spanned<i64>,
    lag_limit_s: Spanned<i64>,
    save_dir: Spanned<PathBuf>,
    save_limit_mib: Spanned<i64>,
    tree: Spanned<PathBuf>,
}

impl Default for Section {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_pages_per_guest: unplaced(limits.pages_per_guest.into()),
            max_exports_per_guest: unplaced(limits.exports_per_guest.into()),
            max_pages_total: unplaced(limits.pages_total.into()),
            lag_limit_s: unplaced(10),
            save_dir: unplaced("/var/lib/vesper".into()),
            save_limit_mib: unplaced(64),
            tree: unplaced("/run/vesper".into()),
        }
    }
}

impl Section {
    pub(super) fn check(&self, place: &Place<'_>) -> Result<Listener, ConfigError> {
        let per_guest =
            place.number(&self.max_pages_per_guest, "listener.max_pages_per_guest", 1..=1 << 20)?;
        let total = place.number(&self.max_pages_total, "listener.max_pages_total", 1..=1 << 24)?;
        if total < per_guest {
            let given = [&self.max_pages_total, &self.max_pages_per_guest];
            let start = given.map(|value| value.span()).into_iter().find(|span| !span.is_empty());
            let message = "listener.max_pages_total: less than listener.max_pages_per_guest, so no guest could ever share that much";
            let remedy = format!("make it {per_guest} at least, or listener.max_pages_per_guest less");
            return Err(place.wrong(start.map_or(0, |span| span.start), message, remedy));
        }
        let exports = place.number(&self.max_exports_per_guest, "listener.max_exports_per_guest", 1..=256)?;
        let mib = match *self.save_limit_mib.get_ref() {
            0 => 0,
            _ => place.number(&self.save_limit_mib, "listener.save_limit_mib", SAVE_MIN..=1 << 20)?,
        };
        let nowhere = self.tree.get_ref().as_os_str().is_empty();
        Ok(Listener {
            limits: Limits {
                pages_per_guest: per_guest as u32,
                exports_per_guest: exports as u32,
                pages_total: total as u32,
            },
            lag_limit: Duration::from_secs(place.number(
                &self.lag_limit_s,
                "listener.lag_limit_s",
                1..=3600,
            )? as u64),
            save_dir: place.absolute(&self.save_dir, "listener.save_dir")?,
            save_limit: (mib as u64) << 20,
            tree: if nowhere { None } else { Some(place.absolute(&self.tree, "listener.tree")?) },
        })
    }
}
