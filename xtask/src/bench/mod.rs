// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench [NAME…]`: the figures of `docs/performance.md`, measured again.

mod copies;
mod dom0;
mod guests;
mod kick;
mod loader;
mod mirror;
mod picture;
mod record;
mod ring;
mod throughput;

use anyhow::{Result, bail};

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

/// Runs the named benchmarks, or all when none is named.
///
/// # Errors
///
/// An unknown name, before anything runs; a benchmark that could not be measured or missed its goal.
pub fn run(which: &[String]) -> Result<()> {
    for name in which {
        if !BENCHES.iter().any(|(known, _)| known == name) {
            let known: Vec<_> = BENCHES.iter().map(|(known, _)| *known).collect();
            bail!("no benchmark {name}; there are: {}", known.join(", "));
        }
    }
    for (name, bench) in BENCHES {
        if which.is_empty() || which.iter().any(|wanted| wanted == name) {
            bench()?;
        }
    }
    Ok(())
}
