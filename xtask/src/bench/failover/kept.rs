// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results, kept in a file from the moment they are there: a run that was stopped is gone on with. Each has the digest of
//! what it hangs on before it, so that results of other code are not mixed with those of this. The file is in the repository: it
//! is what the page's table is made of.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use vesper_lab::paths;

use super::rows::COLUMNS;

/// Name of the file, beside the page.
const FILE: &str = "failover.results";

/// What the results of each column hang on.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// Of the columns with VESPER's agents.
    pub ours: String,
    /// Of the others: without VESPER's own code, which is only the clock there.
    pub peers: String,
}

impl Digests {
    /// That of a column, by its name.
    fn of(&self, column: &str) -> Option<&str> {
        let column = COLUMNS.iter().find(|known| known.name == column)?;
        Some(if column.vesper { &self.ours } else { &self.peers })
    }
}

/// One repetition. Times are microseconds since 1970, by dom0's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The column's name.
    pub column: String,
    /// The row's name.
    pub row: String,
    /// Which repetition, from 1.
    pub number: u32,
    /// The fault.
    pub t0: i64,
    /// When a program on dom0 had the event from vesperd.
    pub told: Option<i64>,
    /// When Pacemaker's controller had an operation that failed.
    pub knew: Option<i64>,
    /// When the client had the first answer of the stand-by.
    pub answered: Option<i64>,
    /// Requests that got no answer in between; without an answer of the stand-by, to the end of the repetition.
    pub lost: u32,
    /// Whether Pacemaker can say why it was.
    pub cause: bool,
    /// Whether `t0` is the time of the guest's own record.
    pub recorded: bool,
}

impl Outcome {
    /// Reads what the script says of one.
    ///
    /// # Errors
    ///
    /// Another number of words, words that are no numbers, or something that is said to come of the fault and was before it.
    pub fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [column, row, number, t0, told, knew, answered, lost, cause, source] = words[..] else {
            anyhow::bail!("ten words are wanted, and not: {text}");
        };
        let time = |word: &str| (word != "-").then(|| word.parse()).transpose();
        let read = || -> Result<Self, std::num::ParseIntError> {
            Ok(Self {
                column: column.to_string(),
                row: row.to_string(),
                number: number.parse()?,
                t0: t0.parse()?,
                told: time(told)?,
                knew: time(knew)?,
                answered: time(answered)?,
                lost: lost.parse()?,
                cause: cause == "yes",
                recorded: source == "record",
            })
        };
        let outcome = read().with_context(|| format!("a number is wanted in: {text}"))?;
        let after = [outcome.told, outcome.knew, outcome.answered];
        ensure!(
            after.iter().flatten().all(|time| *time >= outcome.t0),
            "something was before the fault at {}: {text}",
            outcome.t0
        );
        Ok(outcome)
    }
}

/// All of what is measured now.
#[derive(Debug, Default)]
pub struct Kept {
    digests: Digests,
    all: Vec<Outcome>,
    stale: usize,
}

impl Kept {
    /// What earlier runs left of what has these digests.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is damaged.
    pub fn load(digests: &Digests) -> Result<Self> {
        let path = path();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Self::parse(&text, digests)
            .with_context(|| format!("{}: remove the file to begin anew", path.display()))
    }

    /// Reads a line for each: digest and result.
    ///
    /// # Errors
    ///
    /// The first line that has its column's digest, and is no result. Lines with another digest are stale, whatever else they have.
    pub fn parse(text: &str, digests: &Digests) -> Result<Self> {
        let mut kept = Self { digests: digests.clone(), ..Self::default() };
        for (at, line) in text.lines().enumerate() {
            let (found, result) = line.split_once(' ').unwrap_or((line, ""));
            if digests.of(result.split(' ').next().unwrap_or_default()) == Some(found) {
                kept.all.push(Outcome::parse(result).with_context(|| format!("line {}", at + 1))?);
            } else {
                kept.stale += 1;
            }
        }
        Ok(kept)
    }

    /// Adds one, in the file first.
    ///
    /// # Errors
    ///
    /// It is of no column, or cannot be written.
    pub fn add(&mut self, result: Outcome) -> Result<()> {
        let path = path();
        let digest =
            self.digests.of(&result.column).with_context(|| format!("no column {}", result.column))?;
        let time = |time: Option<i64>| time.map_or("-".to_string(), |time| time.to_string());
        let line = format!(
            "{} {} {} {} {} {} {} {} {} {} {}\n",
            digest,
            result.column,
            result.row,
            result.number,
            result.t0,
            time(result.told),
            time(result.knew),
            time(result.answered),
            result.lost,
            if result.cause { "yes" } else { "no" },
            if result.recorded { "record" } else { "other" }
        );
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        self.all.push(result);
        Ok(())
    }

    /// Those of one place in the table.
    pub fn of(&self, column: &str, row: &str) -> Vec<&Outcome> {
        self.all.iter().filter(|result| result.column == column && result.row == row).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How many the file has of other code.
    pub fn stale(&self) -> usize {
        self.stale
    }
}

/// Where the results are.
fn path() -> PathBuf {
    paths::workspace().join("docs").join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(ours: &str, peers: &str) -> Digests {
        Digests { ours: ours.to_string(), peers: peers.to_string() }
    }

    #[test]
    fn a_result_is_read() -> Result<()> {
        let kept = Kept::parse("d1 vesper sigterm 2 100 150 - - 7 no other\n", &digests("d1", ""))?;
        let [result] = kept.of("vesper", "sigterm")[..] else { panic!("one") };
        assert_eq!((result.t0, result.told, result.knew, result.lost), (100, Some(150), None, 7));
        assert!(!result.cause && !result.recorded && kept.of("vesper", "oom").is_empty());
        for wrong in ["vesper", "vesper oom 1 2 3", "vesper oom 1 x - - - 7 no other"] {
            assert!(Kept::parse(&format!("d1 {wrong}"), &digests("d1", "")).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn results_of_other_code_are_left_out() -> Result<()> {
        let text = "vesper sigterm 1 100 150 - - 7 no record\n\
            d1 vesper sigterm 1 100 150 - - 7 no record\n\
            d2 vesper sigterm 1 100 160 - - 7 no record\n\
            d1 from before a column was added\n\n";
        let kept = Kept::parse(text, &digests("d2", "d1"))?;
        let [result] = kept.of("vesper", "sigterm")[..] else { panic!("one") };
        assert_eq!((result.told, kept.count(), kept.stale()), (Some(160), 1, 4));
        Ok(())
    }

    #[test]
    fn what_is_measured_without_our_code_does_not_hang_on_it() -> Result<()> {
        let text = "d1 vesper oom 1 100 150 - - 7 no record\np1 heartbeat-1s oom 1 100 - - - 7 no record\n";
        let kept = Kept::parse(text, &digests("d2", "p1"))?;
        assert_eq!((kept.of("vesper", "oom").len(), kept.of("heartbeat-1s", "oom").len()), (0, 1));
        Ok(())
    }

    #[test]
    fn nothing_comes_of_a_fault_before_it() {
        for early in ["99 - -", "- 99 -", "150 160 99"] {
            let error = Outcome::parse(&format!("vesper sigterm 1 100 {early} 7 no record"));
            let error = error.expect_err(early).to_string();
            assert!(error.contains("before the fault at 100"), "{error}");
        }
        assert!(Outcome::parse("vesper sigterm 1 100 100 100 100 7 no record").is_ok());
    }
}
