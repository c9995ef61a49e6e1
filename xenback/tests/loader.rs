// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands through the whole host side, with a guest driven by hand.

mod common;

use std::time::Duration;

use common::{TIMEOUT, World, load, name, unload};
use vesper_grant::DomId;
use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::{Answer, Name};
use vesper_xenback::action::listener::DeadCause;
use vesper_xenback::action::{CommandId, Failure, LoadedModule, SubmitError};
use vesper_xenback::{DeviceState, Error, Event};
use vesper_xenstore::{Store, Tx, read_string};

#[test]
fn load_and_unload() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.load_works(&mut guest);
    assert_eq!(world.info(1).modules.len(), 1);
    let command = world.submit(1, unload("probe"));
    assert_eq!(guest.obey(&mut world, 0).unwrap().name, "probe");
    assert_eq!(world.outcome(command).result, Ok(()));
    let info = world.info(1);
    assert!(info.modules.is_empty());
    assert_eq!(info.kernel_release.as_deref(), Some("6.1.0-test"));
    assert_eq!((info.counters.commands, info.counters.succeeded, info.counters.bytes), (2, 2, 10_003));
    assert_eq!((info.counters.grants_mapped, info.counters.ports_bound), (1, 1));
}

#[test]
fn a_big_image_arrives_whole() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let image: Vec<u8> = (0..3_000_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let command = world.submit(1, load("big", &image, ""));
    assert!(guest.obey(&mut world, 0).unwrap().data == image);
    assert_eq!(world.outcome(command).result, Ok(()));
}

#[test]
fn a_refusal_brings_errno_and_log() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let command = world.submit(1, load("probe", b"elf", ""));
    let Some(Answer::Load { command: wire, .. }) = guest.next_command(&mut world) else { panic!() };
    guest.fetch_all(&mut world, wire, 3).unwrap();
    guest.result(&mut world, wire, -2, "probe: Unknown symbol frob (err -2)\n");
    let outcome = world.outcome(command);
    assert_eq!(outcome.result, Err(Failure::Refused { errno: 2 }));
    assert_eq!(outcome.log, "probe: Unknown symbol frob (err -2)\n");
    assert_eq!(outcome.took, Duration::from_micros(5));
    world.load_works(&mut guest);
}

#[test]
fn four_guests_with_eight_commands_each() {
    let mut world = World::new();
    let mut guests: Vec<_> = (1..=4).map(|id| world.add_connected(id)).collect();
    let mut commands = Vec::new();
    for n in 0..8u8 {
        for guest in &guests {
            let (id, module) = (guest.id(), format!("m{}_{n}", guest.id()));
            commands.push((id, n, world.submit(id, load(&module, &[n, id as u8], ""))));
        }
    }
    // Each guest refuses with a number of its own, so that a result that went astray shows.
    for n in 0..8u8 {
        for guest in &mut guests {
            let id = guest.id();
            let seen = guest.obey(&mut world, -(i32::from(n) + 10 * i32::from(id))).unwrap();
            assert_eq!((seen.name, seen.data), (format!("m{id}_{n}"), vec![n, id as u8]));
        }
    }
    for (id, n, command) in commands {
        let errno = i32::from(n) + 10 * i32::from(id);
        assert_eq!(world.outcome(command).result, Err(Failure::Refused { errno }));
    }
}

#[test]
fn a_silent_guest_costs_only_its_own_commands() {
    let mut world = World::new();
    let mut silent = world.add_connected(1);
    let mut other = world.add_connected(2);
    silent.idle(&mut world);
    let first = world.submit(1, load("probe", b"elf", ""));
    let second = world.submit(1, load("probe", b"elf", ""));
    world.load_works(&mut other);
    assert!(!world.is_finished(first));
    world.pass(TIMEOUT + Duration::from_secs(1));
    assert_eq!(world.outcome(first).result, Err(Failure::TimedOut { sent: true }));
    assert!(matches!(
        world.outcome(second).result,
        Err(Failure::Busy { .. } | Failure::TimedOut { sent: false })
    ));
    let refused = world.backend.submit(DomId(1), World::uuid(1), unload("probe"), TIMEOUT);
    assert!(matches!(refused, Err(Error::Submit { source: SubmitError::Busy { .. }, .. })), "{refused:?}");
    assert!(world.info(1).busy_since.is_some());
    world.load_works(&mut other);
    assert_eq!(world.device(1), Some(DeviceState::Connected));
}

#[test]
fn a_late_result_is_reconciled_and_the_queue_goes_on() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let command = world.submit(1, load("probe", b"elf", ""));
    let Some(Answer::Load { command: wire, .. }) = guest.next_command(&mut world) else { panic!() };
    guest.fetch_all(&mut world, wire, 3).unwrap();
    world.pass(TIMEOUT + Duration::from_secs(1));
    assert_eq!(world.outcome(command).result, Err(Failure::TimedOut { sent: true }));
    guest.result(&mut world, wire, 0, "");
    assert!(!world.is_finished(command));
    let info = world.info(1);
    assert_eq!((info.counters.late_results, info.modules.len()), (1, 1));
    let command = world.submit(1, unload("probe"));
    guest.obey(&mut world, 0).unwrap();
    assert_eq!(world.outcome(command).result, Ok(()));
}

