// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probe modules that ship (`probes/`), and the template for others, for the kernel that `vesper_front.ko` was just
//! built for. The template is built each time so that it stays true.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use vesper_lab::{command, digest, paths};

/// Subfolders of `probes/` with a Kbuild file each, and where their modules go.
const FOLDERS: [(&str, &str); 2] = [("", "probes"), ("template", "template")];
/// What a module has before its group's name: the kernel has names such as `block` of its own.
const PREFIX: &str = "vesper_";

/// Builds against the kernel's `headers` and against what `place` holds of the frontend (`Module.symvers`, `include/`).
/// Leaves `place/probes/GROUP.ko` and `place/template/*.ko`, without debugging information.
///
/// # Errors
///
/// When Kbuild fails or warns: what it said.
pub fn build(headers: &Path, place: &Path) -> Result<()> {
    let source = paths::workspace().join("probes");
    let work = place.join("probes-build");
    let about_kernel = [".config", "Module.symvers", "include/generated/utsrelease.h"];
    let inputs = [source.clone(), place.join("Module.symvers"), place.join("include")];
    let inputs: Vec<_> =
        inputs.into_iter().chain(about_kernel.iter().map(|file| headers.join(file))).collect();
    let inputs: Vec<&Path> = inputs.iter().map(AsRef::as_ref).collect();
    let compiler = command::text(Command::new("gcc").arg("--version"))?;
    let stamp = digest::of_text(&[&digest::of_tree(&inputs)?, &compiler]);
    let stamp_file = work.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    eprintln!("kmod: building the probes against {}", headers.display());
    let _ = fs::remove_dir_all(&work);
    for (from, to) in FOLDERS {
        let (work, out) = (work.join(to), place.join(to));
        copy(&source.join(from), &work)?;
        kbuild(headers, place, &work)?;
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        for module in files(&work, ".ko")? {
            let name = module.strip_prefix(PREFIX).unwrap_or(&module);
            let mut strip = Command::new("strip");
            strip.arg("--strip-debug").arg("-o").args([out.join(name), work.join(&module)]);
            command::output(&mut strip)?;
        }
    }
    fs::write(&stamp_file, stamp).with_context(|| format!("writing {}", stamp_file.display()))
}

/// Copies what [`build`] left in `place` to `out`.
///
/// # Errors
///
/// When a file cannot be read or written.
pub fn copy_built(place: &Path, out: &Path) -> Result<()> {
    FOLDERS.iter().try_for_each(|(_, folder)| copy(&place.join(folder), &out.join(folder)))
}

fn kbuild(headers: &Path, place: &Path, work: &Path) -> Result<()> {
    let output = Command::new("make")
        .arg("-C")
        .arg(headers)
        .arg(format!("M={}", work.display()))
        .arg(format!("VESPER_INCLUDE={}", place.join("include").display()))
        .arg(format!("KBUILD_EXTRA_SYMBOLS={}", place.join("Module.symvers").display()))
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
        bail!("Kbuild failed on the probes:\n{text}");
    }
    if text.contains("warning:") || text.contains("WARNING:") {
        bail!("Kbuild warns of the probes, and they must build without:\n{text}");
    }
    Ok(())
}

/// The files of a folder, without those of its subfolders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for name in files(from, "")? {
        fs::copy(from.join(&name), to.join(&name))
            .with_context(|| format!("copying {name} from {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Names of the files in a folder that end so, in order.
fn files(folder: &Path, end: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && name.ends_with(end) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe that Kbuild does not know would ship with no word of its absence.
    #[test]
    fn each_probe_and_each_template_is_built() -> Result<()> {
        let source = paths::workspace().join("probes");
        for (folder, module) in [("", PREFIX), ("template", "")] {
            let kbuild = fs::read_to_string(source.join(folder).join("Kbuild"))?;
            let modules = kbuild.lines().find_map(|line| line.strip_prefix("obj-m := ")).unwrap_or_default();
            let modules: Vec<&str> = modules.split(' ').collect();
            let sources = files(&source.join(folder), ".c")?;
            assert_eq!(sources.len(), modules.len(), "{modules:?}");
            for file in &sources {
                let name = file.trim_end_matches(".c");
                assert!(
                    modules.contains(&format!("{module}{name}.o").as_str()),
                    "{name} is not in {modules:?}"
                );
                if !module.is_empty() {
                    assert!(
                        kbuild.contains(&format!("{module}{name}-y := {name}.o\n")),
                        "{name} has no source"
                    );
                }
            }
        }
        Ok(())
    }
}
