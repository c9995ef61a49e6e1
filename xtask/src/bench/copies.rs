// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies: how many bytes the mirror copies into the daemon's memory for each way out of a guest's buffers, counted.
//!
//! The program is `lab/bench/src/bin/bench-copies.rs`; `throughput` counts the same on real Xen.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use vesper_lab::tools;

/// The ways in which nothing may be copied, and what they are.
const NONE: [(&str, &str); 3] = [
    ("in-place", "a reader of the mirror, in place"),
    ("file", "written out into a file"),
    ("socket", "written out into a socket"),
];
/// The one in which everything is, once.
const ONCE: (&str, &str) = ("copy", "asked for as a copy (files below /run/vesper)");

/// Counts, prints, and fails when something was copied that nobody asked for.
///
/// # Errors
///
/// A program that cannot be built or fails, a missed goal.
pub fn run() -> Result<()> {
    let output = super::ring::output(&mut Command::new(tools::for_benchmarks()?.copies))?;
    println!("copies: bytes that the mirror copies into the daemon's memory, for each byte read");
    for (name, label) in NONE.into_iter().chain([ONCE]) {
        let (read, copied) = counted(&output, name)?;
        println!("  {label:<46} {:>5.2}   ({copied} of {read})", copied as f64 / read as f64);
        let wanted = if name == ONCE.0 { read } else { 0 };
        ensure!(copied == wanted, "{label}: {copied} bytes were copied and not {wanted}");
    }
    Ok(())
}

/// Bytes read and bytes copied that way.
fn counted(output: &str, way: &str) -> Result<(u64, u64)> {
    let line = output.lines().find_map(|line| line.strip_prefix("@copies ")?.strip_prefix(way));
    let mut numbers = line.into_iter().flat_map(str::split_whitespace).map(str::parse);
    let (Some(Ok(read)), Some(Ok(copied))) = (numbers.next(), numbers.next()) else {
        return Err(anyhow::anyhow!("{output}")).with_context(|| format!("the way {way} was not counted"));
    };
    Ok((read, copied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_its_line() -> Result<()> {
        let output = "@copies in-place 5 0\n@copies copy 7 7\n";
        assert_eq!((counted(output, "in-place")?, counted(output, "copy")?), ((5, 0), (7, 7)));
        assert!(counted(output, "file").is_err());
        Ok(())
    }
}
