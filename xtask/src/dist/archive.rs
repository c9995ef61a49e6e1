// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives, the same bytes for the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use vesper_lab::{command, paths};

use super::tree::Tree;

/// Packs `tree` as `out/NAME.tar.xz`, in which all is below one folder NAME.
pub fn build(tree: &Tree, name: &str, out: &Path) -> Result<PathBuf> {
    let archive = out.join(format!("{name}.tar.xz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--xz",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--clamp-mtime",
    ]);
    tar.arg(format!("--mtime=@{}", source_date()?)).arg(format!("--transform=s,^\\.,{name},"));
    command::output(tar.arg("--file").arg(&archive).arg("--directory").arg(tree.dir()).arg("."))?;
    Ok(archive)
}

/// The newest time, in seconds since 1970, that a packed file has: `SOURCE_DATE_EPOCH` (reproducible-builds.org)
/// when it is set, else that of the last commit, else that of `Cargo.toml`.
pub fn source_date() -> Result<String> {
    if let Ok(set) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(set);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::workspace());
    if let Ok(commit) = command::text(&mut git) {
        return Ok(commit.trim().to_string());
    }
    let time = fs::metadata(paths::workspace().join("Cargo.toml"))?.modified()?;
    Ok(time.duration_since(UNIX_EPOCH)?.as_secs().to_string())
}
