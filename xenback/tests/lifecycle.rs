// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenbus states of both ends, and what is given back.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{TIMEOUT, World, load, unload};
use vesper_grant::DomId;
use vesper_ring::wire::{Answer, Asked, Report};
use vesper_xenback::action::Failure;
use vesper_xenback::{Backend, DeviceState, Error, Event, Limits};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx, read_string};

fn perms(world: &World, path: &str) -> String {
    let perms = world.store.get_perms(Tx::NONE, path).unwrap();
    perms.iter().map(Perm::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn attach_makes_the_nodes_and_detach_removes_them() {
    let mut world = World::new();
    let mut guest = world.add_guest(3);
    assert_eq!(world.device(3), None);
    world.backend.attach(DomId(3)).unwrap();
    world.settle();
    assert_eq!(world.device(3), Some(DeviceState::Waiting));
    let (back, front) = ("/local/domain/0/backend/vesper/3/0", "/local/domain/3/device/vesper/0");
    for (node, value) in [
        (format!("{back}/frontend"), front),
        (format!("{back}/frontend-id"), "3"),
        (format!("{back}/online"), "1"),
        (format!("{back}/state"), "2"),
        (format!("{back}/version"), "1"),
        (format!("{back}/loader-max-ring-page-order"), "0"),
        (format!("{front}/backend"), back),
        (format!("{front}/backend-id"), "0"),
        (format!("{front}/state"), "1"),
    ] {
        assert_eq!(read_string(&*world.store, Tx::NONE, &node).unwrap(), value, "{node}");
    }
    assert_eq!(perms(&world, back), "n0,r3");
    assert_eq!(perms(&world, &format!("{back}/state")), "n0,r3");
    assert_eq!(perms(&world, front), "n3,r0");
    assert_eq!(perms(&world, &format!("{front}/state")), "n3,r0");
    assert_eq!(perms(&world, &format!("{front}/backend")), "n0,r3");
    assert_eq!(perms(&world, "/local/domain/3/device/vesper"), "n0,r3");

    world.backend.attach(DomId(3)).unwrap();
    guest.connect(&mut world);
    world.backend.attach(DomId(3)).unwrap();
    world.settle();
    let attached = world.events.iter().filter(|event| matches!(event, Event::Attached { .. })).count();
    assert_eq!(attached, 1, "attaching again changes nothing");
    world.load_works(&mut guest);
    let refused = world.backend.detach(DomId(3), false);
    assert!(matches!(refused, Err(Error::ModulesLoaded { .. })), "{refused:?}");
    world.submit(3, unload("probe"));
    guest.obey(&mut world, 0).unwrap();

    world.backend.detach(DomId(3), false).unwrap();
    world.settle();
    assert_eq!((world.device(3), world.backend_state(3)), (Some(DeviceState::Closing), 5));
    guest.close(&mut world);
    assert_eq!(world.device(3), None);
    assert!(world.events.contains(&Event::Detached { domid: DomId(3) }));
    for gone in [back, front, "/local/domain/0/backend/vesper/3"] {
        assert!(world.store.read(Tx::NONE, gone).is_err(), "{gone}");
    }
    world.assert_nothing_held(&guest);
    let detached = world.backend.detach(DomId(3), false);
    assert!(matches!(detached, Err(Error::NotAttached(DomId(3)))), "{detached:?}");
}

#[test]
fn a_frontend_that_does_not_close_is_waited_for_five_seconds() {
    let mut world = World::new();
    let guest = world.add_connected(1);
    world.backend.detach(DomId(1), false).unwrap();
    world.settle();
    assert_eq!(world.info(1).counters.grants_mapped, 0, "given back at once");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.device(1), Some(DeviceState::Closing));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.device(1), None);
    assert!(guest.guest.end_access(guest.ring_ref).is_ok());
}

