// SPDX-License-Identifier: MIT OR Apache-2.0
//! The looks at one guest that are kept to judge it by.

use super::{Look, MISSED_BEATS, Verdict, judge};

/// The look that the next one is compared with.
#[derive(Debug, Default)]
pub(super) struct Pulse(Option<Look>);

impl Pulse {
    /// Takes a look and judges. The one that is kept grows old enough to judge by before it is replaced, however often
    /// this is called.
    pub(super) fn look(&mut self, now: Look) -> Verdict {
        let patience = now.beats.as_ref().map_or(0, |beats| beats.period_ns() * u64::from(MISSED_BEATS));
        let Some(then) = &self.0 else {
            // Compared with itself, it says what needs no second look.
            let verdict = judge(&now, &now);
            self.0 = Some(now);
            return verdict;
        };
        let verdict = judge(then, &now);
        if now.at_ns.saturating_sub(then.at_ns) >= patience || now.domain != then.domain {
            self.0 = Some(now);
        }
        verdict
    }
}
