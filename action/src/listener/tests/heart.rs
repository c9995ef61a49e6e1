// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict: each rule by itself, and against a model of guests on a host.

use proptest::prelude::*;

use super::super::heart::{Domain, Look, Vcpu, Verdict, Why, judge};
use super::super::{Beats, DeadCause};

const PERIOD: u64 = 500_000_000;

fn beats(of: &[u64]) -> Beats {
    Beats::new(of.to_vec(), PERIOD, 0)
}

/// A look after `periods` tenths of a period; each vCPU is (last beat in tenths of a period, ran in the same, blocked).
fn look(tenths: u64, vcpus: &[(u64, u64, bool)]) -> Look {
    let tenth = PERIOD / 10;
    Look {
        at_ns: tenths * tenth,
        domain: Domain::Up,
        vcpus: vcpus
            .iter()
            .map(|(_, ran, blocked)| Vcpu { online: true, blocked: *blocked, ran_ns: ran * tenth })
            .collect(),
        beats: Some(beats(&vcpus.iter().map(|(beat, ..)| beat * tenth).collect::<Vec<_>>())),
    }
}

#[test]
fn a_vcpu_that_beats_lives() {
    let then = look(0, &[(5, 0, true), (7, 0, false)]);
    assert_eq!(judge(&then, &look(10, &[(15, 1, true), (17, 9, false)])), Verdict::Alive(Why::Beating));
    // One that came up since needs no beat before.
    let then = look(0, &[(5, 0, true), (0, 0, false)]);
    assert_eq!(judge(&then, &look(10, &[(15, 1, true), (17, 9, false)])), Verdict::Alive(Why::Beating));
}

#[test]
fn a_missing_beat_is_held_against_a_vcpu_that_had_the_time() {
    let then = look(0, &[(5, 0, true), (5, 0, false)]);
    let now = |tenths, ran, blocked| judge(&then, &look(tenths, &[(tenths + 5, 1, true), (5, ran, blocked)]));
    assert_eq!(now(29, 29, false), Verdict::Undecided { again_ns: PERIOD / 10 }, "too early to say");
    assert_eq!(now(30, 10, false), Verdict::Hung { vcpus: vec![1] }, "it ran for a whole period");
    assert_eq!(now(30, 9, false), Verdict::Alive(Why::Starved), "it had no time");
    assert_eq!(now(3000, 9, false), Verdict::Alive(Why::Starved), "and never gets any");
    assert_eq!(now(30, 0, true), Verdict::Hung { vcpus: vec![1] }, "its timer would have woken it");
    // A beat that goes back is none.
    let back = look(30, &[(4, 30, false), (4, 30, false)]);
    assert_eq!(judge(&then, &back), Verdict::Hung { vcpus: vec![0, 1] });
}

#[test]
fn a_domain_that_is_held_or_over_is_told_from_one_that_hangs() {
    let then = look(0, &[(5, 0, true)]);
    let mut now = look(100, &[(5, 100, false)]);
    for (domain, verdict) in [
        (Domain::Paused, Verdict::Alive(Why::Paused)),
        (Domain::Suspended, Verdict::Alive(Why::Saving)),
        (Domain::Dead(DeadCause::Crashed), Verdict::Dead(DeadCause::Crashed)),
        (Domain::Dead(DeadCause::Destroyed), Verdict::Dead(DeadCause::Destroyed)),
        (Domain::Up, Verdict::Hung { vcpus: vec![0] }),
    ] {
        now.domain = domain;
        assert_eq!(judge(&then, &now), verdict);
    }
    // Just unpaused: there was no time to beat, whatever the clock says.
    let paused = Look { domain: Domain::Paused, ..then.clone() };
    assert_eq!(judge(&paused, &now), Verdict::Undecided { again_ns: 3 * PERIOD });
    assert_eq!(judge(&then, &Look { beats: None, ..now.clone() }), Verdict::Alive(Why::Silent));
    assert_eq!(judge(&then, &Look { beats: Some(beats(&[0])), ..now }), Verdict::Alive(Why::Silent));
}

#[test]
fn looks_that_are_far_apart_prove_no_life() {
    let then = look(0, &[(0, 0, true)]);
    let then = Look { beats: Some(beats(&[1])), ..then };
    // It beat for an hour, and has hung for a minute.
    let now = look(72_000, &[(70_800, 72_000, false)]);
    assert_eq!(judge(&then, &now), Verdict::Undecided { again_ns: 3 * PERIOD });
    let now = look(72_000, &[(71_995, 72_000, false)]);
    assert_eq!(judge(&then, &now), Verdict::Alive(Why::Beating));
}