#[test]
fn a_frontend_module_that_is_unloaded_and_loaded_again() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let command = world.submit(1, load("probe", b"elf", ""));
    guest.set_state(5);
    world.settle();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Closing), 5));
    assert_eq!(world.outcome(command).result, Err(Failure::NotAttached));
    guest.end_grants();
    guest.set_state(6);
    world.settle();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Closed), 6));
    let refused = world.backend.submit(DomId(1), World::uuid(1), unload("probe"), TIMEOUT);
    assert!(matches!(refused, Err(Error::NotConnected(DomId(1)))), "{refused:?}");
    guest.set_state(1);
    world.settle();
    assert_eq!(world.backend_state(1), 2, "frontend 1 while backend is 6");
    guest.connect(&mut world);
    world.load_works(&mut guest);
}

#[test]
fn state_four_at_once_connects_too() {
    let mut world = World::new();
    let mut guest = world.add_guest(1);
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    guest.prepare();
    guest.publish();
    guest.set_state(3);
    guest.set_state(4);
    world.settle();
    assert_eq!(world.device(1), Some(DeviceState::Connected));
    guest.ask(&mut world, Asked::Report(Report { gref: 0, entries: 0, more: false }));
    world.load_works(&mut guest);
}

#[test]
fn a_resumed_guest_connects_anew_and_the_queue_goes_on() {
    // Through state 1, or with states 1 and 3 merged into one watch event.
    for merged in [false, true] {
        let mut world = World::new();
        let mut guest = world.add_connected(1);
        let current = world.submit(1, load("probe", &[7; 20_000], ""));
        let waiting = world.submit(1, load("other", b"elf", ""));
        let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
        let fetch = guest.fetch_request(command, 0, 8192);
        guest.ask(&mut world, fetch);
        // Its old page is still mapped, so it is leaked here as a kernel would keep it.
        let old = std::mem::replace(&mut guest, world_guest_anew(&world, 1));
        guest.set_state(1);
        if !merged {
            world.settle();
            assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Waiting), 2));
        }
        guest.connect(&mut world);
        assert_eq!(world.outcome(current).result, Err(Failure::Interrupted { outcome_unknown: false }));
        assert!(old.guest.end_access(old.ring_ref).is_ok(), "the old page is unmapped");
        let seen = guest.obey(&mut world, 0).unwrap();
        assert_eq!(seen.name, "other");
        assert_eq!(world.outcome(waiting).result, Ok(()));
        assert_eq!(world.info(1).counters.connections, 2);
    }
}

/// The same guest with new pages.
fn world_guest_anew(world: &World, id: u16) -> common::RawGuest {
    let guest = world.guest_handle(id);
    common::RawGuest::new(guest, world.store.as_domain(id).unwrap())
}

#[test]
fn vanished_nodes_are_no_vanished_guest() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.store.remove(Tx::NONE, "/local/domain/1").unwrap();
    world.store.remove(Tx::NONE, "/local/domain/0/backend").unwrap();
    world.settle();
    assert_eq!(world.device(1), Some(DeviceState::Connected));
    world.load_works(&mut guest);
    assert_eq!(world.backend_state(1), 0, "a removed node is not brought back");
}

#[test]
fn attaching_a_connected_guest_whose_nodes_vanished_makes_them_anew() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    guest.idle(&mut world);
    world.store.remove(Tx::NONE, "/local/domain/1/device").unwrap();
    world.store.remove(Tx::NONE, "/local/domain/0/backend").unwrap();
    world.settle();
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Waiting), 2));
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    assert_eq!(world.backend_state(1), 2, "attaching again changes nothing");
    // Its idle request of before is not waiting any more: a first request is not a second one.
    guest.connect(&mut world);
    world.load_works(&mut guest);
}

#[test]
fn a_new_and_empty_store_keeps_the_connection() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let empty = Arc::new(MemoryStore::new().unwrap());
    empty.introduce(1);
    world.backend.set_store(empty.clone()).unwrap();
    world.store = empty;
    world.settle();
    assert_eq!(world.device(1), Some(DeviceState::Connected));
    world.load_works(&mut guest);
    world.machine.destroy(DomId(1));
    world.store.release(1);
    world.settle();
    assert!(world.backend.guest(DomId(1)).is_none(), "its watches are the new store's");
}

#[test]
fn a_toolstack_that_sets_online_to_zero() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.store.write(Tx::NONE, "/local/domain/0/backend/vesper/1/0/online", b"0").unwrap();
    world.settle();
    assert_eq!(world.backend_state(1), 5);
    guest.close(&mut world);
    assert_eq!(world.device(1), None);
}

