// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown of the results: a line for each, the table and the goals, the picture.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use vesper_lab::paths;

use super::kept::{Kept, Outcome};
use super::rows::{self, COLUMNS, Class, Column, ROWS, Row};
use crate::bench::picture;

/// Milliseconds within which vesperd knows of an event, and of what is silent; the cluster of an event.
const TOLD_EVENT: f64 = 100.0;
const TOLD_SILENT: f64 = 3000.0;
const KNEW_EVENT: f64 = 1000.0;
/// How much sooner than with the first column the cluster knows.
const SOONER: f64 = 10.0;
/// Milliseconds after which a repetition is given up.
const CAP: f64 = rows::CAP as f64 * 1e3;
/// Where the table stands in the page.
const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- /table -->\n"];

/// One result, for whoever watches.
pub fn line(result: &Outcome) -> String {
    let Outcome { column, row, number, lost, .. } = result;
    let time = |time| after(result, time).map_or("never".to_string(), |ms| format!("after {}", shown(ms)));
    let cause = if result.cause { "cause given" } else { "no cause" };
    format!(
        "{column}, {row} {number}: vesperd knew {}, the cluster {}, the stand-by answered {}; {lost} requests lost, {cause}",
        time(result.told),
        time(result.knew),
        time(result.answered)
    )
}

/// Milliseconds from the fault.
fn after(result: &Outcome, time: Option<i64>) -> Option<f64> {
    time.map(|time| (time - result.t0) as f64 / 1e3)
}

