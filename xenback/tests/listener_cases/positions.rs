// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lies in shared pages: positions, heartbeat, last words. They cost the guest its own records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vesper_grant::DomId;
use vesper_relay_mirror::{Next, Start};
use vesper_ring::wire::listener::Asked;

use crate::common::{RawExport, RawGuest, World, drain};
use crate::{Case, Verdict};

const G: DomId = DomId(1);
/// Words of the positions of a small export: the buffer's, then one for each of its four sub-buffers.
const WORDS: usize = 12;

/// Words that are lies in any place.
const LIES: &[u64] = &[
    0,
    1,
    u64::MAX,
    1 << 32,
    0xffff_ffff,
    0x8000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    3 << 32 | 4096,
    3 << 32 | 4097,
    u32::MAX as u64 - 1,
];

/// Reads what there is, bounded.
fn read(reader: &mut vesper_relay_mirror::Reader) {
    let mut bytes = Vec::new();
    for _ in 0..100 {
        match reader.next(0) {
            Next::Data(piece) => {
                assert!(piece.len() <= 4096);
                bytes.clear();
                let _ = piece.append_to(&mut bytes);
                reader.advance(&piece, piece.len());
            }
            Next::Lost(_) => {}
            Next::Nothing | Next::End => return,
        }
    }
}

fn lie(world: &mut World, guest: &mut RawGuest, export: &mut RawExport) {
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    for word in 0..WORDS {
        for value in LIES {
            export.poke(8 * word, *value);
            guest.kick_listener();
            world.settle();
            read(&mut reader);
        }
    }
    let status = &world.backend.channels(G)[0].buffers[0];
    assert!(status.nonsense > 0, "{status:?}");
    drop(reader);
    // Kicks for nothing are heard ever more seldom.
    world.pass(std::time::Duration::from_secs(2));
    assert_eq!(guest.status(world, Asked::Unexport { export: 1 }), 0);
}

/// Another vCPU of the guest changes every word while the host reads and leaves.
fn flicker(world: &mut World, guest: &mut RawGuest, _: &mut RawExport) {
    let schema = "panic! cpu:u32\n";
    let mut export = RawExport::new(guest, 2, "flicker", (4096, 4), &[0], schema);
    assert_eq!(guest.export(world, &mut export), 0);
    let mut reader = world.backend.channel(G, "flicker").unwrap().channel.reader(Start::Oldest);
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (flag, pages) = (Arc::clone(&stop), &export);
        let bell = guest.bell();
        scope.spawn(move || {
            let mut n = 0_u64;
            while !flag.load(Ordering::Relaxed) {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                pages.poke(8 * (n >> 33) as usize % (8 * WORDS) / 8 * 8, n >> (n >> 58));
                bell();
            }
        });
        for _ in 0..3000 {
            world.events.extend(world.backend.run(world.now));
            read(&mut reader);
        }
        world.backend.detach(G, true).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    world.settle();
    guest.set_state(5);
    world.settle();
    assert!(!export.is_mapped());
    export.end();
    drain(&mut reader, 0);
}

pub const CASES: &[Case] = &[
    ("lies in every word of the positions", lie, Verdict::GoesOn),
    (
        "a heartbeat of any numbers",
        |world, guest, _| {
            for byte in [0xff, 0x00, 0x80, 0x7f, 0x01] {
                guest.listener().pages[0].0.write(0, &[byte; 4096]);
                let _ = world.backend.alive(G).unwrap();
                let _ = world.backend.listener(G).unwrap();
            }
        },
        Verdict::GoesOn,
    ),
    (
        "last words of any bytes",
        |world, guest, _| {
            for slot in 0..8 {
                guest.listener().pages[1 + slot].0.write(0, &[0xff; 4096]);
            }
            guest.kick_listener();
            world.settle();
            for slot in 0..8 {
                guest.listener().say(slot, 2, u32::MAX, &[0xff; 56], &[0xff; 4000]);
            }
            guest.kick_listener();
            world.settle();
            assert_eq!(world.backend.listener(G).unwrap().words.len(), 0);
        },
        Verdict::GoesOn,
    ),
    (
        "writes the host's own words",
        |world, guest, export| {
            let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
            let before = export.consumed(0);
            export.scribble_consumed(u64::MAX);
            guest.kick_listener();
            world.settle();
            read(&mut reader);
            assert_ne!(before, u64::MAX);
        },
        Verdict::GoesOn,
    ),
];

#[test]
fn words_that_flicker_harm_nobody() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    let mut export = RawExport::small(&guest, 1, "panic");
    assert_eq!(guest.export(&mut world, &mut export), 0);
    flicker(&mut world, &mut guest, &mut export);
}
