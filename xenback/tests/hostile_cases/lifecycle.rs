// SPDX-License-Identifier: MIT OR Apache-2.0
//! The states of the frontend, in orders that no driver has.

use vesper_grant::DomId;
use vesper_ring::wire::loader::Request;
use vesper_xenback::action::Failure;

use super::offered_load;
use super::ring::reconnect;
use crate::{Case, Verdict};

pub const CASES: &[Case] = &[
    (
        "state 3 with the nodes of before",
        |world, guest| {
            guest.close(world);
            guest.set_state(1);
            world.settle();
            guest.set_state(3);
        },
        Verdict::Stopped("cannot be mapped"),
    ),
    ("state 6 at once", |_, guest| guest.set_state(6), Verdict::Closed),
    (
        "state 6 in the middle of a transfer",
        |world, guest| {
            let command = offered_load(world, guest);
            guest.ask(world, guest.fetch_request(command, 0, 4096));
            guest.set_state(6);
            world.settle();
            assert!(world.events.iter().any(|event| matches!(event,
                vesper_xenback::Event::Finished { outcome, .. } if outcome.result == Err(Failure::Interrupted { outcome_unknown: false }))));
        },
        Verdict::Closed,
    ),
    (
        "state 3 again with the same ring",
        |world, guest| {
            guest.set_state(3);
            world.settle();
            guest.set_state(4);
        },
        Verdict::GoesOn,
    ),
    (
        "state 2, which is the backend's",
        |world, guest| {
            guest.set_state(2);
            world.settle();
            guest.set_state(4);
        },
        Verdict::GoesOn,
    ),
    (
        "connects and closes fifty times",
        |world, guest| {
            for _ in 0..50 {
                reconnect(world, guest, |_| ());
                world.settle();
            }
        },
        Verdict::GoesOn,
    ),
    (
        "connects and closes without end",
        |world, guest| {
            for _ in 0..60 {
                reconnect(world, guest, |_| ());
                world.settle();
            }
        },
        Verdict::Stopped("more than 60 times"),
    ),
    (
        "a request after it said that it closes",
        |world, guest| {
            guest.set_state(5);
            world.settle();
            guest.push(Request { op: 99, ..Request::default() });
            world.settle();
            guest.set_state(6);
        },
        Verdict::Closed,
    ),
    (
        "takes its stopped device for one in use",
        |world, guest| {
            guest.push(Request { op: 99, ..Request::default() });
            world.settle();
            guest.set_state(3);
            world.settle();
            guest.set_state(4);
            world.settle();
        },
        Verdict::Stopped("opcode 99"),
    ),
    (
        "starts again while its stopped device is fenced",
        |world, guest| {
            guest.push(Request { op: 99, ..Request::default() });
            world.settle();
            guest.set_state(6);
            world.settle();
            guest.set_state(1);
            world.settle();
            guest.set_state(3);
        },
        Verdict::Stopped("opcode 99"),
    ),
    (
        "breaks the protocol again right after it was attached anew",
        |world, guest| {
            for _ in 0..2 {
                guest.push(Request { op: 99, ..Request::default() });
                world.settle();
                guest.end_grants();
                guest.set_state(6);
                world.settle();
                world.backend.attach(DomId(1)).unwrap();
                guest.set_state(1);
                guest.connect(world);
            }
            guest.push(Request { op: 98, ..Request::default() });
        },
        Verdict::Stopped("opcode 98"),
    ),
    (
        "never closes its end of a stopped device",
        |world, guest| {
            guest.push(Request { op: 99, ..Request::default() });
            world.settle();
            world.pass(std::time::Duration::from_secs(6));
            assert_eq!(world.backend_state(1), 6, "not waited for any longer");
        },
        Verdict::Stopped("opcode 99"),
    ),
];
