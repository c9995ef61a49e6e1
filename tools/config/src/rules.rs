// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[[rule]]`: which probes go into which guests, and which events make such a guest, or only a service in it, failed.
//!
//! Of several rules that mean a guest: the probes of all of them go in; the first one that says `failed` says what makes the
//! guest failed; the services of all of them are its services.

#[cfg(test)]
mod tests;

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;
use vesper_action::image;
use vesper_events::{End, Event, Failed, Judge, Kind};
use vesper_probes::Group;
use vesper_xenback::Uuid;

use super::ConfigError;
use super::guests::{AttachRule, PATTERN};
use super::place::Place;

/// What makes a guest failed unless a rule says otherwise.
const GUEST_FAILED: [Kind; 4] = [Kind::GuestPanic, Kind::GuestHung, Kind::GuestCrashed, Kind::GuestGone];
/// What may.
const GUEST_MAY_FAIL: [Kind; 9] = [
    Kind::GuestPanic,
    Kind::GuestHung,
    Kind::GuestCrashed,
    Kind::GuestGone,
    Kind::GuestOops,
    Kind::GuestOom,
    Kind::ProcessKilled,
    Kind::ProcessStuck,
    Kind::BlockError,
];
/// What makes a service failed unless its rule says otherwise, and what may: those name a process.
const SERVICE_FAILED: [Kind; 3] = [Kind::ProcessKilled, Kind::ProcessStuck, Kind::GuestOom];
const SERVICE_MAY_FAIL: [Kind; 4] =
    [Kind::ProcessKilled, Kind::ProcessStuck, Kind::GuestOom, Kind::GuestOops];
/// Bytes of a process's name that the kernel keeps (`TASK_COMM_LEN`, less the zero).
const COMM_MAX: usize = 15;
/// Most bytes of a service's name.
const SERVICE_MAX: usize = 64;

/// All of them, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    guests: AttachRule,
    probes: Vec<Probe>,
    failed: Option<Vec<Kind>>,
    services: Vec<Service>,
}

/// A probe module that a rule wants in guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The rule, `FILE:LINE`.
    pub rule: String,
    /// As it is written there.
    pub text: String,
    /// The group of probes.
    pub group: Group,
    /// The module's parameters, in one string.
    pub args: String,
}

/// A service in guests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    name: String,
    process: Pattern,
    failed: Vec<Kind>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    guests: Vec<Spanned<String>>,
    probes: Vec<Spanned<String>>,
    failed: Option<Vec<Spanned<String>>>,
    service: Vec<Spanned<ServiceSection>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServiceSection {
    name: Option<Spanned<String>>,
    process: Option<Spanned<String>>,
    failed: Option<Vec<Spanned<String>>>,
}

impl Rules {
    /// The probes that are wanted in a guest: of two of one group, the first.
    pub fn probes(&self, name: &str, uuid: Uuid) -> Vec<&Probe> {
        let mut wanted: Vec<&Probe> = Vec::new();
        for probe in self.of(name, uuid).flat_map(|rule| &rule.probes) {
            if wanted.iter().all(|other| other.group.name != probe.group.name) {
                wanted.push(probe);
            }
        }
        wanted
    }

    fn verdict(&self, event: &Event) -> (Option<Failed>, Option<String>) {
        // What dom0 made of it; a guest cannot choose whose it is.
        let Ok(uuid) = event.guest.uuid.parse() else { return (None, None) };
        let name = event.guest.name.as_str();
        if event.recovered {
            return (None, None);
        }
        let said = self.of(name, uuid).find_map(|rule| rule.failed.as_deref()).unwrap_or(&GUEST_FAILED);
        let happened = Some(event.event).filter(|kind| *kind != Kind::GuestGone);
        if happened.into_iter().chain(event.end.and_then(ended_as)).any(|kind| said.contains(&kind)) {
            return (Some(Failed::Guest), None);
        }
        let Some(process) = event.process.as_deref() else { return (None, None) };
        let fails =
            |service: &&Service| service.failed.contains(&event.event) && service.process.matches(process);
        let service = self.of(name, uuid).flat_map(|rule| &rule.services).find(fails);
        (service.map(|_| Failed::Service), service.map(|service| service.name.clone()))
    }

    fn of(&self, name: &str, uuid: Uuid) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter(move |rule| rule.guests.matches(name, uuid))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn check(sections: &[Spanned<Section>], place: &Place<'_>) -> Result<Self, ConfigError> {
        sections.iter().map(|section| Rule::check(section, place)).collect::<Result<_, _>>().map(Self)
    }
}

impl Judge for Rules {
    fn judge(&self, event: &mut Event) {
        (event.failed, event.service) = self.verdict(event);
    }
}

/// What an end counts as, whatever explains it better. How a guest ended otherwise, somebody wanted.
fn ended_as(end: End) -> Option<Kind> {
    match end {
        End::Crashed | End::Watchdog => Some(Kind::GuestCrashed),
        End::Destroyed => Some(Kind::GuestGone),
        _ => None,
    }
}

