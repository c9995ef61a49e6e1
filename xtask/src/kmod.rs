// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask kmod`: the guest's kernel module, `vesper_front.ko`, for an installed kernel-headers version.
//!
//! The Rust core is built as one object and checked ([`object`]), put beside the C sources, and Kbuild makes the
//! module of both. A second run with the same inputs does nothing ([`digest`]).

mod digest;
mod object;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::probes;

/// Folders and files that the module is made of, from the project's root.
const INPUTS: [&str; 5] = ["xenfront", "ring/src", "ring/Cargo.toml", "Cargo.toml", "xtask/src/kmod"];
const MODULE: &str = "vesper_front.ko";
/// What a probe module is built with: the versions of the symbols, and the declarations.
const SYMVERS: &str = "Module.symvers";
const HEADER: &str = "include/vesper/relay.h";

/// Builds the module for `kernel`, by default the running kernel if its headers are installed, else the newest kernel
/// whose headers are. Leaves `vesper_front.ko`, `Module.symvers`, `include/vesper/relay.h` and the probes (see [`probes`])
/// in `out`, by default `target/kmod/VERSION`, and returns that folder.
///
/// # Errors
///
/// When something is not installed the message names it; when the object or the module does not come out as it must,
/// what is wrong with it.
pub fn build(kernel: Option<&str>, out: Option<&Path>) -> Result<PathBuf> {
    let kernel = match kernel {
        Some(kernel) => kernel.to_owned(),
        None => default_kernel()?,
    };
    let place = build_in("target/kmod", &kernel, "")?;
    probes::build(&headers(&kernel)?, &place)?;
    let Some(out) = out else { return Ok(place) };
    for file in [MODULE, SYMVERS, HEADER] {
        copy(&place.join(file), &out.join(file))?;
    }
    probes::copy_built(&place, out)?;
    Ok(out.to_owned())
}

/// The module one protocol version ahead of the present one, for the lab's scenario `version-skew`. Returns its
/// folder.
///
/// # Errors
///
/// As [`build`].
pub fn build_next(kernel: &str) -> Result<PathBuf> {
    build_in("target/kmod-next", kernel, " --cfg vesper_next_protocol")
}

/// Builds in `folder/VERSION`, with these flags for the Rust object besides those that the kernel asks for.
fn build_in(folder: &str, kernel: &str, more_flags: &str) -> Result<PathBuf> {
    let headers = headers(kernel)?;
    let root = root();
    let place = root.join(folder).join(kernel);
    let work = place.join("build");
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;

    let toolchain = object::Toolchain::find()?;
    let config = fs::read_to_string(headers.join(".config"))
        .with_context(|| format!("reading the configuration of kernel {kernel}"))?;
    let flags = object::flags(&config) + more_flags;
    let mut stamp = digest::Digest::new();
    for input in INPUTS {
        stamp.tree(&root.join(input))?;
    }
    for file in [".config", "Module.symvers", "include/generated/utsrelease.h"] {
        stamp.tree(&headers.join(file))?;
    }
    stamp.text(&toolchain.version);
    stamp.text(&said_by(Command::new("gcc").arg("--version"))?);
    let stamp = stamp.finish();

    let stamp_file = work.join("stamp");
    let current = fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
    if !(current && [MODULE, SYMVERS, HEADER].iter().all(|file| place.join(file).is_file())) {
        eprintln!("kmod: building {MODULE} for {kernel}{more_flags}");
        let _ = fs::remove_file(&stamp_file);
        let source = root.join("xenfront/kmod");
        object::build(&toolchain, &flags, &source, &root.join(folder), &work.join("core.o_raw"))?;
        kbuild(&source, &headers, &work)?;
        check_unwinding(&config, &work)?;
        for file in [SYMVERS, HEADER] {
            copy(&work.join(file), &place.join(file))?;
        }
        said_by(
            Command::new("strip")
                .arg("--strip-debug")
                .arg("-o")
                .args([place.join(MODULE), work.join(MODULE)]),
        )?;
        fs::write(&stamp_file, &stamp)?;
    }
    Ok(place)
}

