// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A host that breaks the protocol: each case stops the listener, for good, until it is connected anew.

use crate::desk::{Desk, export, time_is};
use vesper_ring::Poison;
use vesper_ring::wire::BadMessage;
use vesper_ring::wire::listener::{Answer, Asked, Response};
use vesper_xenfront::listener::SLOTS;
use vesper_xenfront::{Fault, Progress};

type Verdict = fn(&Fault) -> bool;
/// Where the frontend is when the host misbehaves.
type Before = fn() -> Desk;
type Act = fn(&mut Desk) -> Result<Progress, Fault>;

/// The first TIME is open.
fn timing() -> Desk {
    let mut desk = Desk::new();
    assert!(matches!(desk.asked(), Asked::Time { .. }));
    desk
}

/// The EXPORT of slot 1 is open; the host has slot 0.
fn announcing() -> Desk {
    let mut desk = Desk::idle();
    desk.export(0);
    desk.settle();
    desk.export(1);
    assert!(matches!(desk.asked(), Asked::Export(_)));
    desk
}

/// The UNEXPORT of slot 1 is open; the host has slot 0.
fn leaving() -> Desk {
    let mut desk = announcing();
    desk.done(0);
    desk.unexport(1);
    assert!(matches!(desk.asked(), Asked::Unexport { .. }));
    desk
}

fn done(desk: &mut Desk, change: fn(&mut Response)) -> Result<Progress, Fault> {
    let mut response = Answer::Done { status: 0 }.response(desk.open_id);
    change(&mut response);
    desk.respond(&response)
}

fn time(desk: &mut Desk, change: fn(&mut Response)) -> Result<Progress, Fault> {
    let mut response = time_is().response(desk.open_id);
    change(&mut response);
    desk.respond(&response)
}

fn index(desk: &mut Desk, value: u32) -> Result<Progress, Fault> {
    desk.set_index(2, value);
    desk.front.run()
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
    ("producer a ring ahead", timing, |d| index(d, 1000), is_overflow),
    ("producer just behind the wrap", timing, |d| index(d, u32::MAX), is_overflow),
    ("producer goes back", leaving, |d| index(d, 0), is_overflow),
    ("response that nobody asked for", timing, |d| index(d, 2), is_unasked),
    ("response while nothing is open", Desk::idle, |d| index(d, 9), is_unasked),
    (
        "two responses to one question",
        announcing,
        |d| {
            d.done(0);
            let taken = d.back.entries(); // any index ahead of what was asked
            index(d, taken)
        },
        is_unasked,
    ),
    ("other id", announcing, |d| done(d, |r| r.id += 1), message!(BadMessage::Id { .. })),
    ("id of the question before", announcing, |d| done(d, |r| r.id -= 1), message!(BadMessage::Id { .. })),
    ("opcode 0", announcing, |d| done(d, |r| r.op = 0), message!(BadMessage::Opcode(0))),
    ("opcode of the loader", announcing, |d| done(d, |r| r.op = 5), message!(BadMessage::Opcode(5))),
    ("reserved opcode", announcing, |d| done(d, |r| r.op = 17), message!(BadMessage::Opcode(17))),
    ("opcode 65535", timing, |d| time(d, |r| r.op = 65535), message!(BadMessage::Opcode(65535))),
    ("flags", announcing, |d| done(d, |r| r.flags = 1), message!(BadMessage::Flags(1))),
    ("flags of a time", timing, |d| time(d, |r| r.flags = 0x8000), message!(BadMessage::Flags(0x8000))),
    ("TIME_IS to an EXPORT", announcing, |d| time(d, |_| ()), message!(BadMessage::NoAnswer { .. })),
    ("TIME_IS to an UNEXPORT", leaving, |d| time(d, |_| ()), message!(BadMessage::NoAnswer { .. })),
    ("DONE to a TIME", timing, |d| done(d, |_| ()), message!(BadMessage::NoAnswer { .. })),
    ("positive status", announcing, |d| done(d, |r| r.status = 1), message!(BadMessage::Status(1))),
    ("no error number", leaving, |d| done(d, |r| r.status = -4096), message!(BadMessage::Status(-4096))),
    ("the least status", announcing, |d| done(d, |r| r.status = i32::MIN), message!(BadMessage::Status(_))),
    ("DONE with a time", announcing, |d| done(d, |r| r.got = 1), message!(BadMessage::Unused(_))),
    ("DONE with another time", leaving, |d| done(d, |r| r.sent = 1), message!(BadMessage::Unused(_))),
    ("reserved", announcing, |d| done(d, |r| r.reserved = 1), message!(BadMessage::Unused(_))),
    ("TIME_IS with a status", timing, |d| time(d, |r| r.status = -5), message!(BadMessage::Unused(_))),
    ("TIME_IS with reserved", timing, |d| time(d, |r| r.reserved = 7), message!(BadMessage::Unused(_))),
    (
        "random bytes",
        leaving,
        |d| {
            d.respond(&Response {
                op: 0xeeee,
                flags: 0xa5a5,
                id: 0x5a5a_5a5a,
                status: 5,
                reserved: 6,
                got: 7,
                sent: 8,
            })
        },
        message!(_),
    ),
];

