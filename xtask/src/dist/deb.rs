// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian package out of a folder (formats: deb(5), deb-control(5), deb-conffiles(5)).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vesper_lab::command;

use super::archive::source_date;
use super::tree::{READ, RUN, Tree, fill};

/// Scripts that dpkg runs, in the order of a package's life.
pub const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// Builds the package of `tree` in `out`: control file and scripts come from the folder `packaging`, whose name is
/// the package's; every file below `/etc` is a configuration file that dpkg keeps as the administrator left it.
pub fn build(tree: &Tree, packaging: &Path, out: &Path) -> Result<PathBuf> {
    let files = tree.files()?;
    let mut kib = 0;
    for (_, path) in &files {
        kib += fs::metadata(path)?.len().div_ceil(1024);
    }
    let control = fill(&packaging.join("control"))?;
    let field = |name: &str| {
        let value = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.with_context(|| format!("{}/control has no {name}", packaging.display()))
    };
    let package =
        out.join(format!("{}_{}_{}.deb", field("Package")?, field("Version")?, field("Architecture")?));
    let with_size = control.replace("\nDescription:", &format!("\nInstalled-Size: {kib}\nDescription:"));
    tree.file("/DEBIAN/control", READ, with_size.as_bytes())?;

    let etc: String = files
        .iter()
        .filter(|(name, _)| name.starts_with("etc/"))
        .map(|(name, _)| format!("/{name}\n"))
        .collect();
    if !etc.is_empty() {
        tree.file("/DEBIAN/conffiles", READ, etc.as_bytes())?;
    }
    let summed = files.iter().map(|(name, _)| name).filter(|name| !name.starts_with("etc/"));
    let sums = command::output(Command::new("md5sum").current_dir(tree.dir()).args(summed))?;
    tree.file("/DEBIAN/md5sums", READ, &sums)?;
    for script in SCRIPTS {
        let from = packaging.join(script);
        if from.exists() {
            tree.fill(&format!("/DEBIAN/{script}"), RUN, &from)?;
        }
    }
    command::output(
        Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", source_date()?)
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(tree.dir())
            .arg(&package),
    )?;
    Ok(package)
}
