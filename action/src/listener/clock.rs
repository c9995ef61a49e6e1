// SPDX-License-Identifier: MIT OR Apache-2.0
//! The distance between the guest's clock and the host's, with a bound on its error.
//!
//! One exchange has four stamps: the guest sends at `a` (its clock), the host receives at `b` and answers at `c` (the
//! host's clock), the guest receives at `d`. What is sent is sent before it is received, so host minus guest lies
//! between `c - d` and `b - a`: the middle of the two is wrong by half of the round trip `(d - a) - (c - b)` at most,
//! however the time was spread over the two ways. While an exchange ages, the clocks drift apart, so several of the
//! best are kept and the one with the smallest error *now* is used.

use std::collections::VecDeque;

/// How far two clocks of Linux drift apart at most, in nanoseconds a second: NTP steers each by 500 ppm at most
/// (`MAXFREQ` of the kernel's `linux/timex.h`), and both count the same hardware.
pub const DRIFT_NS_PER_S: u64 = 1_000_000;

/// Exchanges that are kept.
const KEPT: usize = 8;

/// The distance of the two clocks, as it is known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What is to be added to a time of the guest to have the host's (`CLOCK_MONOTONIC`), nanoseconds.
    pub offset_ns: i64,
    /// How wrong that is at most, nanoseconds.
    pub error_ns: u64,
}

impl Clock {
    /// A time of the guest's on the host's clock; `None` if it lies before the host's clock began, as no honest one does.
    pub fn to_host(self, guest_ns: u64) -> Option<u64> {
        guest_ns.checked_add_signed(self.offset_ns)
    }
}

/// The guest's two stamps of an exchange, told with the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestStamps {
    /// When it sent.
    pub sent: u64,
    /// When the answer was there.
    pub got: u64,
}

/// The exchanges of one connection.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// The stamps of the exchange that the guest has not completed yet: its own when sending, and the host's two.
    open: Option<(u64, u64, u64)>,
    kept: VecDeque<Exchange>,
}

/// A complete exchange.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    offset_ns: i64,
    half_trip_ns: u64,
    /// When the host received the question, on its clock.
    at_ns: u64,
}

impl Exchange {
    fn error_at(&self, now_ns: u64) -> u64 {
        let age = now_ns.saturating_sub(self.at_ns);
        let drift = u128::from(age) * u128::from(DRIFT_NS_PER_S) / 1_000_000_000;
        self.half_trip_ns.saturating_add(u64::try_from(drift).unwrap_or(u64::MAX))
    }
}

impl Exchanges {
    /// Takes what the guest says of the exchange before this one. What cannot be is dropped: it makes nobody's time
    /// wrong but the guest's own.
    pub(super) fn completed(&mut self, guest: GuestStamps, now_ns: u64) {
        let Some((a, b, c)) = self.open.take().filter(|(sent, ..)| *sent == guest.sent) else { return };
        // It was true then, and the guest may take its time to tell.
        let at_ns = b;
        let [a, b, c, d] = [a, b, c, guest.got].map(i128::from);
        let trip = (d - a) - (c - b);
        let offset = ((b - a) + (c - d)).div_euclid(2);
        let (Ok(trip), Ok(offset_ns)) = (u64::try_from(trip), i64::try_from(offset)) else { return };
        // Rounded up, since the middle was rounded down.
        let new = Exchange { offset_ns, half_trip_ns: trip / 2 + 1, at_ns };
        if self.kept.len() == KEPT {
            // The worst as of now goes, be it old or slow.
            let worst = (0..KEPT).max_by_key(|&at| self.kept[at].error_at(now_ns));
            let _ = worst.and_then(|at| self.kept.remove(at));
        }
        self.kept.push_back(new);
    }

    /// The guest sent at `sent` on its clock; the host received at `got` and answers at `answered` on its own.
    pub(super) fn answered(&mut self, sent: u64, got_ns: u64, answered_ns: u64) {
        self.open = Some((sent, got_ns, answered_ns));
    }

