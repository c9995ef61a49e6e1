// SPDX-License-Identifier: MIT OR Apache-2.0
//! The faults of one guest: what belongs together is one.
//!
//! | told | is the same fault as |
//! |---|---|
//! | an end (`guest-panic`, `-hung`, `-crashed`, `-gone`) | the guest's end, of which there is one |
//! | a panic, a crash | an oops up to 5 s before it |
//! | an oops | the guest's panic, if that is not 5 s away |
//! | a killed process, a victim of the OOM killer | either of them of the same process, within 5 s |
//! | anything else with a subject | the same kind with that subject, within the kind's window |

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use vesper_stream::Moment;

use crate::bucket::Bucket;
use crate::report::{CAUSE_MAX, shortened};
use crate::{Event, Kind, Report, Source, Who};

const SECOND: u64 = 1_000_000_000;
/// What belongs together comes within this time, on the guest's own clock.
const CLOSE_NS: u64 = 5 * SECOND;
/// Faults, explanations and places of records that are remembered of a guest.
const FAULTS_MAX: usize = 64;
const EXPLAINED_MAX: usize = 16;
const READ_MAX: usize = 4096;
/// Events at once, and the time in which there may be one more: of the guest's own, and of those that are its end.
const STORM: (u64, u64) = (32, SECOND);
const ENDS: (u64, u64) = (8, 60 * SECOND);
/// How long repetitions, and what is suppressed, are only counted before that is told.
const PATIENCE_NS: u64 = 5 * SECOND;

/// The next serial number.
#[derive(Debug)]
pub(crate) struct Serials(pub(crate) u64);

impl Serials {
    fn take(&mut self) -> u64 {
        self.0 += 1;
        self.0 - 1
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The event as it is known now.
    pub event: Event,
    /// It is new, or known to be of another kind: hooks are due.
    pub act: bool,
}

#[derive(Debug)]
struct Fault {
    event: Event,
    /// When the last of it was, on dom0's clock.
    last_ns: u64,
    /// Since when there is something that was not told.
    untold_since: Option<u64>,
}

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
    storm: Bucket,
    ends: Bucket,
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
            storm: Bucket::new(STORM.0, STORM.1),
            ends: Bucket::new(ENDS.0, ENDS.1),
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
                let (storm, ends) = (self.storm.clone(), self.ends.clone());
                // A guest that loads its frontend again and again has no more of them for that.
                *self = Self { storm, ends, suppressed, suppressed_since: since, ..Self::new(who.clone()) };
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
    pub(crate) fn report(&mut self, report: Report, now_ns: u64, serials: &mut Serials) -> Option<Told> {
        let explained = self.explanation(&report);
        if let Some(at) = self.same(&report) {
            return self.faults[at].again(report, explained, now_ns, serials);
        }
        // What dom0 sees for itself no guest can make without end.
        let guests_own = report.source.is_some();
        let bucket = if report.kind.is_end() { &mut self.ends } else { &mut self.storm };
        if guests_own && !bucket.take(now_ns) {
            self.suppressed += 1;
            self.suppressed_since.get_or_insert(now_ns);
            return None;
        }
        let mut fault = self.new_fault(report, serials);
        explained.iter().for_each(|cause| fault.add_cause(cause));
        let event = fault.event.clone();
        self.remember(fault);
        Some(Told { event, act: true })
    }

    /// It was hung and beats again.
    pub(crate) fn recovered(&mut self, serials: &mut Serials) -> Option<Told> {
        let hung = |fault: &&mut Fault| fault.event.event == Kind::GuestHung && !fault.event.recovered;
        let fault = self.faults.iter_mut().rev().find(hung)?;
        fault.event.recovered = true;
        Some(fault.tell(false, serials))
    }

    /// What it recorded last is saved.
    pub(crate) fn saved(&mut self, dir: &Path, serials: &mut Serials) -> Option<Told> {
        let fault = self.end()?;
        fault.event.saved = Some(dir.to_owned());
        Some(fault.tell(false, serials))
    }

    /// Tells what has only been counted for long enough; `at_once`: all of it.
    pub(crate) fn tick(&mut self, now_ns: u64, at_once: bool, serials: &mut Serials, out: &mut Vec<Told>) {
        let due = |since: &mut Option<u64>| {
            since.take_if(|since| at_once || now_ns.abs_diff(*since) >= PATIENCE_NS).is_some()
        };
        for fault in &mut self.faults {
            if due(&mut fault.untold_since) {
                out.push(fault.tell(false, serials));
            }
        }
        if self.suppressed > 0 && due(&mut self.suppressed_since) {
            let report = Report::seen(
                Kind::EventsSuppressed,
                "so much happened in the guest that not all of it is told",
                Moment { nanos: now_ns },
            );
            let event = self.new_fault(report, serials).event;
            out.push(Told { event, act: true });
        }
    }

