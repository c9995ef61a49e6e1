// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values and permissions in xenstore.

use vesper_xenstore::{Error, Store, Tx};

use super::ring::reconnect;
use crate::{Case, Verdict};

const UNUSABLE: Verdict = Verdict::Stopped("published is unusable");

pub const CASES: &[Case] = &[
    (
        "a ring reference that is no number",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "eight")),
        UNUSABLE,
    ),
    (
        "a ring reference that is too large",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "4294967296")),
        UNUSABLE,
    ),
    (
        "a negative ring reference",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "-1")),
        UNUSABLE,
    ),
    (
        "ring reference 0",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "0")),
        UNUSABLE,
    ),
    (
        "an empty ring reference",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-ref0", "")),
        UNUSABLE,
    ),
    (
        "no ring reference",
        |world, guest| reconnect(world, guest, |guest| guest.remove("loader-ring-ref0")),
        UNUSABLE,
    ),
    (
        "a ring larger than was offered",
        |world, guest| reconnect(world, guest, |guest| guest.write("loader-ring-page-order", "1")),
        UNUSABLE,
    ),
    (
        "no event channel",
        |world, guest| reconnect(world, guest, |guest| guest.remove("loader-event-channel")),
        UNUSABLE,
    ),
    (
        "an event channel of two thousand digits",
        |world, guest| {
            reconnect(world, guest, |guest| guest.write("loader-event-channel", &"9".repeat(2000)))
        },
        UNUSABLE,
    ),
    (
        "version 0",
        |world, guest| reconnect(world, guest, |guest| guest.write("version", "0")),
        Verdict::Stopped("/version: value \"0\" is not"),
    ),
    (
        "a version that was not offered",
        |world, guest| reconnect(world, guest, |guest| guest.write("version", "2")),
        Verdict::Stopped("/version: value \"2\" is not"),
    ),
    (
        "no version",
        |world, guest| reconnect(world, guest, |guest| guest.remove("version")),
        Verdict::Stopped("/version: no such"),
    ),
    (
        "a vermagic of two thousand bytes that are no text",
        |world, guest| {
            reconnect(world, guest, |guest| {
                let path = format!("/local/domain/{}/device/vesper/0/vermagic", guest.id());
                guest.store.write(Tx::NONE, &path, &[0xff; 2000]).unwrap();
            });
            world.settle();
            assert!(world.info(1).vermagic.unwrap().chars().count() <= 256);
        },
        Verdict::GoesOn,
    ),
    (
        "a boot id with control bytes",
        |world, guest| reconnect(world, guest, |guest| guest.write("boot-id", "\x1b[2J\n")),
        Verdict::GoesOn,
    ),
    ("a state that is no number", |_, guest| guest.write("state", "banana"), Verdict::GoesOn),
    ("a state that is too large", |_, guest| guest.write("state", "99"), Verdict::GoesOn),
    ("states that VESPER does not use", |_, guest| guest.write("state", "7"), Verdict::GoesOn),
    (
        "writes nodes of the backend",
        |_, guest| {
            for node in ["state", "online", "loader-memory"] {
                let path = format!("/local/domain/0/backend/vesper/{}/0/{node}", guest.id());
                let denied = guest.store.write(Tx::NONE, &path, b"6");
                assert!(matches!(denied, Err(Error::Access { .. })), "{node}: {denied:?}");
            }
        },
        Verdict::GoesOn,
    ),
    (
        "points its device at another guest's backend",
        |_, guest| {
            let path = format!("/local/domain/{}/device/vesper/0/backend", guest.id());
            let denied = guest.store.write(Tx::NONE, &path, b"/local/domain/0/backend/vesper/2/0");
            assert!(matches!(denied, Err(Error::Access { .. })), "{denied:?}");
        },
        Verdict::GoesOn,
    ),
    ("removes its state", |_, guest| guest.remove("state"), Verdict::GoesOn),
    (
        "writes its state a thousand times",
        |world, guest| {
            for n in 0..1000 {
                guest.set_state(if n % 2 == 0 { 7 } else { 4 });
            }
            world.settle();
        },
        Verdict::GoesOn,
    ),
    (
        "a thousand nodes of its own",
        |world, guest| {
            for n in 0..500 {
                let path = format!("/local/domain/{}/device/vesper/0/junk{n}", guest.id());
                let _ = guest.store.write(Tx::NONE, &path, b"x");
            }
            world.settle();
            for n in 0..500 {
                guest.remove(&format!("junk{n}"));
            }
        },
        Verdict::GoesOn,
    ),
];