#[test]
fn devices_that_others_made_are_taken_up_and_their_frontend_directory_is_left() {
    let mut world = World::new();
    let mut guest = world.add_guest(1);
    let (back, front) = ("/local/domain/0/backend/vesper/1/0", "/local/domain/1/device/vesper/0");
    let store = world.store.clone();
    store.mkdir(Tx::NONE, front).unwrap();
    store.set_perms(Tx::NONE, front, &[Perm::none(1), Perm::read(0)]).unwrap();
    store.write(Tx::NONE, &format!("{front}/state"), b"1").unwrap();
    store.write(Tx::NONE, &format!("{back}/frontend"), front.as_bytes()).unwrap();
    store.write(Tx::NONE, &format!("{back}/state"), b"1").unwrap();
    world.settle();
    assert_eq!(world.device(1), Some(DeviceState::Waiting));
    guest.connect(&mut world);
    world.load_works(&mut guest);
    world.backend.detach(DomId(1), true).unwrap();
    guest.close(&mut world);
    assert_eq!(world.device(1), None);
    assert!(store.read(Tx::NONE, back).is_err());
    assert!(store.read(Tx::NONE, front).is_ok(), "not ours to remove");
}

#[test]
fn nodes_of_guests_that_died_without_us_are_removed() {
    let mut world = World::new();
    drop(world.add_connected(1));
    world.machine.destroy(DomId(1));
    world.restart_backend();
    assert_eq!(world.backend_state(1), 0);
    assert!(world.backend.guests().is_empty());
}

#[test]
fn guests_that_are_there_and_guests_that_appear_are_told_once() {
    let mut world = World::new();
    world.add_guest(1);
    world.add_guest(2);
    let appeared: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::GuestAppeared { domid, uuid } => Some((domid.0, *uuid)),
            _ => None,
        })
        .collect();
    assert_eq!(appeared, [(1, World::uuid(1)), (2, World::uuid(2))]);
    world.events.clear();
    world.restart_backend();
    assert_eq!(world.events.len(), 2);
    assert_eq!(world.info(2).name, "guest2");
    assert!(matches!(world.backend.attach(DomId(0)), Err(Error::NoSuchGuest(DomId(0)))));
}

#[test]
fn a_domain_that_is_still_being_built_is_no_guest_yet() {
    let mut world = World::new();
    let _guest = world.machine.add_guest(DomId(1), World::uuid(1).0);
    world.store.introduce(9);
    world.settle();
    assert!(world.backend.guests().is_empty());
    world.store.introduce(1);
    world.settle();
    assert_eq!(world.backend.guests().len(), 1);
}

#[test]
fn an_idle_backend_is_not_woken() {
    let mut world = World::new();
    let mut guests: Vec<_> = (1..=4).map(|id| world.add_connected(id)).collect();
    for guest in &mut guests {
        world.load_works(guest);
    }
    assert!(!world.is_ready());
    assert_eq!(world.backend.next_deadline(), None);
}

#[test]
fn commands_before_a_frontend_is_there_are_refused() {
    let mut world = World::new();
    let _guest = world.add_guest(1);
    let submit = |world: &mut World| world.backend.submit(DomId(1), World::uuid(1), unload("probe"), TIMEOUT);
    assert!(matches!(submit(&mut world), Err(Error::NotAttached(DomId(1)))));
    world.backend.attach(DomId(1)).unwrap();
    assert!(matches!(submit(&mut world), Err(Error::NotConnected(DomId(1)))));
}

#[test]
fn the_guest_sees_a_daemon_die() {
    let mut world = World::new();
    let guest = world.add_connected(1);
    while guest.guest.wait(guest.port, Duration::ZERO) {}
    let spare = Arc::new(MemoryStore::new().unwrap());
    world.backend =
        Backend::new(Arc::new(vesper_grant::loopback::Machine::new()), spare, Limits::default()).unwrap();
    assert!(guest.guest.wait(guest.port, Duration::ZERO), "unmapping notifies");
    assert!(!guest.guest.is_bound(guest.port));
    assert_eq!(world.backend_state(1), 4, "nodes stay for the next daemon");
}
