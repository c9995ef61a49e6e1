// SPDX-License-Identifier: MIT OR Apache-2.0
//! Throughput: the same bytes from a guest to a reader in dom0 that checksums each of them, through a relay channel and
//! through libxenvchan, in turns in one run; and the CPU time of dom0 beside both.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::dom0::{figures, median, picture, run as run_in_dom0};

/// Bytes per second through the relay channel over those through libxenvchan.
const GOAL: f64 = 1.5;
const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_secs(900);
/// What word `i` of each record or send is, times `i + 1`.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Measures, prints, and fails when a goal is missed.
///
/// # Errors
///
/// The lab cannot be built or booted, a byte is wrong, a missed goal.
pub fn run() -> Result<()> {
    let output = run_in_dom0("throughput", include_str!("throughput.sh"), LIMIT)?;
    let (relay, vchan) = read(&output)?;
    println!(
        "throughput: guest → dom0, every byte checksummed, median of {ROUNDS} runs each, Xen in QEMU's software CPU"
    );
    println!("                                                 MB/s   reader's CPU   dom0's CPU (s/GB)");
    for way in relay.iter().chain(&vchan) {
        println!("  {:<44} {:>7.0} {:>10.2} {:>12.2}", way.label(), way.speed, way.reader, way.dom0);
    }
    let copied: u64 = relay.iter().map(|way| way.copied).sum();
    println!("  bytes copied by the reader of the relay channel: {copied}   (goal 0)");
    let best = |small: bool| {
        vchan.iter().filter(|way| (way.unit == 64) == small).map(|way| way.speed).fold(0.0, f64::max)
    };
    let mut missed = Vec::new();
    let reader = alone(&output, "@reader", 0)?;
    println!("  each end alone: the checksum of memory of dom0's own {reader:.0} MB/s");
    for way in &relay {
        let ratio = way.speed / best(way.unit == 64);
        let writer = alone(&output, "@writer", way.unit)?;
        println!(
            "                  relay_write of {} B into a channel that nobody reads {writer:.0} MB/s",
            way.unit
        );
        println!(
            "  records of {:>4} bytes: {ratio:.2} × libxenvchan   (goal ≥ {GOAL}); {:.2} of what the slower end manages alone",
            way.unit,
            way.speed / reader.min(writer)
        );
        if ratio < GOAL {
            missed.push(way.unit);
        }
    }
    let bars: Vec<_> = relay.iter().chain(&vchan).map(|way| (way.label(), way.speed)).collect();
    picture("throughput", "Guest to dom0, checksummed, MB/s", &bars)?;
    ensure!(copied == 0, "the reader copied {copied} bytes");
    ensure!(missed.is_empty(), "below {GOAL} × libxenvchan with records of {missed:?} bytes");
    Ok(())
}

/// MB/s of one end by itself, by the lines `mark`: the median. `unit`: bytes of a record; 0: the line does not say.
fn alone(output: &str, mark: &str, unit: u64) -> Result<f64> {
    let lines = figures(output, mark)?.into_iter().map(|line| match line[..] {
        [bytes, ns] => (0, bytes as f64 * 1e3 / ns as f64),
        [unit, bytes, ns] => (unit, bytes as f64 * 1e3 / ns as f64),
        _ => (u64::MAX, 0.0),
    });
    let speeds: Vec<f64> = lines.filter(|line| line.0 == unit).map(|line| line.1).collect();
    ensure!(!speeds.is_empty(), "no line {mark} for {unit} bytes in:\n{output}");
    Ok(median(speeds))
}

/// One way, in one setting: medians.
#[derive(Debug)]
struct Way {
    /// Bytes of the ring; `None`: a relay channel.
    ring: Option<u64>,
    /// Bytes of a record, or of a send.
    unit: u64,
    /// MB/s.
    speed: f64,
    /// CPU seconds per GB: of the reader's process, and of dom0 as Xen counts it.
    reader: f64,
    dom0: f64,
    copied: u64,
}

impl Way {
    fn label(&self) -> String {
        match self.ring {
            None => format!("relay channel 32 × 256 KiB, records of {} B", self.unit),
            Some(ring) => format!("libxenvchan, ring {} KiB, sends of {} B", ring >> 10, self.unit),
        }
    }
}

