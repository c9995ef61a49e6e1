// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fields of requests, and what they claim of commands.

use vesper_ring::wire::listener::EXPORT;
use vesper_ring::wire::loader::{DUMMY, FETCH, PREPARED, REPORT, Request, flags};
use vesper_ring::wire::{Answer, Asked, CommandId};

use super::{never_issued, offered_load, offered_unload, waiting};
use crate::common::RawGuest;
use crate::{Case, Verdict};

fn dummy() -> Request {
    Request { op: DUMMY, id: 5, ..Request::default() }
}

/// A DUMMY with the result of a command.
fn result(command: CommandId, status: i32) -> Request {
    Request { flags: flags::RESULT, run: command.run, seq: command.seq, status, ..dummy() }
}

fn fetch(guest: &RawGuest, command: CommandId) -> Request {
    guest.fetch_request(command, 0, 4096).request(6)
}

fn prepared(command: CommandId) -> Request {
    Asked::Prepared { command, status: 0 }.request(7)
}

const OTHER: CommandId = CommandId { run: 3, seq: 1 };

pub const CASES: &[Case] = &[
    ("opcode 0", |_, guest| guest.push(Request::default()), Verdict::Stopped("opcode 0")),
    (
        "an opcode of the listener",
        |_, guest| guest.push(Request { op: EXPORT, ..dummy() }),
        Verdict::Stopped("opcode 16"),
    ),
    (
        "all bits of the opcode",
        |_, guest| guest.push(Request { op: 0xffff, ..dummy() }),
        Verdict::Stopped("opcode"),
    ),
    ("unknown flags", |_, guest| guest.push(Request { flags: 1 << 9, ..dummy() }), Verdict::Stopped("flags")),
    (
        "reserved field",
        |_, guest| guest.push(Request { reserved: 1, ..dummy() }),
        Verdict::Stopped("reserved"),
    ),
    ("unused field", |_, guest| guest.push(Request { pages: 1, ..dummy() }), Verdict::Stopped("pages")),
    (
        "a command without result",
        |_, guest| guest.push(Request { run: 1, ..dummy() }),
        Verdict::Stopped("run"),
    ),
    (
        "a result of no command",
        |_, guest| guest.push(result(CommandId::default(), 0)),
        Verdict::Stopped("none"),
    ),
    ("a positive status", |_, guest| guest.push(result(OTHER, 1)), Verdict::Stopped("status 1")),
    (
        "a status that is no errno",
        |_, guest| guest.push(result(OTHER, -4096)),
        Verdict::Stopped("status -4096"),
    ),
    ("least status", |_, guest| guest.push(result(OTHER, i32::MIN)), Verdict::Stopped("status")),
    (
        "truncated log without log",
        |_, guest| guest.push(Request { flags: flags::RESULT | flags::LOG_TRUNCATED, ..result(OTHER, 0) }),
        Verdict::Stopped("flags"),
    ),
    (
        "a log of more than a page",
        |_, guest| {
            let gref = guest.text.1.0;
            guest.push(Request { flags: flags::RESULT | flags::LOG, gref, bytes: 4097, ..result(OTHER, 0) });
        },
        Verdict::Stopped("4097 bytes"),
    ),
    ("a result of another run", |_, guest| guest.push(result(OTHER, -5)), Verdict::GoesOn),
    (
        "a report after it asked for work",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.ask(world, Asked::Prepared { command, status: -16 });
            guest.push(Request { op: REPORT, ..dummy() });
        },
        Verdict::Stopped("a report after it asked for work"),
    ),
    (
        "a result of a command that never was",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(result(CommandId { seq: command.seq + 1, ..command }, -1));
        },
        Verdict::Stopped("never sent"),
    ),
    (
        "a result of a command that still waits",
        |world, guest| {
            offered_load(world, guest);
            let command = waiting(world);
            guest.push(result(command, 0));
        },
        Verdict::Stopped("never sent"),
    ),
    (
        "success without the image",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(result(command, 0));
        },
        Verdict::Stopped("whole image"),
    ),
    (
        "success without the first step",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.push(result(command, 0));
        },
        Verdict::Stopped("first step"),
    ),
    (
        "asks for work while it has some",
        |world, guest| {
            offered_load(world, guest);
            guest.push(dummy());
        },
        Verdict::Stopped("owes"),
    ),
    (
        "reports while it has work",
        |world, guest| {
            offered_load(world, guest);
            guest.push(Request { op: REPORT, ..dummy() });
        },
        Verdict::Stopped("owes"),
    ),
    (
        "brings a result of another run while it has work",
        |world, guest| {
            offered_load(world, guest);
            guest.push(result(OTHER, 0));
        },
        Verdict::Stopped("owes"),
    ),
    (
        "a window of no page",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { pages: 0, ..fetch(guest, command) });
        },
        Verdict::Stopped("0 pages"),
    ),
    (
        "a window of 257 pages",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { pages: 257, ..fetch(guest, command) });
        },
        Verdict::Stopped("257 pages"),
    ),
    (
        "all bits of the pages",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { pages: u32::MAX, bytes: u32::MAX, ..fetch(guest, command) });
        },
        Verdict::Stopped("pages"),
    ),
    (
        "more bytes than the window has",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { pages: 1, bytes: 4097, ..fetch(guest, command) });
        },
        Verdict::Stopped("4097 bytes"),
    ),
    (
        "no bytes",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { bytes: 0, ..fetch(guest, command) });
        },
        Verdict::Stopped("0 bytes"),
    ),
    (
        "an offset behind the end",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { offset: 20_001, bytes: 1, ..fetch(guest, command) });
        },
        Verdict::Stopped("of 20000"),
    ),
    (
        "bytes that reach behind the end",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { offset: 19_999, bytes: 2, ..fetch(guest, command) });
        },
        Verdict::Stopped("of 20000"),
    ),
    (
        "an offset that wraps around",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { offset: u64::MAX, bytes: 2, ..fetch(guest, command) });
        },
        Verdict::Stopped("of 20000"),
    ),
    (
        "fetches for a command that never was",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(fetch(guest, CommandId { seq: command.seq + 9, ..command }));
        },
        Verdict::Stopped("never sent"),
    ),
    (
        "fetches for an unload",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.push(fetch(guest, command));
        },
        Verdict::Stopped("unload"),
    ),
    (
        "fetches for another run",
        |world, guest| {
            let asked = guest.fetch_request(OTHER, 0, 4096);
            assert_eq!(guest.ask(world, asked), Some(Answer::Cancelled { command: OTHER }));
        },
        Verdict::GoesOn,
    ),
    (
        "fetches for another run while it has work",
        |world, guest| {
            offered_load(world, guest);
            guest.push(fetch(guest, OTHER));
        },
        Verdict::Stopped("owes"),
    ),
    (
        "first step of a load",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(prepared(command));
        },
        Verdict::Stopped("has none now"),
    ),
    (
        "first step twice",
        |world, guest| {
            let command = offered_unload(world, guest);
            let answer = guest.ask(world, Asked::Prepared { command, status: 0 });
            assert_eq!(answer, Some(Answer::Proceed { command }));
            guest.push(prepared(command));
        },
        Verdict::Stopped("has none now"),
    ),
    (
        "first step of another run",
        |world, guest| {
            let answer = guest.ask(world, Asked::Prepared { command: OTHER, status: 0 });
            assert_eq!(answer, Some(Answer::Cancelled { command: OTHER }));
        },
        Verdict::GoesOn,
    ),
    (
        "first step with a positive status",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.push(Request { status: 3, ..prepared(command) });
        },
        Verdict::Stopped("status 3"),
    ),
    (
        "first step of a command that never was",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.push(prepared(CommandId { seq: u64::MAX, ..command }));
        },
        Verdict::Stopped("never sent"),
    ),
    (
        "a fetch with a result's flags",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { op: FETCH, flags: flags::RESULT, ..fetch(guest, command) });
        },
        Verdict::Stopped("flags"),
    ),
    (
        "a first step with bytes",
        |world, guest| {
            let command = offered_unload(world, guest);
            guest.push(Request { op: PREPARED, bytes: 1, ..prepared(command) });
        },
        Verdict::Stopped("bytes"),
    ),
    (
        "a report that is no whole entries",
        |_, guest| {
            let gref = guest.text.1.0;
            guest.push(Request { op: REPORT, gref, bytes: 71, ..dummy() });
        },
        Verdict::Stopped("71 bytes"),
    ),
    (
        "a report that goes on after a part that is not full",
        |_, guest| guest.push(Request { op: REPORT, flags: flags::MORE, ..dummy() }),
        Verdict::Stopped("flags"),
    ),
    (
        "a report without end",
        |world, guest| {
            let entry = super::grants::entry(9, 9, "m");
            guest.text.0.write(0, &entry.repeat(56));
            for _ in 0..30 {
                let request = Request {
                    op: REPORT,
                    flags: flags::MORE,
                    gref: guest.text.1.0,
                    bytes: 56 * 72,
                    ..dummy()
                };
                guest.push(request);
                world.settle();
                if guest.take().is_none() {
                    break;
                }
            }
        },
        Verdict::Stopped("more than 1024"),
    ),
    (
        "a report of a command that never was",
        |world, guest| {
            // It parks a request of its own while it finds out which run this is.
            let command = never_issued(world, guest);
            guest.ring = None;
            super::ring::reconnect(world, guest, |_| ());
            world.settle();
            let gref = guest.text.1.0;
            guest.text.0.write(0, &super::grants::entry(command.run, command.seq, "probe"));
            guest.push(Request { op: REPORT, gref, bytes: 72, ..dummy() });
        },
        Verdict::Stopped("never was"),
    ),
];