    /// When [`Guest::tick`] has something to do.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let untold = self.faults.iter().filter_map(|fault| fault.untold_since);
        let due = untold.chain(self.suppressed_since).map(|since| since + PATIENCE_NS);
        due.chain(self.forget_at).min()
    }

    fn new_fault(&mut self, report: Report, serials: &mut Serials) -> Fault {
        self.suppressed_since = None;
        let serial = serials.take();
        let event = Event {
            serial,
            fault: serial,
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
            suppressed: std::mem::take(&mut self.suppressed),
            source: report.source,
            saved: None,
        };
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

impl Fault {
    fn is_open_end(&self) -> bool {
        self.event.event.is_end() && !self.event.recovered
    }

    fn is_of(&self, report: &Report) -> bool {
        let mine = self.event.event;
        let is_close = |window| close(self.last_ns, report.time.nanos, window);
        let same_subject = report.subject.is_some() && self.event.subject == report.subject;
        match report.kind {
            kind if kind.is_end() && self.is_open_end() => true,
            Kind::GuestPanic | Kind::GuestCrashed => mine == Kind::GuestOops && is_close(CLOSE_NS),
            kind if kind.is_end() => false,
            Kind::GuestOops => mine == Kind::GuestPanic && is_close(CLOSE_NS),
            Kind::ProcessKilled | Kind::GuestOom => {
                matches!(mine, Kind::ProcessKilled | Kind::GuestOom) && same_subject && is_close(CLOSE_NS)
            }
            kind => mine == kind && same_subject && is_close(window_ns(kind)),
        }
    }

    /// The same fault, reported once more.
    fn again(
        &mut self,
        report: Report,
        explained: Option<String>,
        now_ns: u64,
        serials: &mut Serials,
    ) -> Option<Told> {
        self.last_ns = self.last_ns.max(report.time.nanos);
        let explains_better = report.kind.rank() > self.event.event.rank();
        let ended = report.end.filter(|_| self.event.end.is_none());
        if explains_better {
            let event = &mut self.event;
            // It began when the first of it was seen.
            if report.time < event.time {
                (event.time, event.error_ns) = (report.time, report.error_ns);
            }
            // What dom0 sees says that it happened, what the guest recorded says why.
            let why = match report.source {
                None => format!("{}; {}", report.cause, event.cause),
                Some(_) => report.cause,
            };
            event.event = report.kind;
            event.severity = event.severity.max(report.severity);
            event.cause = shortened(why, 2 * CAUSE_MAX);
            event.subject = report.subject;
            event.process = report.process.or(event.process.take());
            event.source = report.source.or(event.source.take());
            if !report.stack.is_empty() {
                event.stack = report.stack;
            }
        } else if report.kind == self.event.event && !report.kind.is_end() {
            self.event.repeated += 1;
            self.untold_since.get_or_insert(now_ns);
        }
        if let Some(cause) = explained {
            self.add_cause(&cause);
        }
        if let Some(end) = ended {
            self.event.end = Some(end);
            self.event.severity = self.event.severity.max(report.severity);
        }
        (explains_better || ended.is_some()).then(|| self.tell(explains_better, serials))
    }

    fn add_cause(&mut self, cause: &str) {
        if !self.event.cause.contains(cause) {
            self.event.cause = shortened(format!("{}; {cause}", self.event.cause), 2 * CAUSE_MAX);
        }
    }

    fn tell(&mut self, act: bool, serials: &mut Serials) -> Told {
        self.untold_since = None;
        self.event.serial = serials.take();
        Told { event: self.event.clone(), act }
    }
}

fn close(one: u64, other: u64, window_ns: u64) -> bool {
    one.abs_diff(other) <= window_ns
}

/// How long after the last of it the same is no new fault.
fn window_ns(kind: Kind) -> u64 {
    match kind {
        // The kernel itself says it again every two minutes.
        Kind::ProcessStuck => 600 * SECOND,
        Kind::BlockError => 60 * SECOND,
        _ => CLOSE_NS,
    }
}
