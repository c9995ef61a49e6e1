// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend with the real frontend core in threads of this process.

mod live;

use std::sync::Arc;
use std::time::Duration;

use live::{TIMEOUT, World, load, unload};
use vesper_grant::loopback::Machine;
use vesper_grant::{DomId, Host};
use vesper_xenback::action::Failure;
use vesper_xenback::{Backend, DeviceState, Limits};
use vesper_xenfront::loopback::{LoopFrontend, Reaction, Work};
use vesper_xenstore::MemoryStore;

#[test]
fn load_unload_and_refusals() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("probe", vec![1; 5000])).result, Ok(()));
    let work = Work::Load { name: "probe".into(), image: vec![1; 5000], args: b"n=1".to_vec() };
    assert_eq!(frontend.kernel().work(), [work]);
    assert_eq!(world.info(1).modules.len(), 1);
    assert_eq!(world.run(1, load("probe", vec![1; 10])).result, Err(Failure::Refused { errno: 17 }));
    frontend.kernel().next(Reaction::refuses(2).logging("probe2: Unknown symbol frob (err -2)\n"));
    let outcome = world.run(1, load("probe2", vec![1; 10]));
    assert_eq!(outcome.result, Err(Failure::Refused { errno: 2 }));
    assert_eq!(outcome.log, "probe2: Unknown symbol frob (err -2)\n");
    assert_eq!(world.run(1, load("vesper_front", vec![1; 10])).result, Err(Failure::Refused { errno: 1 }));
    frontend.kernel().set_busy("probe", 16);
    assert_eq!(world.run(1, unload("probe")).result, Err(Failure::Refused { errno: 16 }));
    assert_eq!(world.info(1).modules.len(), 1);
    frontend.kernel().set_busy("probe", 0);
    assert_eq!(world.run(1, unload("probe")).result, Ok(()));
    assert_eq!(world.run(1, unload("probe")).result, Err(Failure::Refused { errno: 2 }));
    assert!(world.info(1).modules.is_empty());
    assert_eq!(world.info(1).counters.protocol_errors, 0);
}

#[test]
fn an_image_of_eight_mebibytes() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let image: Vec<u8> = (0..8 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(world.run(1, load("big", image.clone())).result, Ok(()));
    assert!(frontend.kernel().work() == [Work::Load { name: "big".into(), image, args: b"n=1".to_vec() }]);
}

#[test]
fn four_guests_with_eight_commands_each() {
    let mut world = World::new();
    let frontends: Vec<_> = (1..=4).map(|id| world.add_connected(id)).collect();
    let mut commands = Vec::new();
    for n in 0..8 {
        for (id, frontend) in (1..).zip(&frontends) {
            frontend.kernel().next(Reaction::refuses(10 * i32::from(id) + n));
            commands.push((id, n, world.submit(id, load(&format!("m{n}"), vec![n as u8; 9000]), TIMEOUT)));
        }
    }
    for (id, n, command) in commands {
        let errno = 10 * i32::from(id) + n;
        assert_eq!(world.outcome(command).result, Err(Failure::Refused { errno }), "guest {id}, command {n}");
    }
}

#[test]
fn a_hanging_init_is_busy_and_its_late_result_is_taken_in() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let other = world.add_connected(2);
    frontend.kernel().next(Reaction::works().held());
    let command = world.submit(1, load("slow", vec![1; 10]), Duration::from_millis(300));
    let waiting = world.submit(1, unload("other"), TIMEOUT);
    assert_eq!(world.outcome(command).result, Err(Failure::TimedOut { sent: true }));
    let result = world.outcome(waiting).result;
    assert!(matches!(result, Err(Failure::Busy { command: busy, .. }) if busy == command), "{result:?}");
    assert_eq!(world.run(2, load("probe", vec![1; 10])).result, Ok(()));
    drop(other);
    frontend.kernel().let_go();
    world.until("reconciled", |world| world.info(1).modules.len() == 1);
    assert_eq!(world.info(1).counters.late_results, 1);
    assert_eq!(world.run(1, unload("slow")).result, Ok(()));
}

#[test]
fn a_deaf_guest_costs_only_its_own_commands() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let _other = world.add_connected(2);
    frontend.kernel().set_deaf(true);
    let command = world.submit(1, load("probe", vec![1; 10]), Duration::from_millis(300));
    assert_eq!(world.run(2, load("probe", vec![1; 10])).result, Ok(()));
    assert!(matches!(world.outcome(command).result, Err(Failure::TimedOut { .. })));
    frontend.kernel().set_deaf(false);
    // It was told of the load before it went deaf, or after: either way its queue goes on.
    world.until("free again", |world| world.info(1).busy_since.is_none());
    assert_eq!(world.run(1, load("another", vec![1; 10])).result, Ok(()));
}

#[test]
fn the_daemon_is_restarted() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("one", vec![1; 10])).result, Ok(()));
    frontend.kernel().next(Reaction::works().held());
    world.submit(1, load("two", vec![1; 10]), TIMEOUT);
    world.until("running", |_| frontend.kernel().work().len() == 2);
    let spare = Arc::new(MemoryStore::new().unwrap());
    world.backend = Backend::new(Arc::new(Machine::new()), spare, Limits::default()).unwrap();
    let host = Arc::new(world.machine.clone());
    world.backend = Backend::new(host, world.store.clone(), Limits::default()).unwrap();
    world.until("connected", |world| world.device(1) == Some(DeviceState::Connected));
    frontend.kernel().let_go();
    world.until("reconciled", |world| world.info(1).modules.len() == 2);
    assert_eq!(world.run(1, unload("one")).result, Ok(()));
    assert_eq!(world.run(1, unload("two")).result, Ok(()));
}