impl Rule {
    fn check(section: &Spanned<Section>, place: &Place<'_>) -> Result<Self, ConfigError> {
        let (at, section) = (section.span().start, section.get_ref());
        if section.guests.is_empty() {
            let remedy = "add a line such as guests = [\"web*\"]; [\"*\"] means all";
            return Err(place.wrong(at, "rule: it says no guests", remedy));
        }
        let Section { guests, probes, failed, service } = section;
        if probes.is_empty() && failed.is_none() && service.is_empty() {
            let remedy = "add probes = […], failed = […] or a [[rule.service]], or take the rule out";
            return Err(place.wrong(at, "rule: it says nothing about its guests", remedy));
        }
        let rule = format!("{}:{}", place.path, place.at(at).0);
        let probes = probes.iter().map(|probe| Probe::check(probe, &rule, place));
        let probes: Vec<Probe> = probes.collect::<Result<_, _>>()?;
        for (number, probe) in probes.iter().enumerate() {
            if probes[..number].iter().any(|other| other.group.name == probe.group.name) {
                let message = format!("probes: {} is there twice", probe.group.name);
                let remedy = "a module is in a guest once: put its events and parameters into one text";
                return Err(place.wrong(section.probes[number].span().start, &message, remedy));
            }
        }
        let failed = failed.as_ref().map(|kinds| {
            check_kinds(kinds, "failed", &GUEST_MAY_FAIL, "does not say that anything failed", place)
        });
        let services = service.iter().map(|service| Service::check(service, place));
        Ok(Self {
            guests: AttachRule::of(guests, place)?,
            probes,
            failed: failed.transpose()?,
            services: services.collect::<Result<_, _>>()?,
        })
    }
}

impl Probe {
    fn check(probe: &Spanned<String>, rule: &str, place: &Place<'_>) -> Result<Self, ConfigError> {
        let (at, text) = (probe.span().start, probe.get_ref());
        let remedy = "write \"GROUP\" or \"GROUP:EVENT,EVENT PARAM=VALUE\", as for vesper probe; vesper probes lists the groups";
        let wrong = |error: &dyn std::fmt::Display| place.wrong(at, &format!("probes: {error}"), remedy);
        let mut words = text.split_whitespace();
        let group: Group = words.next().unwrap_or_default().parse().map_err(|error| wrong(&error))?;
        let args = image::join_args(&group.parameters(words.map(str::to_owned)));
        Ok(Self {
            rule: rule.to_owned(),
            text: text.clone(),
            args: args.map_err(|error| wrong(&error))?,
            group,
        })
    }
}

impl Service {
    fn check(section: &Spanned<ServiceSection>, place: &Place<'_>) -> Result<Self, ConfigError> {
        let ServiceSection { name, process, failed } = section.get_ref();
        let Some(name) = name else {
            let remedy = "add name = \"…\": hooks get it as VESPER_SERVICE";
            return Err(place.wrong(section.span().start, "rule.service: it has no name", remedy));
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
        let text = name.get_ref();
        if text.is_empty() || text.len() > SERVICE_MAX || !text.bytes().all(fits) {
            let message = format!("rule.service.name: {text:?} is no name for a service");
            let remedy = format!(
                "letters, digits, _ - . and @ are wanted, {SERVICE_MAX} at most; what runs is process"
            );
            return Err(place.wrong(name.span().start, &message, remedy));
        }
        let process = process.as_ref().unwrap_or(name);
        let wrong = |message: &str, remedy: String| {
            place.wrong(process.span().start, &format!("rule.service.process: {message}"), remedy)
        };
        let text = process.get_ref();
        if text.is_empty() {
            return Err(wrong("it is empty", "write the name of the service's process".into()));
        }
        if text.len() > COMM_MAX && !text.contains(['*', '?', '[']) {
            let message = format!(
                "{text:?} is longer than the {COMM_MAX} characters that a kernel keeps of a process's name"
            );
            let kept: String = text.chars().take(COMM_MAX).collect();
            return Err(wrong(&message, format!("write process = {kept:?}")));
        }
        let pattern = Pattern::new(text).map_err(|error| wrong(&error.to_string(), PATTERN.into()))?;
        let key = "rule.service.failed";
        let failed = failed
            .as_ref()
            .map(|kinds| check_kinds(kinds, key, &SERVICE_MAY_FAIL, "says nothing of a process", place));
        Ok(Self {
            name: name.get_ref().clone(),
            process: pattern,
            failed: failed.transpose()?.unwrap_or_else(|| SERVICE_FAILED.to_vec()),
        })
    }
}

/// The kinds that are written there, each of them one that `may` be; `other` says what is wrong with the rest.
fn check_kinds(
    kinds: &[Spanned<String>],
    key: &str,
    may: &[Kind],
    other: &str,
    place: &Place<'_>,
) -> Result<Vec<Kind>, ConfigError> {
    let one = |kind: &Spanned<String>| {
        let text = kind.get_ref();
        if let Some(kind) = may.iter().find(|kind| kind.name() == text) {
            return Ok(*kind);
        }
        let is_one = Kind::ALL.iter().any(|kind| kind.name() == text);
        let why = if is_one { other } else { "is no event" };
        let names: Vec<_> = may.iter().map(|kind| kind.name()).collect();
        let message = format!("{key}: {text:?} {why}");
        Err(place.wrong(kind.span().start, &message, format!("write some of {}", names.join(", "))))
    };
    kinds.iter().map(one).collect()
}
