// SPDX-License-Identifier: MIT OR Apache-2.0
//! What still counts of each guest, for those who ask how it is. It is kept beside the newest events: whatever one guest makes, no other
//! guest's faults are forgotten for it.

use std::collections::BTreeMap;

use vesper_api::GuestRef;

use crate::{Event, Failed, Kind, Severity};

/// Most faults of a guest.
pub const FAULTS_MAX: usize = 16;

/// By guest, the faults that count, without their stacks, in the order in which they were told last.
#[derive(Clone, Debug, Default)]
pub struct Standing(BTreeMap<(u16, String), Vec<Event>>);

impl Standing {
    /// Takes a document in; the one before it of the same fault goes, and what is of another boot.
    pub fn add(&mut self, event: &Event) {
        let key = (event.guest.domid, event.guest.uuid.clone());
        let faults = self.0.entry(key.clone()).or_default();
        let may_be_of = |other: &Event| match (&event.boot_id, &other.boot_id) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        faults.retain(|other| other.fault != event.fault && may_be_of(other));
        if stands(event) {
            faults.push(Event { stack: Vec::new(), ..event.clone() });
        }
        if faults.len() > FAULTS_MAX
            && let Some(least) = (0..faults.len()).min_by_key(|at| weight(&faults[*at..]))
        {
            faults.remove(least);
        }
        if faults.is_empty() {
            self.0.remove(&key);
        }
    }

    /// Those of a guest, the one that was told last behind the others.
    pub fn of(&self, guest: &GuestRef) -> &[Event] {
        self.0.get(&(guest.domid, guest.uuid.clone())).map_or(&[], Vec::as_slice)
    }

    /// There is no such guest any more.
    pub fn forget(&mut self, domid: u16, uuid: String) {
        self.0.remove(&(domid, uuid));
    }
}

/// Whether it may count, now or for a while.
fn stands(event: &Event) -> bool {
    !event.recovered && (event.failed.is_some() || event.severity >= Severity::Error)
}

/// How much the first of these says that those after it do not.
fn weight(faults: &[Event]) -> u8 {
    let Some((first, later)) = faults.split_first() else { return 0 };
    match first.failed {
        // Nothing but another boot ends it.
        None if first.severity == Severity::Fatal || first.event == Kind::GuestOops => 1,
        None => 0,
        // One that has failed anew since.
        Some(Failed::Service) if later.iter().any(|event| event.service == first.service) => 0,
        Some(Failed::Service) => 1,
        Some(Failed::Guest | Failed::Unknown) => 2,
    }
}
