// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a descriptor may say. Nothing of it stops the device, and nothing of the export is mapped.

use vesper_ring::wire::listener::Asked;

use crate::common::{RawExport, RawGuest, World};
use crate::{Case, Verdict};

const EIO: i32 = -5;
const EINVAL: i32 = -22;

/// Announces an export whose descriptor was changed at that place.
fn with(world: &mut World, guest: &mut RawGuest, at: usize, bytes: &[u8]) {
    let mut export = RawExport::small(guest, 2, "other");
    export.info.write(at, bytes);
    assert_eq!(guest.export(world, &mut export), EINVAL);
    assert!(!export.is_mapped());
    export.end();
}

fn word(world: &mut World, guest: &mut RawGuest, at: usize, value: u32) {
    with(world, guest, at, &value.to_le_bytes());
}

const OWNER: usize = 56;
const SUBBUF_SIZE: usize = 112;
const SUBBUFS: usize = 116;
const BUFFERS: usize = 120;
const FLAGS: usize = 124;
const PAGES: usize = 128;
const POSITIONS: usize = 132;
const SCHEMA_PAGES: usize = 136;
const SCHEMA_BYTES: usize = 140;
const RESERVED: usize = 144;
const CPU: usize = 152;

pub const CASES: &[Case] = &[
    ("no name", |world, guest, _| with(world, guest, 0, &[0; 56]), Verdict::GoesOn),
    ("a name that is not closed", |world, guest, _| with(world, guest, 0, &[b'x'; 56]), Verdict::GoesOn),
    ("a name with a slash", |world, guest, _| with(world, guest, 0, b"a/b"), Verdict::GoesOn),
    ("a name of two dots", |world, guest, _| with(world, guest, 0, b"..\0\0\0"), Verdict::GoesOn),
    ("a name with an escape", |world, guest, _| with(world, guest, 0, b"\x1b[2J"), Verdict::GoesOn),
    ("bytes behind a name", |world, guest, _| with(world, guest, 40, b"x"), Verdict::GoesOn),
    ("an owner that is no name", |world, guest, _| with(world, guest, OWNER, b"a b"), Verdict::GoesOn),
    ("sub-buffers of no bytes", |world, guest, _| word(world, guest, SUBBUF_SIZE, 0), Verdict::GoesOn),
    ("sub-buffers of 4 GiB", |world, guest, _| word(world, guest, SUBBUF_SIZE, u32::MAX), Verdict::GoesOn),
    ("no sub-buffers", |world, guest, _| word(world, guest, SUBBUFS, 0), Verdict::GoesOn),
    ("65,537 sub-buffers", |world, guest, _| word(world, guest, SUBBUFS, 65537), Verdict::GoesOn),
    ("sizes that overflow", |world, guest, _| word(world, guest, SUBBUFS, 0x10_0000), Verdict::GoesOn),
    ("no buffers", |world, guest, _| word(world, guest, BUFFERS, 0), Verdict::GoesOn),
    ("513 buffers", |world, guest, _| word(world, guest, BUFFERS, 513), Verdict::GoesOn),
    ("all bits of the buffers", |world, guest, _| word(world, guest, BUFFERS, u32::MAX), Verdict::GoesOn),
    ("more buffers than CPUs", |world, guest, _| word(world, guest, BUFFERS, 2), Verdict::GoesOn),
    (
        "flags of a descriptor of an unknown kind",
        |world, guest, _| word(world, guest, FLAGS, 2),
        Verdict::GoesOn,
    ),
    ("global, with a CPU", |world, guest, _| word(world, guest, FLAGS, 1), Verdict::GoesOn),
    ("too few pages in a buffer", |world, guest, _| word(world, guest, PAGES, 3), Verdict::GoesOn),
    ("too many pages in a buffer", |world, guest, _| word(world, guest, PAGES, u32::MAX), Verdict::GoesOn),
    ("no pages of positions", |world, guest, _| word(world, guest, POSITIONS, 0), Verdict::GoesOn),
    ("pages of a schema that is not", |world, guest, _| word(world, guest, SCHEMA_PAGES, 1), Verdict::GoesOn),
    ("a schema without pages", |world, guest, _| word(world, guest, SCHEMA_BYTES, 10), Verdict::GoesOn),
    ("a schema of 4 GiB", |world, guest, _| word(world, guest, SCHEMA_BYTES, u32::MAX), Verdict::GoesOn),
    ("reserved words of a descriptor", |world, guest, _| with(world, guest, RESERVED, &[1]), Verdict::GoesOn),
    ("no CPU, and not global", |world, guest, _| with(world, guest, CPU, &[0xff, 0xff]), Verdict::GoesOn),
    ("a CPU behind the last buffer", |world, guest, _| with(world, guest, CPU + 2, &[1, 0]), Verdict::GoesOn),
    (
        "a CPU twice",
        |world, guest, _| {
            let mut export = RawExport::new(guest, 2, "other", (4096, 4), &[3, 4], "");
            export.info.write(CPU + 2, &[3, 0]);
            assert_eq!(guest.export(world, &mut export), EINVAL);
            export.end();
        },
        Verdict::GoesOn,
    ),
    (
        "other grants than the descriptor needs",
        |world, guest, _| {
            let mut export = RawExport::small(guest, 2, "other");
            let mut offer = export.grant();
            offer.grants += 1;
            assert_eq!(guest.status(world, Asked::Export(offer)), EINVAL);
            export.end();
        },
        Verdict::GoesOn,
    ),
    (
        "a descriptor that is not granted",
        |world, guest, _| {
            let mut export = RawExport::small(guest, 2, "other");
            let mut offer = export.grant();
            offer.gref = 1 << 20;
            assert_eq!(guest.status(world, Asked::Export(offer)), EIO);
            export.end();
        },
        Verdict::GoesOn,
    ),
    (
        "a schema of any bytes",
        |world, guest, _| {
            let mut export =
                RawExport::new(guest, 2, "other", (4096, 4), &[0], "panic! cpu:u32\n\u{1b}[2J\n!! ? x:\n");
            assert_eq!(guest.export(world, &mut export), 0);
            assert!(world.backend.channel(vesper_grant::DomId(1), "other").unwrap().schema.is_some());
            assert_eq!(guest.status(world, Asked::Unexport { export: 2 }), 0);
            export.end();
        },
        Verdict::GoesOn,
    ),
    ("all bits of a descriptor", |world, guest, _| with(world, guest, 0, &[0xff; 1176]), Verdict::GoesOn),
];
