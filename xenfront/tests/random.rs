// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Random sequences of answers, mostly right and sometimes wrong, of ends of work and of reconnects.

mod common;

use common::{Desk, command, load, unload};
use proptest::prelude::*;
use vesper_ring::wire::loader::Response;
use vesper_ring::wire::{Answer, Asked, NAME_BYTES};

#[derive(Clone, Debug)]
enum Step {
    /// The right answer to what is open: which one, and how large a load.
    Answer(u8, u32),
    /// Any answer.
    Garbage(Box<Response>),
    /// An index of the page.
    Index(usize, u32),
    /// The loader thread ends.
    Finish(i32),
    /// An event without cause.
    Run,
    Reconnect,
    Detach,
    /// Something lacks, or not.
    Lack(Option<i32>),
}

fn response() -> impl Strategy<Value = Response> {
    (0u16..8, 0u16..2, 0u32..6, 0u64..3, 0u64..3, any::<u64>(), any::<u32>(), -3i32..2, prop::bool::ANY)
        .prop_map(|(op, flags, id, run, seq, image_bytes, args_bytes, status, named)| {
            let mut name = [0; NAME_BYTES];
            if named {
                name[..4].copy_from_slice(b"name");
            }
            Response { op, flags, id, run, seq, image_bytes, args_bytes, status, name }
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<u8>(), 1u32..3_000_000).prop_map(|(kind, bytes)| Step::Answer(kind, bytes)),
        1 => response().prop_map(|response| Step::Garbage(Box::new(response))),
        1 => (0usize..4, any::<u32>()).prop_map(|(index, value)| Step::Index(index, value)),
        6 => prop_oneof![3 => Just(0), 1 => any::<i32>()].prop_map(Step::Finish),
        1 => Just(Step::Run),
        2 => Just(Step::Reconnect),
        1 => Just(Step::Detach),
        1 => prop::option::of(1i32..200).prop_map(Step::Lack),
    ]
}

/// A right answer to a question.
fn right(asked: &Asked, kind: u8, bytes: u32, seq: u64) -> Answer {
    let name = format!("m{}", kind % 5);
    match (*asked, kind % 4) {
        (Asked::Report(_), _) => Answer::Done,
        (Asked::Dummy(_), 0) => unload(seq, &name),
        (Asked::Dummy(_), _) => load(seq, &name, bytes.into(), bytes % 100),
        (Asked::Fetch(fetch), 0) if kind > 200 => Answer::Cancelled { command: fetch.command },
        (Asked::Fetch(fetch), 1) if kind > 200 => Answer::Filled { command: fetch.command, status: -14 },
        (Asked::Fetch(fetch), _) => Answer::Filled { command: fetch.command, status: 0 },
        (Asked::Prepared { command, .. }, 0) => Answer::Cancelled { command },
        (Asked::Prepared { command, .. }, _) => Answer::Proceed { command },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The fakes panic on a second window, a second image, an incomplete image, a window that is open when the image is
    /// read, and two pieces of work at once; the backend's end on a question that breaks the protocol.
    #[test]
    fn nothing_makes_it_panic_or_lose_its_way(steps in prop::collection::vec(step(), 1..80)) {
        let mut desk = Desk::new();
        let (mut open, mut seq, mut attached) = (None, 0, true);
        for step in steps {
            if attached && desk.front.fault().is_none() && open.is_none() {
                open = desk.try_asked();
            }
            match step {
                Step::Answer(kind, bytes) => if let Some(asked) = open.take() {
                    seq += 1;
                    let answer = right(&asked, kind, bytes, seq);
                    if attached && desk.front.fault().is_none() && desk.back.unanswered() > 0 {
                        desk.back.push(&answer.response(desk.open_id)).unwrap();
                        let _ = desk.back.publish();
                        let _ = desk.front.run();
                    }
                },
                Step::Garbage(response) => if attached && desk.back.push(&response).is_ok() {
                    open = None;
                    let _ = desk.back.publish();
                    let _ = desk.front.run();
                },
                Step::Index(index, value) => if attached {
                    desk.set_index(index, value);
                    let _ = desk.front.run();
                    // The backend's own end may be confused now: start anew.
                    desk.reconnect();
                    open = None;
                },
                Step::Finish(status) => if desk.world.borrow().running.is_some() {
                    let _ = desk.finish(status);
                },
                Step::Run => { let _ = desk.front.run(); }
                Step::Reconnect => { desk.reconnect(); open = None; attached = true; }
                Step::Detach => { desk.front.detach(); open = None; attached = false; }
                Step::Lack(errno) => {
                    let mut world = desk.world.borrow_mut();
                    world.no_window = errno.filter(|e| e % 3 == 0);
                    world.no_image = errno.filter(|e| e % 3 == 1);
                    world.no_check = errno.filter(|e| e % 3 == 2);
                }
            }
        }

        // Whatever happened: connected anew it reports, finishes what runs, tells it, and loads.
        {
            let mut world = desk.world.borrow_mut();
            world.no_window = None;
            world.no_image = None;
            world.no_check = None;
        }
        desk.reconnect();
        prop_assert!(desk.world.borrow().window.is_none());
        prop_assert!(desk.world.borrow().image.is_none());
        prop_assert!(matches!(desk.asked(), Asked::Report(_)));
        desk.answer(&Answer::Done).unwrap();
        if desk.world.borrow().running.is_some() {
            prop_assert!(desk.try_asked().is_none());
            desk.finish(0).unwrap();
            let told = matches!(desk.asked(), Asked::Dummy(Some(_)));
            prop_assert!(told);
        } else {
            prop_assert!(matches!(desk.asked(), Asked::Dummy(_)));
        }
        desk.answer(&load(1_000_000, "last", 8, 0)).unwrap();
        prop_assert_eq!(desk.serve(b"imageabc"), 1);
        desk.finish(0).unwrap();
        match desk.asked() {
            Asked::Dummy(Some(result)) => prop_assert_eq!((result.command, result.status), (command(1_000_000), 0)),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
