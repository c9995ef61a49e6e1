// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kick: from an urgent record in the guest to the reader's code in dom0, against a C program that waits for a bare event
//! channel, in turns in one run; and to programs outside of the daemon.
//!
//! Sender: `lab/bench/modules/bell.c`; C program: `lab/bench/arrive.c`. Both domains read the CPU's counter.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::dom0::{figures, median, picture, run as run_in_dom0};

/// Time of ours over that of the bare event channel.
const GOAL: f64 = 1.2;
/// Fewer than this say nothing.
const ROUNDS: usize = 100;
const LIMIT: Duration = Duration::from_secs(300);

/// Measures, prints, and fails when the goal is missed.
///
/// # Errors
///
/// The lab cannot be built or booted, a missed goal.
pub fn run() -> Result<()> {
    let figures = Figures::read(&run_in_dom0("kick", include_str!("kick.sh"), LIMIT)?)?;
    let ratio = figures.ours / figures.bare;
    let lines = [
        ("event channel → C program on /dev/xen/evtchn", figures.bare),
        ("urgent record → reader's code in the daemon's place", figures.ours),
        ("urgent record → program that reads /run/vesper", figures.file),
        ("urgent record → program behind `vesper tail`", figures.tail),
    ];
    println!("kick: medians of at least {ROUNDS}, Xen in QEMU's software CPU");
    lines.iter().for_each(|(label, micros)| println!("  {label:<52} {micros:>7.0} µs"));
    println!("  ratio of the first two {ratio:>37.2}   (goal ≤ {GOAL})");
    picture(
        "kick",
        "From the guest's kernel to a reader, µs",
        &lines.map(|(label, micros)| (label.to_string(), micros)),
    )?;
    ensure!(ratio <= GOAL, "a kick takes {ratio:.2} times as long as a bare one, the goal is {GOAL}");
    Ok(())
}

/// Microseconds, medians.
#[derive(Debug, PartialEq)]
struct Figures {
    bare: f64,
    ours: f64,
    tail: f64,
    file: f64,
}

impl Figures {
    fn read(output: &str) -> Result<Self> {
        let column = |mark| -> Result<Vec<f64>> {
            let values: Vec<f64> =
                figures(output, mark)?.into_iter().flatten().map(|value| value as f64).collect();
            ensure!(values.len() >= ROUNDS, "only {} lines {mark}:\n{output}", values.len());
            Ok(values)
        };
        let khz =
            figures(output, "@khz")?.concat().first().copied().context("no speed of the counter")? as f64;
        let micros = |ticks: Vec<f64>| median(ticks.into_iter().map(|ticks| ticks * 1e3 / khz));
        let (sent, came) = (column("@sent")?, column("@came")?);
        // Each is of the last one that was sent before: when dom0 is late, two come as one.
        let bare =
            came.iter().filter_map(|came| Some(came - sent.iter().rfind(|sent| *sent <= came)?)).collect();
        Ok(Self {
            bare: micros(bare),
            ours: micros(column("@ours")?),
            tail: micros(column("@tail")?),
            file: micros(column("@file")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_differences_of_the_counter() {
        let lines = "@sent 1000\n@came 3000\n@ours 4000\n@tail 8000\n@file 6000\n".repeat(ROUNDS);
        let figures = Figures::read(&format!("@khz 2000\n{lines}")).expect("figures");
        assert_eq!(figures, Figures { bare: 1000.0, ours: 2000.0, tail: 4000.0, file: 3000.0 });
        assert!(Figures::read(&lines).is_err(), "no speed");
    }
}
