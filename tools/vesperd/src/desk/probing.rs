// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probes that rules want in guests: looked at when a guest connects, and when the rules are read anew. What is in stays; what is
//! not is loaded as for a client. One that cannot be is told of once, and tried again at the next such moment; sooner, and in silence,
//! if the guest had only no time for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vesper_api::{Done, ErrorKind, Failure, Wanted, WantedState, printable};
use vesper_config::rules::Probe;
use vesper_events::{Kind, Report};
use vesper_grant::DomId;
use vesper_probes::module_names;
use vesper_stream::Moment;
use vesper_xenback::{DeviceState, GuestInfo};

use super::order::{By, Load, Order, What};
use super::{Desk, load};
use crate::config::Config;
use crate::events::Note;
use crate::images::Origin;
use crate::{failures, view};

/// Between two looks at one guest, however often it connects.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before a guest that had no time is asked again; the first is the one above, each is twice as long as the one before.
const PATIENCE: Duration = Duration::from_secs(320);

/// What is known of guests that rules want probes in.
#[derive(Default)]
pub(super) struct Probing(HashMap<DomId, Seen>);

#[derive(Default)]
struct Seen {
    /// When to look at it.
    due: Option<Instant>,
    /// Not before this, unless somebody asks for it.
    rests_until: Option<Instant>,
    /// Groups that the guest had no time for, and when it is asked again.
    late: BTreeSet<String>,
    again: Option<Instant>,
    patience: Duration,
    /// Groups that could not be loaded, and why.
    failed: BTreeMap<String, String>,
    /// Groups that are in without having been loaded through VESPER.
    others: BTreeSet<String>,
}

impl Probing {
    /// When [`Desk::load_wanted`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().flat_map(|seen| [seen.due, seen.again]).flatten().min()
    }

    /// There is no such guest any more.
    pub(super) fn forget(&mut self, domid: DomId) {
        self.0.remove(&domid);
    }
}

impl Seen {
    /// Whether it is time to look at it, and if so, at which groups; `None` inside: at all.
    fn take(&mut self, now: Instant) -> Option<Option<BTreeSet<String>>> {
        if self.due.take_if(|due| *due <= now).is_some() {
            *self = Self { rests_until: Some(now + PAUSE), patience: PAUSE, ..Self::default() };
            return Some(None);
        }
        self.again.take_if(|again| *again <= now)?;
        Some(Some(std::mem::take(&mut self.late)))
    }

    /// The guest had no time for a group.
    fn is_late(&mut self, group: &str) {
        self.late.insert(group.to_owned());
        if self.again.is_none() {
            self.again = Some(Instant::now() + self.patience);
            self.patience = (2 * self.patience).min(PATIENCE);
        }
    }
}

impl Desk {
    /// A guest has connected: what is wanted in it is looked at.
    pub(super) fn want_probes(&mut self, domid: DomId, now: Instant) {
        let seen = self.probing.0.entry(domid).or_default();
        seen.due = Some(seen.rests_until.map_or(now, |until| until.max(now)));
    }

    /// Goes on with another configuration, as far as that can be changed while the daemon runs. Nothing that is under way is
    /// touched.
    pub(crate) fn reload(&mut self, config: &Config, now: Instant) {
        let before = std::mem::replace(&mut self.auto_attach, config.attach.clone());
        (self.image_bytes, self.waiting_bytes) = (config.image_bytes, config.waiting_bytes);
        self.inject = config.inject.clone().into();
        self.timeout = config.timeout;
        self.rules = config.rules.clone();
        self.directories = load::directories(config);
        self.events.follow(config.rules.clone());
        for info in self.backend.guests() {
            if info.device == Some(DeviceState::Connected) {
                self.probing.0.entry(info.domid).or_default().rests_until = None;
                self.want_probes(info.domid, now);
            } else if info.device.is_none() && !before.matches(&info.name, info.uuid) {
                // Those that were meant before have been attached, and maybe detached by hand since.
                self.attach_as_configured(info.domid);
            }
        }
    }