#[test]
fn every_case_stops_the_listener_until_it_is_connected_anew() {
    for (case, before, act, verdict) in CASES {
        let mut desk = before();
        let fault = act(&mut desk).expect_err(case);
        assert!(verdict(&fault), "{case}: {fault:?}");
        assert_eq!(desk.front.fault(), Some(&fault), "{case}");
        assert!(!fault.reason().is_empty() && !fault.to_string().is_empty(), "{case}");
        assert!(desk.world.borrow().slots.values().all(|slot| !slot.leaving), "{case}: it waits for ever");

        // Stopped: whatever comes, it says and offers nothing more, and what is to end has ended.
        let kicks = desk.world.borrow().kicks;
        desk.set_index(2, 7);
        assert_eq!(desk.front.run(), Err(fault), "{case}");
        desk.front.time().unwrap();
        desk.export(40);
        desk.export(41);
        desk.told();
        desk.unexport(41);
        assert_eq!(desk.told(), [(41, None)], "{case}");
        assert_eq!(desk.front.run(), Err(fault), "{case}");
        assert_eq!(desk.world.borrow().kicks, kicks, "{case}: it still speaks");
        assert!(!desk.world.borrow().slots[&40].granted, "{case}: it still offers");

        // And well again afterwards: everything that exists is announced.
        desk.reconnect();
        let expected: Vec<_> =
            desk.world.borrow().slots.iter().map(|(&at, slot)| export(at, slot.number, false)).collect();
        assert_eq!(desk.settle(), expected, "{case}");
    }
}

#[test]
fn a_time_of_any_value_is_the_hosts_own_affair() {
    let mut desk = Desk::new();
    for (got, sent) in [(0, 0), (u64::MAX, u64::MAX), (9, 1), (1, 9)] {
        assert!(matches!(desk.asked(), Asked::Time { .. }));
        let mut response = time_is().response(desk.open_id);
        (response.got, response.sent) = (got, sent);
        desk.respond(&response).unwrap();
    }
}

#[test]
fn a_host_that_answers_at_once_does_not_keep_the_thread() {
    let mut desk = Desk::attached();
    for slot in 0..SLOTS as u32 {
        desk.export(slot);
    }
    desk.answer_at_once();
    desk.front.start().unwrap();
    // 8 exchanges of TIME and 64 exports, 16 answers at a time.
    for _ in 0..4 {
        assert_eq!(desk.front.run(), Ok(Progress::More));
    }
    assert_eq!(desk.front.run(), Ok(Progress::Done));
    assert!(desk.world.borrow().slots.values().all(|slot| slot.shared));
}