    /// What is known at `now_ns` on the host's clock; `None` before the first exchange was completed.
    pub(super) fn clock(&self, now_ns: u64) -> Option<Clock> {
        let best = self.kept.iter().min_by_key(|exchange| exchange.error_at(now_ns))?;
        Some(Clock { offset_ns: best.offset_ns, error_ns: best.error_at(now_ns) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One exchange between clocks that are `offset` apart: the way there takes `there`, the host `busy`, the way back
    /// `back`.
    fn exchange(x: &mut Exchanges, offset: i64, sent: u64, there: u64, busy: u64, back: u64) -> u64 {
        let host = |guest: u64| guest.checked_add_signed(offset).unwrap();
        x.answered(sent, host(sent + there), host(sent + there + busy));
        let got = sent + there + busy + back;
        x.completed(GuestStamps { sent, got }, host(got));
        host(got)
    }

    proptest! {
        #[test]
        fn the_true_distance_is_within_the_error(
            offset in -1_000_000_000_000i64..1_000_000_000_000,
            trips in prop::collection::vec((0u64..1_000_000, 0u64..1_000_000, 0u64..1_000_000, 0u64..10_000_000_000), 1..30),
        ) {
            let mut x = Exchanges::default();
            let mut sent = 2_000_000_000_000;
            let mut now = 0;
            for (there, busy, back, pause) in trips {
                now = exchange(&mut x, offset, sent, there, busy, back);
                sent += there + busy + back + pause;
            }
            let clock = x.clock(now).unwrap();
            prop_assert!(clock.offset_ns.abs_diff(offset) <= clock.error_ns, "{clock:?} {offset}");
        }

        #[test]
        fn a_guest_can_say_what_it_wants(stamps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..50)) {
            let mut x = Exchanges::default();
            let mut now = 0u64;
            for (sent, prev_sent, prev_got) in stamps {
                now += 1000;
                x.completed(GuestStamps { sent: prev_sent, got: prev_got }, now);
                x.answered(sent, now, now + 1);
                prop_assert!(x.kept.len() <= KEPT);
                if let Some(clock) = x.clock(u64::MAX) {
                    let _ = clock.to_host(sent);
                }
            }
        }
    }

    #[test]
    fn the_best_is_used_until_it_has_aged() {
        let mut x = Exchanges::default();
        assert_eq!(x.clock(0), None);
        // Fast, then slow: the fast one is better, until it has drifted by more than the slow one's trip.
        let fast = exchange(&mut x, 0, 1_000_000_000, 1000, 0, 1000);
        exchange(&mut x, 0, 2_000_000_000, 2_000_000, 0, 2_000_000);
        assert_eq!(x.clock(fast).unwrap().error_ns, 1002);
        assert_eq!(x.clock(fast + 500_000_000).unwrap().error_ns, 501_002);
        assert!(x.clock(fast + 60_000_000_000).unwrap().error_ns < 61_001_001);
        // However many slow ones follow, a fresh fast one is the best again.
        for n in 0..20 {
            exchange(&mut x, 0, 100_000_000_000 + n * 1_000_000_000, 3_000_000, 0, 0);
        }
        let now = exchange(&mut x, 0, 200_000_000_000, 10, 0, 10);
        assert_eq!(x.clock(now), Some(Clock { offset_ns: 0, error_ns: 11 }));
    }

    #[test]
    fn an_exchange_is_as_old_as_its_question_however_late_it_is_completed() {
        let mut x = Exchanges::default();
        x.answered(1000, 5000, 5100);
        let hour = 3600 * 1_000_000_000;
        x.completed(GuestStamps { sent: 1000, got: 1200 }, 5000 + hour);
        assert_eq!(x.clock(5000 + hour).unwrap().error_ns, 51 + 3600 * DRIFT_NS_PER_S);
    }

    #[test]
    fn what_cannot_be_is_dropped() {
        let told = |sent, got| {
            let mut x = Exchanges::default();
            x.answered(1000, 5000, 5100);
            x.completed(GuestStamps { sent, got }, 6000);
            x.clock(6000)
        };
        assert!(told(1000, 1200).is_some());
        assert_eq!(told(1000, 1099), None, "back before the host answered");
        assert_eq!(told(1000, 0), None);
        assert_eq!(told(999, 1200), None, "another exchange");
        let mut far = Exchanges::default();
        far.answered(u64::MAX - 1000, 5000, 5100);
        far.completed(GuestStamps { sent: u64::MAX - 1000, got: u64::MAX - 500 }, 6000);
        assert_eq!(far.clock(6000), None, "a distance that no i64 holds");
        let mut x = Exchanges::default();
        x.completed(GuestStamps { sent: 0, got: 0 }, 6000);
        assert_eq!(x.clock(6000), None, "the first of a connection");
    }
}
