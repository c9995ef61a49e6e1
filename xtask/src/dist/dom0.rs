// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a dom0.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vesper_lab::command;

use super::VERSION;
use super::tree::{READ, RUN, Tree, files_below};

/// What a node of a Pacemaker cluster has (`tools/pacemaker`): name, folder, permission bits.
const PACEMAKER: [(&str, &str, u32); 9] = [
    ("guest", "/usr/lib/ocf/resource.d/vesper", RUN),
    ("service", "/usr/lib/ocf/resource.d/vesper", RUN),
    ("vesper.sh", "/usr/lib/ocf/lib/vesper", READ),
    ("push", "/usr/lib/vesper/hooks", RUN),
    ("host-health", "/usr/lib/vesper", RUN),
    ("fail-resource.c", "/usr/share/vesper", READ),
    ("vesper-health.service", "/usr/lib/systemd/system", READ),
    ("vesper-health.timer", "/usr/lib/systemd/system", READ),
    ("vesperd-pacemaker.conf", "/usr/share/vesper", READ),
];

/// What operators read, with what that refers to.
pub const DOCS: [&str; 9] = [
    "install-dom0.md",
    "install-guest.md",
    "probe-authors.md",
    "config.md",
    "events.md",
    "api.md",
    "pacemaker.md",
    "failover.md",
    "failover.svg",
];

/// What is built beside the programs.
pub struct Extras {
    /// Folder with the manual pages and completions that `vesper pages` writes.
    pub pages: PathBuf,
    /// Kernel releases, each with the folder of its probe modules.
    pub probes: Vec<(String, PathBuf)>,
}

/// Where the files come from.
pub struct Files<'a> {
    source: &'a Path,
    vesper: &'a Path,
    vesperd: &'a Path,
    extras: &'a Extras,
}

impl<'a> Files<'a> {
    /// Takes `vesper` and `vesperd` out of `programs`, all else from the workspace `source`.
    pub fn new(source: &'a Path, programs: &'a [PathBuf], extras: &'a Extras) -> Result<Self> {
        let program = |name: &str| {
            let found = programs.iter().find(|path| path.file_name().is_some_and(|file| file == name));
            found.with_context(|| format!("{name} was not built: there is {programs:?}"))
        };
        Ok(Self { source, vesper: program("vesper")?, vesperd: program("vesperd")?, extras })
    }

    /// The Debian package's files.
    pub fn package(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join("vesper"))?;
        let Self { source, vesper, vesperd, .. } = self;
        tree.copy("/usr/bin/vesper", RUN, vesper)?;
        tree.copy("/usr/sbin/vesperd", RUN, vesperd)?;
        tree.copy("/usr/lib/systemd/system/vesperd.service", READ, &self.unit())?;
        tree.copy("/etc/vesper/vesper.toml", READ, &self.configuration())?;
        tree.copy("/usr/share/vesper/vesper.hook", READ, &self.vif_hook())?;
        let doc = "/usr/share/doc/vesper";
        tree.copy(&format!("{doc}/copyright"), READ, &source.join("packaging/vesper/copyright"))?;
        for page in DOCS {
            tree.copy(&format!("{doc}/{page}"), READ, &source.join("docs").join(page))?;
        }
        for (name, file) in self.pages()? {
            let (section, page) = (section(&name), format!("{name}.gz"));
            match (section, name.as_str()) {
                (Some(section), _) => {
                    // Without name and time of the file, so that it is the same each time.
                    let packed = command::output(Command::new("gzip").args(["-9nc"]).arg(&file))?;
                    tree.file(&format!("/usr/share/man/man{section}/{page}"), READ, &packed)?;
                }
                (None, "vesper.bash") => {
                    tree.copy("/usr/share/bash-completion/completions/vesper", READ, &file)?;
                }
                (None, "_vesper") => tree.copy("/usr/share/zsh/vendor-completions/_vesper", READ, &file)?,
                (None, "vesper.fish") => {
                    tree.copy("/usr/share/fish/vendor_completions.d/vesper.fish", READ, &file)?;
                }
                (None, other) => bail!("{other} is neither a manual page nor a completion that we know"),
            }
        }
        for (release, folder) in &self.extras.probes {
            tree.folder(&format!("/usr/lib/vesper/probes/{release}"), folder)?;
        }
        tree.empty("/etc/vesper/hooks.d")?;
        for (name, folder, mode) in PACEMAKER {
            tree.fill(&format!("{folder}/{name}"), mode, &source.join("tools/pacemaker").join(name))?;
        }
        Ok(tree)
    }

    /// The archive's files: `make install` puts them where the package does.
    pub fn archive(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join(format!("vesper-{VERSION}")))?;
        let Self { source, vesper, vesperd, .. } = self;
        tree.copy("/vesper", RUN, vesper)?;
        tree.copy("/vesperd", RUN, vesperd)?;
        tree.copy("/vesperd.service", READ, &self.unit())?;
        tree.copy("/vesper.toml", READ, &self.configuration())?;
        tree.copy("/vesper.hook", READ, &self.vif_hook())?;
        for (name, file) in self.pages()? {
            let folder = if section(&name).is_some() { "man" } else { "completions" };
            tree.copy(&format!("/{folder}/{name}"), READ, &file)?;
        }
        for (release, folder) in &self.extras.probes {
            tree.folder(&format!("/probes/{release}"), folder)?;
        }
        for (name, _, mode) in PACEMAKER {
            tree.fill(&format!("/pacemaker/{name}"), mode, &source.join("tools/pacemaker").join(name))?;
        }
        tree.fill("/Makefile", READ, &source.join("packaging/dom0/Makefile"))?;
        for page in DOCS {
            tree.copy(&format!("/docs/{page}"), READ, &source.join("docs").join(page))?;
        }
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            tree.copy(&format!("/{licence}"), READ, &source.join(licence))?;
        }
        Ok(tree)
    }

    /// Manual pages and completions, by name.
    fn pages(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut pages = files_below(&self.extras.pages)?;
        pages.push(("vesperd.8".into(), self.source.join("tools/vesperd/dist/vesperd.8")));
        Ok(pages)
    }

    fn unit(&self) -> PathBuf {
        self.source.join("tools/vesperd/dist/vesperd.service")
    }

    fn configuration(&self) -> PathBuf {
        self.source.join("tools/vesperd/dist/vesper.toml")
    }

    fn vif_hook(&self) -> PathBuf {
        self.source.join("tools/vesperd/dist/vesper.hook")
    }
}

/// The section of the manual that a page of this name belongs to.
fn section(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, end)| end).filter(|end| ["1", "8"].contains(end))
}
