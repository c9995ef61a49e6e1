// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rounds of the thread: notes; then each guest with something to read has a turn; then what was learned is written
//! down, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vesper_action::LogLimit;
use vesper_api::{GuestRef, printable};
use vesper_config::Rules;
use vesper_events::journal::Kept;
use vesper_events::{Book, Entry, Event, Kind, Report, Severity, Told};
use vesper_grant::DomId;
use vesper_stream::Moment;

use super::Shared;
use super::inbox::{Inbox, Note, Work};
use super::keeper::Keeper;
use super::watched::Watched;
use crate::hooks::{Hooks, Ran};

/// Rounds that a daemon which stops takes for what is there.
const LAST_ROUNDS: u32 = 256;

pub(super) struct Watcher {
    book: Book,
    keeper: Keeper,
    guests: BTreeMap<DomId, Watched>,
    /// Guests that are gone, with something left to read.
    leaving: Vec<Watched>,
    /// Guests with something left to read.
    unread: BTreeSet<DomId>,
    shared: Arc<Shared>,
    hooks: Hooks,
    log_limit: LogLimit,
}

impl Watcher {
    /// With what a predecessor left.
    pub(super) fn new(
        keeper: Keeper,
        kept: &Kept,
        hooks: Hooks,
        rules: Arc<Rules>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut book = Book::new(kept, Moment::now().nanos);
        book.follow(rules);
        Self {
            book,
            keeper,
            guests: BTreeMap::new(),
            leaving: Vec::new(),
            unread: BTreeSet::new(),
            shared,
            hooks,
            log_limit: LogLimit::default(),
        }
    }

