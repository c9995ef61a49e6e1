// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the file something is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;

use super::ConfigError;

/// The text, for turning offsets into lines and columns.
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
}

impl Place<'_> {
    /// Line and column in characters, both from 1.
    pub(super) fn at(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    pub(super) fn wrong(&self, offset: usize, message: &str, remedy: impl Into<String>) -> ConfigError {
        let (line, column) = self.at(offset);
        let message = message.replace('\n', " ");
        ConfigError::Wrong { path: self.path.to_owned(), line, column, message, remedy: remedy.into() }
    }

    /// What the parser did not take.
    pub(super) fn refused(&self, error: &toml::de::Error) -> ConfigError {
        let message = error.message();
        let remedy = match message {
            _ if message.starts_with("unknown field") => "write it as one of these, or take it out",
            _ if message.starts_with("invalid type: map, expected a sequence") => {
                "write it in double brackets, [[rule]], and that before its [[rule.service]]"
            }
            _ if message.starts_with("invalid type") => {
                "write a value of that type: text in double quotes, numbers and true or false without, lists in [ ]"
            }
            _ if message.starts_with("duplicate key") => "keep one of the two",
            _ => {
                "the file is TOML: KEY = VALUE on a line, [SECTION] on a line of its own, text in double quotes"
            }
        };
        self.wrong(error.span().map_or(0, |span| span.start), message, remedy)
    }

    pub(super) fn number(
        &self,
        value: &Spanned<i64>,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> Result<i64, ConfigError> {
        let number = *value.get_ref();
        if range.contains(&number) {
            return Ok(number);
        }
        let message = format!("{key}: {number} is not between {} and {}", range.start(), range.end());
        Err(self.wrong(value.span().start, &message, "write a number in that range, or leave the key out"))
    }

    pub(super) fn each<T, E: Display>(
        &self,
        values: &[Spanned<String>],
        key: &str,
        remedy: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, ConfigError> {
        let one = |value: &Spanned<String>| {
            parse(value.get_ref())
                .map_err(|error| self.wrong(value.span().start, &format!("{key}: {error}"), remedy))
        };
        values.iter().map(one).collect()
    }

    pub(super) fn absolute(&self, path: &Spanned<PathBuf>, key: &str) -> Result<PathBuf, ConfigError> {
        if path.get_ref().is_absolute() {
            return Ok(path.get_ref().clone());
        }
        let message = format!("{key}: an absolute path is wanted");
        Err(self.wrong(path.span().start, &message, "write the whole path, from the / on"))
    }
}
