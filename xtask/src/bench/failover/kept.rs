// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results, kept in a file from the moment they are there: a run that was stopped is gone on with.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

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
    /// Another number of words, or words that are no numbers.
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
        read().with_context(|| format!("a number is wanted in: {text}"))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Kept {
    all: Vec<Outcome>,
}

impl Kept {
    /// What earlier runs left.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is damaged.
    pub fn load() -> Result<Self> {
        let path = path()?;
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Self::parse(&text).with_context(|| format!("{}: remove the file to begin anew", path.display()))
    }

    /// Reads a line for each.
    ///
    /// # Errors
    ///
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let read = |(at, line)| Outcome::parse(line).with_context(|| format!("line {}", at + 1));
        Ok(Self { all: text.lines().enumerate().map(read).collect::<Result<_>>()? })
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
            "{} {} {} {} {} {} {} {} {} {}\n",
            result.column,
            result.row,
            result.number,
            result.t0,
            time(result.told),
            time(result.knew),
            time(result.answered),
            result.lost,
            if result.cause { "yes" } else { "no" },
            if result.recorded { "record" } else { "command" }
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
        let kept = Kept::parse("vesper sigterm 2 100 150 - - 7 no command\n")?;
        let [result] = kept.of("vesper", "sigterm")[..] else { panic!("one") };
        assert_eq!((result.t0, result.told, result.knew, result.lost), (100, Some(150), None, 7));
        assert!(!result.cause && !result.recorded && kept.of("vesper", "oom").is_empty());
        for wrong in ["vesper", "vesper oom 1 2 3", "vesper oom 1 x - - - 7 no command"] {
            assert!(Kept::parse(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
