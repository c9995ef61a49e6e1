// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ring: instructions of a round trip under callgrind, ours against Xen's C macros at `-O2`; and the ping-pong of two
//! threads that would stop at a lost wake-up.
//!
//! The two programs are `ring/benches/round_trip/{main.rs,xen.c}`, step by step the same.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use vesper_lab::paths;

/// Round trips that are counted; two counts, so that what is done once cancels out.
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
/// Round trips of the ping-pong.
const LITMUS: u64 = 10_000_000;
/// Instructions of ours over those of the macros.
const GOAL: f64 = 1.0;

/// Measures, prints, and fails when the goal is missed.
///
/// # Errors
///
/// A tool that is missing (gcc, valgrind, libxen-dev), a program that failed, a missed goal.
pub fn run() -> Result<()> {
    let ours = build_ours()?;
    let theirs = build_theirs()?;
    println!("ring: one round trip = request of 64 bytes out and in, response of 96 bytes out and in,");
    println!("      both notification checks, both final checks");
    let (ours_each, theirs_each) = (per_round(&ours)?, per_round(&theirs)?);
    let ratio = ours_each / theirs_each;
    println!("  instructions, ours          {ours_each:>7.1}");
    println!("  instructions, C macros -O2  {theirs_each:>7.1}");
    println!("  ratio                       {ratio:>7.2}   (goal ≤ {GOAL})");
    let litmus = output(Command::new(&ours).arg("litmus").arg(LITMUS.to_string()))?;
    println!("  two threads: {}", litmus.trim());
    ensure!(
        ratio <= GOAL,
        "the ring takes {ratio:.2} times the instructions of the C macros, the goal is {GOAL}"
    );
    Ok(())
}

/// Builds our program and finds the executable in what cargo prints.
fn build_ours() -> Result<PathBuf> {
    let printed = output(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["bench", "--quiet", "--package", "vesper-ring", "--bench", "round_trip", "--no-run"])
            .args(["--message-format", "json"])
            .current_dir(paths::workspace()),
    )?;
    // One JSON document a line; the artifact of the benchmark is the one with an executable.
    let executable = printed.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    executable.context("cargo names no executable of the benchmark round_trip")
}

fn build_theirs() -> Result<PathBuf> {
    let program = paths::target().join("bench").join("xen-round-trip");
    std::fs::create_dir_all(paths::target().join("bench"))
        .with_context(|| format!("cannot create {}", paths::target().join("bench").display()))?;
    let source = paths::workspace().join("ring/benches/round_trip/xen.c");
    output(Command::new("gcc").args(["-std=gnu11", "-O2", "-Wall", "-o"]).arg(&program).arg(&source))
        .context("compiling against xen/io/ring.h (package libxen-dev)")?;
    Ok(program)
}

/// Instructions of one round trip of the program.
fn per_round(program: &Path) -> Result<f64> {
    let (few, many) = (instructions(program, FEW)?, instructions(program, MANY)?);
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

/// Instructions within `round_trips`, callees included.
fn instructions(program: &Path, rounds: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--toggle-collect=round_trips", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(rounds.to_string());
    let run = command.output().context("running valgrind (package valgrind)")?;
    let told = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{} under valgrind: {}\n{told}", program.display(), run.status);
    let collected =
        told.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    collected
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("callgrind tells no count for {}:\n{told}", program.display()))
}

/// Runs a command and gives what it printed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?")).to_owned();
    let run = command.output().with_context(|| format!("running {}", name.display()))?;
    if !run.status.success() {
        bail!("{}: {}\n{}", name.display(), run.status, String::from_utf8_lossy(&run.stderr));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}
