// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fails by rules, and that hooks and who asks are told of it, through the real daemon's loop and the real frontend core.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::events::of_kind;
use support::{World, eventually};
use vesper_api::DeviceStatus;
use vesper_events::{Failed, Kind};
use vesper_grant::{DomId, ShutdownReason};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};
use vesperd::Config;

const SCHEMA: &str = "panic! comm:str\nexit event=process-killed subject=pid pid:u32 comm:str";

/// A daemon with these rules, which attaches all guests and looks at them often, and a hook for what fails.
fn world(rules: &str) -> World {
    let world = World::with(|config| {
        let read = Config::parse("f", &format!("attach.all = true\n{rules}")).unwrap();
        (config.rules, config.attach) = (read.rules, read.attach);
        config.events.watch = Some(Duration::from_millis(50));
    });
    let file = world.config.events.hooks_dir.join("failed.d/50-push");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let script = "echo \"$VESPER_NAME $VESPER_EVENT $VESPER_FAILED $VESPER_SERVICE\" >> log";
    fs::write(&file, format!("#!/bin/sh\ncd {}\n{script}\n", world.dir.path().display())).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    world
}

/// What the hook was told.
fn log(world: &World) -> String {
    fs::read_to_string(world.dir.path().join("log")).unwrap_or_default()
}

/// A guest with a probe in it.
fn probed(world: &World, domid: u16) -> (LoopFrontend, RelayChannel) {
    let guest = world.add_guest_as(domid, &format!("web{domid}"), domid as u8);
    eventually("it is connected", || {
        world.guest(domid).is_some_and(|guest| guest.device == DeviceStatus::Connected)
    });
    let probe = guest.relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    (guest, probe)
}

fn exits(probe: &RelayChannel, pid: u32, comm: &str) {
    let payload = [&pid.to_le_bytes()[..], &(comm.len() as u16).to_le_bytes(), comm.as_bytes()].concat();
    probe.record(0, 2, 1, &payload).unwrap();
}

#[test]
fn a_guest_that_hung_and_did_not_count_fails_by_its_end() {
    let world =
        world("[[rule]]\nguests = [\"*\"]\nfailed = [\"guest-panic\", \"guest-crashed\", \"guest-gone\"]\n");
    let mut guests = [1, 2, 3].map(|domid| Some(probed(&world, domid)));
    for (guest, _) in guests.iter().flatten() {
        guest.relay().set_heartbeat(Duration::from_millis(50));
        guest.relay().set_hung(0, true);
    }
    eventually("they hang", || of_kind(&world, Kind::GuestHung).len() == 3);
    assert!(of_kind(&world, Kind::GuestHung).iter().all(|event| event.failed.is_none()));
    world.machine.shut_down(DomId(1), ShutdownReason::Poweroff);
    world.machine.shut_down(DomId(2), ShutdownReason::Watchdog);
    world.store.shut_down();
    world.destroy(3, guests[2].take().map(|(guest, _)| guest));
    // The last that there is to tell of each.
    eventually("their ends are told", || {
        of_kind(&world, Kind::GuestHung).iter().all(|event| event.end.is_some() && event.saved.is_some())
    });
    let mut told: Vec<_> =
        of_kind(&world, Kind::GuestHung).iter().map(|event| (event.guest.domid, event.failed)).collect();
    told.sort_by_key(|(domid, _)| *domid);
    assert_eq!(told, [(1, None), (2, Some(Failed::Guest)), (3, Some(Failed::Guest))]);
    eventually("two guests failed", || log(&world).lines().count() == 2);
    let log = log(&world);
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["web2 guest-hung guest ", "web3 guest-hung guest "]);
}

/// Whoever may do nothing in the guest but start processes and kill them does not hide that the service dies.
#[test]
fn a_service_fails_in_a_storm_of_others() {
    let world = world("[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"www\"\nprocess = \"nginx\"\n");
    let (_guest, probe) = probed(&world, 1);
    (0..200).for_each(|pid| exits(&probe, pid, "sh"));
    exits(&probe, 1000, "nginx");
    eventually("the service failed", || log(&world) == "web1 process-killed service www\n");
    let told = of_kind(&world, Kind::ProcessKilled);
    assert!(told.len() < 100, "{} are told", told.len());
    let of_service = told.iter().find(|event| event.failed == Some(Failed::Service)).unwrap();
    assert!(of_service.suppressed > 0, "{of_service:?}");
}