/// The relay channel's ways and libxenvchan's.
fn read(output: &str) -> Result<(Vec<Way>, Vec<Way>)> {
    // Ring 0: none. Then unit, bytes, nanoseconds, sum, CPU microseconds, CPU nanoseconds of dom0, copied.
    let relay = figures(output, "@relay")?.into_iter().map(|line| [&[0], &line[..]].concat());
    let vchan = figures(output, "@vchan")?.into_iter().map(|line| [&line[..], &[0]].concat());
    let lines = relay.chain(vchan).map(|line| line.try_into().ok()).collect::<Option<Vec<[u64; 8]>>>();
    let lines = lines.with_context(|| format!("figures are missing:\n{output}"))?;
    let mut settings: Vec<(u64, u64)> = lines.iter().map(|line| (line[0], line[1])).collect();
    settings.sort_unstable();
    settings.dedup();
    let mut ways = Vec::new();
    for (ring, unit) in settings {
        let of: Vec<_> = lines.iter().filter(|line| (line[0], line[1]) == (ring, unit)).collect();
        ensure!(of.len() >= ROUNDS, "only {} runs with ring {ring} and {unit} bytes:\n{output}", of.len());
        for line in &of {
            let each = (1..=unit / 8).fold(0_u64, |sum, word| sum.wrapping_add(word.wrapping_mul(STEP)));
            let wanted = each.wrapping_mul(line[2] / unit);
            ensure!(line[4] == wanted, "the checksum of {} bytes is {} and not {wanted}", line[2], line[4]);
        }
        let of_all = |figure: &dyn Fn(&[u64; 8]) -> f64| median(of.iter().map(|line| figure(line)));
        ways.push(Way {
            ring: Some(ring).filter(|ring| *ring > 0),
            unit,
            speed: of_all(&|line| line[2] as f64 * 1e3 / line[3] as f64),
            reader: of_all(&|line| line[5] as f64 * 1e3 / line[2] as f64),
            dom0: of_all(&|line| line[6] as f64 / line[2] as f64),
            copied: of.iter().map(|line| line[7]).sum(),
        });
    }
    let (relay, vchan): (Vec<_>, Vec<_>) = ways.into_iter().partition(|way| way.ring.is_none());
    ensure!(relay.len() == 2 && vchan.len() == 4, "settings are missing:\n{output}");
    Ok((relay, vchan))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(sum: u64) -> String {
        let each = (1..=8_u64).fold(0_u64, |sum, word| sum.wrapping_add(word.wrapping_mul(STEP)));
        let bulk = (1..=512_u64).fold(0_u64, |sum, word| sum.wrapping_add(word.wrapping_mul(STEP)));
        let chunk = (1..=8192_u64).fold(0_u64, |sum, word| sum.wrapping_add(word.wrapping_mul(STEP)));
        format!(
            "@relay 64 64 32 {each} 1 2 0\n@relay 4096 4096 1024 {bulk} 1 2 {sum}\n\
             @vchan 65536 64 64 64 {each} 1 2\n@vchan 524288 64 64 64 {each} 1 2\n\
             @vchan 524288 65536 65536 65536 {chunk} 1 2\n@vchan 1048576 65536 65536 65536 {chunk} 1 2\n"
        )
        .repeat(ROUNDS)
    }

    #[test]
    fn figures_become_ways() {
        let (relay, vchan) = read(&output(3)).expect("figures");
        assert_eq!((relay.len(), vchan.len()), (2, 4));
        assert_eq!((relay[0].speed, relay[1].speed, vchan[0].speed), (2000.0, 4000.0, 1000.0));
        assert_eq!((relay[0].copied, relay[1].copied), (0, 15));
        let ends = "@writer 64 64 32\n@writer 4096 4096 1024\n@reader 64 16\n";
        assert_eq!(alone(ends, "@writer", 64).expect("a line"), 2000.0);
        assert_eq!(alone(ends, "@reader", 0).expect("a line"), 4000.0);
        assert!(alone(ends, "@writer", 8).is_err(), "no such record");
        let wrong = output(0).replacen("@relay 64 64 32 ", "@relay 64 64 32 1", 1);
        assert!(read(&wrong).is_err(), "a wrong checksum");
    }
}
