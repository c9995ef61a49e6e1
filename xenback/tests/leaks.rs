// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything given is given back. Descriptors are counted, so these tests have a process of their own, one at a time.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{RawExport, World, load, unload};
use vesper_grant::{DomId, Host};
use vesper_ring::wire::Answer;
use vesper_xenback::Event;
use vesper_xenback::action::Failure;
use vesper_xenstore::{Store, Tx};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn fifty_attach_and_detach_cycles_leave_nothing() {
    let _alone = alone();
    let mut world = World::new();
    let mut guest = world.add_guest(1);
    let descriptors = common::open_descriptors();
    let nodes = |world: &World| {
        let mut all = vec![String::from("/local/domain")];
        let mut next = 0;
        while let Some(path) = all.get(next).cloned() {
            all.extend(
                world.store.list(Tx::NONE, &path).unwrap().iter().map(|name| format!("{path}/{name}")),
            );
            next += 1;
        }
        all.sort();
        all
    };
    let mut before = None;
    for cycle in 0..50 {
        world.backend.attach(DomId(1)).unwrap();
        world.settle();
        guest.connect(&mut world);
        world.backend.detach(DomId(1), true).unwrap();
        world.settle();
        guest.close(&mut world);
        assert_eq!(world.device(1), None, "cycle {cycle}");
        world.assert_nothing_held(&guest);
        // The first cycle may make parents that stay.
        let now = nodes(&world);
        assert_eq!(*before.get_or_insert_with(|| now.clone()), now, "cycle {cycle}");
    }
    assert_eq!(common::open_descriptors(), descriptors);
}

#[test]
fn a_guest_destroyed_in_the_middle_of_a_transfer() {
    let _alone = alone();
    let mut world = World::new();
    let mut other = world.add_connected(2);
    let mut guest = world.add_guest(1);
    // The memory of the guest is the machine's and stays with it.
    let before = common::open_descriptors();
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    guest.connect(&mut world);
    let current = world.submit(1, load("probe", &[7; 20_000], ""));
    let waiting = world.submit(1, unload("other"));
    let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
    let fetch = guest.fetch_request(command, 0, 8192);
    guest.ask(&mut world, fetch);
    world.machine.destroy(DomId(1));
    assert!(world.backend.guest(DomId(1)).unwrap().domain.unwrap().dying, "its ring page is mapped");
    world.store.release(1);
    world.settle();
    assert_eq!(world.outcome(current).result, Err(Failure::GuestGone));
    assert_eq!(world.outcome(waiting).result, Err(Failure::GuestGone));
    assert!(world.events.contains(&Event::GuestGone { domid: DomId(1), uuid: World::uuid(1) }));
    assert!(world.backend.guest(DomId(1)).is_none());
    assert_eq!(world.machine.domain(DomId(1)).unwrap(), None, "no zombie");
    assert_eq!(world.backend_state(1), 0, "no nodes of a dead guest");
    assert_eq!(common::open_descriptors(), before);
    drop(guest);
    world.load_works(&mut other);
}

#[test]
fn what_was_shared_is_given_back_however_it_ends() {
    let _alone = alone();
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    guest.close(&mut world);
    guest.set_state(1);
    world.settle();
    let descriptors = common::open_descriptors();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let mut before = 0;
    for cycle in 0..60 {
        guest.connect(&mut world);
        let mut exports: Vec<_> =
            (1..=4).map(|n| RawExport::new(&guest, n, &format!("n{n}"), (4096, 4), &[0, 1], "")).collect();
        for export in &mut exports {
            assert_eq!(guest.export(&mut world, export), 0, "cycle {cycle}");
        }
        let channel = world.backend.channel(DomId(1), "n2").unwrap().channel;
        let reader = channel.reader(vesper_relay_mirror::Start::Oldest);
        match cycle % 4 {
            0 => {
                for number in 1..=4 {
                    let asked = vesper_ring::wire::listener::Asked::Unexport { export: number };
                    assert_eq!(guest.status(&mut world, asked), 0);
                }
            }
            1 => world.backend.detach(DomId(1), true).unwrap(),
            2 => {
                world.restart_backend();
                assert!(exports[0].is_mapped(), "cycle {cycle}: taken over");
            }
            _ => guest.push(vesper_ring::wire::loader::Request { op: 99, ..Default::default() }),
        }
        world.settle();
        drop((reader, channel));
        guest.close(&mut world);
        for export in &mut exports {
            assert!(!export.is_mapped(), "cycle {cycle}");
            export.end();
        }
        drop(exports);
        world.assert_nothing_held(&guest);
        if world.device(1).is_none() {
            world.backend.attach(DomId(1)).unwrap();
            world.settle();
        } else {
            // Attaching lifts the fence.
            world.backend.attach(DomId(1)).unwrap();
            guest.set_state(1);
            world.settle();
        }
        assert_eq!(world.backend_state(1), 2, "cycle {cycle}");
        // The first round makes what stays.
        if cycle == 8 {
            before = maps();
        }
        assert_eq!(common::open_descriptors(), descriptors, "cycle {cycle}");
    }
    // The heap has a mapping more now and then; one for each way to end would be 13.
    assert!(maps() < before + 10, "{before} mappings became {}", maps());
}