    /// Until the daemon stops.
    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut due = None;
        loop {
            let wait = if self.has_more() { Some(Duration::ZERO) } else { due };
            let work = inbox.take(wait);
            let stop = work.stop;
            due = self.round(work);
            if stop {
                // What was there when it was asked to.
                for _ in 0..LAST_ROUNDS {
                    if self.has_more() {
                        self.round(Work::default());
                    }
                }
                self.hooks.stop();
                self.have_run(inbox.take(Some(Duration::ZERO)).ran);
                return self.keeper.sync();
            }
        }
    }

    fn has_more(&self) -> bool {
        !(self.unread.is_empty() && self.leaving.is_empty())
    }

    /// Returns when the next one is due although nothing happens.
    fn round(&mut self, work: Work) -> Option<Duration> {
        let now = Moment::now();
        if let Some(rules) = work.rules {
            self.book.follow(rules);
        }
        self.have_run(work.ran);
        for (domid, note) in work.notes {
            self.take(domid, note, now);
        }
        self.unread.extend(work.moved);
        self.read(now);
        let due = self.book.tick(now.nanos);
        self.say();
        self.shared.forget(self.book.forgotten());
        // Rounded up, so that it *is* due then.
        due.map(|at| Duration::from_nanos(at.saturating_sub(now.nanos)) + Duration::from_millis(1))
    }

    fn take(&mut self, domid: DomId, note: Note, now: Moment) {
        match note {
            Note::Is(who) => {
                self.book.is_there(&who);
                match self.guests.get_mut(&domid).filter(|guest| guest.who.guest.uuid == who.guest.uuid) {
                    Some(guest) => guest.is(who),
                    None => drop(self.guests.insert(domid, Watched::new(who))),
                }
            }
            Note::Clock(clock) => {
                if let Some(guest) = self.guests.get_mut(&domid) {
                    guest.clock = Some(clock);
                }
            }
            Note::Saved(guest, dir) => self.book.saved(&guest, &dir),
            Note::Gone => {
                self.unread.remove(&domid);
                self.leaving.extend(self.guests.remove(&domid));
            }
            note => {
                // Told of at least once before, since it was seen to appear.
                let Some(guest) = self.guests.get_mut(&domid) else { return };
                self.unread.insert(domid);
                match note {
                    Note::Exported(export, reader, meanings) => {
                        guest.exported(export, reader, meanings, now, &mut self.book)
                    }
                    Note::Unexported { number, lost } => guest.unexported(number, lost),
                    Note::Words(words) => guest.words(words, now, &mut self.book),
                    Note::Seen(report) => self.book.report(&guest.who, report, now.nanos),
                    Note::Unreadable(why) if guest.has_probes() => {
                        let report = Report::seen(Kind::ProbeLost, why, now).about("device");
                        self.book.report(&guest.who, report, now.nanos);
                    }
                    Note::Recovered => self.book.recovered(&guest.who),
                    Note::Ended(report) => guest.ended(report),
                    Note::Unreadable(_) | Note::Is(_) | Note::Clock(_) | Note::Saved(..) | Note::Gone => {}
                }
            }
        }
    }

    /// One turn for each guest that has something to read.
    fn read(&mut self, now: Moment) {
        for domid in std::mem::take(&mut self.unread) {
            let Some(guest) = self.guests.get_mut(&domid) else { continue };
            if guest.read(now, &mut self.book) {
                self.unread.insert(domid);
            }
            if guest.lost > 0 {
                let (lost, who) = (std::mem::take(&mut guest.lost), label(&guest.who.guest));
                self.log_limit.warn(Instant::now(), || {
                    format!("{who}: {lost} writes or sub-buffers of its channels with events are lost")
                });
            }
        }
        self.leaving.retain_mut(|guest| {
            let more = guest.read(now, &mut self.book);
            if !more {
                self.book.is_gone(&guest.who.guest, now.nanos);
            }
            more
        });
    }

    /// Writes down what was learned, and tells it then. Last words of which that is on disk need not be heard again.
    fn say(&mut self) {
        let told = self.book.told();
        let is_safe = told.is_empty() || self.tell(told);
        let heard: Vec<_> = self.guests.iter_mut().flat_map(|(domid, guest)| guest.heard(*domid)).collect();
        if is_safe && !heard.is_empty() {
            self.shared.are_safe(heard);
        }
    }

    /// True: it is on disk, as far as anything is.
    fn tell(&mut self, told: Vec<Told>) -> bool {
        let entries: Vec<_> = told.iter().map(|told| Entry::Event(Box::new(told.event.clone()))).collect();
        self.keeper.write(&entries, &self.book);
        self.keeper.sync();
        let is_safe = self.keeper.is_safe();
        told.iter().for_each(log_of);
        let act = told.iter().map(|told| told.act).collect::<Vec<_>>();
        let events: Vec<_> = told.into_iter().map(|told| Arc::new(told.event)).collect();
        self.shared.add(events.clone());
        let due = events.into_iter().zip(act).filter(|(_, act)| *act);
        let nothing: Vec<_> = due.filter_map(|(event, _)| self.act(event, false)).collect();
        self.keeper.write(&nothing, &self.book);
        is_safe
    }

    /// Acts on what a predecessor has told and not, or not for certain, acted on.
    pub(super) fn act_on(&mut self, pending: impl Iterator<Item = Event>) {
        let nothing: Vec<_> = pending.filter_map(|event| self.act(Arc::new(event), true)).collect();
        self.keeper.write(&nothing, &self.book);
    }

    /// What to write down if there is nothing to do.
    fn act(&self, event: Arc<Event>, again: bool) -> Option<Entry> {
        let (fault, kind, serial) = (event.fault, event.event, Some(event.serial));
        (!self.hooks.act(event, again)).then_some(Entry::Acted { fault, kind, serial })
    }

    /// Writes down what was done.
    fn have_run(&mut self, ran: Vec<Ran>) {
        if ran.is_empty() {
            return;
        }
        let entries: Vec<_> = ran
            .into_iter()
            .map(|ran| match ran {
                Ran::Hook { fault, hook, outcome } => Entry::Hook { fault, hook, outcome },
                Ran::All { fault, kind, serial } => Entry::Acted { fault, kind, serial: Some(serial) },
            })
            .collect();
        self.keeper.write(&entries, &self.book);
        self.keeper.sync();
    }
}

/// One line in the daemon's log for each event.
fn log_of(Told { event, act }: &Told) {
    if !act {
        return;
    }
    let level = match event.severity {
        Severity::Info => log::Level::Info,
        Severity::Warning | Severity::Error | Severity::Fatal => log::Level::Warn,
    };
    let failed = match (event.failed, &event.service) {
        (None, _) => String::new(),
        (Some(failed), None) => format!(" ({} failed)", failed.name()),
        (Some(_), Some(service)) => format!(" (service {service} failed)"),
    };
    // Escaped already: the cause is a document's.
    let (fault, who) = (event.fault, label(&event.guest));
    log::log!(level, "event {fault}: {} of {who}{failed}: {}", event.event, event.cause);
}

fn label(guest: &GuestRef) -> String {
    format!("{} ({})", printable(&guest.name), guest.domid)
}
