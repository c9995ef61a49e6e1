// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unpacking Debian packages and all they depend on, without installing anything, as any user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::tail;
use crate::mirror::Mirror;
use crate::progress;

/// Parts of packages that nothing in the lab reads; leaving them out halves the unpacking.
const LEFT_OUT: [&str; 6] = [
    "./usr/share/*",
    "./dev/*",
    "./usr/lib/python3*",
    "./usr/lib/x86_64-linux-gnu/perl*",
    "./var/cache/*",
    "./proc/*",
];

/// Makes `dir` hold the files of `packages` of `suite`, dependencies included. `only` limits what is kept to some
/// path patterns (`./boot/*`); else what nothing reads is left out. A stamp beside `dir` says what is in it: asking again for the same does nothing.
pub fn unpack(suite: &str, packages: &[String], only: &[&str], dir: &Path) -> Result<()> {
    let stamp_file = beside(dir, "stamp");
    let stamp = format!("1\n{suite}\n{}\n{}\n", packages.join(" "), only.join(" "));
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) && dir.is_dir() {
        return Ok(());
    }
    let what = format!("unpacking {} of Debian {suite} with what they need", packages.join(", "));
    progress::step(&what, || {
        let _ = fs::remove_file(&stamp_file);
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        stream(suite, packages, only, dir)?;
        fs::write(&stamp_file, &stamp).with_context(|| format!("cannot write {}", stamp_file.display()))
    })
}

/// mmdebstrap resolves and fetches, and writes a tar stream, which works with and without root; tar keeps the part
/// we want, owned by whoever runs it.
fn stream(suite: &str, packages: &[String], only: &[&str], dir: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    let log = beside(dir, "log");
    let mut fetch = Command::new("mmdebstrap");
    fetch.args(["--variant=extract", "--format=tar"]).arg(format!("--include={}", packages.join(",")));
    // Nothing is run of what is unpacked, so no chroot is needed, nor what making one as a normal user takes.
    fetch.arg(if nix::unistd::geteuid().is_root() { "--mode=root" } else { "--mode=chrootless" });
    if let Some(keyring) = &mirror.keyring {
        fetch.arg(format!("--keyring={}", keyring.display()));
    }
    fetch.args([suite, "-"]).args(mirror.sources(suite));
    let errors = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut fetch = fetch
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("cannot start mmdebstrap")?;
    let archive = fetch.stdout.take().expect("standard output was asked for as a pipe");
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "--no-same-permissions", "--wildcards", "-C"]).arg(dir);
    if only.is_empty() {
        tar.args(LEFT_OUT.iter().map(|pattern| format!("--exclude={pattern}")));
    }
    tar.args(only).stdin(archive).stdout(Stdio::null());
    let unpacked = tar.output().context("cannot start tar")?;
    let fetched = fetch.wait().context("cannot wait for mmdebstrap")?;
    if !fetched.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("mmdebstrap ended with {fetched} ({}); its last lines:\n{}", log.display(), tail(&said));
    }
    if !unpacked.status.success() {
        bail!("tar ended with {}:\n{}", unpacked.status, tail(&String::from_utf8_lossy(&unpacked.stderr)));
    }
    Ok(())
}

/// The path of a file that belongs to `dir` and lies next to it: `dir` with `.what` behind its name.
pub fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(format!(".{what}"));
    PathBuf::from(path)
}
