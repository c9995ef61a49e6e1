// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: every kind of test of the project, a line each, and all failures, not only the first.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use vesper_lab::command::tail;
use vesper_lab::image::Root;
use vesper_lab::scenario::{self, Scenario};
use vesper_lab::suite::Xen;
use vesper_lab::{digest, host_packages, kernel, paths, unpack};

use crate::kmod;
use crate::lab::{Tally, run_scenarios};
use crate::machine::Platform;

/// Which tests.
#[derive(Args)]
#[command(after_help = TIERS)]
pub struct Arguments {
    /// Without the lab: nothing that boots Xen.
    #[arg(long, conflicts_with = "all")]
    quick: bool,
    /// Every scenario, and the core ones on PVH, kernel 6.12 and Xen 4.20; passed ones are not run again until a file
    /// of the project changes.
    #[arg(long)]
    all: bool,
}

const TIERS: &str = "Tiers:
  --quick   fmt, clippy, docs, unit, property, loopback and ABI tests, loom, the real xenstored
  (none)    those, the guest module for both kernels, and the scenarios that guard the main job
  --all     those, every scenario, and the core ones on every platform

Closes with `N passed, N failed`; status 1 when anything failed.";

/// Runs them.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    host_packages::ensure()?;
    let logs = paths::target().join("test-logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let mut steps = Steps { logs, tally: Tally::default() };
    steps.quick()?;
    if !arguments.quick {
        steps.module("6.1");
        steps.module("6.12");
        let all = scenario::all()?;
        let core: Vec<Scenario> = all.iter().filter(|scenario| scenario.needs.core).cloned().collect();
        if arguments.all {
            steps.resumable(&all, &Platform::default())?;
            for platform in matrix() {
                // A scenario that is bound to another platform than this one says nothing about it.
                let fitting = core.iter().filter(|s| fits(s, &platform)).cloned().collect::<Vec<_>>();
                steps.resumable(&fitting, &platform)?;
            }
        } else {
            steps.scenarios(&core, &Platform::default(), &mut |_| {});
        }
    }
    println!("{} passed, {} failed", steps.tally.passed, steps.tally.failed);
    Ok(if steps.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Unpacks Debian's resource-agents, for `ocf-tester` and the functions that agents use.
fn resource_agents() -> Result<PathBuf> {
    let dir = paths::lab().join("resource-agents");
    let packages = ["resource-agents", "libxml2-utils"].map(String::from);
    let kept = [
        "./usr/lib/ocf/lib/*",
        "./usr/sbin/ocf-tester",
        "./usr/share/resource-agents/*.dtd",
        "./usr/bin/xmllint",
        "./usr/lib/x86_64-linux-gnu/lib*.so*",
    ];
    unpack::unpack(Xen::V4_17.suite(), &packages, &kept, &dir)?;
    Ok(dir)
}

/// The platforms beside the default on which the core scenarios must pass.
fn matrix() -> [Platform; 4] {
    let default = Platform::default();
    let new = |xen, guest, kernel: &str| Platform { xen, guest, kernel: kernel.to_string() };
    use vesper_lab::guest::Kind::{Pv, Pvh};
    [
        new(default.xen, Pvh, "6.1"),
        new(default.xen, Pv, "6.12"),
        new(Xen::V4_20, Pv, "6.12"),
        new(Xen::V4_20, Pvh, "6.12"),
    ]
}

fn fits(scenario: &Scenario, platform: &Platform) -> bool {
    let needs = &scenario.needs;
    needs.kind.is_none_or(|kind| kind == platform.guest)
        && needs.xen.is_none_or(|xen| xen == platform.xen)
        && needs.kernel.as_ref().is_none_or(|kernel| *kernel == platform.kernel)
}

struct Steps {
    logs: PathBuf,
    tally: Tally,
}

impl Steps {
    /// Everything that needs no Xen.
    fn quick(&mut self) -> Result<()> {
        self.step("fmt", cargo(&["fmt", "--all", "--", "--check", "--color", "never"]));
        self.step(
            "clippy",
            cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
        );
        let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        self.step("doc", doc);
        self.step(
            "unit, property, ABI and loopback tests",
            cargo(&["test", "--workspace", "--no-fail-fast"]),
        );
        let mut loom =
            cargo(&["test", "-p", "vesper-ring", "-p", "vesper-relay-mirror", "--release", "--no-fail-fast"]);
        loom.args(["--test", "loom", "--test", "loom_positions", "--test", "loom_channel"]);
        loom.env("RUSTFLAGS", "--cfg loom").arg("--target-dir").arg(paths::target().join("loom"));
        self.step("loom models of the ring and the mirror", loom);
        let root = Root::provide(Xen::V4_17)?;
        let mut store =
            cargo(&["test", "-p", "vesper-xenstore", "--no-fail-fast", "--features", "real-xenstored"]);
        store.args(["--test", "real_xenstored"]);
        store.env("VESPER_XENSTORED", root.dir().join(&root.xen_folder()[1..]).join("xenstored"));
        store.env("VESPER_XENSTORED_LIBS", root.dir().join("usr/lib/x86_64-linux-gnu"));
        self.step("xenstore client against the real xenstored", store);
        let mut agents = cargo(&["test", "-p", "vesper", "--no-fail-fast", "--features", "ocf-tester"]);
        agents.args(["--test", "pacemaker"]).env("VESPER_OCF", resource_agents()?);
        self.step("agents for Pacemaker with Debian's resource-agents", agents);
        Ok(())
    }

    /// Runs a command as a step; the tests that cargo counts are counted, any other command is one.
    fn step(&mut self, name: &str, command: Command) {
        let started = begin(name);
        let log = self.logs.join(format!("{}.log", name.split([' ', ',']).next().unwrap_or(name)));
        let counted = run(command, &log);
        let counted = counted.unwrap_or_else(|error| {
            println!("\n    {error:#}");
            Tally { passed: 0, failed: 1 }
        });
        let verdict = if counted.failed == 0 { "ok" } else { "FAILED" };
        let count = if counted.passed + counted.failed > 1 {
            format!(", {} tests", counted.passed + counted.failed)
        } else {
            String::new()
        };
        println!("{name} ... {verdict} ({:.1} s{count})", started.elapsed().as_secs_f64());
        self.add(counted);
    }

    /// Builds the guest module for a kernel series.
    fn module(&mut self, series: &str) {
        let name = format!("guest module for kernel {series}");
        let started = begin(&name);
        let built = kernel::release(series).and_then(|release| kmod::build(Some(&release), None));
        let verdict = match &built {
            Ok(_) => "ok",
            Err(error) => {
                println!("    {error:#}");
                "FAILED"
            }
        };
        println!("{name} ... {verdict} ({:.1} s)", started.elapsed().as_secs_f64());
        self.add(Tally { passed: u32::from(built.is_ok()), failed: u32::from(built.is_err()) });
    }

    fn scenarios(&mut self, scenarios: &[Scenario], platform: &Platform, passed: &mut dyn FnMut(&str)) {
        let counted = run_scenarios(scenarios, platform, passed).unwrap_or_else(|error| {
            println!("scenarios{} ... FAILED: {error:#}", platform.label());
            Tally { passed: 0, failed: 1 }
        });
        self.add(counted);
    }

    /// As [`Self::scenarios`], leaving out those that passed with the tree as it is now.
    fn resumable(&mut self, scenarios: &[Scenario], platform: &Platform) -> Result<()> {
        let passed = paths::lab().join("passed").join(digest::of_tree(&[&paths::workspace()])?);
        fs::create_dir_all(&passed).with_context(|| format!("cannot create {}", passed.display()))?;
        let label = platform.label();
        let stamp = |name: &str| passed.join(format!("{name}{label}"));
        let mut left = Vec::new();
        for scenario in scenarios {
            if stamp(&scenario.name).exists() {
                println!("{}{label} ... ok (passed before, nothing has changed)", scenario.name);
                self.tally.passed += 1;
            } else {
                left.push(scenario.clone());
            }
        }
        self.scenarios(&left, platform, &mut |name| {
            let _ = fs::write(stamp(name), "");
        });
        Ok(())
    }

    fn add(&mut self, counted: Tally) {
        self.tally.passed += counted.passed;
        self.tally.failed += counted.failed;
    }
}

/// Says on standard error that a step has begun: its result line comes when it is over.
fn begin(name: &str) -> Instant {
    eprintln!("· {name} …");
    Instant::now()
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace()).args(arguments);
    cargo
}

/// Runs a command with all it prints in `log`; on failure the end of that is shown.
fn run(mut command: Command, log: &Path) -> Result<Tally> {
    let file = fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let errors = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let mut counted = count(&said);
    if !status.success() {
        counted.failed = counted.failed.max(1);
        for line in panics(&said).lines().chain(tail(&said).lines()) {
            println!("    {line}");
        }
        println!("    all of it: {}", log.display());
        let _ = std::io::stdout().flush();
    } else if counted == Tally::default() {
        counted.passed = 1;
    }
    Ok(counted)
}

/// What tests that failed said, each with the line after it: cargo ends with the tests that follow, not with them.
fn panics(said: &str) -> String {
    let mut lines = said.lines().peekable();
    let mut found = String::new();
    while let Some(line) = lines.next() {
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            found.push_str(line);
            found.push('\n');
            found.extend(lines.peek().map(|next| format!("  {next}\n")));
        }
    }
    found
}