#[test]
fn a_guest_is_resumed_with_a_command_under_way() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("one", vec![1; 10])).result, Ok(()));
    frontend.kernel().next(Reaction::works().held());
    let command = world.submit(1, load("two", vec![1; 10]), TIMEOUT);
    world.until("running", |_| frontend.kernel().work().len() == 2);
    let connections = world.info(1).counters.connections;
    frontend.resume();
    world.until("connected anew", |world| {
        world.info(1).counters.connections > connections && world.device(1) == Some(DeviceState::Connected)
    });
    frontend.kernel().let_go();
    assert_eq!(world.outcome(command).result, Ok(()), "its result came with the new connection");
    assert_eq!(world.info(1).modules.len(), 2);
    assert_eq!(world.run(1, unload("two")).result, Ok(()));
}

#[test]
fn a_guest_is_destroyed_in_the_middle_of_a_transfer() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let command = world.submit(1, load("big", vec![1; 64 << 20]), TIMEOUT);
    world.until("in the middle", |world| world.info(1).counters.bytes > 0);
    // Its thread runs on meanwhile and notices nothing.
    world.machine.destroy(DomId(1));
    world.store.release(1);
    assert_eq!(world.outcome(command).result, Err(Failure::GuestGone));
    assert_eq!(world.machine.domain(DomId(1)).unwrap(), None, "no zombie");
    assert_eq!(frontend.kernel().work(), [], "nothing was loaded from half an image");
    drop(frontend);
}

#[test]
fn the_frontend_module_is_unloaded_and_loaded_again() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("probe", vec![1; 10])).result, Ok(()));
    let kernel = frontend.kernel().clone();
    frontend.unload();
    let held = world.guests[0].active_grants();
    assert_eq!(held, 11, "both rings, heartbeat and last words, which are still mapped here");
    world.until("closed", |world| world.device(1) == Some(DeviceState::Closed));
    assert_eq!((world.info(1).counters.grants_mapped, world.info(1).counters.ports_bound), (0, 0));
    world.until("all grants ended", |world| world.guests[0].active_grants() == 0);
    // The list of what was loaded through VESPER went with the module; what was loaded did not.
    let store = world.store.as_domain(1).unwrap();
    let _again = LoopFrontend::start(world.guests[0].clone(), store, kernel.clone());
    world.until("connected", |world| world.device(1) == Some(DeviceState::Connected));
    world.until("reported", |world| world.info(1).modules.is_empty());
    assert_eq!(kernel.modules(), ["probe"]);
    assert_eq!(world.run(1, load("probe", vec![1; 10])).result, Err(Failure::Refused { errno: 17 }));
    assert_eq!(world.run(1, load("other", vec![1; 10])).result, Ok(()));
    assert_eq!(loaded(&world), ["other"]);
}

/// Names of the modules that the backend takes for loaded in the first guest.
fn loaded(world: &World) -> Vec<String> {
    world.info(1).modules.iter().map(|module| module.name.to_string()).collect()
}

#[test]
fn the_list_of_modules_is_kept_across_a_new_connection() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("one", vec![1; 10])).result, Ok(()));
    assert_eq!(world.run(1, load("two", vec![1; 10])).result, Ok(()));
    // A daemon that was told nothing by the one before knows only what the frontend reports.
    world.detach(1);
    let spare = Arc::new(MemoryStore::new().unwrap());
    world.backend = Backend::new(Arc::new(Machine::new()), spare, Limits::default()).unwrap();
    let host = Arc::new(world.machine.clone());
    world.backend = Backend::new(host, world.store.clone(), Limits::default()).unwrap();
    world.attach(1);
    world.until("reported", |world| loaded(world) == ["one", "two"]);
    assert_eq!(world.run(1, unload("one")).result, Ok(()));
    let connections = world.info(1).counters.connections;
    frontend.resume();
    world.until("connected anew", |world| {
        world.info(1).counters.connections > connections && world.device(1) == Some(DeviceState::Connected)
    });
    world.until("reported", |world| loaded(world) == ["two"]);
    assert_eq!(world.run(1, unload("two")).result, Ok(()));
}

#[test]
fn fifty_attach_and_detach_cycles() {
    let mut world = World::new();
    let frontend = world.add_guest(1);
    for cycle in 0..50 {
        world.attach(1);
        let name = format!("m{cycle}");
        assert_eq!(world.run(1, load(&name, vec![1; 10])).result, Ok(()), "cycle {cycle}");
        assert_eq!(world.run(1, unload(&name)).result, Ok(()), "cycle {cycle}");
        world.detach(1);
        assert_eq!((world.info(1).counters.grants_mapped, world.info(1).counters.ports_bound), (0, 0));
    }
    world.until("all grants ended", |world| world.guests[0].active_grants() == 0);
    assert_eq!(world.info(1).counters.protocol_errors, 0);
    drop(frontend);
}

#[test]
fn the_backend_is_detached_by_force_and_the_guest_tells_what_is_in() {
    let mut world = World::new();
    let _frontend = world.add_connected(1);
    assert_eq!(world.run(1, load("probe", vec![1; 10])).result, Ok(()));
    assert!(world.backend.detach(DomId(1), false).is_err());
    world.detach(1);
    world.attach(1);
    world.until("reported", |world| world.info(1).modules.len() == 1);
    assert_eq!(world.run(1, unload("probe")).result, Ok(()));
}
