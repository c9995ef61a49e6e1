// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files are hooks. They run as the daemon does, so nobody but its user may have a say in what they are.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vesper_config::owner::others;
use vesper_events::Event;

/// The directory of those that are run for all that fails.
const FAILED: &str = "failed";

/// Of a mode.
const EXECUTABLE: u32 = 0o111;

/// A hook.
pub(super) struct Found {
    /// Its directory, which says what it is for.
    pub(super) of: String,
    pub(super) name: String,
    /// Or why it is refused.
    pub(super) file: Result<PathBuf, String>,
}

/// The hooks for an event: first those for what failed with it, if anything, which are in a hurry; then those of its kind.
pub(super) fn find(dir: &Path, event: &Event) -> Vec<Found> {
    let failed = event.failed.map(|_| FAILED);
    let all = failed.into_iter().chain([event.event.name()]).map(|of| format!("{of}.d"));
    all.flat_map(|of| look(dir, &of)).collect()
}

/// Those of a directory in the order of their names. What an editor or a package manager leaves behind is none.
fn look(dir: &Path, of: &str) -> Vec<Found> {
    let of_kind = dir.join(of);
    // Mostly there is none.
    let Ok(entries) = fs::read_dir(&of_kind) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| is_one(name)).collect();
    names.sort();
    let unsafe_dir =
        [dir, &of_kind].into_iter().find_map(|dir| fs::metadata(dir).map(|dir| others(&dir)).ok()?);
    let file = |name: String| {
        let file = of_kind.join(&name);
        let refused = match (fs::metadata(&file), &unsafe_dir) {
            (_, Some(why)) => Some(format!("its directory is {why}")),
            (Err(error), None) => Some(error.to_string()),
            (Ok(found), None) => refused(&found),
        };
        Found { of: of.to_owned(), name, file: refused.map_or(Ok(file), Err) }
    };
    names.into_iter().map(file).collect()
}

fn is_one(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with('~') && !name.contains(".dpkg-")
}

fn refused(file: &Metadata) -> Option<String> {
    if !file.is_file() {
        return Some("it is no regular file".into());
    }
    if let Some(why) = others(file) {
        return Some(format!("it is {why}"));
    }
    (file.mode() & EXECUTABLE == 0).then(|| "it is not executable: chmod +x".into())
}