    /// Begins to load what is wanted and not in.
    pub(super) fn load_wanted(&mut self, now: Instant) {
        let due = |(domid, seen): (&DomId, &mut Seen)| seen.take(now).map(|only| (*domid, only));
        let due: Vec<_> = self.probing.0.iter_mut().filter_map(due).collect();
        for (domid, only) in due {
            let Some(info) = self.backend.guest(domid) else { continue };
            if info.device != Some(DeviceState::Connected) {
                continue;
            }
            let rules = self.rules.clone();
            let again = only.is_some();
            for probe in rules.probes(&info.name, info.uuid) {
                let is_meant = only.as_ref().is_none_or(|only| only.contains(&probe.group.name));
                if is_meant && !is_in(&info, probe) && !self.is_under_way(domid, probe) {
                    self.load_probe(&info, probe, again, now);
                }
            }
        }
    }

    fn load_probe(&mut self, info: &GuestInfo, probe: &Probe, again: bool, now: Instant) {
        let group = probe.group.name.clone();
        let kernel = info.kernel_release.clone().unwrap_or_else(|| "unknown".into());
        let directories = self.directories.clone();
        let origin = Origin::Probes { directories, kernel, group: group.clone() };
        let job = self.images.prepare(origin, self.terms());
        let what = What::Load(Box::new(Load::of(group, probe.args.clone())));
        let order = Order {
            by: By::Rule { probe: Arc::new(probe.clone()), again },
            domid: info.domid,
            uuid: info.uuid,
            guest: view::guest_ref(info),
            started: now,
            deadline: now + self.timeout,
            what,
        };
        self.preparing.insert(job, order);
    }

    /// How it went with a probe; `again`: it was told of before that the guest had no time.
    pub(super) fn probed(&mut self, domid: DomId, probe: &Probe, again: bool, result: Result<Done, Failure>) {
        let Some(seen) = self.probing.0.get_mut(&domid) else { return };
        let group = &probe.group.name;
        seen.others.remove(group);
        match result {
            Ok(_) => drop(seen.failed.remove(group)),
            Err(failure) if failures::is_in_already(&failure) => {
                seen.failed.remove(group);
                seen.others.insert(group.clone());
            }
            // It is tried again when the guest connects again, or by the next daemon.
            Err(Failure { kind: ErrorKind::GuestGone | ErrorKind::NotAttached, .. })
            | Err(Failure { kind: ErrorKind::Interrupted | ErrorKind::OutcomeUnknown, .. }) => {}
            Err(failure) => {
                let may_pass = failures::may_pass(&failure);
                if may_pass {
                    seen.is_late(group);
                }
                let remedy = failure.remedy.as_ref().map_or(String::new(), |remedy| format!("; {remedy}"));
                let why = format!("{}{remedy}", failure.message);
                seen.failed.insert(group.clone(), why);
                if !(again && may_pass) {
                    let message = printable(&failure.message);
                    let cause = format!("a rule wants the probes {group} in it: {message}");
                    let report = Report::seen(Kind::ProbeLost, cause, Moment::now());
                    self.events.note(domid, Note::Seen(report.about(format!("probe={group}"))));
                }
            }
        }
    }

    /// What rules want in a guest, and how far that is.
    pub(super) fn wanted(&self, info: &GuestInfo) -> Vec<Wanted> {
        let seen = self.probing.0.get(&info.domid);
        let state = |probe: &Probe| {
            let why = seen.and_then(|seen| seen.failed.get(&probe.group.name)).cloned();
            let by_others = seen.is_some_and(|seen| seen.others.contains(&probe.group.name));
            let state = match () {
                () if is_in(info, probe) || by_others => WantedState::In,
                () if self.is_under_way(info.domid, probe) => WantedState::Loading,
                () if why.is_some() => WantedState::Failed,
                () => WantedState::Out,
            };
            let why = why.filter(|_| state == WantedState::Failed);
            Wanted { probe: probe.text.clone(), rule: probe.rule.clone(), state, why }
        };
        self.rules.probes(&info.name, info.uuid).into_iter().map(state).collect()
    }

    fn is_under_way(&self, domid: DomId, probe: &Probe) -> bool {
        let orders = self.preparing.values().chain(self.running.values());
        let is_of_it =
            |by: &By| matches!(by, By::Rule { probe: other, .. } if other.group.name == probe.group.name);
        orders.filter(|order| order.is_for(domid)).any(|order| is_of_it(&order.by))
    }
}

fn is_in(info: &GuestInfo, probe: &Probe) -> bool {
    let names = module_names(&probe.group.name);
    info.modules.iter().any(|module| names.iter().any(|name| name == module.name.as_str()))
}
