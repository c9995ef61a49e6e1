// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A host that breaks the protocol: each case stops the device, for good, until it is connected anew.

mod common;

use common::{Desk, RUN, command, load, unload};
use vesper_ring::Poison;
use vesper_ring::wire::loader::{ARGS_BYTES, IMAGE_BYTES, LOAD, Response, UNLOAD, WINDOW_BYTES};
use vesper_ring::wire::{Answer, Asked, BadMessage, CommandId};
use vesper_xenfront::{Fault, Progress};

type Verdict = fn(&Fault) -> bool;
/// Where the frontend is when the host misbehaves.
type Before = fn() -> Desk;
type Act = fn(&mut Desk) -> Result<Progress, Fault>;

fn reporting() -> Desk {
    let mut desk = Desk::new();
    desk.asked();
    desk
}

/// Data for command 1 is wanted.
fn fetching() -> Desk {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "probe", 2 * u64::from(WINDOW_BYTES), 0)).unwrap();
    assert!(matches!(desk.asked(), Asked::Fetch(_)));
    desk
}

/// The first step of command 1 is done.
fn preparing() -> Desk {
    let mut desk = Desk::parked();
    desk.answer(&unload(1, "probe")).unwrap();
    assert!(matches!(desk.asked(), Asked::Prepared { .. }));
    desk
}

/// The loader thread works for command 1: nothing is open.
fn working() -> Desk {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "probe", 4, 0)).unwrap();
    desk.serve(b"data");
    desk
}

fn with(desk: &mut Desk, answer: &Answer, change: fn(&mut Response)) -> Result<Progress, Fault> {
    let mut response = answer.response(desk.open_id);
    change(&mut response);
    desk.respond(&response)
}

fn filled(desk: &mut Desk, change: fn(&mut Response)) -> Result<Progress, Fault> {
    with(desk, &Answer::Filled { command: command(1), status: 0 }, change)
}

/// A second response to the same question: the ring itself has no room for it, so the index says so.
fn twice(desk: &mut Desk, answer: &Answer) -> Result<Progress, Fault> {
    desk.answer(answer)?;
    desk.set_index(2, desk.back.entries() + 9);
    desk.front.run()
}

fn is_ring(fault: &Fault) -> bool {
    matches!(fault, Fault::Ring(_))
}
fn is_overflow(fault: &Fault) -> bool {
    matches!(fault, Fault::Ring(Poison::ResponseOverflow { .. }))
}
fn is_unasked(fault: &Fault) -> bool {
    matches!(fault, Fault::Ring(Poison::ResponseUnasked { .. }))
}

macro_rules! message {
    ($pattern:pat) => {
        |fault| matches!(fault, Fault::Message($pattern))
    };
}

