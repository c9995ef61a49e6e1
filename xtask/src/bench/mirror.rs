// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mirror: copying what a guest recorded through the mirror, against `memcpy` of the same bytes, in turns in one run; and
//! how much it copies when a reader does not ask for a copy.
//!
//! The program is `relay-mirror/benches/copy.rs`.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Speed of reading through the mirror over that of `memcpy`.
const GOAL: f64 = 0.9;
/// Size of a sub-buffer for which the goal holds: that of the probe for bulk data (`probes/numbers.c`). What the mirror
/// does for each sub-buffer takes the same time for every size.
const GOAL_SIZE: u64 = 64 << 10;
/// Fewer pairs than this say nothing.
const PAIRS: usize = 20;

/// Measures, prints, and fails when a goal is missed.
///
/// # Errors
///
/// A program that cannot be built or fails, a missed goal.
pub fn run() -> Result<()> {
    let figures = Figures::read(&super::ring::output(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["bench", "--quiet", "--package", "vesper-relay-mirror", "--bench", "copy"])
            .args(["--features", "loopback"])
            .current_dir(vesper_lab::paths::workspace()),
    )?)?;
    println!("mirror: 16 MiB read once, next + copy + verify + pass on, against memcpy; median of pairs");
    println!("  sub-buffer       mirror     memcpy   ratio");
    for (size, (ours, plain, ratio)) in &figures.sizes {
        let goal = if *size == GOAL_SIZE { format!("   (goal ≥ {GOAL})") } else { String::new() };
        println!("  {:>6} KiB  {ours:>6.1} GB/s {plain:>5.1} GB/s  {ratio:>6.2}{goal}", size >> 10);
    }
    println!(
        "  bytes copied when read in place: {}, when written out: {}   (goal 0)",
        figures.in_place, figures.written
    );
    let (_, _, ratio) = figures.sizes.get(&GOAL_SIZE).context("the size of the goal was not measured")?;
    ensure!(*ratio >= GOAL, "the mirror reaches {ratio:.2} of memcpy's speed, the goal is {GOAL}");
    ensure!((figures.in_place, figures.written) == (0, 0), "something was copied that nobody asked for");
    Ok(())
}

/// What the program printed.
#[derive(Debug)]
struct Figures {
    /// By the size of a sub-buffer: GB/s of ours and of `memcpy`, and the median of the pairs' ratios.
    sizes: BTreeMap<u64, (f64, f64, f64)>,
    in_place: u64,
    written: u64,
}

impl Figures {
    fn read(output: &str) -> Result<Self> {
        let mut pairs = BTreeMap::<u64, Vec<(f64, f64)>>::new();
        let (mut in_place, mut written) = (None, None);
        for line in output.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| text.parse::<u64>().with_context(|| format!("in the line {line:?}"));
            match words[..] {
                ["@pair", size, ours, plain] => {
                    let pair = (number(ours)? as f64, number(plain)? as f64);
                    pairs.entry(number(size)?).or_default().push(pair);
                }
                ["@in-place", _, copied] => in_place = Some(number(copied)?),
                ["@written", _, copied] => written = Some(number(copied)?),
                _ => {}
            }
        }
        let mut sizes = BTreeMap::new();
        for (size, pairs) in pairs {
            ensure!(pairs.len() >= PAIRS, "only {} pairs of {size} bytes were measured", pairs.len());
            let speed = |nanos: f64| f64::from(16 << 20) / nanos;
            let ours = speed(median(pairs.iter().map(|pair| pair.0)));
            let plain = speed(median(pairs.iter().map(|pair| pair.1)));
            sizes.insert(size, (ours, plain, median(pairs.iter().map(|pair| pair.1 / pair.0))));
        }
        let (in_place, written) = in_place.zip(written).context("the copied bytes were not told")?;
        Ok(Self { sizes, in_place, written })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_found_among_other_lines() {
        let pairs = "@pair 65536 2000000 1000000\n".repeat(PAIRS);
        let output = format!("noise\n{pairs}@in-place 5 0\n@written 5 7\n");
        let figures = Figures::read(&output).expect("figures");
        assert_eq!(figures.sizes[&65536].2, 0.5);
        assert_eq!((figures.in_place, figures.written), (0, 7));
        assert!(Figures::read(&pairs).is_err());
        assert!(Figures::read(&output.replacen("@pair", "@", 1)).is_err(), "too few");
    }
}
