// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine of the benchmarks that need Xen: the lab's, with the programs and modules of `lab/bench` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vesper_lab::qemu::Event;
use vesper_lab::scenario::Needs;
use vesper_lab::session::{self, Added};
use vesper_lab::{command, digest, kernel, paths, tools};

use crate::kmod;
use crate::machine::Platform;

/// Where the guests have their modules and programs.
const IN_GUEST: &str = "/lab/bench";
/// Modules of `lab/bench/modules`.
const MODULES: [&str; 3] = ["flood", "cost", "bell"];
/// Of the guest's kernel: what libxenvchan needs there.
const KERNEL_MODULES: [&str; 3] = ["xen-gntalloc", "xen-evtchn", "xen-gntdev"];
/// What a static program with libxenvchan is linked with.
const VCHAN: [&str; 8] = [
    "-lxenvchan",
    "-lxengnttab",
    "-lxenevtchn",
    "-lxenstore",
    "-lxentoolcore",
    "-lxentoollog",
    "-lpthread",
    "-ldl",
];

/// Boots Xen with one guest, runs the script in dom0, and gives what it printed.
///
/// # Errors
///
/// Something cannot be built, or the script's status.
pub fn run(name: &str, script: &str, limit: Duration) -> Result<String> {
    let platform = Platform::default();
    // Bare: without the scenarios' modules and programs.
    let mut lab = platform.compose(&Needs { memory: 256, ..Needs::default() }, true)?;
    let release = kernel::release(&platform.kernel)?;
    lab.vesper = tools::build()?;
    lab.guests.modules = vec![kmod::build(Some(&release), None)?.join("vesper_front.ko")];
    let vchan = c_program("vchan", &VCHAN)?;
    let (modules, kernel) = (modules(&release)?, kernel::provide(&release)?);
    let mut in_guest: Vec<PathBuf> =
        MODULES.iter().map(|module| modules.join(format!("{module}.ko"))).collect();
    for module in KERNEL_MODULES {
        let path = folder()?.join(format!("{module}.ko"));
        let content =
            kernel.module(module)?.with_context(|| format!("{module} is no module of this kernel"))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        in_guest.push(path);
    }
    in_guest.push(vchan.clone());
    let added = |folder: &str, from: PathBuf| {
        let file = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Added { from, to: format!("{folder}/{file}") }
    };
    lab.guests.added = in_guest.into_iter().map(|from| added(IN_GUEST, from)).collect();
    let in_dom0 = [vchan, c_program("arrive", &[])?, tools::for_benchmarks()?.reader];
    lab.added.extend(in_dom0.map(|from| added("/usr/bin", from)));

    eprintln!("· {name}: booting Xen, dom0 and a guest; a few minutes …");
    let mut output = Vec::new();
    let outcome = session::run(&lab, script, limit, &mut |event| {
        if let Event::Output(bytes) = event {
            output.extend(bytes);
        }
    });
    let output = String::from_utf8_lossy(&output).into_owned();
    let outcome = outcome.with_context(|| format!("{name}; until then dom0 said:\n{output}"))?;
    ensure!(outcome.status == 0, "{name}: status {} in dom0:\n{output}", outcome.status);
    Ok(output)
}

/// The numbers of each line of the output that begins with `mark`.
///
/// # Errors
///
/// Such a line with something else in it.
pub fn figures(output: &str, mark: &str) -> Result<Vec<Vec<u64>>> {
    let marked = output.lines().filter_map(|line| line.trim().strip_prefix(mark)?.strip_prefix(' '));
    let numbers = marked.map(|rest| rest.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>());
    numbers.collect::<Result<_, _>>().with_context(|| format!("in a line {mark} of:\n{output}"))
}

/// The one in the middle.
///
/// # Panics
///
/// If there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// What the benchmarks leave.
pub fn folder() -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Compiles a program of `lab/bench`, static.
///
/// # Errors
///
/// It does not compile.
pub fn c_program(name: &str, libraries: &[&str]) -> Result<PathBuf> {
    let program = folder()?.join(name);
    let source = paths::workspace().join(format!("lab/bench/{name}.c"));
    // Both readers checksum with plain 64-bit words.
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fno-tree-vectorize", "-Wall", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .args(libraries);
    command::output(&mut gcc).context("compiling against libxen-dev")?;
    Ok(program)
}

/// Builds `lab/bench/modules` for that kernel, against the frontend for it. The folder they are in.
fn modules(release: &str) -> Result<PathBuf> {
    let front = kmod::build(Some(release), None)?;
    let source = paths::workspace().join("lab/bench/modules");
    let place = folder()?.join("modules").join(release);
    let symbols = front.join("Module.symvers");
    let stamp = digest::of_tree(&[&source, &symbols, &front.join("include")])?;
    let stamp_file = place.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(place);
    }
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    for entry in fs::read_dir(&source).with_context(|| format!("reading {}", source.display()))? {
        let from = entry?.path();
        let to = place.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).with_context(|| format!("copying to {}", to.display()))?;
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(kmod::headers(release)?).arg(format!("M={}", place.display()));
    make.arg(format!("VESPER_FRONT={}", front.display()));
    make.arg(format!("KBUILD_EXTRA_SYMBOLS={}", symbols.display())).arg("modules");
    command::output(&mut make)?;
    fs::write(&stamp_file, stamp).with_context(|| format!("writing {}", stamp_file.display()))?;
    Ok(place)
}

/// Writes a picture of the figures, longer is more, beside the other results, and says where.
///
/// # Errors
///
/// It cannot be written.
pub fn picture(name: &str, title: &str, bars: &[(String, f64)]) -> Result<()> {
    let path: &Path = &folder()?.join(format!("{name}.svg"));
    fs::write(path, super::picture::bars(title, bars))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("  picture: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_other_lines() -> Result<()> {
        let output = "noise\n@pair 2 3\r\n@pairs 7\n@pair 4 5\n";
        assert_eq!(figures(output, "@pair")?, [[2, 3], [4, 5]]);
        assert!(figures("@pair 2 x\n", "@pair").is_err());
        Ok(())
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median([1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
