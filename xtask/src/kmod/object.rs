// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Rust core as one object that a stock kernel takes: how it is built, and what is checked before it goes in.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::said_by;

const TARGET: &str = "x86_64-unknown-none";
const NAME: &str = "vesper_core";

/// A compiler that has the sources of `core` with it: the precompiled one for this target has GOT relocations, which
/// the kernel's module loader refuses.
pub struct Toolchain {
    rustc: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
}

impl Toolchain {
    /// rustup's, if its `rust-src` is installed, else the distribution's.
    pub fn find() -> Result<Self> {
        for rustc in [env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()), "/usr/bin/rustc".into()] {
            let rustc = PathBuf::from(rustc);
            let Ok(sysroot) = said_by(Command::new(&rustc).args(["--print", "sysroot"])) else { continue };
            if Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
                let version = said_by(Command::new(&rustc).arg("--version"))?;
                return Ok(Self { rustc, version });
            }
        }
        bail!(
            "no Rust compiler with the sources of `core`: install one of\n  \
             apt-get install rustc-web rust-web-src\n  rustup component add rust-src"
        )
    }
}

/// Code generation that fits that kernel's configuration.
pub fn flags(config: &str) -> String {
    // In the words of older kernels, and since 6.9 with MITIGATION_.
    let set = |name: &str| config.lines().any(|line| line == format!("CONFIG_{name}=y"));
    let mut flags = String::from(
        // Addresses in the top 2 GiB; interrupts use the stack below the pointer; without the PLT flag a call to
        // memcpy goes through the GOT, and insmod says "Unknown rela relocation: 9".
        "-Crelocation-model=static -Ccode-model=kernel -Cno-redzone=y -Zplt=yes -Cjump-tables=no",
    );
    if set("RETHUNK") || set("MITIGATION_RETHUNK") {
        flags.push_str(" -Zfunction-return=thunk-extern");
    }
    if set("RETPOLINE") || set("MITIGATION_RETPOLINE") {
        flags.push_str(" -Zretpoline-external-thunk");
    }
    if set("X86_KERNEL_IBT") {
        flags.push_str(" -Zcf-protection=branch");
    }
    flags
}

/// Builds the crate `source/rust` with `flags` and leaves the checked object in `object`.
pub fn build(toolchain: &Toolchain, flags: &str, source: &Path, target: &Path, object: &Path) -> Result<()> {
    let target = target.join("rust");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(source.join("rust"))
        .args(["build", "--quiet", "--release", "-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTC_BOOTSTRAP", "1") // build-std and the -Z flags, with a stable compiler
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("building the frontend core for {TARGET} failed");
    }
    // Only our own member: the archive's memcpy would shadow the kernel's, and objtool does not take it.
    let archive = target.join(TARGET).join("release").join(format!("lib{NAME}.a"));
    let member = said_by(Command::new("ar").arg("t").arg(&archive))?
        .lines()
        .find(|member| member.starts_with(NAME))
        .with_context(|| format!("{} has no member {NAME}*", archive.display()))?
        .to_owned();
    let work = object.with_extension("d");
    fs::create_dir_all(&work)?;
    said_by(Command::new("ar").current_dir(&work).arg("x").arg(&archive).arg(&member))?;
    said_by(Command::new("ld").current_dir(&work).args(["-r", &member, "-o"]).arg(object))?;
    fs::remove_dir_all(&work)?;
    check(object, &source.join("undefined.allow"))
}

/// What the kernel's module loader, objtool or a running kernel would only find out later.
fn check(object: &Path, allow: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let relocations = said_by(Command::new("readelf").arg("-rW").arg(object))?;
    if relocations.contains("GOT") {
        wrong.push("it has GOT relocations, which the kernel's module loader refuses".to_owned());
    }
    let code = said_by(Command::new("objdump").arg("-d").arg(object))?;
    if let Some(line) =
        code.lines().find(|line| ["%xmm", "%ymm", "%zmm", "%st"].iter().any(|r| line.contains(r)))
    {
        wrong.push(format!("it uses registers that the kernel does not save: {}", line.trim()));
    }
    let symbols = said_by(Command::new("readelf").arg("-sW").arg(object))?;
    if let Some(line) =
        symbols.lines().find(|line| line.contains("panicking") || line.contains("rust_begin_unwind"))
    {
        wrong.push(format!("it can reach a panic: {}", line.split_whitespace().last().unwrap_or("")));
    }
    let undefined: BTreeSet<&str> = symbols
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() == 8 && fields[6] == "UND")
        .map(|fields| fields[7])
        .collect();
    let list = fs::read_to_string(allow).with_context(|| format!("reading {}", allow.display()))?;
    let allowed: BTreeSet<&str> =
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for name in undefined.difference(&allowed) {
        wrong.push(format!("it needs {name}, which {} does not list", allow.display()));
    }
    for name in allowed.difference(&undefined) {
        wrong.push(format!("{} lists {name}, which it does not need", allow.display()));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the object of the frontend core is not fit for a kernel:\n  {}", wrong.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::flags;

    #[test]
    fn flags_follow_the_kernels_configuration() {
        let old = flags("CONFIG_RETPOLINE=y\nCONFIG_RETHUNK=y\n# CONFIG_X86_KERNEL_IBT is not set\n");
        assert!(old.contains("thunk-extern") && old.contains("retpoline") && !old.contains("cf-protection"));
        let new = "CONFIG_MITIGATION_RETPOLINE=y\nCONFIG_MITIGATION_RETHUNK=y\nCONFIG_X86_KERNEL_IBT=y\n";
        assert_eq!(flags(new), format!("{old} -Zcf-protection=branch"));
        let bare = flags("# CONFIG_RETPOLINE is not set\n");
        assert!(!bare.contains("thunk") && bare.contains("-Zplt=yes"));
    }
}
