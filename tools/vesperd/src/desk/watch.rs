// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking now and then at every guest that has a channel with events in it: whether it is hung, and whether somebody paused it.
//! Xen tells nobody of either. A guest without such a channel wakes nobody.
//!
//! Two looks one after the other must say so of the same vCPU. A verdict alone takes vCPUs to task only if Xen gave them the time to beat; so a
//! guest that is starved, being saved or paused is not hung.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use vesper_events::{Kind, Report};
use vesper_grant::DomId;
use vesper_stream::Moment;
use vesper_xenback::action::listener::{Verdict, Why};

use super::Desk;
use crate::events::Note;

/// Of the daemon's time, one part in so many goes into looking at most.
const SHARE: u32 = 10;

/// The guests that are looked at.
pub(super) struct Watch {
    every: Option<Duration>,
    next: Instant,
    guests: BTreeMap<DomId, Seen>,
}

/// What was seen of a guest.
#[derive(Default)]
struct Seen {
    /// vCPUs that hung in the last look.
    hung: Vec<u32>,
    told: Told,
    /// It was paused in the last look; in the one before, too.
    paused: bool,
    told_paused: bool,
}

/// What was told last of whether it hangs.
#[derive(Default, PartialEq, Eq)]
enum Told {
    /// It is not known: it may have been a daemon before this one, or before the guest was detached.
    #[default]
    Unsure,
    Hung,
    Beats,
}

impl Watch {
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { every, next: Instant::now(), guests: BTreeMap::new() }
    }

    /// A guest is to be looked at.
    pub(super) fn begin(&mut self, domid: DomId) {
        self.guests.entry(domid).or_default();
    }

    /// No more.
    pub(super) fn end(&mut self, domid: DomId) {
        self.guests.remove(&domid);
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        (self.every.is_some() && !self.guests.is_empty()).then_some(self.next)
    }
}

impl Desk {
    /// Looks at the guests, if it is time to.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.watch.next().is_none_or(|next| next > now) {
            return;
        }
        let (backend, events) = (&mut self.backend, &self.events);
        for (domid, seen) in &mut self.watch.guests {
            // Of one that cannot be asked about, nothing is known.
            let Ok(verdict) = backend.alive(*domid) else { continue };
            if let Some(note) = seen.look(verdict) {
                events.note(*domid, note);
            }
        }
        let took = now.elapsed();
        let every = self.watch.every.unwrap_or_default().max(took * SHARE);
        self.watch.next = now + took + every;
    }
}

impl Seen {
    /// What there is to tell after one more look.
    fn look(&mut self, verdict: Verdict) -> Option<Note> {
        let was_paused = mem::replace(&mut self.paused, verdict == Verdict::Alive(Why::Paused));
        self.told_paused &= self.paused;
        let hung = mem::take(&mut self.hung);
        match verdict {
            Verdict::Hung { vcpus } => {
                let still: Vec<u32> = vcpus.iter().filter(|vcpu| hung.contains(vcpu)).copied().collect();
                self.hung = vcpus;
                self.hangs(&still)
            }
            // That may be because it has beaten.
            Verdict::Undecided { .. } => None,
            Verdict::Alive(why) => {
                // Whether there is a hang that this ends, the book knows.
                let recovered =
                    why == Why::Beating && mem::replace(&mut self.told, Told::Beats) != Told::Beats;
                let paused = was_paused && self.paused && !mem::replace(&mut self.told_paused, self.paused);
                if recovered {
                    Some(Note::Recovered)
                } else {
                    let cause = "somebody paused the domain";
                    paused.then(|| Note::Seen(Report::seen(Kind::GuestPaused, cause, Moment::now())))
                }
            }
            Verdict::Dead(_) => None,
        }
    }

    /// These vCPUs, if any, hung in two looks.
    fn hangs(&mut self, vcpus: &[u32]) -> Option<Note> {
        if vcpus.is_empty() || mem::replace(&mut self.told, Told::Hung) == Told::Hung {
            return None;
        }
        let named: Vec<_> = vcpus.iter().map(u32::to_string).collect();
        let (s, verb) = if named.len() == 1 { ("", "has") } else { ("s", "have") };
        let cause = format!("vCPU{s} {} {verb} the time to beat and {verb} not beaten", named.join(", "));
        Some(Note::Seen(Report::seen(Kind::GuestHung, cause, Moment::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNG: fn() -> Verdict = || Verdict::Hung { vcpus: vec![0, 2] };
    const OTHER: fn() -> Verdict = || Verdict::Hung { vcpus: vec![1] };
    const UNSURE: Verdict = Verdict::Undecided { again_ns: 1 };
    const BEATS: Verdict = Verdict::Alive(Why::Beating);
    const PAUSED: Verdict = Verdict::Alive(Why::Paused);
    const STARVED: Verdict = Verdict::Alive(Why::Starved);

    fn told(verdicts: impl IntoIterator<Item = Verdict>) -> Vec<&'static str> {
        let mut seen = Seen::default();
        let name = |note| match note {
            Note::Seen(report) => report.kind.name(),
            Note::Recovered => "recovered",
            _ => "?",
        };
        verdicts.into_iter().filter_map(|verdict| seen.look(verdict)).map(name).collect()
    }

    #[test]
    fn one_look_says_nothing_and_two_say_it_once() {
        let table = [
            // A daemon before this one may have told that it hung.
            (vec![UNSURE, BEATS, BEATS, HUNG(), HUNG(), BEATS], vec!["recovered", "guest-hung", "recovered"]),
            (vec![HUNG(), BEATS, HUNG(), STARVED, HUNG(), PAUSED], vec!["recovered"]),
            (vec![HUNG(), HUNG(), HUNG(), UNSURE, HUNG()], vec!["guest-hung"]),
            (vec![HUNG(), UNSURE, HUNG(), UNSURE, UNSURE], vec![]),
            (vec![OTHER(), BEATS, HUNG(), OTHER(), HUNG(), OTHER()], vec!["recovered"]),
            (
                vec![HUNG(), HUNG(), STARVED, BEATS, BEATS, HUNG(), HUNG()],
                vec!["guest-hung", "recovered", "guest-hung"],
            ),
            (vec![PAUSED, BEATS, PAUSED, BEATS], vec!["recovered"]),
            (
                vec![PAUSED, PAUSED, PAUSED, BEATS, PAUSED, PAUSED],
                vec!["guest-paused", "recovered", "guest-paused"],
            ),
            (vec![HUNG(), HUNG(), PAUSED, PAUSED, BEATS], vec!["guest-hung", "guest-paused", "recovered"]),
        ];
        for (verdicts, wanted) in table {
            assert_eq!(told(verdicts.clone()), wanted, "{verdicts:?}");
        }
    }

    #[test]
    fn the_cause_names_the_vcpus() {
        let mut seen = Seen::default();
        seen.look(Verdict::Hung { vcpus: vec![0, 1, 2] });
        let Some(Note::Seen(report)) = seen.look(HUNG()) else { panic!("nothing was told") };
        assert_eq!(report.cause, "vCPUs 0, 2 have the time to beat and have not beaten");
    }
}
