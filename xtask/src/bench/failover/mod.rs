// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failover: from a fault in a guest to the first answer of the stand-by, with Pacemaker's own agent for Xen guests and with
//! VESPER's, on real Xen with real Pacemaker. `docs/failover.md` is about it, and its table comes from here.

mod kept;
mod machine;
mod report;
mod rows;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use kept::{Kept, Outcome};
use machine::Machines;
use rows::{COLUMNS, Column, ROWS, Row};

/// What is asked of `cargo xtask bench failover`.
#[derive(Args, Debug, Default)]
#[group(id = "failover")]
pub struct Options {
    /// failover: only these rows of its table, with commas between; a wrong name shows all of them. load-hour is run only if it is named.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<String>,
    /// failover: only these columns: heartbeat-10s, heartbeat-1s, vesper.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    columns: Vec<String>,
    /// failover: so many of each; else 5, and 3 where the agent is blind by design or nothing may happen.
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
}

impl Options {
    /// Whether any was given.
    pub fn any(&self) -> bool {
        !self.rows.is_empty() || !self.columns.is_empty() || self.repetitions.is_some()
    }
}

/// Measures what has not been measured yet of this code, prints the table of all that has, and writes it into `docs/failover.md`.
///
/// # Errors
///
/// An unknown row or column, before anything runs. The lab cannot be built or booted, or two boots gave no result that
/// counts. What is kept stays; the next run goes on from there.
pub fn run(options: &Options) -> Result<()> {
    let mut rows = chosen(&options.rows, ROWS, |row| row.name).context("--rows")?;
    rows.retain(|row| !row.apart || !options.rows.is_empty());
    let columns = chosen(&options.columns, COLUMNS, |column| column.name).context("--columns")?;
    let machines = machine::provide()?;
    let mut kept = Kept::load(&machines.digests)?;
    if kept.stale() > 0 {
        eprintln!("· {} kept results of other code are left out", kept.stale());
    }
    let measured = measure(&machines, &columns, &rows, options.repetitions, &mut kept);
    report::print(&kept);
    report::write(&kept)?;
    measured
}

/// Boots as often as it takes to have all. What gives no result that counts in two boots is left, and is an error at the end.
fn measure(
    machines: &Machines,
    columns: &[&Column],
    rows: &[&Row],
    repetitions: Option<u32>,
    kept: &mut Kept,
) -> Result<()> {
    let (mut fruitless, mut left, mut errors) = (0, rows.to_vec(), Vec::new());
    loop {
        let plan = in_one_place(plan(columns, &left, repetitions, kept));
        let Some(place) = plan.first().map(|step| step.row.place) else {
            ensure!(errors.is_empty(), "no result that counts in two boots: {}", errors.join("\n"));
            return Ok(());
        };
        eprintln!("· {} repetitions to go, a minute or two each; booting {} …", plan.len(), place.what());
        let before = kept.count();
        let error = match machine::run(machines, &plan, &mut |line| take(line, kept)) {
            Ok(()) if kept.count() - before == plan.len() => continue,
            Ok(()) => anyhow!("some repetitions do not count"),
            Err(error) => error,
        };
        fruitless = if kept.count() > before { 0 } else { fruitless + 1 };
        if fruitless == 2 {
            errors.push(format!("{error:#}"));
            left.retain(|row| row.place != place);
            fruitless = 0;
        } else {
            eprintln!("· the rest in another boot, for {error:#}");
        }
    }
}

/// Those of the steps that are run on the same as the first.
fn in_one_place(mut steps: Vec<Step<'_>>) -> Vec<Step<'_>> {
    let place = steps.iter().map(|step| step.row.place).min();
    steps.retain(|step| Some(step.row.place) == place);
    steps
}

/// Takes a line of the script: keeps the result that is one, and says why another is none.
fn take(line: &str, kept: &mut Kept) -> Result<()> {
    if let Some(refused) = line.strip_prefix("@refused ") {
        eprintln!("  does not count: {refused}");
    } else if let Some(result) = line.strip_prefix("@result ") {
        match Outcome::parse(result) {
            Err(error) => eprintln!("  does not count: {error:#}"),
            Ok(result) => {
                eprintln!("  {}", report::line(&result));
                kept.add(result)?;
            }
        }
    }
    Ok(())
}

/// A repetition that is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    column: &'a Column,
    row: &'a Row,
    number: u32,
}

/// What is still to do: the first of all, column by column, then the second.
fn plan<'a>(
    columns: &[&'a Column],
    rows: &[&'a Row],
    repetitions: Option<u32>,
    kept: &Kept,
) -> Vec<Step<'a>> {
    let mut left = Vec::new();
    for column in columns {
        for row in rows {
            let wanted = repetitions.unwrap_or(row.repetitions(column));
            let done = kept.of(column.name, row.name);
            let is_done = |number: &u32| done.iter().any(|result| result.number == *number);
            let numbers = (1..=wanted).filter(|number| !is_done(number));
            left.extend(numbers.map(|number| Step { column, row, number }));
        }
    }
    left.sort_by_key(|step| step.number);
    left
}

/// Those that are named, or all.
fn chosen<'a, T>(names: &[String], all: &'a [T], name: impl Fn(&T) -> &str) -> Result<Vec<&'a T>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |wanted: &String| all.iter().find(|one| name(one) == wanted);
    let known = || all.iter().map(&name).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|wanted| find(wanted).with_context(|| format!("no {wanted}; there are: {}", known())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::kept::Digests;
    use super::rows::Place;
    use super::*;

    fn none() -> Kept {
        Kept::parse("", &Digests::default()).expect("nothing is wrong with nothing")
    }

    #[test]
    fn what_is_kept_is_not_planned_again() -> Result<()> {
        let rows: Vec<&Row> = ROWS.iter().take(2).collect();
        let line = format!("now vesper {} 1 10 20 30 40 2 yes record\n", rows[0].name);
        let kept = Kept::parse(&line, &Digests { ours: "now".to_string(), ..Digests::default() })?;
        let plan = plan(&[&COLUMNS[2]], &rows, Some(2), &kept);
        let plan: Vec<_> = plan.iter().map(|step| (step.row.name, step.number)).collect();
        assert_eq!(plan, [(rows[1].name, 1), (rows[0].name, 2), (rows[1].name, 2)]);
        Ok(())
    }

    #[test]
    fn what_is_run_elsewhere_comes_later() {
        let kept = none();
        let rows = |place| ROWS.iter().filter(move |row| row.place >= place).collect::<Vec<_>>();
        for place in [Place::OneHost, Place::Kdump, Place::TwoHosts] {
            let steps = in_one_place(plan(&[&COLUMNS[2]], &rows(place), Some(2), &kept));
            assert!(
                !steps.is_empty() && steps.iter().all(|step| step.row.place == place),
                "{place:?}: {steps:?}"
            );
        }
        assert!(in_one_place(Vec::new()).is_empty());
    }

    #[test]
    fn what_does_not_count_does_not_end_the_run() -> Result<()> {
        let mut kept = none();
        for line in [
            "@refused vesper oom 1: g1 answers",
            "@result vesper oom 1 100 99 - - 7 no record",
            "@result vesper oom",
        ] {
            take(line, &mut kept)?;
        }
        assert_eq!(kept.count(), 0);
        Ok(())
    }

    #[test]
    fn an_unknown_name_shows_the_known_ones() {
        let error = chosen(&["panics".to_string()], ROWS, |row| row.name).expect_err("there is none");
        assert!(error.to_string().contains("panic-destroy"), "{error}");
    }
}
