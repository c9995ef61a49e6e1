// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests that misbehave: named cases, each with a fixed verdict.
//!
//! After each case a second guest's device works as before; the first guest's does so again after its frontend was
//! loaded anew (and the operator attached it, where its device was stopped); and nothing is held in between.

mod common;
mod hostile_cases;

use std::time::Duration;

use common::{RawGuest, World};
use hostile_cases::CASES;
use vesper_grant::DomId;
use vesper_xenback::{DeviceState, Event};

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// The device is stopped, for a reason that has this text in it.
    Stopped(&'static str),
    /// The device goes on.
    GoesOn,
    /// The device is as after a close of the frontend's own wish.
    Closed,
}

/// A case: its name, what the guest does, and the verdict.
pub type Case = (&'static str, fn(&mut World, &mut RawGuest), Verdict);

fn run(case: &Case) {
    let (name, act, verdict) = case;
    let mut world = World::new();
    let mut bystander = world.add_connected(2);
    world.load_works(&mut bystander);
    let connections = world.info(2).counters.connections;
    let mut guest = world.add_connected(1);

    act(&mut world, &mut guest);
    world.settle();

    let device = world.device(1).expect("a device");
    match verdict {
        Verdict::Stopped(what) => {
            assert!(
                matches!(&device, DeviceState::Failed { reason } if reason.contains(what)),
                "{name}: {device:?} is not about {what:?}"
            );
            let told =
                world.events.iter().any(|event| matches!(event, Event::DeviceFailed { domid: DomId(1), .. }));
            assert!(told, "{name}: {:?}", world.events);
            let counters = world.info(1).counters;
            assert_eq!((counters.grants_mapped, counters.ports_bound), (0, 0), "{name}");
        }
        Verdict::GoesOn => assert_eq!(device, DeviceState::Connected, "{name}"),
        Verdict::Closed => assert_eq!(device, DeviceState::Closed, "{name}"),
    }
    let elsewhere =
        world.events.iter().any(|event| matches!(event, Event::DeviceFailed { domid: DomId(2), .. }));
    assert!(!elsewhere, "{name}: the second guest's device failed");
    world.load_works(&mut bystander);
    assert_eq!(
        world.info(2).counters.connections,
        connections,
        "{name}: the second guest had to connect anew"
    );

    // Whatever happened, the guest's frontend may be loaded anew.
    for state in [5, 6] {
        guest.force_state(&world, state);
        world.settle();
    }
    world.pass(Duration::from_secs(6));
    guest.end_grants();
    world.assert_nothing_held(&guest);
    guest.force_state(&world, 1);
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    world.pass(Duration::from_secs(2));
    guest.connect(&mut world);
    // What it was sent before the case is over and has its outcome.
    world.load_works(&mut guest);
}

#[test]
fn every_case_has_its_verdict() {
    let mut names: Vec<_> = CASES.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len(), "a name is used twice");
    assert!(CASES.len() >= 60);
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
    let guest = world.add_connected(1);
    let mut other = world.add_connected(2);
    let before = world.info(1).counters.spurious_kicks;
    for _ in 0..1000 {
        guest.guest.notify(guest.port);
        world.settle();
    }
    let storm = world.info(1).counters.spurious_kicks - before;
    assert!((1..=3).contains(&storm), "{storm} kicks heard with no time passing");
    let mut heard = 0;
    for _ in 0..60 {
        let pause = world.backend.next_deadline().expect("the port is unmasked at some time") - world.now;
        assert!(pause <= Duration::from_secs(1));
        world.pass(pause);
        guest.guest.notify(guest.port);
        world.settle();
        heard += 1;
    }
    let pause = world.backend.next_deadline().unwrap() - world.now;
    assert_eq!(pause, Duration::from_secs(1), "after {heard} kicks for nothing");
    world.load_works(&mut other);
    // An honest request is heard after the pause at the latest, and forgives the rest.
    let mut guest = guest;
    guest.idle(&mut world);
    world.pass(Duration::from_secs(1));
    world.load_works(&mut guest);
    assert_eq!(world.backend.next_deadline(), None);
}

#[test]
fn a_guest_that_breaks_the_protocol_all_day_is_let_in_ever_more_seldom() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let mut waits = Vec::new();
    for _ in 0..8 {
        guest.push(vesper_ring::wire::loader::Request { op: 99, ..Default::default() });
        world.settle();
        assert!(matches!(world.device(1), Some(DeviceState::Failed { .. })));
        guest.end_grants();
        guest.set_state(6);
        world.settle();
        guest.set_state(1);
        world.settle();
        assert_eq!(world.backend_state(1), 6, "behind the fence");
        let wait = world.backend.next_deadline().unwrap() - world.now;
        waits.push(wait.as_secs());
        world.pass(wait);
        assert_eq!(world.backend_state(1), 2);
        guest.connect(&mut world);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    // The operator may let it in at once, and a command that ends well forgives.
    world.load_works(&mut guest);
}
