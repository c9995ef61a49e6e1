// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder that looks like the machine its files go into.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::VERSION;

/// Permission bits of a file that is read, and of one that is run.
pub const READ: u32 = 0o644;
pub const RUN: u32 = 0o755;

/// A folder being filled. Paths in it are written as on the machine (`/usr/bin/vesper`).
pub struct Tree {
    dir: PathBuf,
}

impl Tree {
    /// An empty one at `dir`; what was there goes away.
    pub fn new(dir: PathBuf) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::set_permissions(&dir, Permissions::from_mode(RUN))?;
        Ok(Self { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a file with these permission bits.
    pub fn file(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let to = self.dir.join(path.trim_start_matches('/'));
        let above = to.parent().expect("the path has a name below the folder");
        fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
        // Whatever the umask of the one who builds.
        for dir in above.ancestors().take_while(|dir| *dir != self.dir) {
            fs::set_permissions(dir, Permissions::from_mode(RUN))?;
        }
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
        fs::set_permissions(&to, Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the permissions of {}", to.display()))
    }

    /// Adds a folder with nothing in it.
    pub fn empty(&self, path: &str) -> Result<()> {
        let dir = self.dir.join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for dir in dir.ancestors().take_while(|dir| *dir != self.dir) {
            fs::set_permissions(dir, Permissions::from_mode(RUN))?;
        }
        Ok(())
    }

    /// Adds the file `from`.
    pub fn copy(&self, path: &str, mode: u32, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, mode, &content)
    }

    /// Adds the text file `from` with `@VERSION@` replaced.
    pub fn fill(&self, path: &str, mode: u32, from: &Path) -> Result<()> {
        self.file(path, mode, fill(from)?.as_bytes())
    }

    /// Adds all files below the folder `from`.
    pub fn folder(&self, path: &str, from: &Path) -> Result<()> {
        for (name, file) in files_below(from)? {
            self.copy(&format!("{path}/{name}"), READ, &file)?;
        }
        Ok(())
    }

    /// All files, as they are named on the machine, in order.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        files_below(&self.dir)
    }
}

/// The text of `from` with `@VERSION@` replaced.
pub fn fill(from: &Path) -> Result<String> {
    let template = fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    Ok(template.replace("@VERSION@", VERSION))
}

/// Files below `dir`, by their path from there, in order.
pub fn files_below(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            found.extend(
                files_below(&entry.path())?
                    .into_iter()
                    .map(|(below, path)| (format!("{name}/{below}"), path)),
            );
        } else {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