const CASES: &[(&str, Before, Act, Verdict)] = &[
    (
        "producer a ring ahead",
        Desk::parked,
        |d| {
            d.set_index(2, 1000);
            d.front.run()
        },
        is_overflow,
    ),
    (
        "producer just behind the wrap",
        Desk::parked,
        |d| {
            d.set_index(2, u32::MAX);
            d.front.run()
        },
        is_overflow,
    ),
    (
        "producer goes back",
        Desk::parked,
        |d| {
            d.set_index(2, 0);
            d.front.run()
        },
        is_overflow,
    ),
    (
        "response that nobody asked for",
        Desk::parked,
        |d| {
            d.set_index(2, 3);
            d.front.run()
        },
        is_unasked,
    ),
    (
        "response while the loader thread works",
        working,
        |d| {
            d.set_index(2, 4);
            d.front.run()
        },
        is_unasked,
    ),
    ("second response to a LOAD", Desk::parked, |d| twice(d, &load(1, "m", 9, 0)), is_ring),
    ("second response to a DONE", reporting, |d| twice(d, &Answer::Done), is_ring),
    (
        "other id",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.id += 1),
        message!(BadMessage::Id { .. }),
    ),
    (
        "id of the question before",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.id -= 1),
        message!(BadMessage::Id { .. }),
    ),
    (
        "opcode 0",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.op = 0),
        message!(BadMessage::Opcode(0)),
    ),
    (
        "opcode of the listener",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.op = 16),
        message!(BadMessage::Opcode(16)),
    ),
    (
        "opcode 65535",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.op = 65535),
        message!(BadMessage::Opcode(65535)),
    ),
    (
        "flags",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.flags = 1),
        message!(BadMessage::Flags(1)),
    ),
    ("DONE to a DUMMY", Desk::parked, |d| d.answer(&Answer::Done), message!(BadMessage::NoAnswer { .. })),
    ("LOAD to a REPORT", reporting, |d| d.answer(&load(1, "m", 9, 0)), message!(BadMessage::NoAnswer { .. })),
    ("LOAD to a FETCH", fetching, |d| d.answer(&load(2, "m", 9, 0)), message!(BadMessage::NoAnswer { .. })),
    ("UNLOAD to a PREPARED", preparing, |d| d.answer(&unload(2, "m")), message!(BadMessage::NoAnswer { .. })),
    (
        "PROCEED to a FETCH",
        fetching,
        |d| d.answer(&Answer::Proceed { command: command(1) }),
        message!(BadMessage::NoAnswer { .. }),
    ),
    ("FILLED to a PREPARED", preparing, |d| filled(d, |_| ()), message!(BadMessage::NoAnswer { .. })),
    (
        "CANCELLED to a DUMMY",
        Desk::parked,
        |d| d.answer(&Answer::Cancelled { command: command(1) }),
        message!(BadMessage::NoAnswer { .. }),
    ),
    (
        "FILLED of another run",
        fetching,
        |d| filled(d, |r| r.run = RUN + 1),
        message!(BadMessage::OtherCommand(_)),
    ),
    (
        "FILLED of another command",
        fetching,
        |d| filled(d, |r| r.seq = 2),
        message!(BadMessage::OtherCommand(_)),
    ),
    (
        "PROCEED of another command",
        preparing,
        |d| d.answer(&Answer::Proceed { command: command(9) }),
        message!(BadMessage::OtherCommand(_)),
    ),
    (
        "CANCELLED of another command",
        fetching,
        |d| d.answer(&Answer::Cancelled { command: command(9) }),
        message!(BadMessage::OtherCommand(_)),
    ),
    (
        "FILLED with a positive status",
        fetching,
        |d| filled(d, |r| r.status = 1),
        message!(BadMessage::Status(1)),
    ),
    (
        "FILLED with no error number",
        fetching,
        |d| filled(d, |r| r.status = i32::MIN),
        message!(BadMessage::Status(i32::MIN)),
    ),
    (
        "LOAD without a run",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.run = 0),
        message!(BadMessage::NoCommand(CommandId { run: 0, .. })),
    ),
    (
        "LOAD without a number",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.seq = 0),
        message!(BadMessage::NoCommand(_)),
    ),
    (
        "LOAD of nothing",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.image_bytes = 0),
        message!(BadMessage::Bytes { .. }),
    ),
    (
        "LOAD of more than there can be",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.image_bytes = IMAGE_BYTES + 1),
        message!(BadMessage::Bytes { .. }),
    ),
    (
        "LOAD of 2^64-1 bytes",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.image_bytes = u64::MAX),
        message!(BadMessage::Bytes { .. }),
    ),
    (
        "LOAD with endless arguments",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.args_bytes = ARGS_BYTES + 1),
        message!(BadMessage::Bytes { .. }),
    ),
    (
        "LOAD with status",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.status = -1),
        message!(BadMessage::Unused(_)),
    ),
    (
        "UNLOAD with an image",
        Desk::parked,
        |d| with(d, &unload(1, "m"), |r| r.image_bytes = 1),
        message!(BadMessage::Unused(_)),
    ),
    ("FILLED with a name", fetching, |d| filled(d, |r| r.name[0] = b'x'), message!(BadMessage::Unused(_))),
    (
        "name of nothing",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.name = [0; 56]),
        message!(BadMessage::Name(_)),
    ),
    (
        "name without an end",
        Desk::parked,
        |d| with(d, &load(1, "m", 9, 0), |r| r.name = [b'a'; 56]),
        message!(BadMessage::Name(_)),
    ),
    (
        "name with a slash",
        Desk::parked,
        |d| with(d, &unload(1, "m"), |r| r.name[1] = b'/'),
        message!(BadMessage::Name(_)),
    ),
    (
        "name with a hole",
        Desk::parked,
        |d| with(d, &unload(1, "m"), |r| r.name[9] = b'x'),
        message!(BadMessage::Name(_)),
    ),
    (
        "name with a control byte",
        Desk::parked,
        |d| with(d, &unload(1, "m"), |r| r.name[0] = 7),
        message!(BadMessage::Name(_)),
    ),
    (
        "random bytes",
        Desk::parked,
        |d| {
            d.respond(&Response {
                op: LOAD | UNLOAD << 8,
                flags: 0xa5a5,
                id: 0x5a5a_5a5a,
                run: 1,
                seq: 2,
                image_bytes: 3,
                args_bytes: 4,
                status: 5,
                name: [0xee; 56],
            })
        },
        message!(_),
    ),
];

#[test]
fn every_case_stops_the_device_until_it_is_connected_anew() {
    assert!(CASES.len() >= 40);
    for (case, before, act, verdict) in CASES {
        let mut desk = before();
        let fault = act(&mut desk).expect_err(case);
        assert!(verdict(&fault), "{case}: {fault:?}");
        assert_eq!(desk.front.fault(), Some(&fault), "{case}");
        assert!(!fault.reason().is_empty() && !fault.to_string().is_empty(), "{case}");
        assert!(desk.world.borrow().image.is_none(), "{case}: an image is left");

        // Stopped: whatever comes, it says and does nothing more.
        let kicks = desk.world.borrow().kicks;
        desk.set_index(2, 7);
        assert_eq!(desk.front.run(), Err(fault), "{case}");
        if desk.world.borrow().running.is_some() {
            // A load of before goes on, and its end is noted.
            let _ = desk.finish(0);
        }
        assert_eq!(desk.front.run(), Err(fault), "{case}");
        assert_eq!(desk.world.borrow().kicks, kicks, "{case}: it still speaks");

        // And well again afterwards.
        desk.reconnect();
        assert!(desk.world.borrow().window.is_none(), "{case}: a window is left");
        assert!(matches!(desk.asked(), Asked::Report(_)), "{case}");
        desk.answer(&Answer::Done).expect(case);
        assert!(matches!(desk.asked(), Asked::Dummy(_)), "{case}");
        desk.load(20, "after");
    }
}

#[test]
fn a_host_that_answers_at_once_for_ever_does_not_keep_the_thread() {
    let mut desk = Desk::parked();
    assert!(!desk.back.final_check().unwrap());
    desk.back.push(&unload(1, "m").response(desk.open_id)).unwrap();
    let _ = desk.back.publish();
    // SAFETY: the page is never freed; the end of before is not used any more.
    desk.world.borrow_mut().at_once = Some(unsafe { desk.second_back() });
    for _ in 0..10 {
        assert_eq!(desk.front.run(), Ok(Progress::More));
    }
    assert!(desk.world.borrow().kicks > 100);
}
