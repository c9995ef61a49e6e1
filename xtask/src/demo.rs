// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: the whole of it on a fresh machine, in one command, with an account of what was seen.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use vesper_lab::qemu::Event;
use vesper_lab::scenario::Needs;
use vesper_lab::session;

use crate::lab::boot_step;
use crate::machine::Platform;

/// Time for the script: nine steps of a few seconds each, on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the demo.
pub fn main(platform: &Platform) -> Result<ExitCode> {
    let mut account = Account::new();
    println!("Probes in a running Xen guest whose user space is stopped, and what they tell.\n");
    let lab = platform.compose(&Needs::default(), false)?;
    session::provide(&lab)?;
    account.step("packages fetched and unpacked, daemon, command, guest module and probes built");
    println!("\nBooting Xen {}, dom0 and a {} guest in QEMU's software CPU.", platform.xen, platform.guest);
    let outcome = session::run(&lab, include_str!("demo.sh"), LIMIT, &mut |event| match event {
        Event::Output(bytes) => {
            let _ = std::io::stdout().write_all(&bytes).and_then(|()| std::io::stdout().flush());
        }
        Event::Mark(mark) => {
            if let Some(said) = mark.strip_prefix("seen ").or_else(|| boot_step(&mark)) {
                account.step(said);
            }
        }
        Event::End => {}
    })?;
    account.step("powered off");
    if outcome.status != 0 {
        println!("\nThe demo failed (status {}). Logs: {}", outcome.status, outcome.logs.display());
        return Ok(ExitCode::FAILURE);
    }
    account.print();
    Ok(ExitCode::SUCCESS)
}

/// What was seen, and how long each step took.
struct Account {
    begin: Instant,
    last: Instant,
    steps: Vec<(String, Duration)>,
}

impl Account {
    fn new() -> Self {
        let now = Instant::now();
        Self { begin: now, last: now, steps: Vec::new() }
    }

    fn step(&mut self, what: &str) {
        let now = Instant::now();
        self.steps.push((what.to_string(), now - self.last));
        self.last = now;
    }

    fn print(&self) {
        println!("\nWhat was seen:");
        for (what, took) in &self.steps {
            println!("  {:6.1} s  {what}", took.as_secs_f64());
        }
        println!("  {:6.1} s  in all", (self.last - self.begin).as_secs_f64());
    }
}
