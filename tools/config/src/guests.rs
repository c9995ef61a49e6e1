// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which guests are meant.

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;
use vesper_xenback::Uuid;

use super::ConfigError;
use super::place::Place;

/// What xl adds to the name of a guest until its migration to this host is complete (`tools/xl/xl_migrate.c`).
const INCOMING: &str = "--incoming";

/// What to do about a pattern or a UUID that is none.
pub(super) const PATTERN: &str =
    "* stands for any text, ? for one character, [ab] for one of these; write [*] for the character itself";
const UUID: &str = "write it as vesper list shows it";

/// Which guests are attached without being asked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachRule {
    /// Every guest.
    pub all: bool,
    /// Guests whose name matches one of these shell patterns.
    pub names: Vec<Pattern>,
    /// Guests with one of these UUIDs.
    pub uuids: Vec<Uuid>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    all: bool,
    names: Vec<Spanned<String>>,
    uuids: Vec<Spanned<String>>,
}

impl AttachRule {
    /// Whether a guest is to be attached. One that arrives by migration is meant by the name that it will have.
    pub fn matches(&self, name: &str, uuid: Uuid) -> bool {
        let arrived = name.strip_suffix(INCOMING).unwrap_or(name);
        let named = |pattern: &Pattern| pattern.matches(name) || pattern.matches(arrived);
        self.all || self.uuids.contains(&uuid) || self.names.iter().any(named)
    }

    /// The guests of a rule: each is a UUID or a pattern for names.
    pub(super) fn of(guests: &[Spanned<String>], place: &Place<'_>) -> Result<Self, ConfigError> {
        let mut meant = Self::default();
        for guest in guests {
            let (at, text) = (guest.span().start, guest.get_ref().as_str());
            let wrong = |message: String, remedy| place.wrong(at, &format!("guests: {message}"), remedy);
            if let Ok(uuid) = text.parse() {
                meant.uuids.push(uuid);
            } else if is_meant_as_uuid(text) {
                return Err(wrong(format!("{text:?} is not a UUID"), UUID));
            } else if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = if text.is_empty() {
                    "an empty name"
                } else {
                    "a domid, which changes when the guest reboots"
                };
                return Err(wrong(
                    format!("{text:?} is {message}"),
                    "write the guest's name or UUID, as vesper list shows them",
                ));
            } else {
                meant.names.push(Pattern::new(text).map_err(|error| wrong(error.to_string(), PATTERN))?);
            }
        }
        Ok(meant)
    }
}

impl Section {
    pub(super) fn check(&self, place: &Place<'_>) -> Result<AttachRule, ConfigError> {
        let names = place.each(&self.names, "attach.names", PATTERN, Pattern::new)?;
        let uuids = place.each(&self.uuids, "attach.uuids", UUID, |uuid| uuid.parse::<Uuid>())?;
        Ok(AttachRule { all: self.all, names, uuids })
    }
}

/// Whether somebody meant a UUID, and mistyped it.
fn is_meant_as_uuid(text: &str) -> bool {
    text.len() >= 30
        && text.matches('-').count() >= 3
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
