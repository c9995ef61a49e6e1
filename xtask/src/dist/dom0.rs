// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a dom0.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::VERSION;
use super::tree::{READ, RUN, Tree};

/// Where the files come from.
pub struct Files<'a> {
    source: &'a Path,
    vesper: &'a Path,
    vesperd: &'a Path,
}

impl<'a> Files<'a> {
    /// Takes `vesper` and `vesperd` out of `programs`, all else from the workspace `source`.
    pub fn new(source: &'a Path, programs: &'a [PathBuf]) -> Result<Self> {
        let program = |name: &str| {
            let found = programs.iter().find(|path| path.file_name().is_some_and(|file| file == name));
            found.with_context(|| format!("{name} was not built: there is {programs:?}"))
        };
        Ok(Self { source, vesper: program("vesper")?, vesperd: program("vesperd")? })
    }

    /// The Debian package's files.
    pub fn package(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join("vesper"))?;
        let Self { source, vesper, vesperd } = self;
        tree.copy("/usr/bin/vesper", RUN, vesper)?;
        tree.copy("/usr/sbin/vesperd", RUN, vesperd)?;
        tree.copy("/usr/lib/systemd/system/vesperd.service", READ, &self.unit())?;
        tree.copy("/etc/vesper/vesper.toml", READ, &self.configuration())?;
        let doc = "/usr/share/doc/vesper";
        tree.copy(&format!("{doc}/copyright"), READ, &source.join("packaging/vesper/copyright"))?;
        for page in ["install-dom0.md", "config.md"] {
            tree.copy(&format!("{doc}/{page}"), READ, &source.join("docs").join(page))?;
        }
        Ok(tree)
    }

    /// The archive's files: `make install` puts them where the package does.
    pub fn archive(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join(format!("vesper-{VERSION}")))?;
        let Self { source, vesper, vesperd } = self;
        tree.copy("/vesper", RUN, vesper)?;
        tree.copy("/vesperd", RUN, vesperd)?;
        tree.copy("/vesperd.service", READ, &self.unit())?;
        tree.copy("/vesper.toml", READ, &self.configuration())?;
        tree.fill("/Makefile", READ, &source.join("packaging/dom0/Makefile"))?;
        tree.copy("/INSTALL.md", READ, &source.join("docs/install-dom0.md"))?;
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            tree.copy(&format!("/{licence}"), READ, &source.join(licence))?;
        }
        Ok(tree)
    }

    fn unit(&self) -> PathBuf {
        self.source.join("tools/vesperd/dist/vesperd.service")
    }

    fn configuration(&self) -> PathBuf {
        self.source.join("tools/vesperd/dist/vesper.toml")
    }
}
