// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab`: run scenarios, run a script in dom0, get a shell in dom0.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use vesper_lab::qemu::Event;
use vesper_lab::scenario::{self, Needs, Scenario, Verdict};
use vesper_lab::session::{self, Lab};

use crate::machine::{Platform, added};

/// What can be asked of the lab.
#[derive(Subcommand)]
pub enum Command {
    /// Runs scenarios on real Xen, as many as can in one boot: a line each, `N passed, N failed` last.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// Names of scenarios; without any, the list of them is printed.
        #[arg(value_name = "SCENARIO", conflicts_with = "all")]
        scenarios: Vec<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        platform: Platform,
    },
    /// Boots, starts vesperd, brings N guests up and attaches them, runs a shell script in dom0, ends with its status.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec {
        #[command(flatten)]
        machine: Machine,
        /// Seconds that the script may take.
        #[arg(long, value_name = "S", default_value_t = 900)]
        limit: u64,
        /// The shell script that dom0 runs.
        #[arg(last = true, required = true)]
        script: String,
    },
    /// The same with an interactive shell in dom0 on this terminal; `exit` powers off.
    Up {
        #[command(flatten)]
        machine: Machine,
    },
}

const RUN_EXAMPLES: &str = "Examples:
  cargo xtask lab run insmod rmmod
  cargo xtask lab run refusals --guest pvh --kernel 6.12 --xen 4.20
  cargo xtask lab run --all

A scenario is a shell script of lab/scenarios; the book's page \"The lab\" says how to write one.";

const EXEC_EXAMPLES: &str = "Examples:
  cargo xtask lab exec -- 'vesper list'
  cargo xtask lab exec --guests 2 --kernel 6.12 -- 'vesper status 1; vesper status 2'
  cargo xtask lab exec --add probe.ko -- 'vesper insmod 1 probe.ko; guest-log 1'
  cargo xtask lab exec --bare --guests 0 -- 'xl list; xl info'

In dom0: a shell, busybox, xl, xenstore-*, vesper, vesperd, sample modules in /lab/modules, and
  guest DOM 'COMMAND'   runs a command in a guest (over its console), ends with its status
  guest-log DOM         prints what the guest's console has shown, kernel messages included";

/// Which machine is booted for a script or a shell.
#[derive(Args)]
pub struct Machine {
    #[command(flatten)]
    platform: Platform,
    /// How many guests; they get the domids 1…N and the names g1…gN.
    #[arg(long, value_name = "N", default_value_t = 1)]
    guests: u32,
    /// Virtual CPUs of each guest.
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u32,
    /// A file of this machine for dom0; without PATH it goes to /root.
    #[arg(long, value_name = "HOSTFILE[:PATH]")]
    add: Vec<String>,
    /// Without VESPER: no daemon, no frontend in the guests.
    #[arg(long)]
    bare: bool,
}

impl Machine {
    fn lab(&self) -> Result<Lab> {
        let more = self.add.iter().map(|text| added(text)).collect::<Result<Vec<_>>>()?;
        let needs = Needs { guests: self.guests, vcpus: self.vcpus, ..Needs::default() };
        let mut lab = self.platform.compose(&needs, self.bare)?;
        lab.added.extend(more);
        Ok(lab)
    }
}

/// Runs one of them.
pub fn main(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { scenarios, all, platform } => run(&scenarios, all, &platform),
        Command::Exec { machine, limit, script } => {
            exec(&machine.lab()?, &script, Duration::from_secs(limit))
        }
        Command::Up { machine } => session::shell(&machine.lab()?).map(|()| ExitCode::SUCCESS),
    }
}

fn run(names: &[String], all: bool, platform: &Platform) -> Result<ExitCode> {
    let wanted = if all { scenario::all()? } else { scenario::named(names)? };
    if wanted.is_empty() {
        let known: Vec<String> = scenario::all()?.into_iter().map(|scenario| scenario.name).collect();
        bail!("name the scenarios to run, or --all; there is {}", known.join(", "));
    }
    let tally = run_scenarios(&wanted, platform, &mut |_| {})?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many passed.
    pub passed: u32,
    /// How many failed.
    pub failed: u32,
}

/// Runs scenarios on a platform and prints a line for each; `passed` is told the name of each that passed.
pub fn run_scenarios(
    scenarios: &[Scenario],
    platform: &Platform,
    passed: &mut dyn FnMut(&str),
) -> Result<Tally> {
    let mut tally = Tally::default();
    let compose = |needs: &Needs| platform.compose(needs, false);
    scenario::run(scenarios, &compose, &mut |Verdict { name, ok, took, output }| {
        let verdict = if *ok { "ok" } else { "FAILED" };
        if !ok {
            println!("{}", indented(output));
        }
        println!("{name}{} ... {verdict} ({:.1} s)", platform.label(), took.as_secs_f64());
        if *ok {
            tally.passed += 1;
            passed(name);
        } else {
            tally.failed += 1;
        }
    })?;
    Ok(tally)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn exec(lab: &Lab, script: &str, limit: Duration) -> Result<ExitCode> {
    let mut shown = std::io::stdout();
    eprintln!("· booting Xen {} …", lab.xen);
    let started = Instant::now();
    let outcome = session::run(lab, script, limit, &mut |event| match event {
        Event::Output(bytes) => {
            let _ = shown.write_all(&bytes).and_then(|()| shown.flush());
        }
        Event::Mark(mark) => {
            if let Some(said) = boot_step(&mark) {
                eprintln!("· {said} after {:.1} s", started.elapsed().as_secs_f64());
            }
        }
        Event::End => {}
    })?;
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(1)))
}

/// What a mark of the boot means to the user.
pub fn boot_step(mark: &str) -> Option<&'static str> {
    match mark {
        "up" => Some("dom0 is up"),
        "guests" => Some("guests are up"),
        "attached" => Some("guests are attached"),
        _ => None,
    }
}
