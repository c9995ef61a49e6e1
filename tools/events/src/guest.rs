// SPDX-License-Identifier: MIT OR Apache-2.0
//! The faults of one guest: what belongs together is one.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use vesper_stream::Moment;

use crate::fault::{CLOSE_NS, Fault, close};
use crate::limits::Limits;
use crate::told::Teller;
use crate::{Event, Kind, Report, Source, Told, Who};

const SECOND: u64 = 1_000_000_000;
/// Faults, explanations and places of records that are remembered of a guest.
const FAULTS_MAX: usize = 64;
const EXPLAINED_MAX: usize = 16;
const READ_MAX: usize = 4096;
/// How long repetitions, and what is suppressed, are only counted before that is told.
const PATIENCE_NS: u64 = 5 * SECOND;

#[derive(Debug)]
struct Explanation {
    kind: Kind,
    subject: Option<String>,
    cause: String,
    at_ns: u64,
}

/// One guest.
#[derive(Debug)]
pub(crate) struct Guest {
    who: Who,
    faults: VecDeque<Fault>,
    explanations: VecDeque<Explanation>,
    limits: Limits,
    suppressed: u64,
    suppressed_since: Option<u64>,
    /// Of each buffer, the record that was looked at last.
    read: BTreeMap<(u32, Option<u16>), u64>,
    /// When it may be forgotten.
    pub(crate) forget_at: Option<u64>,
}

