// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring's indexes and the fields of requests.

use vesper_grant::PAGE_SIZE;
use vesper_ring::wire::listener::{Answer, Asked, EXPORT, PART, Request, TIME, UNEXPORT};

use crate::common::{RawExport, RawGuest, World};
use crate::{Case, Verdict};

const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;

fn poke(guest: &mut RawGuest, at: usize, value: u32) {
    guest.listener().page.write(at, &value.to_le_bytes());
    guest.kick_listener();
}

/// A request that only its fields make wrong.
fn export() -> Request {
    Request { op: EXPORT, id: 1, export: 2, gref: 8, directory: 9, grants: 6, ..Request::default() }
}

fn time() -> Request {
    Request { op: TIME, id: 1, sent: 5, ..Request::default() }
}

pub const CASES: &[Case] = &[
    ("requests beyond the ring", |_, guest, _| poke(guest, REQ_PROD, 1 + 65), Verdict::Stopped("request")),
    ("request index goes back", |_, guest, _| poke(guest, REQ_PROD, 0), Verdict::Stopped("request")),
    (
        "all bits of the request index",
        |_, guest, _| poke(guest, REQ_PROD, u32::MAX),
        Verdict::Stopped("request"),
    ),
    ("writes the response index", |_, guest, _| poke(guest, RSP_PROD, 77), Verdict::GoesOn),
    (
        "fills the ring page with ones",
        |_, guest, _| {
            guest.listener().page.write(0, &[0xff; PAGE_SIZE]);
            guest.kick_listener();
        },
        Verdict::Stopped("request"),
    ),
    ("opcode 0", |_, guest, _| guest.push_listener(Request::default()), Verdict::Stopped("opcode 0")),
    (
        "an opcode of the loader",
        |_, guest, _| guest.push_listener(Request { op: 1, ..time() }),
        Verdict::Stopped("opcode 1"),
    ),
    (
        "opcode 17",
        |_, guest, _| guest.push_listener(Request { op: 17, ..time() }),
        Verdict::Stopped("opcode 17"),
    ),
    (
        "flags of an unknown kind",
        |_, guest, _| guest.push_listener(Request { flags: 2, ..export() }),
        Verdict::Stopped("flags"),
    ),
    (
        "flags on an UNEXPORT",
        |_, guest, _| {
            guest.push_listener(Request { op: UNEXPORT, flags: PART, export: 1, ..Request::default() });
        },
        Verdict::Stopped("flags"),
    ),
    (
        "flags on a TIME",
        |_, guest, _| guest.push_listener(Request { flags: 1, ..time() }),
        Verdict::Stopped("flags"),
    ),
    (
        "export 0",
        |_, guest, _| guest.push_listener(Request { export: 0, ..export() }),
        Verdict::Stopped("export"),
    ),
    (
        "UNEXPORT of 0",
        |_, guest, _| guest.push_listener(Request { op: UNEXPORT, ..Request::default() }),
        Verdict::Stopped("export"),
    ),
    (
        "descriptor grant 0",
        |_, guest, _| guest.push_listener(Request { gref: 0, ..export() }),
        Verdict::Stopped("grant"),
    ),
    (
        "directory grant 0",
        |_, guest, _| guest.push_listener(Request { directory: 0, ..export() }),
        Verdict::Stopped("grant"),
    ),
    (
        "no grants",
        |_, guest, _| guest.push_listener(Request { grants: 0, ..export() }),
        Verdict::Stopped("grants"),
    ),
    (
        "too many grants",
        |_, guest, _| guest.push_listener(Request { grants: 65537, ..export() }),
        Verdict::Stopped("grants"),
    ),
    (
        "a time in an EXPORT",
        |_, guest, _| guest.push_listener(Request { sent: 1, ..export() }),
        Verdict::Stopped("sent"),
    ),
    (
        "grants in a TIME",
        |_, guest, _| guest.push_listener(Request { grants: 1, ..time() }),
        Verdict::Stopped("grants"),
    ),
    (
        "grants in an UNEXPORT",
        |_, guest, _| guest.push_listener(Request { op: UNEXPORT, export: 1, gref: 1, ..Request::default() }),
        Verdict::Stopped("gref"),
    ),
    (
        "reserved words",
        |_, guest, _| guest.push_listener(Request { reserved: [0, 1], ..time() }),
        Verdict::Stopped("reserved"),
    ),
    (
        "UNEXPORT of an export that never was",
        |world, guest, _| assert_eq!(guest.status(world, Asked::Unexport { export: 77 }), -2),
        Verdict::GoesOn,
    ),
    (
        "UNEXPORT twice",
        |world, guest, export| {
            assert_eq!(guest.status(world, Asked::Unexport { export: 1 }), 0);
            assert!(!export.is_mapped());
            assert_eq!(guest.status(world, Asked::Unexport { export: 1 }), -2);
        },
        Verdict::GoesOn,
    ),
    (
        "a part of an export that never was",
        |world, guest, _| {
            let mut part = RawExport::small(guest, 7, "panic");
            part.part = true;
            assert_eq!(guest.export(world, &mut part), -2);
            part.end();
        },
        Verdict::GoesOn,
    ),
    (
        "the same announcement twice",
        |world, guest, _| {
            let mut other = RawExport::small(guest, 2, "other");
            let offer = other.grant();
            assert_eq!(guest.status(world, Asked::Export(offer)), 0);
            assert_eq!(guest.status(world, Asked::Export(offer)), 0);
            assert_eq!(world.backend.channels(vesper_grant::DomId(1)).len(), 2);
            assert_eq!(guest.status(world, Asked::Unexport { export: 2 }), 0);
            other.end();
        },
        Verdict::GoesOn,
    ),
    ("clocks of all kinds", all_clocks, Verdict::GoesOn),
    ("a full ring of requests at once", full_ring, Verdict::GoesOn),
];

fn all_clocks(world: &mut World, guest: &mut RawGuest, _: &mut RawExport) {
    for stamp in [0, 1, u64::MAX / 2, u64::MAX] {
        for before in [0, 1, u64::MAX / 2, u64::MAX] {
            let asked = Asked::Time { sent: stamp, prev_sent: before, prev_got: stamp };
            assert!(matches!(guest.ask_listener(world, asked), Some(Answer::TimeIs { .. })));
            let _ = world.backend.listener(vesper_grant::DomId(1)).unwrap();
        }
    }
}

fn full_ring(world: &mut World, guest: &mut RawGuest, _: &mut RawExport) {
    let ring = guest.listener().ring.as_mut().unwrap();
    let asked = Asked::Time { sent: 1, prev_sent: 0, prev_got: 0 };
    let mut pushed = 0;
    while ring.push(&asked.request(pushed)).is_ok() {
        pushed += 1;
    }
    let _ = ring.publish();
    guest.kick_listener();
    world.settle();
    let ring = guest.listener().ring.as_mut().unwrap();
    let mut answers = 0;
    while ring.take().unwrap().is_some() {
        answers += 1;
    }
    assert_eq!(answers, pushed);
}
