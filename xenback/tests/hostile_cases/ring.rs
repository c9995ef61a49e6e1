// SPDX-License-Identifier: MIT OR Apache-2.0
//! The indexes of the ring, and the event channel.

use vesper_grant::Access;
use vesper_ring::wire::Asked;

use crate::common::{RawGuest, World};
use crate::{Case, Verdict};

const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;

/// Requests pushed by a guest that is connected: its report.
const PUSHED: u32 = 1;

fn poke(guest: &RawGuest, at: usize, value: u32) {
    guest.page.write(at, &value.to_le_bytes());
    guest.guest.notify(guest.port);
}

/// Connects a new ring whose header was changed first.
fn connect_with(world: &mut World, guest: &mut RawGuest, header: [u32; 4]) {
    guest.close(world);
    guest.set_state(1);
    world.settle();
    guest.prepare();
    let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.page.write(0, &bytes);
    guest.publish();
    guest.set_state(3);
}

pub const CASES: &[Case] = &[
    ("requests beyond the ring", |_, guest| poke(guest, REQ_PROD, PUSHED + 33), Verdict::Stopped("request")),
    (
        "requests far beyond the ring",
        |_, guest| poke(guest, REQ_PROD, 0x8000_0000),
        Verdict::Stopped("request"),
    ),
    (
        "all bits of the request index",
        |_, guest| poke(guest, REQ_PROD, u32::MAX),
        Verdict::Stopped("request"),
    ),
    ("request index goes back", |_, guest| poke(guest, REQ_PROD, PUSHED - 1), Verdict::Stopped("request")),
    (
        "a full ring of old entries",
        |_, guest| poke(guest, REQ_PROD, PUSHED + 32),
        Verdict::Stopped("unknown opcode 0"),
    ),
    (
        "two requests at once",
        |_, guest| {
            let ring = guest.ring.as_mut().unwrap();
            ring.push(&Asked::Dummy(None).request(1)).unwrap();
            ring.push(&Asked::Dummy(None).request(2)).unwrap();
            let _ = ring.publish();
            guest.guest.notify(guest.port);
        },
        Verdict::Stopped("second request"),
    ),
    (
        "a second request while one is parked",
        |world, guest| {
            guest.idle(world);
            guest.push(Asked::Dummy(None).request(7));
        },
        Verdict::Stopped("second request"),
    ),
    (
        "response index overwritten",
        |world, guest| {
            guest.idle(world);
            poke(guest, RSP_PROD, 0xdead_beef);
            world.settle();
            // The private index counts, so the real ring goes on where it was.
            guest.page.write(RSP_PROD, &PUSHED.to_le_bytes());
        },
        Verdict::GoesOn,
    ),
    ("request event overwritten", |_, guest| poke(guest, REQ_EVENT, 0x7fff_ffff), Verdict::GoesOn),
    ("response event overwritten", |_, guest| poke(guest, RSP_EVENT, 0), Verdict::GoesOn),
    (
        "indexes that contradict each other at the start",
        |world, guest| connect_with(world, guest, [0, 1, 100, 1]),
        Verdict::Stopped("ring is unusable"),
    ),
    (
        "a header of ones at the start",
        |world, guest| {
            connect_with(world, guest, [u32::MAX; 4]);
            world.settle();
            // Not contradictory: an empty ring that is about to wrap around. It stays silent.
        },
        Verdict::GoesOn,
    ),
    ("a kick with nothing behind it", |_, guest| guest.guest.notify(guest.port), Verdict::GoesOn),
    (
        "ten thousand kicks",
        |world, guest| {
            for _ in 0..10_000 {
                guest.guest.notify(guest.port);
            }
            world.settle();
        },
        Verdict::GoesOn,
    ),
    ("closes its port while connected", |_, guest| guest.guest.close(guest.port), Verdict::GoesOn),
    (
        "a port that does not exist",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-event-channel", "4000")),
        Verdict::Stopped("event channel 4000"),
    ),
    (
        "a port that is closed",
        |world, guest| reconnect(world, guest, |guest| guest.guest.close(guest.port)),
        Verdict::Stopped("event channel"),
    ),
    (
        "a ring page that is not granted",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "3999")),
        Verdict::Stopped("ring page cannot be mapped"),
    ),
    (
        "a ring page that is read-only",
        |world, guest| {
            reconnect(world, guest, |guest| {
                let gref = guest.guest.grant(&guest.guest.alloc_page(), Access::ReadOnly);
                guest.write("loader-ring-ref0", &gref.to_string());
                guest.extra.push(gref);
            });
        },
        Verdict::Stopped("ring page cannot be mapped"),
    ),
];

/// Closes, and connects anew with something changed between publishing and state 3.
pub fn reconnect(world: &mut World, guest: &mut RawGuest, change: impl FnOnce(&mut RawGuest)) {
    guest.close(world);
    guest.set_state(1);
    world.settle();
    guest.prepare();
    guest.publish();
    change(guest);
    guest.set_state(3);
}
