// SPDX-License-Identifier: MIT OR Apache-2.0
//! `group` and `[rights]`: whose members may do what.

use serde::Deserialize;
use toml::Spanned;
use vesper_api::Right;

use super::ConfigError;
use super::place::Place;

/// The name of the group of each right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    read: String,
    events: String,
    inject: String,
    configure: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    read: Option<Spanned<String>>,
    events: Option<Spanned<String>>,
    inject: Option<Spanned<String>>,
    configure: Option<Spanned<String>>,
}

impl Rights {
    /// One group has all of them.
    pub fn of(group: &str) -> Self {
        let group = || group.to_owned();
        Self { read: group(), events: group(), inject: group(), configure: group() }
    }

    /// The group whose members have this right.
    pub fn group(&self, right: Right) -> &str {
        match right {
            Right::Read => &self.read,
            Right::Events => &self.events,
            Right::Inject => &self.inject,
            Right::Configure => &self.configure,
        }
    }
}

impl Section {
    /// Where nothing is said, it is the group for all.
    pub(super) fn check(&self, group: &Spanned<String>, place: &Place<'_>) -> Result<Rights, ConfigError> {
        let named = |value: &Spanned<String>, key: &str, remedy: &str| {
            if value.get_ref().is_empty() {
                return Err(place.wrong(value.span().start, &format!("{key}: a name is wanted"), remedy));
            }
            Ok(value.get_ref().clone())
        };
        let group =
            named(group, "group", "name a group of this machine, or leave the key out for \"vesper\"")?;
        let one = |value: &Option<Spanned<String>>, right: Right| match value {
            None => Ok(group.clone()),
            Some(value) => {
                let remedy = format!("name a group of this machine, or leave the key out for {group:?}");
                named(value, &format!("rights.{right}"), &remedy)
            }
        };
        Ok(Rights {
            read: one(&self.read, Right::Read)?,
            events: one(&self.events, Right::Events)?,
            inject: one(&self.inject, Right::Inject)?,
            configure: one(&self.configure, Right::Configure)?,
        })
    }
}
