// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a frontend publishes of its listener.

use crate::common::{RawExport, RawGuest, World};
use crate::{Case, Verdict};

/// Connects anew with some of its nodes changed after they were published; `None` takes one away.
fn connect_with(
    world: &mut World,
    guest: &mut RawGuest,
    export: &mut RawExport,
    nodes: &[(&str, Option<&str>)],
) {
    guest.close(world);
    export.end();
    guest.set_state(1);
    world.settle();
    guest.prepare();
    guest.publish();
    for (node, value) in nodes {
        match value {
            Some(value) => guest.write(node, value),
            None => guest.remove(node),
        }
    }
    guest.set_state(3);
    world.settle();
}

pub const CASES: &[Case] = &[
    (
        "a listener without a port",
        |world, guest, export| connect_with(world, guest, export, &[("listener-event-channel", None)]),
        Verdict::Stopped("unusable"),
    ),
    (
        "a listener's port 0",
        |world, guest, export| connect_with(world, guest, export, &[("listener-event-channel", Some("0"))]),
        Verdict::Stopped("unusable"),
    ),
    (
        "a listener's port that is not there",
        |world, guest, export| {
            connect_with(world, guest, export, &[("listener-event-channel", Some("7777"))])
        },
        Verdict::Stopped("event channel"),
    ),
    (
        "the loader's port for the listener",
        |world, guest, export| {
            let port = "1";
            connect_with(
                world,
                guest,
                export,
                &[("listener-event-channel", Some(port)), ("loader-event-channel", Some(port))],
            );
        },
        Verdict::Stopped("event channel"),
    ),
    (
        "a listener's ring that is no number",
        |world, guest, export| connect_with(world, guest, export, &[("listener-ring-ref0", Some("ring"))]),
        Verdict::Stopped("unusable"),
    ),
    (
        "a listener's ring that is not granted",
        |world, guest, export| connect_with(world, guest, export, &[("listener-ring-ref0", Some("99999"))]),
        Verdict::Stopped("mapped"),
    ),
    (
        "no heartbeat",
        |world, guest, export| connect_with(world, guest, export, &[("listener-heartbeat-ref", None)]),
        Verdict::Stopped("unusable"),
    ),
    (
        "a heartbeat that is not granted",
        |world, guest, export| {
            connect_with(world, guest, export, &[("listener-heartbeat-ref", Some("99999"))])
        },
        Verdict::Stopped("heartbeat"),
    ),
    (
        "seven places of last words",
        |world, guest, export| connect_with(world, guest, export, &[("listener-words-ref7", None)]),
        Verdict::Stopped("unusable"),
    ),
    (
        "last words that are not granted",
        |world, guest, export| connect_with(world, guest, export, &[("listener-words-ref3", Some("99999"))]),
        Verdict::Stopped("last words"),
    ),
    (
        "takes its listener's nodes away",
        |world, guest, _| {
            for node in ["listener-ring-ref0", "listener-event-channel", "listener-heartbeat-ref"] {
                guest.remove(node);
            }
            world.settle();
        },
        Verdict::GoesOn,
    ),
    (
        "writes what is offered to it",
        |world, guest, _| {
            use vesper_xenstore::{Store, Tx};
            for node in ["feature-listener", "listener-max-pages", "listener-exports", "listener-heard"] {
                let path = format!("/local/domain/0/backend/vesper/{}/0/{node}", guest.id());
                assert!(guest.store.write(Tx::NONE, &path, b"4294967295").is_err(), "{node}");
            }
            world.settle();
        },
        Verdict::GoesOn,
    ),
];