/// Adds up cargo's lines `test result: ok. 3 passed; 0 failed; …`.
fn count(said: &str) -> Tally {
    let mut tally = Tally::default();
    for line in said.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ")) {
        let number = |what: &str| {
            let before = line.split(what).next()?;
            before.rsplit(' ').find(|word| !word.is_empty())?.parse::<u32>().ok()
        };
        tally.passed += number(" passed;").unwrap_or(0);
        tally.failed += number(" failed;").unwrap_or(0);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_results_are_added_up() {
        let said = "test a ... ok\ntest result: ok. 12 passed; 0 failed; 0 ignored; 0 measured\n\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(count(said), Tally { passed: 15, failed: 2 });
    }

    #[test]
    fn a_command_that_counts_nothing_is_one_test() -> Result<()> {
        let log = std::env::temp_dir().join(format!("xtask-test-{}.log", std::process::id()));
        assert_eq!(run(Command::new("true"), &log)?, Tally { passed: 1, failed: 0 });
        assert_eq!(run(Command::new("false"), &log)?, Tally { passed: 0, failed: 1 });
        fs::remove_file(&log)?;
        Ok(())
    }

    #[test]
    fn a_scenario_bound_to_a_platform_is_not_run_on_another() {
        let needs = scenario::Needs { kernel: Some("6.12".to_string()), ..Default::default() };
        let bound = Scenario { name: "x".to_string(), path: PathBuf::new(), needs };
        assert!(!fits(&bound, &Platform::default()));
        assert!(fits(&bound, &matrix()[2]));
    }
}
