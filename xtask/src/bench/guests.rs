// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests: what the daemon costs with 10, 100 and 1,000 loopback guests, each of which switches one sub-buffer a second and
//! has a client that reads it.
//!
//! The program is `lab/bench/src/bin/bench-guests.rs`.

use std::process::Command;

use anyhow::{Result, ensure};
use vesper_lab::tools;

use super::dom0::{figures, picture};

const COUNTS: [u64; 3] = [10, 100, 1000];
/// How long each count is measured.
const SECONDS: u64 = 20;
/// CPU time per guest at any number of guests over that with the fewest: what counts as linear. Not that with the most
/// alone: a daemon that is late finds many guests ready at once, and that is cheaper for each.
const GOAL: f64 = 1.25;

/// Measures, prints, and fails when the goal is missed.
///
/// # Errors
///
/// A program that cannot be built or fails, a missed goal.
pub fn run() -> Result<()> {
    let program = tools::for_benchmarks()?.guests;
    let output = super::ring::output(
        Command::new(program).arg(SECONDS.to_string()).args(COUNTS.map(|count| count.to_string())),
    )?;
    let lines = figures(&output, "@guests")?;
    ensure!(
        lines.len() == COUNTS.len() && lines.iter().all(|line| line.len() == 6),
        "figures are missing:\n{output}"
    );
    println!("guests: vesperd, each guest one switch of 4 KiB a second and one client; {SECONDS} s each");
    println!(
        "  guests   CPU share   per guest and second   heap per guest   received per guest and second   no room"
    );
    let mut each = Vec::new();
    for line in &lines {
        let [guests, cpu, nanos, heap, received, refused] = [0, 1, 2, 3, 4, 5].map(|at| line[at] as f64);
        let micros = cpu * 1e6 / nanos / guests;
        println!(
            "  {guests:>6} {:>9.2} % {micros:>16.0} µs {:>17.1} KiB {:>15.0} bytes {refused:>16}",
            cpu * 100.0 / nanos,
            heap / guests / 1024.0,
            received * 1e9 / nanos / guests
        );
        each.push((format!("{guests} guests"), micros));
    }
    picture("guests", "vesperd: CPU time per guest and second, µs", &each)?;
    let growth = each.iter().map(|each| each.1).fold(0.0, f64::max) / each[0].1;
    println!("  CPU per guest, most over that of the fewest guests: {growth:.2}   (goal ≤ {GOAL}: linear)");
    ensure!(growth <= GOAL, "a guest costs {growth:.2} times as much among many, the goal is {GOAL}");
    Ok(())
}
