// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests that misbehave towards the listener: named cases, each with a fixed verdict.
//!
//! After each case a second guest's channel is read as before; the first guest's is so again after its frontend was
//! loaded anew; and nothing is held in between.

mod common;
mod listener_cases;

use std::time::Duration;

use common::{RawExport, RawGuest, World, drain, lines, write_lines};
use listener_cases::CASES;
use vesper_grant::DomId;
use vesper_relay_mirror::Start;
use vesper_relay_mirror::writer::WhenFull;
use vesper_xenback::DeviceState;

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// The device is stopped, for a reason that has this text in it.
    Stopped(&'static str),
    /// The device goes on.
    GoesOn,
}

/// A case: its name, what the guest does with the export that it shares, and the verdict.
pub type Case = (&'static str, fn(&mut World, &mut RawGuest, &mut RawExport), Verdict);

fn run(case: &Case) {
    let (name, act, verdict) = case;
    let mut world = World::new();
    let mut bystander = world.add_listening(2);
    let mut theirs = RawExport::small(&bystander, 1, "panic");
    assert_eq!(bystander.export(&mut world, &mut theirs), 0);
    let mut reader = world.backend.channel(DomId(2), "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = theirs.writer(0, WhenFull::Refuse, bystander.bell());
    write_lines(&mut writer, "a", 0..300);
    let mut guest = world.add_listening(1);
    let mut export = RawExport::small(&guest, 1, "panic");
    assert_eq!(guest.export(&mut world, &mut export), 0);

    act(&mut world, &mut guest, &mut export);
    world.settle();

    let device = world.device(1).expect("a device");
    match verdict {
        Verdict::Stopped(what) => {
            assert!(
                matches!(&device, DeviceState::Failed { reason } if reason.contains(what)),
                "{name}: {device:?} is not about {what:?}"
            );
            let counters = world.info(1).counters;
            assert_eq!((counters.grants_mapped, counters.ports_bound), (0, 0), "{name}");
            assert!(!export.is_mapped(), "{name}");
        }
        Verdict::GoesOn => assert_eq!(device, DeviceState::Connected, "{name}"),
    }
    write_lines(&mut writer, "a", 300..400);
    world.settle();
    assert_eq!(drain(&mut reader, 0), (lines("a", 0..400), Default::default(), false), "{name}");
    assert_eq!(world.info(2).counters.connections, 1, "{name}: the second guest had to connect anew");

    // Whatever happened, the guest's frontend may be loaded anew.
    for state in [5, 6] {
        guest.force_state(&world, state);
        world.settle();
    }
    world.pass(Duration::from_secs(6));
    guest.end_grants();
    export.end();
    world.assert_nothing_held(&guest);
    guest.force_state(&world, 1);
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    world.pass(Duration::from_secs(2));
    guest.connect(&mut world);
    let mut export = RawExport::small(&guest, 9, "panic");
    assert_eq!(guest.export(&mut world, &mut export), 0, "{name}");
    world.load_works(&mut guest);
}

#[test]
fn every_case_has_its_verdict() {
    let mut names: Vec<_> = CASES.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len(), "a name is used twice");
    assert!(CASES.len() >= 60, "{}", CASES.len());
    let failed: Vec<_> = CASES
        .iter()
        .filter(|case| std::panic::catch_unwind(|| run(case)).is_err())
        .map(|(name, ..)| *name)
        .collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), CASES.len());
}

#[test]
fn a_storm_of_kicks_is_heard_ever_more_seldom() {
    let mut world = World::new();
    let guest = world.add_listening(1);
    let before = world.info(1).counters.spurious_kicks;
    for _ in 0..1000 {
        guest.kick_listener();
        world.settle();
    }
    let storm = world.info(1).counters.spurious_kicks - before;
    assert!((1..=3).contains(&storm), "{storm} kicks heard with no time passing");
    for _ in 0..60 {
        let pause = world.backend.next_deadline().expect("the port is unmasked at some time") - world.now;
        world.pass(pause);
        guest.kick_listener();
        world.settle();
    }
    assert_eq!(world.backend.next_deadline().unwrap() - world.now, Duration::from_secs(1));
}

#[test]
fn a_guest_that_shares_and_takes_back_all_day_is_slowed_down() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    let mut refused = 0;
    for number in 1..=1300 {
        let mut export = RawExport::small(&guest, number, "panic");
        match guest.export(&mut world, &mut export) {
            0 => assert_eq!(
                guest.status(&mut world, vesper_ring::wire::listener::Asked::Unexport { export: number }),
                0
            ),
            -28 => refused += 1,
            other => panic!("{other}"),
        }
        export.end();
    }
    assert_eq!(refused, 100);
    assert_eq!(world.info(1).counters.grants_mapped, 11, "both rings, heartbeat and last words");
    world.pass(Duration::from_secs(61));
    let mut export = RawExport::small(&guest, 5000, "panic");
    assert_eq!(guest.export(&mut world, &mut export), 0);
}