fn shown(ms: f64) -> String {
    match ms {
        ..1000.0 => format!("{ms:.0} ms"),
        f64::INFINITY => "never".to_string(),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Median and worst; infinite is never.
fn median_and_worst(times: impl Iterator<Item = Option<f64>>) -> Option<(f64, f64)> {
    let mut times: Vec<f64> = times.map(|time| time.unwrap_or(f64::INFINITY)).collect();
    times.sort_unstable_by(f64::total_cmp);
    // Of an even number the later of the two in the middle: half of never is nothing.
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

/// Both, or the one that there is of a single run.
fn pair(times: Option<(f64, f64)>, runs: usize, one: impl Fn(f64) -> String) -> String {
    match times {
        None => String::new(),
        Some((median, _)) if runs == 1 => one(median),
        Some((median, worst)) => format!("{} / {}", one(median), one(worst)),
    }
}

/// The figures of one place in the table.
struct Place<'a> {
    results: Vec<&'a Outcome>,
}

impl<'a> Place<'a> {
    fn of(kept: &'a Kept, column: &Column, row: &Row) -> Option<Self> {
        Some(kept.of(column.name, row.name)).filter(|found| !found.is_empty()).map(|results| Self { results })
    }

    fn times(&self, which: impl Fn(&Outcome) -> Option<i64>) -> Option<(f64, f64)> {
        median_and_worst(self.results.iter().map(|result| after(result, which(result))))
    }

    fn causes(&self) -> usize {
        self.results.iter().filter(|result| result.cause).count()
    }

    fn line(&self, row: &Row, column: &Column) -> String {
        let runs = self.results.len();
        let said = match self.results.iter().filter(|result| row.recorded && !result.recorded).count() {
            0 => runs.to_string(),
            without => format!("{runs}, {without} without a record"),
        };
        let lost = median_and_worst(self.results.iter().map(|result| Some(f64::from(result.lost))));
        let lost = pair(lost, runs, |lost| lost.to_string());
        if row.class == Class::MustNot {
            let times = |which: fn(&Outcome) -> Option<i64>| {
                times_of(self.results.iter().filter(|result| which(result).is_some()).count())
            };
            let [told, knew, answered] =
                [times(|result| result.told), times(|result| result.knew), times(|result| result.answered)];
            return format!("{said} | {told} | {knew} | {answered} | {lost} | |");
        }
        let times = |which: fn(&Outcome) -> Option<i64>| pair(self.times(which), runs, shown);
        let told = if column.vesper { times(|result| result.told) } else { String::new() };
        let (knew, answered) = (times(|result| result.knew), times(|result| result.answered));
        let cause = match self.causes() {
            0 => "no".to_string(),
            all if all == runs => "yes".to_string(),
            some => format!("{some} of {runs}"),
        };
        format!("{said} | {told} | {knew} | {answered} | {lost} | {cause} |")
    }
}

fn times_of(count: usize) -> String {
    if count == 0 { "never".to_string() } else { format!("**{count} ×**") }
}

/// The table, as Markdown.
fn table(kept: &Kept) -> String {
    let mut text = "| fault | | agent | runs | (a) vesperd knows | (b) the cluster knows | (c) the stand-by answers | requests lost | cause |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_string();
    for row in ROWS {
        let mut what = row.what;
        for column in COLUMNS {
            let Some(place) = Place::of(kept, column, row) else { continue };
            let class = if what.is_empty() { "" } else { row.class.word() };
            let _ = writeln!(text, "| {what} | {class} | {} | {}", column.what, place.line(row, column));
            what = "";
        }
    }
    text
}

/// The goals, each with what came of it.
fn goals(kept: &Kept) -> String {
    let ours = &COLUMNS[COLUMNS.len() - 1];
    let mut text =
        "| fault | (a) | (b) | sooner than `ocf:heartbeat:Xen` with 10 s | cause |\n|---|---|---|---|---|\n"
            .to_string();
    for row in ROWS.iter().filter(|row| row.class != Class::MustNot) {
        let Some(place) = Place::of(kept, ours, row) else { continue };
        let medians = [place.times(|result| result.told), place.times(|result| result.knew)];
        let [told, knew] = medians.map(|times| times.map_or(f64::INFINITY, |times| times.0));
        let verdict = |value: f64, goal: f64| {
            format!(
                "{} {} {}",
                if value <= goal { "hit" } else { "**miss**" },
                if value <= goal { "≤" } else { ">" },
                shown(goal)
            )
        };
        let is_event = row.class == Class::Event;
        let a = verdict(told, if is_event { TOLD_EVENT } else { TOLD_SILENT });
        let b = if is_event { verdict(knew, KNEW_EVENT) } else { String::new() };
        let peer = Place::of(kept, &COLUMNS[0], row).and_then(|peer| peer.times(|result| result.knew));
        let sooner = match peer {
            None => "not measured".to_string(),
            // What it did not know at the end of a repetition counts as known just then.
            Some((peer, _)) => {
                let ratio = peer.min(CAP) / knew;
                let least = if peer.is_finite() { "" } else { "at least " };
                let verdict = if ratio >= SOONER { "hit" } else { "**miss**" };
                format!("{verdict}, {least}{ratio:.1} ×")
            }
        };
        let cause = if place.causes() == place.results.len() { "hit" } else { "**miss**" };
        let _ = writeln!(text, "| {} | {a} | {b} | {sooner} | {cause} |", row.what);
    }
    text
}

/// The picture: when the cluster knows, median.
fn bars(kept: &Kept) -> Vec<(String, f64)> {
    let mut bars = Vec::new();
    for row in ROWS.iter().filter(|row| row.class != Class::MustNot) {
        for column in COLUMNS {
            let Some(place) = Place::of(kept, column, row) else { continue };
            let median = place.times(|result| result.knew).map_or(f64::INFINITY, |times| times.0);
            let never = if median.is_finite() { "" } else { ": never" };
            let seconds = median.min(CAP) / 1e3;
            bars.push((format!("{}, {}{never}", row.name, column.name), seconds));
        }
    }
    bars
}

/// Prints the table and the goals.
pub fn print(kept: &Kept) {
    println!("failover: median / worst, Xen in QEMU's software CPU\n\n{}\n{}", table(kept), goals(kept));
    if kept.stale() > 0 {
        println!("  left out: {} kept results of other code", kept.stale());
    }
}

/// Writes table and picture into `docs`.
///
/// # Errors
///
/// The page is not as it was left, or a file cannot be written.
pub fn write(kept: &Kept) -> Result<()> {
    let docs = paths::workspace().join("docs");
    let page = docs.join("failover.md");
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = with_table(&text, &format!("{}\n{}", table(kept), goals(kept)))
        .with_context(|| format!("{}: the lines {MARKS:?} are missing", page.display()))?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    let svg = docs.join("failover.svg");
    let drawn = picture::bars("Until the cluster knows, s, median (60: not within a minute)", &bars(kept));
    fs::write(&svg, drawn).with_context(|| format!("cannot write {}", svg.display()))?;
    println!("  written: {}, {}", page.display(), svg.display());
    Ok(())
}

fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, behind) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}{table}{}{behind}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::failover::kept::Digests;

    const RESULTS: &str = "heartbeat-10s panic-destroy 1 0 - 12000000 13000000 200 no record\n\
        vesper panic-destroy 1 0 40000 600000 1500000 20 yes record\n\
        vesper panic-destroy 2 0 50000 700000 - 30 yes record\n\
        vesper panic-destroy 3 0 70000 800000 - 40 no record\n\
        heartbeat-10s oom 1 0 - - - 0 no record\n\
        vesper oom 1 0 200000 1200000 2000000 9 no record\n\
        vesper xl-destroy 1 0 10000 20000 30000 3 yes other\n\
        vesper sigkill 1 0 10000 20000 30000 3 yes other\n\
        vesper sigkill 2 0 10000 20000 30000 3 yes record\n\
        vesper paused 1 0 - - - 100 no other\nvesper load 1 0 - 5 - 0 no other\n";

    fn kept() -> Result<Kept> {
        let text: String = RESULTS.lines().map(|line| format!("now {line}\n")).collect();
        Kept::parse(&text, &Digests { ours: "now".to_string(), peers: "now".to_string() })
    }

    #[test]
    fn the_table_has_medians_and_what_never_happened() -> Result<()> {
        let table = table(&kept()?);
        let has = |line: &str| assert!(table.contains(line), "{line} is not in:\n{table}");
        has("| 1 |  | 12.0 s | 13.0 s | 200 | no |");
        has("| 3 | 50 ms / 70 ms | 700 ms / 800 ms | never / never | 30 / 40 | 2 of 3 |");
        Ok(())
    }

    #[test]
    fn a_time_that_is_not_of_a_record_is_marked() -> Result<()> {
        let table = table(&kept()?);
        let has = |line: &str| assert!(table.contains(line), "{line} is not in:\n{table}");
        has("| SIGKILL to the service | event | `ocf:vesper:*` with push | 2, 1 without a record |");
        has("| `xl destroy` | event | `ocf:vesper:*` with push | 1 |");
        has("| guest paused for 30 s | must-not | `ocf:vesper:*` with push | 1 |");
        Ok(())
    }

    #[test]
    fn goals_are_hit_or_missed() -> Result<()> {
        let goals = goals(&kept()?);
        let has = |line: &str| assert!(goals.contains(line), "{line} is not in:\n{goals}");
        has("hit ≤ 100 ms | hit ≤ 1.0 s | hit, 17.1 × | **miss** |");
        has("**miss** > 100 ms | **miss** > 1.0 s | hit, at least 50.0 × | **miss** |");
        Ok(())
    }

    #[test]
    fn what_must_not_happen_stands_out() -> Result<()> {
        let table = table(&kept()?);
        assert!(table.contains("| 1 | never | never | never | 100 | |"), "{table}");
        assert!(table.contains("| 1 | never | **1 ×** | never | 0 | |"), "{table}");
        Ok(())
    }

    #[test]
    fn the_table_is_replaced_in_its_place() {
        let page = format!("a\n{}old\n{}b\n", MARKS[0], MARKS[1]);
        assert_eq!(with_table(&page, "new\n"), Some(format!("a\n{}new\n{}b\n", MARKS[0], MARKS[1])));
        assert_eq!(with_table("a\n", "new\n"), None);
    }
}
