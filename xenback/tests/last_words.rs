// SPDX-License-Identifier: MIT OR Apache-2.0
//! Last words: heard once, and again by the next daemon until what came of them is safe.

mod common;

use common::{RECORD, World};
use vesper_grant::DomId;
use vesper_xenback::Event;

const G: DomId = DomId(1);

/// Those that were told since: place, channel, bytes.
fn heard(world: &mut World) -> Vec<(u32, Option<String>, usize)> {
    let words = |event: &Event| match event {
        Event::LastWords { words, .. } => {
            let name = words.name.as_ref().map(ToString::to_string);
            Some((words.slot, name, words.record.len()))
        }
        _ => None,
    };
    let found = world.events.iter().filter_map(words).collect();
    world.events.clear();
    found
}

#[test]
fn last_words_are_heard_once() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    guest.listener().say(3, 1, 32, b"panic", &RECORD);
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), [], "still being written");
    guest.listener().say(3, 2, 32, b"panic", &RECORD);
    guest.listener().say(0, 2, 32, b"", &RECORD);
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), [(0, None, 32), (3, Some("panic".into()), 32)]);
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), []);
    assert_eq!(world.backend.listener(G).unwrap().words.len(), 2);
    // Nor after a reconnect.
    guest.set_state(1);
    world.settle();
    guest.connect(&mut world);
    assert_eq!(heard(&mut world), []);
    guest.listener().say(7, 2, 24, b"oops", &RECORD);
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), [(7, Some("oops".into()), 24)]);
    // What is no record is passed over, once and for all.
    for (slot, bytes, name) in
        [(1, u32::MAX, &b"a"[..]), (2, 0, b"a"), (4, 23, b"a"), (5, 4025, b"a"), (6, 32, &[0xff; 56])]
    {
        guest.listener().say(slot, 2, bytes, name, &RECORD);
    }
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), [(6, None, 32)]);
    // A frontend that is loaded anew has new places.
    guest.close(&mut world);
    guest.boot_id = "f".repeat(32);
    guest.set_state(1);
    world.settle();
    guest.connect(&mut world);
    assert_eq!(heard(&mut world).len(), 4);
}

#[test]
fn last_words_are_heard_again_until_they_are_noted() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    for slot in [0, 3] {
        guest.listener().say(slot, 2, 32, b"panic", &RECORD);
    }
    // What is no record means nothing to anybody.
    guest.listener().say(5, 2, 0, b"panic", &RECORD);
    guest.kick_listener();
    world.settle();
    let both = [(0, Some("panic".to_owned()), 32), (3, Some("panic".into()), 32)];
    assert_eq!(heard(&mut world), both);
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), [], "this daemon has them");
    // It was killed before anything came of them.
    world.restart_backend();
    assert_eq!(heard(&mut world), both);
    let boot_id = guest.boot_id.clone();
    world.backend.words_noted(G, &boot_id, 3);
    world.backend.words_noted(G, "another boot's", 0);
    world.settle();
    world.restart_backend();
    assert_eq!(heard(&mut world), both[..1]);
    world.backend.words_noted(G, &boot_id, 0);
    world.settle();
    world.restart_backend();
    guest.kick_listener();
    world.settle();
    assert_eq!(heard(&mut world), []);
}
