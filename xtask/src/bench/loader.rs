// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loader: the time of `vesper insmod` of a module of 1 MiB, against `insmod` of the same file inside the same guest,
//! in turns, on real Xen; and how often `vesperd` wakes up while four attached guests have nothing to say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vesper_lab::guest;
use vesper_lab::qemu::Event;
use vesper_lab::scenario::Needs;
use vesper_lab::session::{self, Added};

use crate::machine::{Platform, sample_modules};

/// Time of a load through VESPER over that of `insmod` in the guest.
const GOAL: f64 = 1.5;
/// Fewer pairs than this say nothing.
const PAIRS: usize = 10;
const LIMIT: Duration = Duration::from_secs(900);

/// Measures, prints, and fails when a goal is missed.
///
/// # Errors
///
/// The lab cannot be built or booted, a load fails, a missed goal.
pub fn run() -> Result<()> {
    let platform = Platform::default();
    let mut lab = platform.compose(&Needs { guests: 4, ..Needs::default() }, false)?;
    let timed = Added { from: guest::program("guest/timed")?, to: "/lab/timed".to_string() };
    let module = sample_modules(&platform.kernel)?.join("mib.ko");
    lab.guests.added = vec![timed.clone(), Added { from: module, to: "/lab/mib.ko".to_string() }];
    lab.added.push(timed);

    eprintln!("· loader: booting Xen, dom0 and 4 guests; about 4 minutes …");
    let mut output = Vec::new();
    let outcome = session::run(&lab, include_str!("loader.sh"), LIMIT, &mut |event| {
        if let Event::Output(bytes) = event {
            output.extend(bytes);
        }
    })?;
    let output = String::from_utf8_lossy(&output);
    ensure!(outcome.status == 0, "a load failed (status {}):\n{output}", outcome.status);
    report(&Figures::read(&output)?)
}

/// What the script printed.
#[derive(Debug, PartialEq)]
struct Figures {
    /// Nanoseconds of `insmod` in the guest and of `vesper insmod`, a pair a round.
    pairs: Vec<(u64, u64)>,
    /// Wake-ups of the daemon in a minute without work.
    wakeups: u64,
}

impl Figures {
    fn read(output: &str) -> Result<Self> {
        let mut pairs = Vec::new();
        let mut wakeups = None;
        for line in output.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| text.parse::<u64>().with_context(|| format!("in the line {line:?}"));
            match words[..] {
                ["@pair", peer, ours] => pairs.push((number(peer)?, number(ours)?)),
                ["@wakeups", count] => wakeups = Some(number(count)?),
                _ => {}
            }
        }
        ensure!(pairs.len() >= PAIRS, "only {} pairs were measured:\n{output}", pairs.len());
        Ok(Self { pairs, wakeups: wakeups.context("the wake-ups were not counted")? })
    }
}

fn report(figures: &Figures) -> Result<()> {
    let peer = median(figures.pairs.iter().map(|pair| pair.0));
    let ours = median(figures.pairs.iter().map(|pair| pair.1));
    let ratio = ours / peer;
    println!(
        "loader: a module of 1 MiB, median of {} pairs, Xen in QEMU's software CPU",
        figures.pairs.len()
    );
    println!("  insmod inside the guest       {peer:>8.1} ms");
    println!("  vesper insmod from dom0       {ours:>8.1} ms");
    println!("  ratio                         {ratio:>8.2}   (goal ≤ {GOAL})");
    println!("  vesperd, 4 idle guests, 60 s: {} wake-ups   (goal 0)", figures.wakeups);
    ensure!(
        ratio <= GOAL,
        "a load takes {ratio:.2} times as long as insmod in the guest, the goal is {GOAL}"
    );
    ensure!(figures.wakeups == 0, "vesperd woke up {} times with nothing to do", figures.wakeups);
    Ok(())
}

/// In milliseconds, of nanoseconds.
fn median(values: impl Iterator<Item = u64>) -> f64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    let value = if values.len() % 2 == 1 {
        values[middle] as f64
    } else {
        (values[middle - 1] + values[middle]) as f64 / 2.0
    };
    value / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3_000_000, 1_000_000, 9_000_000].into_iter()), 3.0);
        assert_eq!(median([1_000_000, 2_000_000, 4_000_000, 9_000_000].into_iter()), 3.0);
    }

    #[test]
    fn the_figures_are_found_among_other_lines() {
        let pairs = "@pair 2 3\n".repeat(PAIRS);
        let figures = Figures::read(&format!("noise\n{pairs}@wakeups 0\n")).expect("figures");
        assert_eq!(figures, Figures { pairs: vec![(2, 3); PAIRS], wakeups: 0 });
        assert!(Figures::read("@pair 2 3\n@wakeups 0\n").is_err(), "too few");
        assert!(Figures::read(&pairs).is_err(), "no wake-ups");
    }
}
