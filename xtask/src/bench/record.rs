// SPDX-License-Identifier: MIT OR Apache-2.0
//! Record: what `relay_write` of 64 bytes costs the guest in a channel that is exported, against one that is not, in turns.
//!
//! The module is `lab/bench/modules/cost.c`.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::dom0::{figures, median, run as run_in_dom0};

/// Time of an exported channel over that of a local one.
const GOAL: f64 = 1.05;
/// Fewer pairs than this say nothing.
const PAIRS: usize = 30;
/// Records in each half of a pair (`cost.c`).
const RECORDS: f64 = 50_000.0;
const LIMIT: Duration = Duration::from_secs(300);

/// Measures, prints, and fails when the goal is missed.
///
/// # Errors
///
/// The lab cannot be built or booted, a missed goal.
pub fn run() -> Result<()> {
    let output = run_in_dom0("record", include_str!("record.sh"), LIMIT)?;
    let (alone, read) = (Cost::read(&output, "@alone")?, Cost::read(&output, "@read")?);
    println!("record: relay_write of 64 bytes, sub-buffers of 64 KiB, medians, Xen in QEMU's software CPU");
    println!("                                    local      exported   ratio (median of pairs)");
    for (label, cost, goal) in [
        ("nobody reads", &alone, format!("   (goal ≤ {GOAL})")),
        ("`vesper tail` reads", &read, String::new()),
    ] {
        let Cost { local, exported, ratio, pairs } = cost;
        println!("  {label:<28} {local:>7.1} ns {exported:>9.1} ns   {ratio:.3} of {pairs}{goal}");
    }
    ensure!(alone.ratio <= GOAL, "a record costs {:.3} times a local one, the goal is {GOAL}", alone.ratio);
    Ok(())
}

/// Nanoseconds per record, and the ratio of the two.
#[derive(Debug, PartialEq)]
struct Cost {
    local: f64,
    exported: f64,
    ratio: f64,
    pairs: usize,
}

impl Cost {
    fn read(output: &str, mark: &str) -> Result<Self> {
        let pairs: Vec<Vec<u64>> =
            figures(output, mark)?.into_iter().filter(|pair| pair.len() == 2).collect();
        ensure!(pairs.len() >= PAIRS, "only {} pairs {mark}:\n{output}", pairs.len());
        let each = |at: usize| median(pairs.iter().map(|pair| pair[at] as f64 / RECORDS));
        let ratio = median(pairs.iter().map(|pair| pair[1] as f64 / pair[0] as f64));
        Ok(Self { local: each(0), exported: each(1), ratio, pairs: pairs.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_pairs() {
        let output = "@alone 50000 100000\n".repeat(PAIRS);
        let cost = Cost::read(&output, "@alone").expect("pairs");
        assert_eq!(cost, Cost { local: 1.0, exported: 2.0, ratio: 2.0, pairs: PAIRS });
        assert!(Cost::read(&output, "@read").is_err());
    }
}
