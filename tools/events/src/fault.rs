// SPDX-License-Identifier: MIT OR Apache-2.0
//! One fault: which reports are of it, and what is told when there is one more.
//!
//! | told | is the same fault as |
//! |---|---|
//! | an end (`guest-panic`, `-hung`, `-crashed`, `-gone`) | the guest's end, of which there is one |
//! | a panic, a crash | an oops up to 5 s before it |
//! | an oops | the guest's panic, if that is not 5 s away |
//! | a killed process, a victim of the OOM killer | either of them of the same process, within 5 s |
//! | anything else with a subject | the same kind with that subject, within the kind's window |

use crate::event::is_worse;
use crate::report::{CAUSE_MAX, shortened};
use crate::told::Teller;
use crate::{Event, Kind, Report, Told};

const SECOND: u64 = 1_000_000_000;
/// What belongs together comes within this time, on the guest's own clock.
pub(crate) const CLOSE_NS: u64 = 5 * SECOND;

/// A fault that was told.
#[derive(Debug)]
pub(crate) struct Fault {
    /// As it is known now.
    pub(crate) event: Event,
    /// When the last of it was, on dom0's clock.
    pub(crate) last_ns: u64,
    /// Since when there is something that was not told.
    pub(crate) untold_since: Option<u64>,
}

impl Fault {
    /// It is the guest's end, which other reports of one are of, too.
    pub(crate) fn is_open_end(&self) -> bool {
        self.event.event.is_end() && !self.event.recovered
    }

    /// Whether a report is of it.
    pub(crate) fn is_of(&self, report: &Report) -> bool {
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
    pub(crate) fn again(
        &mut self,
        report: Report,
        explained: Option<String>,
        now_ns: u64,
        teller: &mut Teller,
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
        (explains_better || ended.is_some()).then(|| self.tell(explains_better, teller))
    }

    pub(crate) fn add_cause(&mut self, cause: &str) {
        if !self.event.cause.contains(cause) {
            self.event.cause = shortened(format!("{}; {cause}", self.event.cause), 2 * CAUSE_MAX);
        }
    }

    /// Tells it as it is known now. `anew`: it is known to be of another kind.
    pub(crate) fn tell(&mut self, anew: bool, teller: &mut Teller) -> Told {
        self.untold_since = None;
        self.event.serial = teller.serial();
        let before = self.event.failed;
        teller.judge(&mut self.event);
        Told { event: self.event.clone(), act: anew || is_worse(self.event.failed, before) }
    }
}

/// Whether two moments belong together.
pub(crate) fn close(one: u64, other: u64, window_ns: u64) -> bool {
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
