// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench [NAME…]`: the figures of `docs/performance.md` and `docs/failover.md`, measured again.

mod copies;
mod dom0;
mod failover;
mod guests;
mod kick;
mod loader;
mod mirror;
mod picture;
mod record;
mod ring;
mod throughput;

use anyhow::{Result, bail, ensure};
use clap::Args;

/// Which benchmarks, and how.
#[derive(Args)]
#[command(after_help = FAILOVER)]
pub struct Arguments {
    /// ring, mirror, copies, guests, record, kick, throughput, loader; failover, which takes hours and runs only when
    /// it is named.
    #[arg(value_name = "NAME")]
    which: Vec<String>,
    #[command(flatten)]
    failover: failover::Options,
}

const FAILOVER: &str = "cargo xtask bench failover injects faults into a guest with a web server, and measures until vesperd knows,
until Pacemaker knows, and until the stand-by answers, with ocf:heartbeat:Xen and with ocf:vesper:*.
  cargo xtask bench failover                                        all of it, or what is left of it
  cargo xtask bench failover --rows panic-destroy --repetitions 1   one row, once in each column
  cargo xtask bench failover --columns vesper --rows sigkill,oom
Each result is kept in docs/failover.results, and what is there of this code is not measured again: stop it when
you like. Remove the file to begin anew. At the end the table of all that counts is printed and written into docs/failover.md
(see there for rows, columns, and what the figures mean), and the picture into docs/failover.svg.";

type Bench = (&'static str, fn() -> Result<()>);

/// The benchmarks, in the order in which they run when none is named.
const BENCHES: &[Bench] = &[
    ("ring", ring::run),
    ("mirror", mirror::run),
    ("copies", copies::run),
    ("guests", guests::run),
    ("record", record::run),
    ("kick", kick::run),
    ("throughput", throughput::run),
    ("loader", loader::run),
];

/// Runs the named benchmarks, or all when none is named; `failover` only if it is.
///
/// # Errors
///
/// An unknown name, before anything runs; a benchmark that could not be measured or missed its goal.
pub fn run(Arguments { which, failover }: &Arguments) -> Result<()> {
    let asked_for = which.iter().any(|name| name == "failover");
    ensure!(
        asked_for || !failover.any(),
        "--rows, --columns and --repetitions are for: cargo xtask bench failover"
    );
    for name in which.iter().filter(|name| *name != "failover") {
        if !BENCHES.iter().any(|(known, _)| known == name) {
            let known: Vec<_> = BENCHES.iter().map(|(known, _)| *known).collect();
            bail!("no benchmark {name}; there are: {}, failover", known.join(", "));
        }
    }
    for (name, bench) in BENCHES {
        if which.is_empty() || which.iter().any(|wanted| wanted == name) {
            bench()?;
        }
    }
    if asked_for {
        failover::run(failover)?;
    }
    Ok(())
}
