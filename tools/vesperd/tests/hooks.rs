// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hooks do about events, through the real daemon's loop.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::events::{events, of_kind};
use support::{World, eventually};
use vesper_events::{Event, Kind};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};

fn hook(world: &World, name: &str, script: &str) {
    let file = world.config.events.hooks_dir.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, format!("#!/bin/sh\ncd {}\n{script}\n", world.dir.path().display())).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
}

fn read(world: &World, file: &str) -> String {
    fs::read_to_string(world.dir.path().join(file)).unwrap_or_default()
}

/// A guest whose probe tells of oopses, no two of which are one.
fn probed(world: &World, domid: u16) -> (LoopFrontend, RelayChannel) {
    let guest = world.add_attached(domid);
    let spec = ChannelSpec::new("probe").schema("oops event=guest-oops n:u32");
    let channel = guest.relay().export(&spec).unwrap();
    (guest, channel)
}

fn oops(channel: &RelayChannel, number: u32) {
    channel.record(0, 1, 1, &number.to_le_bytes()).unwrap();
}

#[test]
fn an_event_is_acted_on_once_over_restarts() {
    let mut world = World::new();
    let (_guest, probe) = probed(&world, 1);
    oops(&probe, 0);
    eventually("it is told", || events(&world).len() == 1);
    // It came too late for the first one.
    hook(&world, "guest-oops.d/10-note", "cat > event; echo $VESPER_FAULT $VESPER_AGAIN >> log");
    oops(&probe, 1);
    eventually("it is acted on", || read(&world, "log") == "2 0\n");
    let event: Event = vesper_api::from_line(read(&world, "event").as_bytes()).unwrap();
    assert_eq!((event.event, event.cause.as_str()), (Kind::GuestOops, "oops n=1"));
    // So did this one, for all that was before.
    hook(&world, "guest-oops.d/20-late", "echo late $VESPER_FAULT >> log");
    for _ in 0..2 {
        world.stop();
        world.start().unwrap();
    }
    oops(&probe, 2);
    eventually("the next one is acted on", || read(&world, "log").contains("late 3\n"));
    assert_eq!(read(&world, "log"), "2 0\n3 0\nlate 3\n");
    assert_eq!(of_kind(&world, Kind::GuestOops).len(), 3);
}

/// The daemon is stopped in the middle: what was done is not done again, what was not is.
#[test]
fn what_was_not_done_is_done_by_the_next_daemon() {
    let mut world = World::new();
    let (_guest, probe) = probed(&world, 1);
    hook(&world, "guest-oops.d/10-done", "echo done $VESPER_FAULT >> log");
    hook(
        &world,
        "guest-oops.d/20-hangs",
        "echo hangs $VESPER_FAULT $VESPER_AGAIN >> log; [ -e free ] || sleep 60",
    );
    hook(&world, "guest-oops.d/30-last", "echo last $VESPER_FAULT >> log");
    oops(&probe, 0);
    eventually("it hangs", || read(&world, "log").contains("hangs"));
    oops(&probe, 1);
    eventually("the other one is told", || events(&world).len() == 2);
    let begun = Instant::now();
    world.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    fs::write(world.dir.path().join("free"), "").unwrap();
    world.start().unwrap();
    let wanted = "done 1\nhangs 1 0\nhangs 1 1\nlast 1\ndone 2\nhangs 2 1\nlast 2\n";
    eventually("all is done", || read(&world, "log").len() >= wanted.len());
    assert_eq!(read(&world, "log"), wanted);
}

#[test]
fn a_hook_that_hangs_holds_only_its_guest_up() {
    let world = World::with(|config| config.events.hook_timeout = Duration::from_secs(3));
    let (one, two) = (probed(&world, 1), probed(&world, 2));
    hook(&world, "guest-oops.d/10", "[ $VESPER_DOMID = 2 ] || sleep 60; echo $VESPER_DOMID >> log");
    hook(&world, "guest-oops.d/20", "echo next $VESPER_DOMID >> log");
    let begun = Instant::now();
    oops(&one.1, 0);
    eventually("it is told", || events(&world).len() == 1);
    oops(&two.1, 0);
    eventually("the other guest's is done", || read(&world, "log") == "2\nnext 2\n");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    eventually("it is killed", || read(&world, "log") == "2\nnext 2\nnext 1\n");
    assert!(begun.elapsed() >= Duration::from_secs(3));
}