#[test]
fn a_command_is_pinned_to_domain_and_uuid() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let wrong = world.backend.submit(DomId(1), World::uuid(9), unload("probe"), TIMEOUT);
    assert!(matches!(wrong, Err(Error::OtherGuest { .. })), "{wrong:?}");
    let none = world.backend.submit(DomId(7), World::uuid(7), unload("probe"), TIMEOUT);
    assert!(matches!(none, Err(Error::NoSuchGuest(DomId(7)))), "{none:?}");
    world.load_works(&mut guest);
}

#[test]
fn a_restarted_daemon_goes_on_with_a_parked_request() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.load_works(&mut guest);
    world.restart_backend();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Connected), 4));
    // It asked nothing anew: its parked request was read again. What it has loaded is still known.
    let modules = [LoadedModule { name: name("probe"), command: world.info(1).modules[0].command }];
    assert_eq!(world.info(1).modules, modules);
    let command = world.submit(1, unload("probe"));
    guest.obey(&mut world, 0).unwrap();
    assert_eq!(world.outcome(command).result, Ok(()));
    assert!(world.info(1).modules.is_empty());
}

#[test]
fn a_restarted_daemon_takes_over_a_connection_that_was_never_used() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    guest.idle(&mut world);
    world.restart_backend();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Connected), 4));
    world.load_works(&mut guest);
}

#[test]
fn a_daemon_restarted_in_the_middle_of_a_transfer_cancels_it() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.submit(1, load("probe", &[7; 20_000], ""));
    let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
    let fetch = guest.fetch_request(command, 0, 8192);
    assert!(matches!(guest.ask(&mut world, fetch), Some(Answer::Filled { status: 0, .. })));
    world.restart_backend();
    let fetch = guest.fetch_request(command, 8192, 8192);
    assert_eq!(guest.ask(&mut world, fetch), Some(Answer::Cancelled { command }));
    world.load_works(&mut guest);
}

#[test]
fn a_result_for_the_daemon_before_is_reconciled() {
    for (status, modules) in [(0, 1), (-19, 0)] {
        let mut world = World::new();
        let mut guest = world.add_connected(1);
        world.submit(1, load("probe", b"elf", ""));
        let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
        guest.fetch_all(&mut world, command, 3).unwrap();
        world.pass(Duration::from_secs(1));
        world.restart_backend();
        guest.result(&mut world, command, status, "");
        let info = world.info(1);
        assert_eq!((info.counters.late_results, info.modules.len()), (1, modules));
        world.load_works(&mut guest);
    }
}

/// Xenstore takes longer than most commands, so none waits for it.
#[test]
fn a_command_is_written_down_only_if_it_takes_long() {
    let written = |world: &World| {
        let node = "/local/domain/0/backend/vesper/1/0/loader-memory";
        read_string(&*world.store, Tx::NONE, node).unwrap()
    };
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.submit(1, load("probe", &[7; 20_000], ""));
    let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
    guest.fetch_all(&mut world, command, 20_000).unwrap();
    assert_eq!(written(&world), "end\n");
    world.pass(Duration::from_secs(1));
    let id = format!("{:x} {}", command.run, command.seq);
    assert_eq!(written(&world), format!("at {id} load probe\nend\n"));
    guest.result(&mut world, command, 0, "");
    assert_eq!(written(&world), format!("told {id}\nin {id} probe\nend\n"));
}

#[test]
fn a_daemon_that_died_before_it_wrote_a_command_down_asks_what_became_of_it() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.submit(1, load("probe", b"elf", ""));
    let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
    guest.push(guest.fetch_request(command, 0, 3).request(1));
    // The turn that answers; what is written down is the next one's.
    while guest.take().is_none() {
        world.backend.run(world.now);
    }
    world.restart_backend();
    guest.result(&mut world, command, 0, "");
    assert_eq!(world.backend_state(1), 5, "closes for a fresh start, which begins with a report");
    assert_eq!(world.info(1).counters.protocol_errors, 0);
}

#[test]
fn a_result_that_a_predecessor_was_told_is_read_again_and_means_nothing() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.load_works(&mut guest);
    let command = world.submit(1, unload("probe"));
    guest.obey(&mut world, 0).unwrap();
    assert_eq!(world.outcome(command).result, Ok(()));
    world.restart_backend();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Connected), 4));
    assert_eq!(world.info(1).counters.late_results, 0);
    world.load_works(&mut guest);
}

#[test]
fn a_daemon_that_finds_a_connection_it_cannot_take_over_starts_it_anew() {
    // The frontend in its own state 4, or in 3, where the daemon died before it was seen.
    for state in [4, 3] {
        let mut world = World::new();
        let mut guest = world.add_connected(1);
        // The guest closed its port meanwhile, so that binding fails.
        guest.guest.close(guest.port);
        guest.set_state(state);
        world.restart_backend();
        assert_eq!(world.backend_state(1), 5, "frontend in {state}");
        guest.set_state(5);
        world.settle();
        guest.set_state(6);
        world.settle();
        assert_eq!(world.backend_state(1), 2, "offered again");
        guest.set_state(1);
        guest.connect(&mut world);
        world.load_works(&mut guest);
    }
}

