// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: the lab's, with the disk that has Pacemaker on it, a network between dom0 and its two guests, and the programs
//! of the experiment.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vesper_lab::qemu::Event;
use vesper_lab::scenario::Needs;
use vesper_lab::session::{self, Added};
use vesper_lab::suite::Xen;
use vesper_lab::{kernel, paths, unpack};

use super::Step;
use super::kept::Outcome;
use crate::bench::dom0;
use crate::machine::Platform;

/// Both ends of Xen's network, of the kernel that dom0 and the guests have; no more modules are needed for it.
const BACK: &str = "drivers/net/xen-netback/xen-netback.ko";
const FRONT: &str = "drivers/net/xen-netfront.ko";
/// For the set-up, and for a repetition with its own.
const SET_UP: Duration = Duration::from_secs(600);
const EACH: Duration = Duration::from_secs(420);

/// Boots and runs the plan; `sink` gets each result as soon as it is there.
///
/// # Errors
///
/// The lab cannot be built or booted, what the script said when it gave up, or the sink's.
pub fn run(plan: &[Step<'_>], sink: &mut dyn FnMut(Outcome) -> Result<()>) -> Result<()> {
    let platform = Platform { xen: Xen::V4_17, ..Platform::default() };
    let needs = Needs { guests: 2, cluster: true, ..Needs::default() };
    let mut lab = platform.compose(&needs, false)?;
    let program = dom0::c_program("failover", &[])?;
    let added = |from: PathBuf, to: &str| Added { from, to: to.to_string() };
    lab.guests.modules.push(module(FRONT)?);
    lab.guests.added.push(added(program.clone(), "/lab/bench/web"));
    lab.added.push(added(module(BACK)?, "/lab/bench/xen-netback.ko"));
    lab.added.push(added(program, "/usr/bin/failover"));
    lab.added.push(added(paths::workspace().join("lab/scenarios/lib.sh"), "/lab/scenarios/lib.sh"));

    let lines: String = plan.iter().map(line).collect();
    let script = format!("PLAN='{lines}'\n{}", include_str!("dom0.sh"));
    let limit = SET_UP + EACH * u32::try_from(plan.len()).unwrap_or(u32::MAX);
    let log = dom0::folder()?.join("failover.log");
    let mut log_file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut output = Vec::new();
    let (mut seen, mut kept) = (0, Ok(()));
    let outcome = session::run(&lab, &script, limit, &mut |event| {
        let Event::Output(bytes) = event else { return };
        // For whoever wonders what it does; the run does not hang on it.
        let _ = log_file.write_all(&bytes);
        output.extend(bytes);
        while let Some(end) = output[seen..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&output[seen..seen + end]).into_owned();
            seen += end + 1;
            if let Some(result) = line.trim().strip_prefix("@result ").filter(|_| kept.is_ok()) {
                kept = Outcome::parse(result).and_then(&mut *sink);
            }
        }
    });
    kept?;
    let said = || vesper_lab::command::tail(&String::from_utf8_lossy(&output)).to_string();
    let outcome = outcome.with_context(|| format!("until then dom0 said:\n{}", said()))?;
    ensure!(
        outcome.status == 0,
        "status {} in dom0, whose last words were (all: {}):\n{}",
        outcome.status,
        log.display(),
        said()
    );
    Ok(())
}

/// As the script reads it.
fn line(Step { column, row, number }: &Step<'_>) -> String {
    format!("{} {} {} {number} {}\n", column.name, column.monitor, row.name, row.class.word())
}

/// One of the kernel's own modules.
fn module(path: &str) -> Result<PathBuf> {
    let release = kernel::release(&Platform::default().kernel)?;
    let dir = dom0::folder()?.join("network");
    let inside = |path: &str| format!("./lib/modules/{release}/kernel/{path}");
    let only = [inside(BACK), inside(FRONT)];
    let only: Vec<&str> = only.iter().map(String::as_str).collect();
    unpack::unpack(Xen::V4_17.suite(), &[format!("linux-image-{release}")], &only, &dir)?;
    let module = dir.join(Path::new(&inside(path)));
    fs::metadata(&module).with_context(|| format!("{}: remove {}", module.display(), dir.display()))?;
    Ok(module)
}