impl Guest {
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            faults: VecDeque::new(),
            explanations: VecDeque::new(),
            limits: Limits::new(),
            suppressed: 0,
            suppressed_since: None,
            read: BTreeMap::new(),
            forget_at: None,
        }
    }

    /// Who it is now. Another boot begins anew.
    pub(crate) fn is(&mut self, who: &Who) {
        self.who.guest = who.guest.clone();
        if who.boot_id.is_some() && self.who.boot_id != who.boot_id {
            if self.who.boot_id.is_some() {
                let (suppressed, since) = (self.suppressed, self.suppressed_since);
                let limits = self.limits.clone();
                // A guest that loads its frontend again and again has no more of them for that.
                *self = Self { limits, suppressed, suppressed_since: since, ..Self::new(who.clone()) };
            }
            self.who.boot_id.clone_from(&who.boot_id);
        }
    }

    pub(crate) fn boot_id(&self) -> Option<&str> {
        self.who.boot_id.as_deref()
    }

    /// Takes up what a daemon before this one has told.
    pub(crate) fn restore(&mut self, event: Event) {
        if let Some(source) = &event.source {
            self.has_read(source);
        }
        let last_ns = event.time.nanos;
        self.remember(Fault { event, last_ns, untold_since: None });
    }

    /// A record was looked at. False: it had been before.
    pub(crate) fn has_read(&mut self, source: &Source) -> bool {
        if source.last_words {
            // They are few and have no order; those that were told are the sources of faults.
            return !self.faults.iter().any(|fault| fault.event.source.as_ref() == Some(source));
        }
        let place = (source.export, source.cpu);
        match self.read.get(&place) {
            Some(seq) if *seq >= source.seq => return false,
            None if self.read.len() >= READ_MAX => {}
            _ => drop(self.read.insert(place, source.seq)),
        }
        true
    }

    /// Places of records, for a successor.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, Option<u16>, u64)> {
        self.read.iter().map(|((export, cpu), seq)| (*export, *cpu, *seq))
    }

    /// Something that tells more of an event that has come or will.
    pub(crate) fn explain(&mut self, report: Report, now_ns: u64) {
        let Report { kind, subject, cause, time, .. } = report;
        let meant = |fault: &&mut Fault| {
            fault.event.event == kind
                && subject.is_some()
                && fault.event.subject == subject
                && close(fault.last_ns, time.nanos, CLOSE_NS)
        };
        if let Some(fault) = self.faults.iter_mut().rev().find(meant) {
            fault.add_cause(&cause);
            fault.untold_since.get_or_insert(now_ns);
            return;
        }
        if self.explanations.len() == EXPLAINED_MAX {
            self.explanations.pop_front();
        }
        self.explanations.push_back(Explanation { kind, subject, cause, at_ns: time.nanos });
    }

    /// Something happened.
    pub(crate) fn report(&mut self, report: Report, now_ns: u64, teller: &mut Teller) -> Option<Told> {
        let explained = self.explanation(&report);
        if let Some(at) = self.same(&report) {
            return self.faults[at].again(report, explained, now_ns, teller);
        }
        let event = self.event(report, teller);
        // What dom0 sees for itself no guest can make without end.
        let guests_own = event.source.is_some();
        if guests_own && !self.limits.take(&event, now_ns) {
            self.suppressed += 1;
            self.suppressed_since.get_or_insert(now_ns);
            return None;
        }
        let mut fault = self.new_fault(event, teller);
        explained.iter().for_each(|cause| fault.add_cause(cause));
        let event = fault.event.clone();
        self.remember(fault);
        Some(Told { event, act: true })
    }

    /// It beats: if it was hung, that is over.
    pub(crate) fn recovered(&mut self, teller: &mut Teller) -> Option<Told> {
        let hung = |fault: &&mut Fault| fault.event.event == Kind::GuestHung && !fault.event.recovered;
        let fault = self.faults.iter_mut().rev().find(hung)?;
        fault.event.recovered = true;
        Some(fault.tell(false, teller))
    }

    /// What it recorded last is saved.
    pub(crate) fn saved(&mut self, dir: &Path, teller: &mut Teller) -> Option<Told> {
        let fault = self.end()?;
        fault.event.saved = Some(dir.to_owned());
        Some(fault.tell(false, teller))
    }

    /// Tells what has only been counted for long enough; `at_once`: all of it.
    pub(crate) fn tick(&mut self, now_ns: u64, at_once: bool, teller: &mut Teller, out: &mut Vec<Told>) {
        let due = |since: &mut Option<u64>| {
            since.take_if(|since| at_once || now_ns.abs_diff(*since) >= PATIENCE_NS).is_some()
        };
        for fault in &mut self.faults {
            if due(&mut fault.untold_since) {
                out.push(fault.tell(false, teller));
            }
        }
        if self.suppressed > 0 && due(&mut self.suppressed_since) {
            let report = Report::seen(
                Kind::EventsSuppressed,
                "so much happened in the guest that not all of it is told",
                Moment { nanos: now_ns },
            );
            let event = self.event(report, teller);
            let event = self.new_fault(event, teller).event;
            out.push(Told { event, act: true });
        }
    }

    /// When [`Guest::tick`] has something to do.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let untold = self.faults.iter().filter_map(|fault| fault.untold_since);
        let due = untold.chain(self.suppressed_since).map(|since| since + PATIENCE_NS);
        due.chain(self.forget_at).min()
    }

    /// An event that has no number yet.
    fn event(&self, report: Report, teller: &Teller) -> Event {
        let mut event = Event {
            serial: 0,
            fault: 0,
            event: report.kind,
            severity: report.severity,
            guest: self.who.guest.clone(),
            boot_id: self.who.boot_id.clone(),
            subject: report.subject,
            process: report.process,
            failed: None,
            service: None,
            time: report.time,
            error_ns: report.error_ns,
            cause: report.cause,
            stack: report.stack,
            end: report.end,
            recovered: false,
            repeated: 0,
            suppressed: 0,
            source: report.source,
            saved: None,
        };
        teller.judge(&mut event);
        event
    }

    fn new_fault(&mut self, mut event: Event, teller: &mut Teller) -> Fault {
        event.serial = teller.serial();
        event.fault = event.serial;
        event.suppressed = std::mem::take(&mut self.suppressed);
        self.suppressed_since = None;
        Fault { last_ns: event.time.nanos, event, untold_since: None }
    }

    fn remember(&mut self, fault: Fault) {
        if self.faults.len() == FAULTS_MAX {
            // Its end is kept: there is only one.
            let oldest = self.faults.iter().position(|fault| !fault.is_open_end()).unwrap_or(0);
            self.faults.remove(oldest);
        }
        self.faults.push_back(fault);
    }

    fn end(&mut self) -> Option<&mut Fault> {
        self.faults.iter_mut().rev().find(|fault| fault.is_open_end())
    }

    /// The fault that a report is of.
    fn same(&self, report: &Report) -> Option<usize> {
        self.faults.iter().rposition(|fault| fault.is_of(report))
    }

    /// What was told before of what is reported now.
    fn explanation(&mut self, report: &Report) -> Option<String> {
        let meant = |told: &Explanation| {
            told.kind == report.kind
                && report.subject.is_some()
                && told.subject == report.subject
                && close(told.at_ns, report.time.nanos, CLOSE_NS)
        };
        let at = self.explanations.iter().rposition(meant)?;
        self.explanations.remove(at).map(|told| told.cause)
    }
}
