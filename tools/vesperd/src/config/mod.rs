// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc/vesper/vesper.toml`: read once at start, refused as a whole with line and column if anything in it is wrong.
//!
//! `docs/config.md` explains each key.

mod events;
mod listener;
mod place;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub use events::Events;
pub use listener::Listener;
use place::Place;
use serde::Deserialize;
use toml::Spanned;
use vesper_xenback::Uuid;

/// The configuration file unless another is named.
pub const PATH: &str = vesper_api::CONFIG;

/// What xl adds to the name of a guest until its migration to this host is complete (`tools/xl/xl_migrate.c`).
const INCOMING: &str = "--incoming";

/// What the daemon was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Members of this group may use the socket, as root may.
    pub group: String,
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
}

/// Which guests are attached without being asked to.
#[derive(Clone, Debug, Default)]
pub struct AttachRule {
    /// Every guest.
    pub all: bool,
    /// Guests whose name matches one of these shell patterns.
    pub names: Vec<glob::Pattern>,
    /// Guests with one of these UUIDs.
    pub uuids: Vec<Uuid>,
}

impl AttachRule {
    /// Whether a guest is to be attached. One that arrives by migration is meant by the name that it will have.
    pub fn matches(&self, name: &str, uuid: Uuid) -> bool {
        let arrived = name.strip_suffix(INCOMING).unwrap_or(name);
        let named = |pattern: &glob::Pattern| pattern.matches(name) || pattern.matches(arrived);
        self.all || self.uuids.contains(&uuid) || self.names.iter().any(named)
    }
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}:{column}: {message}")]
    Wrong {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    group: Spanned<String>,
    limits: Limits,
    attach: Attach,
    listener: listener::Section,
    events: events::Section,
    directories: Directories,
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

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Attach {
    all: bool,
    names: Vec<Spanned<String>>,
    uuids: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Directories {
    runtime: Spanned<PathBuf>,
    /// Read by the command, and checked here.
    probes: Vec<Spanned<PathBuf>>,
}

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for File {
    fn default() -> Self {
        Self {
            group: unplaced("vesper".into()),
            limits: Limits::default(),
            attach: Attach::default(),
            listener: listener::Section::default(),
            events: events::Section::default(),
            directories: Directories::default(),
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
        let file: File = toml::from_str(text)
            .map_err(|error| place.wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        let limits = &file.limits;
        if file.group.get_ref().is_empty() {
            return Err(place.wrong(file.group.span().start, "group: a name is wanted"));
        }
        let runtime = place.absolute(&file.directories.runtime, "directories.runtime")?;
        for dir in &file.directories.probes {
            place.absolute(dir, "directories.probes")?;
        }
        let image_bytes = place.number(&limits.image_bytes, "limits.image_bytes", 1..=1 << 30)?;
        let waiting_bytes = place.number(&limits.waiting_bytes, "limits.waiting_bytes", 1..=1 << 40)?;
        if waiting_bytes < image_bytes {
            let span = if limits.waiting_bytes.span().is_empty() {
                limits.image_bytes.span()
            } else {
                limits.waiting_bytes.span()
            };
            let message = "limits.waiting_bytes: less than limits.image_bytes, so the largest image could never be sent";
            return Err(place.wrong(span.start, message));
        }
        let names = place.each(&file.attach.names, "attach.names", glob::Pattern::new)?;
        let uuids = place.each(&file.attach.uuids, "attach.uuids", |uuid| uuid.parse())?;
        Ok(Self {
            group: file.group.get_ref().clone(),
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
            attach: AttachRule { all: file.attach.all, names, uuids },
            listener: file.listener.check(&place)?,
            events: file.events.check(&place)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = Config::default();
        assert_eq!(config.group, "vesper");
        assert_eq!(config.socket, Path::new(vesper_api::SOCKET));
        assert_eq!(config.image_bytes, 64 << 20);
        assert_eq!(config.timeout, Duration::from_secs(30));
        assert!(!config.attach.matches("web", Uuid([1; 16])));
    }

    /// The file that is installed shows every key with its default.
    #[test]
    fn the_shipped_file_is_the_default() {
        let shipped = include_str!("../../dist/vesper.toml");
        let as_shipped = Config::parse("vesper.toml", shipped).unwrap();
        assert_eq!(format!("{as_shipped:?}"), format!("{:?}", Config::default()));
        let uncommented: String = shipped
            .lines()
            .map(|line| line.strip_prefix('#').filter(|key| !key.starts_with(' ')).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = Config::parse("vesper.toml", &uncommented).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        for key in [
            "group",
            "image_bytes",
            "waiting_bytes",
            "queue_length",
            "connections",
            "timeout_seconds",
            "all",
            "names",
            "uuids",
            "max_pages_per_guest",
            "max_exports_per_guest",
            "max_pages_total",
            "lag_limit_s",
            "save_dir",
            "save_limit_mib",
            "tree",
            "journal_dir",
            "journal_limit_mib",
            "hooks_dir",
            "hook_timeout_s",
            "hooks_at_once",
            "watch_ms",
            "runtime",
            "probes",
        ] {
            assert!(uncommented.contains(&format!("\n{key} = ")), "{key} is not in the shipped file");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let table = [
            ("group = 3", "f:1:9: invalid type: integer `3`, expected a string"),
            ("group = \"\"", "f:1:9: group: a name is wanted"),
            (
                "\n\ngruop = \"vesper\"",
                "f:3:1: unknown field `gruop`, expected one of `group`, `limits`, `attach`, `listener`, `events`, `directories`",
            ),
            ("[limits]\nimage_bites = 1", "f:2:1: unknown field `image_bites`"),
            ("[limits]\n  image_bytes = 0", "f:2:17: limits.image_bytes: 0 is not between 1 and 1073741824"),
            ("[limits]\nwaiting_bytes = 9", "f:2:17: limits.waiting_bytes: less than limits.image_bytes"),
            (
                "[limits]\nimage_bytes = 900000000",
                "f:2:15: limits.waiting_bytes: less than limits.image_bytes",
            ),
            ("[limits]\nqueue_length = -1", "f:2:16: limits.queue_length: -1 is not between 1 and 1024"),
            ("[limits]\ntimeout_seconds = \"30\"", "f:2:19: invalid type: string \"30\", expected i64"),
            ("[limits]\ntimeout_seconds = 0", "f:2:19: limits.timeout_seconds: 0 is not between 1 and 86400"),
            ("[limits]\nconnections = 99999", "f:2:15: limits.connections: 99999 is not between 1 and 1024"),
            (
                "[attach]\nnames = [\"web*\",\n  \"a***\"]",
                "f:3:3: attach.names: Pattern syntax error near position",
            ),
            ("[attach]\nuuids = [\"00112233\"]", "f:2:10: attach.uuids: \"00112233\" is not a UUID"),
            ("[attach]\nall = 1", "f:2:7: invalid type: integer `1`, expected a boolean"),
            ("[listener]\nlag_limit = 3", "f:2:1: unknown field `lag_limit`"),
            ("[listener]\nlag_limit_s = 0", "f:2:15: listener.lag_limit_s: 0 is not between 1 and 3600"),
            (
                "[listener]\nmax_pages_total = 9\n",
                "f:2:19: listener.max_pages_total: less than listener.max_pages_per_guest",
            ),
            ("[listener]\n max_pages_per_guest = 100000", "f:2:24: listener.max_pages_total: less than"),
            ("[listener]\nmax_exports_per_guest = 257", "f:2:25: listener.max_exports_per_guest: 257 is"),
            ("[listener]\nsave_dir = \"\"", "f:2:12: listener.save_dir: an absolute path is wanted"),
            ("[listener]\ntree = \"./x\"", "f:2:8: listener.tree: an absolute path is wanted"),
            ("[listener]\nsave_limit_mib = 15", "f:2:18: listener.save_limit_mib: 15 is not between 16 and"),
            ("[events]\nwatch_ms = 49", "f:2:12: events.watch_ms: 49 is not between 50 and 60000"),
            ("[events]\njournal_limit_mib = 0", "f:2:21: events.journal_limit_mib: 0 is not between 1 and"),
            ("[events]\nhooks_dir = \"hooks\"", "f:2:13: events.hooks_dir: an absolute path is wanted"),
            ("[events]\nhook_timeout_s = 0", "f:2:18: events.hook_timeout_s: 0 is not between 1 and 3600"),
            ("[events]\nhooks_at_once = 65", "f:2:17: events.hooks_at_once: 65 is not between 1 and 64"),
            ("[events]\njournal_dir = \"\"", "f:2:15: events.journal_dir: an absolute path is wanted"),
            ("[directories]\nprobes = \"/x\"", "f:2:10: invalid type: string \"/x\", expected a sequence"),
            ("[directories]\nprobes = [\"/x\", \"x\"]", "f:2:17: directories.probes: an absolute path is"),
            ("[directories]\nruntime = \"run\"", "f:2:11: directories.runtime: an absolute path is wanted"),
            ("[limits\n", "f:1:8: "),
            ("group = \"a\"\ngroup = \"b\"", "f:2:1: duplicate key"),
            ("# grün\ngroup = \"grün\" x", "f:2:16: "),
        ];
        for (text, wanted) in table {
            let said = Config::parse("f", text).expect_err(text).to_string();
            assert!(said.starts_with(wanted), "{text:?}\n  said   {said}\n  wanted {wanted}");
        }
    }

    #[test]
    fn patterns_and_uuids_choose_guests() {
        let text =
            "[attach]\nnames = [\"web*\", \"db?\"]\nuuids = [\"00112233-4455-6677-8899-AABBCCDDEEFF\"]";
        let rule = Config::parse("f", text).unwrap().attach;
        let other = Uuid([7; 16]);
        for name in ["web", "web1", "db1", "web1--incoming", "db1--incoming"] {
            assert!(rule.matches(name, other), "{name}");
        }
        for name in ["", "db", "db12", "xweb", "Web1", "--incoming", "db--incoming", "db12--migratedaway"] {
            assert!(!rule.matches(name, other), "{name}");
        }
        assert!(rule.matches("x", "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap()));
        assert!(Config::parse("f", "[attach]\nall = true").unwrap().attach.matches("", other));
    }
}