#[test]
fn a_daemon_that_died_while_it_wrote_an_answer() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    guest.idle(&mut world);
    // The entry of the parked request, after that of the report: its first words are those of an answer.
    let entry = 64 + 96;
    guest.page.write(entry, &1u16.to_le_bytes());
    guest.page.write(entry + 8, &77u64.to_le_bytes());
    world.restart_backend();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Closing), 5));
    guest.close(&mut world);
    assert_eq!(
        (world.device(1), world.backend_state(1)),
        (Some(DeviceState::Waiting), 2),
        "no fence, no failure"
    );
    assert_eq!(world.info(1).counters.protocol_errors, 0);
    guest.set_state(1);
    guest.connect(&mut world);
    world.load_works(&mut guest);
}

#[test]
fn a_daemon_that_finds_a_connection_of_a_later_version_offers_its_own() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    // As a later daemon and a later frontend leave it.
    let offered = "/local/domain/0/backend/vesper/1/0/version";
    world.store.write(Tx::NONE, offered, b"2").unwrap();
    guest.write("version", "2");
    world.restart_backend();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Closing), 5));
    guest.close(&mut world);
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Waiting), 2));
    assert_eq!(read_string(&*world.store, Tx::NONE, offered).unwrap(), "1");
    guest.set_state(1);
    guest.connect(&mut world);
    world.load_works(&mut guest);
    assert_eq!(world.info(1).counters.protocol_errors, 0);
}

#[test]
fn guests_tell_what_is_loaded_when_they_connect() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    let entry = |run, seq, name: &str| Loaded { run, seq, name: *Name::new(name).unwrap().as_wire() };
    let answer = guest.report(&mut world, &[entry(5, 1, "one"), entry(5, 2, "two")]);
    assert_eq!(answer, Some(Answer::Done));
    let modules: Vec<_> = world.info(1).modules.iter().map(|module| module.command).collect();
    assert_eq!(modules, [CommandId { run: 5, seq: 1 }, CommandId { run: 5, seq: 2 }]);
    let refused = world.backend.detach(DomId(1), false);
    assert!(
        matches!(&refused, Err(Error::ModulesLoaded { modules, .. }) if modules.len() == 2),
        "{refused:?}"
    );
    assert_eq!(refused.unwrap_err().to_string(), "guest 1 has modules loaded through VESPER: one, two");
}

#[test]
fn a_rebooted_guest_is_a_new_domain_with_the_same_uuid() {
    let mut world = World::new();
    let guest = world.add_connected(1);
    world.machine.shut_down(DomId(1), vesper_grant::ShutdownReason::Reboot);
    world.store.shut_down();
    world.settle();
    assert_eq!(world.device(1), Some(DeviceState::Closed), "not gone yet, but over");
    let (domid, uuid, cause) = (DomId(1), World::uuid(1), DeadCause::Rebooted);
    assert!(world.events.contains(&Event::GuestEnded { domid, uuid, cause }));
    world.machine.destroy(DomId(1));
    world.store.release(1);
    world.settle();
    drop(guest);
    let mut guest = world.add_connected(2);
    world.load_works(&mut guest);
}

#[test]
fn fetches_beyond_what_was_said_stop_only_that_device() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.submit(1, load("probe", b"elf", ""));
    let Some(Answer::Load { command, .. }) = guest.next_command(&mut world) else { panic!() };
    let fetch = guest.fetch_request(command, 2, 2);
    assert_eq!(guest.ask(&mut world, fetch), None);
    assert!(matches!(world.device(1), Some(DeviceState::Failed { .. })));
}

#[test]
fn a_guest_restored_with_a_command_under_way_reports_anew() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    // Sent by a daemon that is not here: before the save, or on another host.
    let command = vesper_ring::wire::CommandId { run: 3, seq: 1 };
    guest.result(&mut world, command, 0, "");
    assert_eq!(world.backend_state(1), 5, "closes for a fresh start");
    let waiting = world.backend.submit(DomId(1), World::uuid(1), unload("probe"), TIMEOUT);
    assert!(matches!(waiting, Err(Error::NotConnected(_))), "{waiting:?}");
    guest.close(&mut world);
    assert_eq!(world.backend_state(1), 2);
    guest.set_state(1);
    world.settle();
    guest.prepare();
    guest.publish();
    guest.set_state(3);
    world.settle();
    guest.set_state(4);
    let name_on_wire = *Name::new("probe").unwrap().as_wire();
    guest.report(&mut world, &[Loaded { run: 3, seq: 1, name: name_on_wire }]);
    guest.result(&mut world, command, 0, "");
    let info = world.info(1);
    assert_eq!(info.device, Some(DeviceState::Connected));
    let probe = LoadedModule { name: name("probe"), command: CommandId { run: 3, seq: 1 } };
    assert_eq!(info.modules, [probe]);
    assert_eq!((info.counters.connections, info.counters.protocol_errors), (2, 0));
    world.load_works(&mut guest);
}
