// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants of windows, directories and text pages.

use vesper_grant::Access;
use vesper_ring::wire::loader::{DUMMY, Loaded, REPORT, Request, flags};
use vesper_ring::wire::{Answer, Asked, CommandId, Fetch, Name, bytes_of};

use super::offered_load;
use crate::common::{RawGuest, World};
use crate::{Case, Verdict};

const EFAULT: i32 = -14;
const BOGUS: u32 = 31_000;

/// One entry of a report, as bytes.
pub fn entry(run: u64, seq: u64, name: &str) -> Vec<u8> {
    bytes_of(&Loaded { run, seq, name: *Name::new(name).unwrap().as_wire() }).to_vec()
}

/// A fetch of what is there, by a directory that the case has changed; it must be answered with −EFAULT.
fn cannot_be_filled(world: &mut World, guest: &mut RawGuest, command: CommandId, directory: u32) {
    let fetch = Fetch { command, directory, pages: 2, bytes: 8192, offset: 0 };
    let answer = guest.ask(world, Asked::Fetch(fetch));
    assert_eq!(answer, Some(Answer::Filled { command, status: EFAULT }));
    guest.result(world, command, EFAULT, "");
}

fn grefs(guest: &RawGuest) -> [u32; 2] {
    [guest.window[0].1.0, guest.window[1].1.0]
}

pub const CASES: &[Case] = &[
    (
        "a directory that is not granted",
        |world, guest| {
            let command = offered_load(world, guest);
            cannot_be_filled(world, guest, command, BOGUS);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory grant of all ones",
        |world, guest| {
            let command = offered_load(world, guest);
            cannot_be_filled(world, guest, command, u32::MAX);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory that is grant 0",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.push(Request { gref: 0, ..guest.fetch_request(command, 0, 1).request(1) });
        },
        Verdict::Stopped("grant is missing"),
    ),
    (
        "a window page that is not granted",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&[grefs(guest)[0], BOGUS], 0);
            cannot_be_filled(world, guest, command, guest.directory.1.0);
        },
        Verdict::GoesOn,
    ),
    (
        "a window page that is read-only",
        |world, guest| {
            let command = offered_load(world, guest);
            let read_only = guest.guest.grant(&guest.guest.alloc_page(), Access::ReadOnly);
            guest.extra.push(read_only);
            guest.write_directory(&[read_only.0, grefs(guest)[1]], 0);
            cannot_be_filled(world, guest, command, guest.directory.1.0);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory with grant 0 in it",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&[grefs(guest)[0], 0], 0);
            guest.push(guest.fetch_request(command, 0, 8192).request(1));
        },
        Verdict::Stopped("grant is missing"),
    ),
    (
        "a directory that goes on",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&grefs(guest), guest.directory.1.0);
            guest.push(guest.fetch_request(command, 0, 8192).request(1));
        },
        Verdict::Stopped("directory goes on"),
    ),
    (
        "the same page twice",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&[grefs(guest)[0], grefs(guest)[0]], 0);
            let answer = guest.ask(world, guest.fetch_request(command, 0, 8192));
            assert_eq!(answer, Some(Answer::Filled { command, status: 0 }));
        },
        Verdict::GoesOn,
    ),
    (
        "the ring page as window",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&[guest.ring_ref.0, grefs(guest)[0]], 0);
            guest.push(guest.fetch_request(command, 0, 4096).request(1));
            world.settle();
            // Its indexes are now bytes of the image; the next look at them ends it.
            guest.guest.notify(guest.port);
        },
        Verdict::Stopped("request"),
    ),
    (
        "the directory as window",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.write_directory(&[guest.directory.1.0, grefs(guest)[0]], 0);
            let answer = guest.ask(world, guest.fetch_request(command, 0, 8192));
            assert_eq!(answer, Some(Answer::Filled { command, status: 0 }));
        },
        Verdict::GoesOn,
    ),
    (
        "a log page that is not granted",
        |world, guest| {
            let command = offered_load(world, guest);
            let request = Request {
                op: DUMMY,
                flags: flags::RESULT | flags::LOG,
                run: command.run,
                seq: command.seq,
                status: -2,
                gref: BOGUS,
                bytes: 10,
                ..Request::default()
            };
            guest.push(request);
            world.settle();
            let outcomes = world.events.iter().filter(|event| {
                matches!(event, vesper_xenback::Event::Finished { outcome, .. } if outcome.log.is_empty()
                    && outcome.result.is_err())
            });
            assert_eq!(outcomes.count(), 1, "the result counts, its log is lost");
        },
        Verdict::GoesOn,
    ),
    (
        "a report that is not granted",
        |_, guest| guest.push(Request { op: REPORT, gref: BOGUS, bytes: 72, ..Request::default() }),
        Verdict::Stopped("report cannot be read"),
    ),
    (
        "a report with a slash in a name",
        |_, guest| {
            let mut bytes = entry(9, 9, "a_b");
            bytes[17] = b'/';
            guest.text.0.write(0, &bytes);
            guest.push(Request { op: REPORT, gref: guest.text.1.0, bytes: 72, ..Request::default() });
        },
        Verdict::Stopped("byte 0x2f"),
    ),
    (
        "a report with a name that is not closed",
        |_, guest| {
            let mut bytes = entry(9, 9, "a");
            bytes[16..].fill(b'a');
            guest.text.0.write(0, &bytes);
            guest.push(Request { op: REPORT, gref: guest.text.1.0, bytes: 72, ..Request::default() });
        },
        Verdict::Stopped("more than 55"),
    ),
    (
        "a report of zeros",
        |_, guest| {
            guest.text.0.write(0, &[0; 72]);
            guest.push(Request { op: REPORT, gref: guest.text.1.0, bytes: 72, ..Request::default() });
        },
        Verdict::Stopped("none"),
    ),
    (
        "ends the grants of a window before it is filled",
        |world, guest| {
            let command = offered_load(world, guest);
            let gref = guest.window[1].1;
            guest.guest.end_access(gref).unwrap();
            cannot_be_filled(world, guest, command, guest.directory.1.0);
            guest.window[1].1 = guest.guest.grant(&guest.window[1].0, Access::ReadWrite);
        },
        Verdict::GoesOn,
    ),
];
