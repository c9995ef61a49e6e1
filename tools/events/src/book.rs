// SPDX-License-Identifier: MIT OR Apache-2.0
//! All guests: who is meant, serial numbers, and what is due.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use vesper_api::GuestRef;

use crate::guest::Guest;
use crate::journal::{Kept, Places};
use crate::told::{Judge, Teller};
use crate::{Event, Report, Source, Told, Who};

/// How long a guest that is gone is remembered: what was saved of it is told by then.
const GONE_NS: u64 = 60_000_000_000;

/// The faults of all guests. `now_ns` is always the real-time clock.
#[derive(Debug)]
pub struct Book {
    /// A domain's number is used again, its UUID is not at the same time.
    guests: BTreeMap<(u16, String), Guest>,
    teller: Teller,
    told: Vec<Told>,
    forgotten: Vec<(u16, String)>,
}

impl Book {
    /// With nothing told yet, except what a predecessor did.
    pub fn new(kept: &Kept, now_ns: u64) -> Self {
        let mut book = Self {
            guests: BTreeMap::new(),
            teller: Teller { next: kept.next, judge: None },
            told: Vec::new(),
            forgotten: Vec::new(),
        };
        // In the order in which it happened, since a guest's other boot begins anew.
        let events = kept.of_this_boot();
        let (before, after) = events.split_at(events.partition_point(|e| e.serial < kept.places_at));
        before.iter().for_each(|event| book.restore(event, now_ns));
        for Places { domid, uuid, boot_id, read } in &kept.places {
            let guest = GuestRef { domid: *domid, name: String::new(), uuid: uuid.clone() };
            let guest = book.restored(Who::new(guest, boot_id.clone()), now_ns);
            for &(export, cpu, seq) in read {
                guest.has_read(&Source { channel: String::new(), export, cpu, seq, last_words: false });
            }
        }
        after.iter().for_each(|event| book.restore(event, now_ns));
        book
    }

    /// These rules say from now on what failed.
    pub fn follow(&mut self, rules: Arc<dyn Judge>) {
        self.teller.judge = Some(rules);
    }

    fn restore(&mut self, event: &Event, now_ns: u64) {
        let who = Who::new(event.guest.clone(), event.boot_id.clone());
        self.restored(who, now_ns).restore(event.clone());
    }

    /// One of a predecessor's. There is no limit to them but the journal's: those of today are the last that come.
    fn restored(&mut self, who: Who, now_ns: u64) -> &mut Guest {
        let key = (who.guest.domid, who.guest.uuid.clone());
        let guest = self.guests.entry(key).or_insert_with(|| Guest::new(who.clone()));
        guest.is(&who);
        // Unless it is seen again.
        guest.forget_at = Some(now_ns + GONE_NS);
        guest
    }

    /// A guest is there, or is another boot of itself.
    pub fn is_there(&mut self, who: &Who) {
        self.guest(who);
    }

    /// A record was looked at. False: that was done before, maybe by a predecessor.
    pub fn has_read(&mut self, who: &Who, source: &Source) -> bool {
        self.guest(who).has_read(source)
    }

    /// Something happened.
    pub fn report(&mut self, who: &Who, report: Report, now_ns: u64) {
        let (guest, teller) = self.parts(who);
        let told = guest.report(report, now_ns, teller);
        self.told.extend(told);
    }

    /// Something tells more of an event of the report's kind.
    pub fn explain(&mut self, who: &Who, report: Report, now_ns: u64) {
        self.guest(who).explain(report, now_ns);
    }

    /// A guest beats: if it was hung, that is over.
    pub fn recovered(&mut self, who: &Who) {
        let (guest, teller) = self.parts(who);
        let told = guest.recovered(teller);
        self.told.extend(told);
    }

    /// What a guest recorded last is in a directory.
    pub fn saved(&mut self, guest: &GuestRef, dir: &Path) {
        let key = (guest.domid, guest.uuid.clone());
        if let Some(guest) = self.guests.get_mut(&key) {
            self.told.extend(guest.saved(dir, &mut self.teller));
        }
    }

    /// There is no such domain any more.
    pub fn is_gone(&mut self, guest: &GuestRef, now_ns: u64) {
        if let Some(guest) = self.guests.get_mut(&(guest.domid, guest.uuid.clone())) {
            guest.tick(now_ns, true, &mut self.teller, &mut self.told);
            guest.forget_at = Some(now_ns + GONE_NS);
        }
    }

    /// Lets time pass. Returns when to be called again.
    pub fn tick(&mut self, now_ns: u64) -> Option<u64> {
        self.guests.retain(|guest, known| {
            let over = known.forget_at.is_some_and(|at| at <= now_ns);
            self.forgotten.extend(over.then(|| guest.clone()));
            !over
        });
        for guest in self.guests.values_mut() {
            guest.tick(now_ns, false, &mut self.teller, &mut self.told);
        }
        self.guests.values().filter_map(Guest::next_ns).min()
    }

    /// Takes what is to be told, in this order.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Takes the numbers and UUIDs of guests of which nothing more is told.
    pub fn forgotten(&mut self) -> Vec<(u16, String)> {
        std::mem::take(&mut self.forgotten)
    }

    /// What a successor must know beside the events.
    pub fn kept(&self) -> (u64, Vec<Places>) {
        let places = self.guests.iter().map(|((domid, uuid), guest)| Places {
            domid: *domid,
            uuid: uuid.clone(),
            boot_id: guest.boot_id().map(str::to_owned),
            read: guest.places().collect(),
        });
        (self.teller.next, places.filter(|places| !places.read.is_empty()).collect())
    }

    fn guest(&mut self, who: &Who) -> &mut Guest {
        self.parts(who).0
    }

    fn parts(&mut self, who: &Who) -> (&mut Guest, &mut Teller) {
        let key = (who.guest.domid, who.guest.uuid.clone());
        let guest = self.guests.entry(key).or_insert_with(|| Guest::new(who.clone()));
        guest.is(who);
        guest.forget_at = None;
        (guest, &mut self.teller)
    }
}
