// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a guest: the kernel module's source with its Rust part as an object, and the source of that
//! object, which the licence of the module asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::VERSION;
use super::tree::{READ, RUN, Tree};

/// Where the files come from.
pub struct Files<'a> {
    /// The workspace.
    pub source: &'a Path,
    /// The Rust part of the module, one object for all kernels.
    pub object: &'a Path,
}

/// The crate that the object is made of.
const CORE: &str = "vesper-xenfront";

impl Files<'_> {
    /// The Debian package's files.
    pub fn package(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join("vesper-front-dkms"))?;
        let packaging = self.source.join("packaging/guest");
        self.module_source(&tree, &format!("/usr/src/vesper-front-{VERSION}"))?;
        let load = "/usr/lib/modules-load.d/vesper-front.conf";
        tree.copy(load, READ, &packaging.join("modules-load.conf"))?;
        let hook = "/usr/share/initramfs-tools/hooks/vesper-front";
        tree.copy(hook, RUN, &packaging.join("initramfs-hook"))?;
        let dracut = "/usr/lib/dracut/dracut.conf.d/50-vesper-front.conf";
        tree.copy(dracut, READ, &packaging.join("dracut.conf"))?;
        let doc = "/usr/share/doc/vesper-front-dkms";
        tree.copy(
            &format!("{doc}/copyright"),
            READ,
            &self.source.join("packaging/vesper-front-dkms/copyright"),
        )?;
        tree.copy(&format!("{doc}/install-guest.md"), READ, &self.source.join("docs/install-guest.md"))?;
        Ok(tree)
    }

    /// The archive's files: `make install` or `make dkms` puts them where the package does.
    pub fn archive(&self, trees: &Path) -> Result<Tree> {
        let tree = Tree::new(trees.join(format!("vesper-front-{VERSION}")))?;
        let packaging = self.source.join("packaging/guest");
        self.module_source(&tree, "/src")?;
        tree.fill("/Makefile", READ, &packaging.join("Makefile"))?;
        tree.copy("/modules-load.conf", READ, &packaging.join("modules-load.conf"))?;
        tree.copy("/initramfs-hook", RUN, &packaging.join("initramfs-hook"))?;
        tree.copy("/dracut.conf", READ, &packaging.join("dracut.conf"))?;
        tree.copy("/INSTALL.md", READ, &self.source.join("docs/install-guest.md"))?;
        tree.copy("/LICENSE-GPL-2.0", READ, &self.source.join("LICENSE-GPL-2.0"))?;
        Ok(tree)
    }

    /// The folder that DKMS or make builds in.
    fn module_source(&self, tree: &Tree, at: &str) -> Result<()> {
        let packaging = self.source.join("packaging/guest");
        let kmod = self.source.join("xenfront/kmod");
        let mut c_files = 0;
        for entry in fs::read_dir(&kmod).with_context(|| format!("cannot read {}", kmod.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_c = name.ends_with(".c") || name.ends_with(".h");
            if name == "Kbuild" || name == "Makefile" || (is_c && !name.ends_with(".mod.c")) {
                tree.copy(&format!("{at}/{name}"), READ, &kmod.join(&name))?;
                c_files += usize::from(is_c);
            }
        }
        anyhow::ensure!(c_files > 0, "{} has no C files", kmod.display());
        tree.folder(&format!("{at}/include"), &kmod.join("include"))?;
        tree.copy(&format!("{at}/core.o_raw"), READ, self.object)?;
        tree.fill(&format!("{at}/dkms.conf"), READ, &packaging.join("dkms.conf"))?;
        self.rust_source(tree, &format!("{at}/rust"))?;
        tree.copy(&format!("{at}/rust/Makefile"), READ, &packaging.join("rust.mk"))
    }

    /// The crates that the object is made of, as a workspace of their own.
    fn rust_source(&self, tree: &Tree, at: &str) -> Result<()> {
        let manifest =
            fs::read_to_string(self.source.join("Cargo.toml")).context("cannot read Cargo.toml")?;
        let crates = crates_below(CORE, &manifest, &|folder| {
            let path = self.source.join(folder).join("Cargo.toml");
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        })?;
        let members: Vec<String> = crates.iter().map(|folder| format!("{folder:?}")).collect();
        let own: String = manifest
            .lines()
            .map(|line| match line.starts_with("members = ") {
                true => format!("members = [{}]\n", members.join(", ")),
                false => format!("{line}\n"),
            })
            .collect();
        tree.file(&format!("{at}/Cargo.toml"), READ, own.as_bytes())?;
        for folder in crates {
            let from = self.source.join(&folder);
            tree.copy(&format!("{at}/{folder}/Cargo.toml"), READ, &from.join("Cargo.toml"))?;
            tree.folder(&format!("{at}/{folder}/src"), &from.join("src"))?;
        }
        let object_crate = "xenfront/kmod/rust";
        for name in ["Cargo.toml", "Cargo.lock"] {
            let from = self.source.join(object_crate).join(name);
            tree.copy(&format!("{at}/{object_crate}/{name}"), READ, &from)?;
        }
        tree.folder(&format!("{at}/{object_crate}/src"), &self.source.join(object_crate).join("src"))
    }
}

/// Folders of crate `name` and of all crates of the workspace that it names, from the workspace's `manifest`.
fn crates_below(
    name: &str,
    manifest: &str,
    manifest_of: &dyn Fn(&str) -> Result<String>,
) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_string()];
    while let Some(name) = open.pop() {
        let entry = format!("{name} = {{ path = \"");
        let folder = manifest.lines().find_map(|line| line.strip_prefix(&entry)?.split('"').next());
        let folder = folder.with_context(|| format!("Cargo.toml does not say where {name} is"))?;
        if found.insert(folder.to_string()) {
            let names = manifest_of(folder)?;
            let names = names.lines().filter(|line| line.starts_with("vesper-"));
            open.extend(names.filter_map(|line| line.split(['.', ' ', '=']).next()).map(String::from));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_a_crate_names_are_found_once_each() -> Result<()> {
        let workspace =
            "vesper-a = { path = \"a\" }\nvesper-b = { path = \"deep/b\" }\nvesper-c = { path = \"c\" }\n";
        let manifest_of = |folder: &str| {
            Ok(match folder {
                "a" => "[package]\nname = \"vesper-a\"\n[dependencies]\nvesper-b.workspace = true\n",
                _ => "[dependencies]\nvesper-a = { workspace = true, optional = true }\nlibc.workspace = true\n",
            }
            .to_string())
        };
        let found = crates_below("vesper-a", workspace, &manifest_of)?;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "deep/b"]);
        Ok(())
    }

    #[test]
    fn a_crate_of_nowhere_is_an_error() {
        let error = crates_below("vesper-x", "", &|_| Ok(String::new())).expect_err("it is not listed");
        assert!(error.to_string().contains("vesper-x"), "{error}");
    }
}
