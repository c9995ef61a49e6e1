// SPDX-License-Identifier: MIT OR Apache-2.0
//! The looks at one guest that are kept to judge it by.

use std::collections::VecDeque;

use super::{Look, MISSED_BEATS, Verdict, judge};

/// Looks that are kept; with two in each period of the heartbeat, fewer are.
const LOOKS_MAX: usize = 16;

/// Earlier looks, oldest first: at most one that is old enough to judge by, then younger ones.
#[derive(Debug, Default)]
pub(super) struct Pulse(VecDeque<Look>);

impl Pulse {
    /// Takes a look and judges it by the youngest one that is old enough; so who looks often knows soon.
    pub(super) fn look(&mut self, now: Look) -> Verdict {
        let period = now.beats.as_ref().map_or(0, |beats| beats.period_ns());
        let age = |then: &Look| now.at_ns.saturating_sub(then.at_ns);
        let is_old = |then: &Look| age(then) >= period * u64::from(MISSED_BEATS);
        while self.0.get(1).is_some_and(is_old) || self.0.len() >= LOOKS_MAX {
            self.0.pop_front();
        }
        // Compared with itself, it says what needs no second look.
        let verdict = judge(self.0.front().unwrap_or(&now), &now);
        if self.0.back().is_some_and(|then| then.domain != now.domain) {
            self.0.clear();
        }
        if self.0.back().is_none_or(|then| age(then) >= period / 2) {
            self.0.push_back(now);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Beats, Domain, Vcpu, Why};
    use super::*;

    const MS: u64 = 1_000_000;

    /// A guest with one vCPU that beats every 500 ms and sleeps, until it stops beating at `until`.
    fn look(at: u64, until: u64) -> Look {
        let beat = 1 + at.min(until) / 500 * 500;
        Look {
            at_ns: at * MS,
            domain: Domain::Up,
            vcpus: vec![Vcpu { online: true, blocked: true, ran_ns: 0 }],
            beats: Some(Beats::new(vec![beat * MS], 500 * MS, 0)),
        }
    }

    /// When it is first known to hang.
    fn hung_at(step: usize, until: u64) -> u64 {
        let mut pulse = Pulse::default();
        let hangs = |at: &u64| matches!(pulse.look(look(*at, until)), Verdict::Hung { .. });
        (0..60_000).step_by(step).find(hangs).expect("it hangs")
    }

    #[test]
    fn who_looks_often_knows_soon() {
        for until in [3_000, 3_249, 3_499, 10_100] {
            let after = hung_at(250, until) - until;
            assert!((1_000..=1_750).contains(&after), "after {after} ms, looked at every 250 ms");
            assert!(hung_at(1, until) - until <= 1_501 && hung_at(5_000, until) - until <= 10_000);
        }
    }

    #[test]
    fn a_guest_that_beats_is_never_hung_however_often_it_is_looked_at() {
        for step in [1, 100, 250, 499, 1_499, 5_000] {
            let mut pulse = Pulse::default();
            for at in (0..20_000).step_by(step) {
                let verdict = pulse.look(look(at, u64::MAX));
                let fits = matches!(verdict, Verdict::Alive(Why::Beating) | Verdict::Undecided { .. });
                assert!(fits && pulse.0.len() <= 8, "{verdict:?} at {at}, {} looks", pulse.0.len());
            }
        }
    }
}
