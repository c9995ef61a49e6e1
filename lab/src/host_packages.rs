// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one list of packages that the host must have, and how they get there.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress;

/// A package and what it is for.
pub struct Package(pub &'static str, pub &'static str);

/// What building and running the lab takes on a Debian 12 machine that has Rust.
pub const ALL: [Package; 15] = [
    Package("qemu-system-x86", "the machine that Xen runs on"),
    Package("mmdebstrap", "unpacks dom0's and the guests' packages"),
    Package("xz-utils", "decompresses Debian's kernels"),
    Package("gcc", "sample probe modules, the guest module's shim, header checks"),
    Package("libc6-dev", "static vesper and vesperd"),
    Package("make", "Kbuild"),
    Package("pkg-config", "what a program against Pacemaker's libraries is built with"),
    Package("binutils", "readelf and ld"),
    Package("linux-headers-amd64", "kernel headers 6.1"),
    Package("linux-headers-6.12-amd64", "kernel headers 6.12"),
    Package("libxen-dev", "Xen's own headers, which our layouts are compared with"),
    Package("rustc-web", "a compiler whose library sources are packaged, for the guest module"),
    Package("rust-web-src", "those sources"),
    Package("file", "checks of built programs"),
    Package("valgrind", "instruction counts of the ring benchmark"),
];

/// Status with which the process ends when a package is missing and it may not install it.
pub const EXIT_MISSING: i32 = 2;

/// Makes sure that all packages of [`ALL`] are there: as root by installing them, else by naming the one command
/// that root must run and ending the process with [`EXIT_MISSING`].
pub fn ensure() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let install = ["install", "-y", "--no-install-recommends"];
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "Some packages are missing on this machine. As root, run this one command, then try again:\n"
        );
        eprintln!("  apt-get update && apt-get {} {}\n", install.join(" "), missing.join(" "));
        std::process::exit(EXIT_MISSING);
    }
    if missing.iter().any(|name| !known(name)) {
        progress::step("reading package lists (apt-get update)", || apt(&["update"]))?;
    }
    progress::step(&format!("installing {}", missing.join(" ")), || {
        let mut arguments = install.to_vec();
        arguments.extend(&missing);
        apt(&arguments)
    })
}

/// The packages of [`ALL`] that are not installed.
fn missing() -> Result<Vec<&'static str>> {
    let names = ALL.map(|Package(name, _)| name);
    let found = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(names)
        .stderr(Stdio::null())
        .output()
        .context("cannot start dpkg-query; the lab is built on Debian")?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let installed = |name: &str| found.lines().any(|line| line == format!("{name} installed"));
    Ok(names.into_iter().filter(|name| !installed(name) && !headers_are_there(name)).collect())
}

/// A meta package for headers counts as installed when headers of its series are.
fn headers_are_there(package: &str) -> bool {
    let series = match package {
        "linux-headers-amd64" => "6.1",
        "linux-headers-6.12-amd64" => "6.12",
        _ => return false,
    };
    crate::kernel::newest_headers(series).is_some()
}

/// Whether apt's lists know the package.
fn known(package: &str) -> bool {
    let shown = Command::new("apt-cache").args(["show", package]).stderr(Stdio::null()).output();
    shown.is_ok_and(|shown| shown.status.success() && !shown.stdout.is_empty())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
