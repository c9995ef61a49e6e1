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
    pub(super) fn wrong(&self, offset: usize, message: &str) -> ConfigError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Wrong {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.replace('\n', " "),
        }
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
        Err(self.wrong(value.span().start, &message))
    }

    pub(super) fn each<T, E: Display>(
        &self,
        values: &[Spanned<String>],
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, ConfigError> {
        values
            .iter()
            .map(|value| {
                parse(value.get_ref())
                    .map_err(|error| self.wrong(value.span().start, &format!("{key}: {error}")))
            })
            .collect()
    }

    pub(super) fn absolute(&self, path: &Spanned<PathBuf>, key: &str) -> Result<PathBuf, ConfigError> {
        if path.get_ref().is_absolute() {
            return Ok(path.get_ref().clone());
        }
        Err(self.wrong(path.span().start, &format!("{key}: an absolute path is wanted")))
    }
}