#[test]
fn beats_of_vcpus_that_are_not_there_are_none() {
    let then = look(0, &[(5, 0, true)]);
    let mut now = look(40, &[(45, 1, true)]);
    let mut lies = vec![u64::MAX; 504];
    lies[0] = 45 * PERIOD / 10;
    now.beats = Some(beats(&lies));
    let then = Look { beats: Some(beats(&[5 * PERIOD / 10; 504])), ..then };
    assert_eq!(judge(&then, &now), Verdict::Alive(Why::Beating));
    now.vcpus[0].online = false;
    assert_eq!(judge(&then, &now), Verdict::Alive(Why::Silent));
}

#[test]
fn without_run_times_nothing_is_held_against_a_guest() {
    let bare = |look: Look| Look { vcpus: Vec::new(), ..look };
    let then = bare(look(0, &[(5, 0, true)]));
    assert_eq!(judge(&then, &bare(look(90, &[(5, 0, true)]))), Verdict::Undecided { again_ns: 3 * PERIOD });
    assert_eq!(judge(&then, &bare(look(20, &[(25, 0, true)]))), Verdict::Alive(Why::Beating));
}

/// What happens to a modelled vCPU in one tenth of a period.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    /// On a CPU, beating when its beat is due.
    Runs,
    /// Asleep, woken to beat.
    Sleeps,
    /// Wants a CPU and has none.
    Starves,
    /// Spins with interrupts off.
    Spins,
    /// Asleep, and its timer does not wake it.
    Dead,
}

fn slots(of: impl Strategy<Value = Slot> + Clone) -> impl Strategy<Value = Vec<Slot>> {
    prop::collection::vec(prop::collection::vec(of, 1..8).prop_map(|some| some.repeat(3)), 4..30)
        .prop_map(|runs| runs.concat())
}

/// Lives through the slots and looks at their end.
fn live(then: &Look, state: &mut (u64, u64, u64), slots: &[Slot]) -> Look {
    let (mut beat, mut ran, mut clock) = *state;
    let mut blocked = false;
    for slot in slots {
        clock += 1;
        let due = clock - beat >= 10;
        match slot {
            Slot::Runs => ran += 1,
            Slot::Spins => ran += 1,
            _ => {}
        }
        if due && matches!(slot, Slot::Runs | Slot::Sleeps) {
            beat = clock;
        }
        blocked = matches!(slot, Slot::Sleeps | Slot::Dead);
    }
    *state = (beat, ran, clock);
    let mut now = look(clock, &[(beat, ran, blocked)]);
    now.at_ns = then.at_ns + slots.len() as u64 * PERIOD / 10;
    now
}

proptest! {
    #[test]
    fn a_guest_that_only_lacks_time_is_never_called_hung(
        first in slots(prop_oneof![Just(Slot::Runs), Just(Slot::Sleeps), Just(Slot::Starves)]),
        second in slots(prop_oneof![Just(Slot::Runs), Just(Slot::Sleeps), Just(Slot::Starves)]),
    ) {
        let mut state = (20, 0, 20);
        let start = look(20, &[(20, 0, false)]);
        let then = live(&start, &mut state, &first);
        let now = live(&then, &mut state, &second);
        let verdict = judge(&then, &now);
        prop_assert!(!matches!(verdict, Verdict::Hung { .. } | Verdict::Dead(_)), "{verdict:?}");
    }

    #[test]
    fn a_vcpu_that_hangs_is_never_called_alive_for_long(
        first in slots(prop_oneof![Just(Slot::Runs), Just(Slot::Sleeps), Just(Slot::Starves)]),
        hang in prop_oneof![Just(Slot::Spins), Just(Slot::Dead)],
        more in 30usize..200,
    ) {
        let mut state = (20, 0, 20);
        let start = look(20, &[(20, 0, false)]);
        let then = live(&start, &mut state, &first);
        let now = live(&then, &mut state, &vec![hang; more]);
        prop_assert_eq!(judge(&then, &now), Verdict::Hung { vcpus: vec![0] });
    }

    #[test]
    fn any_two_looks_have_a_verdict(
        words in prop::collection::vec(any::<u64>(), 20),
        vcpus in prop::collection::vec((any::<bool>(), any::<bool>(), any::<u64>()), 0..6),
        times: (u64, u64),
    ) {
        let look = |at_ns, words: &[u64]| Look {
            at_ns,
            domain: Domain::Up,
            vcpus: vcpus.iter().map(|(online, blocked, ran_ns)| Vcpu { online: *online, blocked: *blocked, ran_ns: *ran_ns }).collect(),
            beats: Some(Beats::new(words[1..].to_vec(), words[0], 0)),
        };
        let (then, now) = (look(times.0, &words[..10]), look(times.1, &words[10..]));
        match judge(&then, &now) {
            Verdict::Hung { vcpus: hung } => {
                prop_assert!(!hung.is_empty() && hung.iter().all(|vcpu| (*vcpu as usize) < vcpus.len()));
            }
            Verdict::Undecided { again_ns } => prop_assert!(again_ns > 0),
            Verdict::Alive(_) | Verdict::Dead(_) => {}
        }
    }
}
