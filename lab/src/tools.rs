// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vesper` and `vesperd` as static programs, which run in any dom0 whatever its libraries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::session::Added;
use crate::{command, guest, paths, progress};

/// The only target whose static C library every Debian toolchain brings along (libc6-dev).
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The programs.
const NAMES: [&str; 2] = ["vesper", "vesperd"];

/// Builds both and gives their paths. Cargo knows what is fresh; a process asks it once, so that all its boots run
/// the same programs.
pub fn build() -> Result<Vec<PathBuf>> {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built.clone());
    }
    let built = build_now()?;
    Ok(BUILT.get_or_init(|| built).clone())
}

fn build_now() -> Result<Vec<PathBuf>> {
    let dir = paths::target().join("lab-static");
    build_in(&dir, &NAMES, "")
}

/// Builds `vesperd` one protocol version ahead of the present one, for the scenario `version-skew`.
pub fn build_next() -> Result<PathBuf> {
    let dir = paths::target().join("lab-static-next");
    let built = build_in(&dir, &["vesperd"], " --cfg vesper_next_protocol")?;
    built.into_iter().next().context("one program was asked for")
}

/// libvesper as other programs get it, a C program that uses it (`watch`), and the programs that check what probes write:
/// files for dom0.
pub fn for_programs() -> Result<Vec<Added>> {
    static BUILT: OnceLock<Vec<Added>> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built.clone());
    }
    let built = build_for_programs()?;
    Ok(BUILT.get_or_init(|| built).clone())
}

/// Builds libvesper as a shared library.
pub fn library() -> Result<PathBuf> {
    let dir = paths::target().join("lab-shared");
    progress::step("building libvesper (shared)", || {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(paths::workspace()).env_remove("RUSTFLAGS");
        cargo.args(["build", "--release", "-p", "libvesper", "--target-dir"]).arg(&dir);
        command::output(&mut cargo).map(|_| ())
    })?;
    Ok(dir.join("release/libvesper.so"))
}

fn build_for_programs() -> Result<Vec<Added>> {
    let library = library()?;
    let dir = paths::target().join("lab-shared");
    let source = paths::workspace().join("tools/libvesper");
    let example = |name: &str| -> Result<PathBuf> {
        let program = dir.join(name);
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-D_GNU_SOURCE", "-o"]).arg(&program);
        cc.arg(source.join(format!("examples/{name}.c")));
        cc.arg("-I").arg(source.join("include")).arg(&library);
        command::output(&mut cc).map(|_| program)
    };
    let (watch, events) = (example("watch")?, example("events")?);
    let added = |from: PathBuf, to: &str| Added { from, to: to.to_string() };
    Ok(vec![
        added(library, "/lib/x86_64-linux-gnu/libvesper.so.0"),
        added(watch, "/usr/bin/watch-guest"),
        added(events, "/usr/bin/watch-events"),
        added(guest::program("dom0/count-numbers")?, "/usr/bin/count-numbers"),
        added(guest::program("dom0/arrivals")?, "/usr/bin/arrivals"),
    ])
}

/// Programs of the benchmarks (`lab/bench`).
#[derive(Clone, Debug)]
pub struct Benchmarks {
    /// Reads a channel in dom0, in the daemon's place.
    pub reader: PathBuf,
    /// The daemon with many loopback guests.
    pub guests: PathBuf,
    /// Counts what the mirror copies.
    pub copies: PathBuf,
}

/// Builds them.
pub fn for_benchmarks() -> Result<Benchmarks> {
    let dir = paths::target().join("lab-static");
    progress::step("building the benchmarks' programs (static)", || cargo(&dir, &["vesper-bench"], ""))?;
    let program = |name: &str| {
        let path = dir.join(TARGET).join("release").join(name);
        must_be_static(&path).map(|()| path)
    };
    let [reader, guests, copies] = ["bench-reader", "bench-guests", "bench-copies"].map(program);
    Ok(Benchmarks { reader: reader?, guests: guests?, copies: copies? })
}

fn build_in(dir: &Path, names: &[&str], flags: &str) -> Result<Vec<PathBuf>> {
    progress::step(&format!("building {} (static{flags})", names.join(" and ")), || {
        cargo(dir, names, flags)
    })?;
    let built: Vec<PathBuf> = names.iter().map(|name| dir.join(TARGET).join("release").join(name)).collect();
    built.iter().try_for_each(|path| must_be_static(path))?;
    Ok(built)
}

/// Builds packages as static programs.
fn cargo(dir: &Path, packages: &[&str], flags: &str) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace());
    cargo.env("RUSTFLAGS", format!("-C target-feature=+crt-static{flags}"));
    cargo.args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(dir);
    cargo.args(packages.iter().flat_map(|name| ["-p", name]));
    command::output(&mut cargo).map(|_| ())
}

/// A program that asks for an interpreter or a library would not start in dom0.
fn must_be_static(path: &Path) -> Result<()> {
    let headers = command::text(Command::new("readelf").args(["-lWd"]).arg(path))
        .with_context(|| format!("{} was not built", path.display()))?;
    if headers.contains("INTERP") || headers.contains("(NEEDED)") {
        bail!("{} is not static; its headers:\n{headers}", path.display());
    }
    Ok(())
}
