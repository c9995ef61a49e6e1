// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: what goes into a machine, under `target/dist`.
//!
//! | file | for | what it holds |
//! |---|---|---|
//! | `vesper_VERSION_amd64.deb`, `vesper-VERSION-x86_64.tar.xz` | dom0 | `vesper`, `vesperd`, unit, configuration, manual pages, completions, probe modules, agents for Pacemaker |
//! | `libvesper_VERSION_amd64.deb` | programs on dom0 | the C library, its header, pkg-config file and manual page |
//! | `vesper-front-dkms_VERSION_amd64.deb`, `vesper-front-VERSION.tar.xz` | guests | the frontend's source with its Rust object built |
//!
//! Each is made of a folder below `target/dist/trees` that looks like the machine it goes into. The packages are
//! inspected before the command reports success ([`check`]).

mod archive;
mod check;
mod deb;
mod dom0;
mod guest;
mod library;
#[cfg(test)]
mod tests;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vesper_lab::{command, kernel, paths, progress, tools};

use crate::kmod;

/// The version of everything that is built here: the workspace's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was built.
pub struct Built {
    /// The package for dom0.
    pub dom0: PathBuf,
    /// The package for programs on dom0.
    pub library: PathBuf,
    /// The package for guests.
    pub guest: PathBuf,
    /// The folder that it was made of.
    pub guest_files: PathBuf,
    /// The archives.
    pub archives: Vec<PathBuf>,
}

/// Builds all of it into `target/dist` and says what is there.
pub fn main() -> Result<()> {
    let Built { dom0, library, guest, archives, .. } = build()?;
    println!("Built, version {VERSION}:");
    for (file, what) in
        [(&dom0, "dom0, Debian"), (&library, "C programs on dom0, Debian"), (&guest, "guests, Debian")]
            .into_iter()
            .chain(archives.iter().zip(["dom0, other distributions", "guests, other distributions"]))
    {
        println!("  {:<72} {:>6} KiB  {what}", file.display(), fs::metadata(file)?.len() / 1024);
    }
    println!("How to install them: docs/install-dom0.md, docs/install-guest.md");
    Ok(())
}

/// Builds all of it into `target/dist`.
pub fn build() -> Result<Built> {
    let programs = tools::build()?;
    let object = kmod::build(Some(&kernel::release(OBJECT_KERNEL)?), None)?.join("build/core.o_raw");
    let out = paths::target().join("dist");
    let extras = dom0::Extras { pages: pages(&programs, &out)?, probes: probes()? };
    let library = tools::library()?;
    progress::step("packing", || pack(&programs, &library, &object, &extras, &out))
}

/// Manual pages and completions, as the command itself writes them.
fn pages(programs: &[PathBuf], out: &Path) -> Result<PathBuf> {
    let pages = out.join("pages");
    if pages.exists() {
        fs::remove_dir_all(&pages)?;
    }
    fs::create_dir_all(&pages)?;
    let vesper = programs.iter().find(|path| path.ends_with("vesper")).context("vesper was not built")?;
    command::output(Command::new(vesper).arg("pages").arg(&pages))?;
    Ok(pages)
}

/// The probe modules for the kernels that the lab knows; those for others are built with `cargo xtask kmod`.
fn probes() -> Result<Vec<(String, PathBuf)>> {
    let mut probes = Vec::new();
    for series in PROBED_KERNELS {
        let release = kernel::release(series)?;
        let folder = kmod::build(Some(&release), None)?.join("probes");
        probes.push((release, folder));
    }
    Ok(probes)
}

/// Kernels of guests whose probe modules go into the package.
const PROBED_KERNELS: [&str; 2] = ["6.1", "6.12"];

/// The kernel whose Rust object goes to all guests: its configuration has every option that the object depends on
/// (return and indirect thunks, branch marks), and a kernel that lacks one does without harm.
const OBJECT_KERNEL: &str = "6.12";

/// Packs `programs`, `library` and `extras` for dom0 and `object` for guests into `out`.
fn pack(
    programs: &[PathBuf],
    library: &Path,
    object: &Path,
    extras: &dom0::Extras,
    out: &Path,
) -> Result<Built> {
    let source = paths::workspace();
    let trees = out.join("trees");
    let dom0 = dom0::Files::new(&source, programs, extras)?;
    let guest = guest::Files { source: &source, object };
    let guest_tree = guest.package(&trees)?;
    let built = Built {
        dom0: deb::build(&dom0.package(&trees)?, &source.join("packaging/vesper"), out)?,
        library: deb::build(
            &library::package(&source, library, &trees)?,
            &source.join("packaging/libvesper"),
            out,
        )?,
        guest: deb::build(&guest_tree, &source.join("packaging/vesper-front-dkms"), out)?,
        guest_files: guest_tree.dir().to_path_buf(),
        archives: vec![
            archive::build(&dom0.archive(&trees)?, &format!("vesper-{VERSION}-x86_64"), out)?,
            archive::build(&guest.archive(&trees)?, &format!("vesper-front-{VERSION}"), out)?,
        ],
    };
    for package in [&built.dom0, &built.library, &built.guest] {
        let problems = check::problems(package)?;
        if !problems.is_empty() {
            bail!("{} is not fit to be installed:\n  {}", package.display(), problems.join("\n  "));
        }
    }
    Ok(built)
}
