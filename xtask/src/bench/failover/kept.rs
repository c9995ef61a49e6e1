// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results, kept in a file from the moment they are there: a run that was stopped is gone on with. Each has the digest of
//! what was measured before it, so that results of other code are not mixed with those of this.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::bench::dom0;

/// Name of the file, beside the other benchmarks' results.
const FILE: &str = "failover.results";

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
    digest: String,
    all: Vec<Outcome>,
    stale: usize,
}

impl Kept {
    /// What earlier runs left of what has this digest.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is damaged.
    pub fn load(digest: &str) -> Result<Self> {
        let path = path()?;
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Self::parse(&text, digest)
            .with_context(|| format!("{}: remove the file to begin anew", path.display()))
    }

    /// Reads a line for each: digest and result.
    ///
    /// # Errors
    ///
    /// The first line that has this digest, and is none. Lines without a digest, as there were once, are stale like those with another.
    pub fn parse(text: &str, digest: &str) -> Result<Self> {
        let mut kept = Self { digest: digest.to_string(), ..Self::default() };
        for (at, line) in text.lines().enumerate() {
            match line.split_once(' ') {
                Some((found, result)) if found == digest => {
                    kept.all.push(Outcome::parse(result).with_context(|| format!("line {}", at + 1))?);
                }
                _ => kept.stale += 1,
            }
        }
        Ok(kept)
    }

    /// Adds one, in the file first.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn add(&mut self, result: Outcome) -> Result<()> {
        let path = path()?;
        let time = |time: Option<i64>| time.map_or("-".to_string(), |time| time.to_string());
        let line = format!(
            "{} {} {} {} {} {} {} {} {} {} {}\n",
            self.digest,
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
pub fn path() -> Result<PathBuf> {
    Ok(dom0::folder()?.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read() -> Result<()> {
        let kept = Kept::parse("d1 vesper sigterm 2 100 150 - - 7 no other\n", "d1")?;
        let [result] = kept.of("vesper", "sigterm")[..] else { panic!("one") };
        assert_eq!((result.t0, result.told, result.knew, result.lost), (100, Some(150), None, 7));
        assert!(!result.cause && !result.recorded && kept.of("vesper", "oom").is_empty());
        for wrong in ["vesper", "vesper oom 1 2 3", "vesper oom 1 x - - - 7 no other"] {
            assert!(Kept::parse(&format!("d1 {wrong}"), "d1").is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn results_of_other_code_are_left_out() -> Result<()> {
        let text = "vesper sigterm 1 100 150 - - 7 no record\n\
            d1 vesper sigterm 1 100 150 - - 7 no record\n\
            d2 vesper sigterm 1 100 160 - - 7 no record\n\
            d1 from before a column was added\n";
        let kept = Kept::parse(text, "d2")?;
        let [result] = kept.of("vesper", "sigterm")[..] else { panic!("one") };
        assert_eq!((result.told, kept.count(), kept.stale()), (Some(160), 1, 3));
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
