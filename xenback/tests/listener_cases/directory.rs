// SPDX-License-Identifier: MIT OR Apache-2.0
//! What directories may say, and grants that are none.

use vesper_grant::Access;
use vesper_ring::wire::listener::{Asked, Export};

use crate::common::{RawExport, RawGuest, World};
use crate::{Case, Verdict};

const EIO: i32 = -5;
const EINVAL: i32 = -22;

/// An export whose directory has two pages: 1,032 grants.
fn two_pages(guest: &RawGuest) -> RawExport {
    RawExport::new(guest, 2, "other", (4096, 1029), &[0], "")
}

/// Announces an export whose directory was changed after it was made.
fn with(
    world: &mut World,
    guest: &mut RawGuest,
    mut export: RawExport,
    change: impl FnOnce(&RawExport, &mut Export),
    status: i32,
) {
    let mut offer = export.grant();
    change(&export, &mut offer);
    assert_eq!(guest.status(world, Asked::Export(offer)), status);
    assert!(!export.is_mapped(), "nothing stays mapped");
    export.end();
}

fn put(page: &vesper_grant::loopback::GuestPage, word: usize, gref: u32) {
    page.write(4 * word, &gref.to_le_bytes());
}

pub const CASES: &[Case] = &[
    (
        "a directory that is not granted",
        |world, guest, _| {
            let export = RawExport::small(guest, 2, "other");
            with(world, guest, export, |_, offer| offer.directory = 1 << 20, EIO);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory with a successor that it needs not",
        |world, guest, _| {
            let export = RawExport::small(guest, 2, "other");
            with(world, guest, export, |export, offer| put(&export.directory[0], 0, offer.directory), EINVAL);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory without the successor that it needs",
        |world, guest, _| {
            let export = two_pages(guest);
            with(world, guest, export, |export, _| put(&export.directory[0], 0, 0), EINVAL);
        },
        Verdict::GoesOn,
    ),
    (
        "a directory that is its own successor",
        |world, guest, _| {
            let export = two_pages(guest);
            with(world, guest, export, |export, offer| put(&export.directory[0], 0, offer.directory), EINVAL);
        },
        Verdict::GoesOn,
    ),
    (
        "directories in a ring",
        |world, guest, _| {
            let export = two_pages(guest);
            with(world, guest, export, |export, offer| put(&export.directory[1], 0, offer.directory), EINVAL);
        },
        Verdict::GoesOn,
    ),
    (
        "a successor that is not granted",
        |world, guest, _| {
            let export = two_pages(guest);
            with(world, guest, export, |export, _| put(&export.directory[0], 0, 1 << 20), EIO);
        },
        Verdict::GoesOn,
    ),
    (
        "a grant of 0",
        |world, guest, _| {
            let export = RawExport::small(guest, 2, "other");
            with(world, guest, export, |export, _| put(&export.directory[0], 4, 0), EINVAL);
        },
        Verdict::GoesOn,
    ),
    (
        "a page that is not granted",
        |world, guest, _| {
            for word in 1..=6 {
                let export = RawExport::small(guest, 2, "other");
                with(world, guest, export, |export, _| put(&export.directory[0], word, 1 << 20), EIO);
            }
        },
        Verdict::GoesOn,
    ),
    (
        "a consumed page that may not be written",
        |world, guest, _| {
            let page = guest.guest.alloc_page();
            let read_only = guest.guest.grant(&page, Access::ReadOnly);
            let export = RawExport::small(guest, 2, "other");
            with(world, guest, export, |export, _| put(&export.directory[0], 2, read_only.0), EIO);
            guest.guest.end_access(read_only).unwrap();
        },
        Verdict::GoesOn,
    ),
    (
        "a schema page that is not granted",
        |world, guest, _| {
            let export = RawExport::new(guest, 2, "other", (4096, 4), &[0], "a x:u8\n");
            with(world, guest, export, |export, _| put(&export.directory[0], 3, 1 << 20), EIO);
        },
        Verdict::GoesOn,
    ),
    (
        "one page many times",
        |world, guest, _| {
            let mut export = RawExport::small(guest, 2, "other");
            let offer = export.grant();
            let mut word = [0; 4];
            export.directory[0].read(12, &mut word);
            for at in 3..=6 {
                export.directory[0].write(4 * at, &word);
            }
            assert_eq!(guest.status(world, Asked::Export(offer)), 0, "its own affair");
            assert_eq!(guest.status(world, Asked::Unexport { export: 2 }), 0);
            export.end();
        },
        Verdict::GoesOn,
    ),
    (
        "the ring page as data",
        |world, guest, _| {
            let ring = guest.listener().ring_ref.0;
            let mut export = RawExport::small(guest, 2, "other");
            let offer = export.grant();
            for at in 3..=6 {
                put(&export.directory[0], at, ring);
            }
            assert_eq!(guest.status(world, Asked::Export(offer)), 0, "its own affair");
            assert_eq!(guest.status(world, Asked::Unexport { export: 2 }), 0);
            export.end();
        },
        Verdict::GoesOn,
    ),
    (
        "a directory that changes when it has been read",
        |world, guest, _| {
            let mut export = RawExport::small(guest, 2, "other");
            assert_eq!(guest.export(world, &mut export), 0);
            export.directory[0].write(0, &[0xff; 4096]);
            export.info.write(0, &[0xff; 1176]);
            assert_eq!(guest.status(world, Asked::Unexport { export: 2 }), 0);
            export.end();
        },
        Verdict::GoesOn,
    ),
];
