// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc/vesper/vesper.toml`: read and checked as a whole. The daemon's start, its reload and `vesper check-config` take the
//! same way; what is wrong is told with line and column, and with what to do about it.
//!
//! | module | subject |
//! |---|---|
//! | `lib.rs` | the file, and its smaller sections |
//! | `guests` | which guests are meant, by name and UUID |
//! | `listener`, `events` | these sections |
//! | `rights`, `inject`, `signers` | who may do what, and which modules may be loaded |
//! | [`rules`] | `[[rule]]`: what goes into which guest, and what makes it failed |
//! | [`owner`] | whether a file is root's |
//! | `place`, `error` | where something is wrong, and what to do about it |
//!
//! `docs/config.md` explains each key.

mod error;
mod events;
mod guests;
mod inject;
mod listener;
pub mod owner;
mod place;
mod rights;
pub mod rules;
mod signers;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::ConfigError;
pub use events::Events;
pub use guests::AttachRule;
pub use inject::{Digest, Inject, NoDigest};
pub use listener::Listener;
use place::Place;
pub use rights::Rights;
pub use rules::Rules;
use serde::Deserialize;
use toml::Spanned;

/// The configuration file unless another is named.
pub const PATH: &str = vesper_api::CONFIG;

/// What the daemon was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may do what at the socket, beside root.
    pub rights: Rights,
    /// Which modules may be loaded.
    pub inject: Inject,
    /// Where the socket is made.
    pub socket: PathBuf,
    /// Most bytes of a module image, before and after decompression.
    pub image_bytes: u64,
    /// Most bytes of all images that wait or are being loaded.
    pub waiting_bytes: u64,
    /// Commands that may wait for one guest.
    pub queue_length: usize,
    /// Clients that may be connected at the same time.
    pub connections: usize,
    /// How long a command may take unless its request says otherwise.
    pub timeout: Duration,
    /// Which guests are attached as they appear.
    pub attach: AttachRule,
    /// What guests may share, and what becomes of it.
    pub listener: Listener,
    /// What is made of what happens.
    pub events: Events,
    /// What goes into which guest, and what makes it failed.
    pub rules: Arc<Rules>,
    /// Where probe modules are, before the place where the packages put them.
    pub probes: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    group: Spanned<String>,
    rights: rights::Section,
    inject: inject::Section,
    limits: Limits,
    attach: guests::Section,
    listener: listener::Section,
    events: events::Section,
    directories: Directories,
    rule: Vec<Spanned<rules::Section>>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    image_bytes: Spanned<i64>,
    waiting_bytes: Spanned<i64>,
    queue_length: Spanned<i64>,
    connections: Spanned<i64>,
    timeout_seconds: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Directories {
    runtime: Spanned<PathBuf>,
    probes: Vec<Spanned<PathBuf>>,
}

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for File {
    fn default() -> Self {
        Self {
            group: unplaced("vesper".into()),
            rights: rights::Section::default(),
            inject: inject::Section::default(),
            limits: Limits::default(),
            attach: guests::Section::default(),
            listener: listener::Section::default(),
            events: events::Section::default(),
            directories: Directories::default(),
            rule: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            image_bytes: unplaced(vesper_action::image::DEFAULT_LIMIT as i64),
            waiting_bytes: unplaced(512 << 20),
            queue_length: unplaced(64),
            connections: unplaced(64),
            timeout_seconds: unplaced(vesper_api::DEFAULT_TIMEOUT_MS as i64 / 1000),
        }
    }
}

impl Default for Directories {
    fn default() -> Self {
        Self { runtime: unplaced("/run/vesper".into()), probes: Vec::new() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::parse("", "").expect("an empty file is a valid configuration")
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] with the place in the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Self::parse(&shown, &text)
    }

    /// Takes the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] for the first thing that is wrong.
    pub fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        let place = Place { path, text };
        let file: File = toml::from_str(text).map_err(|error| place.refused(&error))?;
        let limits = &file.limits;
        let rights = file.rights.check(&file.group, &place)?;
        let runtime = place.absolute(&file.directories.runtime, "directories.runtime")?;
        let probes = &file.directories.probes;
        let probes = probes.iter().map(|dir| place.absolute(dir, "directories.probes"));
        let probes = probes.collect::<Result<_, _>>()?;
        let image_bytes = place.number(&limits.image_bytes, "limits.image_bytes", 1..=1 << 30)?;
        let waiting_bytes = place.number(&limits.waiting_bytes, "limits.waiting_bytes", 1..=1 << 40)?;
        if waiting_bytes < image_bytes {
            let span = if limits.waiting_bytes.span().is_empty() {
                limits.image_bytes.span()
            } else {
                limits.waiting_bytes.span()
            };
            let message = "limits.waiting_bytes: less than limits.image_bytes, so the largest image could never be sent";
            let remedy = format!("make it {image_bytes} at least, or limits.image_bytes less");
            return Err(place.wrong(span.start, message, remedy));
        }
        Ok(Self {
            rights,
            inject: file.inject.check(&place)?,
            socket: runtime.join("vesperd.sock"),
            image_bytes: image_bytes as u64,
            waiting_bytes: waiting_bytes as u64,
            queue_length: place.number(&limits.queue_length, "limits.queue_length", 1..=1024)? as usize,
            connections: place.number(&limits.connections, "limits.connections", 1..=1024)? as usize,
            timeout: Duration::from_secs(place.number(
                &limits.timeout_seconds,
                "limits.timeout_seconds",
                1..=86_400,
            )? as u64),
            attach: file.attach.check(&place)?,
            listener: file.listener.check(&place)?,
            events: file.events.check(&place)?,
            rules: Arc::new(Rules::check(&file.rule, &place)?),
            probes,
        })
    }

    /// What a daemon that began with another configuration takes up only when it is restarted, of what differs.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("group or [rights]", self.rights != other.rights),
            ("directories.runtime", self.socket != other.socket),
            ("limits.queue_length", self.queue_length != other.queue_length),
            ("limits.connections", self.connections != other.connections),
            ("[listener]", self.listener != other.listener),
            ("[events]", self.events != other.events),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}
