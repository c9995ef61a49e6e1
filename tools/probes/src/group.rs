// SPDX-License-Identifier: MIT OR Apache-2.0
//! A group of probes as somebody writes it.

use std::fmt;
use std::str::FromStr;

/// Most bytes of a name.
const NAME_MAX: usize = 48;

/// A group of probes, with the events of it that are wanted: `GROUP` or `GROUP:EVENT,EVENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// None: all of them.
    pub events: Vec<String>,
}

/// A text that is no name of a group or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName(String);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no name: letters, digits, _ and - are wanted, {NAME_MAX} at most", self.0)
    }
}

impl std::error::Error for InvalidName {}

impl Group {
    /// The parameters of its module: which events, and those that were given.
    pub fn parameters(&self, args: impl IntoIterator<Item = String>) -> Vec<String> {
        let events = (!self.events.is_empty()).then(|| format!("events={}", self.events.join(",")));
        events.into_iter().chain(args).collect()
    }
}

impl FromStr for Group {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (group, events) =
            text.split_once(':').map_or((text, None), |(group, events)| (group, Some(events)));
        let events = events.map_or_else(|| Ok(Vec::new()), |events| events.split(',').map(name).collect());
        Ok(Self { name: name(group)?, events: events? })
    }
}

/// The name of a group or an event, with `_` for `-`.
///
/// # Errors
/// [`InvalidName`].
pub fn name(text: &str) -> Result<String, InvalidName> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(fits) {
        return Err(InvalidName(text.to_owned()));
    }
    Ok(text.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_have_events() {
        let made = |name: &str, events: &[&str]| Group {
            name: name.into(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
        };
        assert_eq!("panic".parse(), Ok(made("panic", &[])));
        assert_eq!("hung-task:io,lock".parse(), Ok(made("hung_task", &["io", "lock"])));
        for bad in ["", ":", "a:", "a:b,", "../x", "a/b", "a b", "a:b:c", &"x".repeat(49)] {
            assert!(bad.parse::<Group>().is_err(), "{bad:?}");
        }
    }
}