/// Where the headers of that kernel version are, ready for out-of-tree modules.
///
/// # Errors
///
/// Names the package to install when there are none.
pub fn headers(kernel: &str) -> Result<PathBuf> {
    let headers = Path::new("/lib/modules").join(kernel).join("build");
    if !headers.join("Makefile").is_file() {
        bail!(
            "no kernel headers for {kernel} ({} is missing): install them with\n  apt-get install linux-headers-{kernel}\n\
             headers that are installed: {}",
            headers.display(),
            installed().join(", ")
        );
    }
    Ok(headers)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn installed() -> Vec<String> {
    let mut found: Vec<_> = fs::read_dir("/lib/modules")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("build/Makefile").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    found.sort_by_key(|version| numbers(version));
    found
}

/// The numbers in a version, so that 6.12 comes after 6.1.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn default_kernel() -> Result<String> {
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut installed = installed();
    if installed.iter().any(|kernel| kernel == running.trim()) {
        return Ok(running.trim().to_owned());
    }
    installed.pop().context("no kernel headers are installed: apt-get install linux-headers-amd64")
}

/// Copies a file into a folder that need not be there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("writing {} to {}", from.display(), folder.display()))?;
    Ok(())
}

/// What Kbuild reads of `xenfront/kmod`, by their names there.
fn sources(kmod: &Path) -> Result<Vec<String>> {
    let mut found = vec!["Kbuild".to_owned(), HEADER.to_owned()];
    for entry in fs::read_dir(kmod).with_context(|| format!("reading {}", kmod.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".c") || name.ends_with(".h") {
            found.push(name);
        }
    }
    Ok(found)
}

fn kbuild(source: &Path, headers: &Path, work: &Path) -> Result<()> {
    for file in sources(source)? {
        let (from, to) = (source.join(&file), work.join(&file));
        // Only what changed, so that make sees what is old.
        if fs::read(&to).ok() != Some(fs::read(&from).with_context(|| format!("reading {}", from.display()))?)
        {
            copy(&from, &to)?;
        }
    }
    let output = Command::new("make")
        .arg("-C")
        .arg(headers)
        .arg(format!("M={}", work.display()))
        .arg(format!("VESPER_VERSION={}", env!("CARGO_PKG_VERSION")))
        .arg("modules")
        // From a `make` or a cross build around us.
        .env_remove("MAKEFLAGS")
        .env_remove("ARCH")
        .env_remove("CROSS_COMPILE")
        .output()
        .context("running make: apt-get install make")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("Kbuild failed:\n{text}");
    }
    if text.contains("warning:") || text.contains("WARNING:") {
        bail!("Kbuild warns, and the module must build without:\n{text}");
    }
    Ok(())
}

/// Whether objtool saw the Rust object. Kernels with IBT run it on the linked module, the others on each object.
fn check_unwinding(config: &str, work: &Path) -> Result<()> {
    let set = |option: &str| config.lines().any(|line| line.strip_suffix("=y") == Some(option));
    let object = work.join(if set("CONFIG_X86_KERNEL_IBT") { "vesper_front.o" } else { "core.o" });
    let sections = said_by(Command::new("readelf").arg("-SW").arg(object))?;
    if set("CONFIG_UNWINDER_ORC") && !sections.contains(".orc_unwind") {
        bail!("objtool did not see the Rust object: the kernel could not unwind through it");
    }
    Ok(())
}

/// Runs a command and returns its standard output.
fn said_by(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().with_context(|| format!("running {program}: apt-get install gcc binutils make"))?;
    if !output.status.success() {
        bail!("{program} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{headers, numbers};

    #[test]
    fn versions_are_ordered_as_numbers() {
        let mut versions = ["6.12.117+deb12-amd64", "6.1.0-56-amd64", "6.1.0-9-amd64"];
        versions.sort_by_key(|version| numbers(version));
        assert_eq!(versions, ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.117+deb12-amd64"]);
    }

    #[test]
    fn missing_headers_name_their_package() {
        let error = headers("0.0-none").unwrap_err().to_string();
        assert!(error.contains("apt-get install linux-headers-0.0-none"), "{error}");
    }
}
