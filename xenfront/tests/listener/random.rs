// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Random sequences of exports, ends, answers that are mostly right and sometimes wrong, and reconnects.

use std::collections::BTreeMap;

use crate::desk::{Desk, export, time_is, unexport};
use proptest::prelude::*;
use vesper_ring::wire::listener::{Answer, Asked, Response};

#[derive(Clone, Debug)]
enum Step {
    Export(u32),
    More(u32),
    Unexport(u32),
    Time,
    /// An answer to what is open.
    Answer(i32),
    /// Any answer.
    Garbage(Response),
    /// An index of the page.
    Index(usize, u32),
    /// An event without cause.
    Run,
    Reconnect,
    Detach,
    /// No memory for an offer, or there is.
    Lack(Option<i32>),
}

fn response() -> impl Strategy<Value = Response> {
    (15u16..24, 0u16..2, 0u32..20, -3i32..2, 0u32..2, any::<u64>(), 0u64..2).prop_map(
        |(op, flags, id, status, reserved, got, sent)| Response {
            op,
            flags,
            id,
            status,
            reserved,
            got,
            sent,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u32..6).prop_map(Step::Export),
        2 => (0u32..6).prop_map(Step::More),
        5 => (0u32..6).prop_map(Step::Unexport),
        1 => Just(Step::Time),
        14 => prop_oneof![4 => Just(0), 1 => -40i32..0].prop_map(Step::Answer),
        1 => response().prop_map(Step::Garbage),
        1 => (0usize..4, any::<u32>()).prop_map(|(index, value)| Step::Index(index, value)),
        1 => Just(Step::Run),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Detach),
        1 => prop::option::of(1i32..200).prop_map(Step::Lack),
    ]
}

/// What a host that keeps to the protocol knows: the exports that it has.
type Host = BTreeMap<u32, u32>;

/// Answers as such a host, and holds the question against what it knows.
fn answer(host: &mut Host, asked: &Asked, status: i32) -> Answer {
    match *asked {
        Asked::Time { .. } => return time_is(),
        Asked::Export(export) => {
            assert_eq!(host.contains_key(&export.export), export.part, "an export twice, or a part of none");
            if status == 0 {
                *host.entry(export.export).or_default() += 1;
            }
        }
        Asked::Unexport { export } => assert!(host.remove(&export).is_some(), "it does not have {export}"),
    }
    Answer::Done { status }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The kernel of the desk panics on an offer of what is leaving or was offered, and on an end that nobody asked for;
    /// the host here on an export that it has, a part of one that it does not have, and an end of one that it does not
    /// have.
    #[test]
    fn nothing_makes_it_panic_or_lose_its_way(steps in prop::collection::vec(step(), 1..120)) {
        let mut desk = Desk::new();
        let (mut host, mut open, mut attached) = (Host::new(), None, true);
        for step in steps {
            let live = attached && desk.front.fault().is_none();
            if live && open.is_none() {
                open = desk.try_asked();
            }
            let has = |slot: &u32| desk.world.borrow().slots.get(slot).is_some_and(|export| !export.leaving);
            match step {
                Step::Export(slot) => {
                    let there = desk.world.borrow().slots.get(&slot).copied();
                    match there {
                        None => { desk.export(slot); }
                        // Refused, or its turn has not come.
                        Some(it) if !it.granted && !it.leaving => { let _ = desk.front.export(slot); }
                        Some(_) => {}
                    }
                }
                Step::More(slot) => if has(&slot) { desk.more(slot); },
                Step::Unexport(slot) => if has(&slot) { desk.unexport(slot); },
                Step::Time => { let _ = desk.front.time(); }
                Step::Answer(status) => if live && let Some(asked) = open.take() {
                    let answer = answer(&mut host, &asked, status);
                    desk.answer(&answer).unwrap();
                },
                Step::Garbage(response) => if attached && desk.back.push(&response).is_ok() {
                    let _ = desk.back.publish();
                    let wrong = desk.front.run().is_err();
                    if let Some(asked) = open.take() && !wrong {
                        // It was a right one by chance.
                        answer(&mut host, &asked, response.status);
                    }
                },
                Step::Index(index, value) => if attached {
                    desk.set_index(index, value);
                    let _ = desk.front.run();
                    // The backend's own end may be confused now: start anew.
                    desk.reconnect();
                    (open, host) = (None, Host::new());
                },
                Step::Run => { let _ = desk.front.run(); }
                Step::Reconnect => { desk.reconnect(); (open, host) = (None, Host::new()); attached = true; }
                Step::Detach => {
                    desk.attach();
                    desk.front.detach();
                    (open, host) = (None, Host::new());
                    attached = false;
                }
                Step::Lack(errno) => desk.world.borrow_mut().no_open = errno,
            }
        }

        // Whatever happened: connected anew it announces what there is, each once, and takes back what is to leave.
        desk.world.borrow_mut().no_open = None;
        desk.reconnect();
        let slots = desk.world.borrow().slots.clone();
        prop_assert!(slots.values().all(|slot| !slot.leaving));
        let expected: Vec<_> = slots.iter().map(|(&slot, it)| export(slot, it.number, false)).collect();
        prop_assert_eq!(desk.settle(), expected);
        for (&slot, it) in &slots {
            desk.unexport(slot);
            prop_assert_eq!(desk.settle(), [unexport(it.number)]);
        }
        prop_assert!(desk.world.borrow().slots.is_empty());
    }
}
