// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of requests when guests do as they please.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;

use support::{Client, World, eventually, insmod};
use vesper_api::{DeviceStatus, Done, ErrorKind, Request};
use vesper_xenfront::loopback::Reaction;
use vesper_xenstore::{Store, Tx};
use vesperd::config::AttachRule;

fn attach(dom: &str, timeout_ms: u64) -> Request {
    Request::Attach { dom: dom.into(), timeout_ms: Some(timeout_ms) }
}

fn detach(dom: &str, force: bool) -> Request {
    Request::Detach { dom: dom.into(), force, timeout_ms: None }
}

#[test]
fn a_guest_is_attached_and_detached_by_any_of_its_names() {
    let world = World::new();
    let _guest = world.add_guest_as(3, "web1", 0xa1);
    let Done::Attached(first) = world.ask(&attach("web1", 30_000)).unwrap() else { panic!("not attached") };
    assert!(!first.already);
    assert_eq!(first.kernel.as_deref(), Some("6.1.0-loopback"));
    assert_eq!(first.guest.uuid, "a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1");
    let Done::Attached(again) = world.ask(&attach("3", 30_000)).unwrap() else { panic!("not attached") };
    assert!(again.already, "attach is idempotent");
    let listed = world.guest(3).unwrap();
    assert_eq!((listed.device, listed.domain.as_str()), (DeviceStatus::Connected, "idle"));
    let Done::Detached(_) = world.ask(&detach(&first.guest.uuid, false)).unwrap() else {
        panic!("not detached")
    };
    assert_eq!(world.guest(3).unwrap().device, DeviceStatus::Detached);
    assert_eq!(world.ask(&detach("3", false)).unwrap_err().kind, ErrorKind::NotAttached);
    assert!(world.ask(&attach("3", 30_000)).is_ok());
}

#[test]
fn without_a_frontend_attach_names_the_remedy_and_waits_in_the_background() {
    let world = World::new();
    let guest = world.add_bare_guest(1, "bare", 1);
    let failure = world.ask(&attach("1", 50)).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NoFrontend);
    assert_eq!(failure.kind.exit_status(), 5);
    let remedy = failure.remedy.unwrap();
    assert!(remedy.contains("modprobe vesper_front") && remedy.contains("install vesper-front"), "{remedy}");
    assert_eq!(world.guest(1).unwrap().device, DeviceStatus::Waiting);
    let failure = world.insmod("1", &world.module("answer")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NotAttached);
    assert!(failure.remedy.unwrap().contains("modprobe vesper_front"));

    let kernel = vesper_xenfront::loopback::FakeKernel::new();
    let _frontend =
        vesper_xenfront::loopback::LoopFrontend::start(guest, world.store.as_domain(1).unwrap(), kernel);
    eventually("it connects by itself", || world.guest(1).unwrap().device == DeviceStatus::Connected);
}

#[test]
fn detach_is_refused_while_modules_are_in_unless_forced() {
    let world = World::new();
    let guest = world.add_attached(1);
    world.insmod("1", &world.module("answer")).unwrap();
    let failure = world.ask(&detach("1", false)).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::ModulesLoaded);
    assert!(failure.message.contains("answer"), "{}", failure.message);
    assert_eq!(world.guest(1).unwrap().device, DeviceStatus::Connected);
    world.ask(&detach("1", true)).unwrap();
    assert_eq!(guest.kernel().modules(), ["answer"], "it stays in the guest");
    world.ask(&attach("1", 30_000)).unwrap();
    eventually("and is known again", || world.guest(1).unwrap().modules == ["answer"]);
}

#[test]
fn a_guest_that_is_destroyed_fails_its_commands_and_holds_nothing() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(world.socket())).collect();
    for (number, client) in clients.iter().enumerate() {
        let file = File::open(world.module(&format!("m{number}"))).unwrap();
        client.send(&vesper_api::to_line(&insmod("1")), &[file.as_raw_fd()]);
    }
    eventually("all three wait", || world.guest(1).unwrap().queue == 3);
    let kernel = guest.kernel().clone();
    world.destroy(1, Some(guest));
    for client in &mut clients {
        let failure = client.reply().into_result().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::GuestGone);
        assert_eq!(failure.guest.unwrap().domid, 1);
    }
    assert_eq!(world.ask(&Request::Status { dom: "1".into() }).unwrap_err().kind, ErrorKind::NoSuchGuest);
    // A frontend that waits is told, too.
    world.add_bare_guest(2, "bare", 2);
    let mut waiting = Client::connect(world.socket());
    waiting.send(&vesper_api::to_line(&attach("2", 60_000)), &[]);
    eventually("the device is made", || world.guest(2).unwrap().device == DeviceStatus::Waiting);
    world.destroy(2, None);
    assert_eq!(waiting.reply().into_result().unwrap_err().kind, ErrorKind::GuestGone);
    kernel.let_go();
}

#[test]
fn a_time_limit_ends_the_wait_and_a_late_result_is_taken_in() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let mut client = Client::connect(world.socket());
    let file = File::open(world.module("slow")).unwrap();
    let Request::Insmod { dom, file: shown, args, .. } = insmod("1") else { unreachable!() };
    let request = Request::Insmod { dom, file: shown, args, timeout_ms: Some(50) };
    let failure = client.ask(&request, Some(&file)).into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TimedOut);
    let failure = world.insmod("1", &world.module("next")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Busy);
    assert_eq!(failure.errno.unwrap().name, "EBUSY");
    assert!(world.guest(1).unwrap().busy_ms.is_some());
    guest.kernel().let_go();
    eventually("the late module is known", || world.guest(1).unwrap().modules == ["slow"]);
    world.insmod("1", &world.module("next")).unwrap();
}

#[test]
fn guests_are_attached_as_configured_and_again_after_a_reboot() {
    let world = World::with(|config| {
        config.attach = AttachRule {
            all: false,
            names: vec![glob::Pattern::new("web*").unwrap()],
            uuids: vec![vesper_xenback::Uuid([9; 16])],
        };
    });
    let web = world.add_guest_as(1, "web1", 1);
    let _by_uuid = world.add_guest_as(2, "other", 9);
    let _not_meant = world.add_guest_as(3, "db1", 3);
    let connected = |domid| world.guest(domid).is_some_and(|guest| guest.device == DeviceStatus::Connected);
    eventually("both are attached", || connected(1) && connected(2));
    assert_eq!(world.guest(3).unwrap().device, DeviceStatus::Detached);
    // A reboot: the domain goes, and another with the same name and UUID comes.
    world.destroy(1, Some(web));
    let _rebooted = world.add_guest_as(7, "web1", 1);
    eventually("it is attached again", || connected(7));
    // What was detached by hand stays so.
    world.ask(&detach("7", false)).unwrap();
    world.ask(&Request::List {}).unwrap();
    assert_eq!(world.guest(7).unwrap().device, DeviceStatus::Detached);
}

#[test]
fn a_daemon_that_stops_says_so_and_the_next_one_goes_on() {
    let mut world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let mut client = Client::connect(world.socket());
    let file = File::open(world.module("answer")).unwrap();
    client.send(&vesper_api::to_line(&insmod("1")), &[file.as_raw_fd()]);
    eventually("the load begins", || !guest.kernel().work().is_empty());
    world.stop();
    let failure = client.reply().into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::OutcomeUnknown);
    assert!(failure.message.contains("outcome unknown"), "{}", failure.message);
    assert!(client.try_reply().is_none());
    world.start().unwrap();
    guest.kernel().let_go();
    eventually("what really happened is seen", || {
        world.guest(1).is_some_and(|guest| guest.modules == ["answer"])
    });
    world.insmod("1", &world.module("next")).unwrap();
}

#[test]
fn a_guest_that_breaks_the_protocol_has_its_device_stopped_and_no_other() {
    let world = World::new();
    let _good = world.add_attached(1);
    let _bad = world.add_bare_guest(2, "bad", 2);
    let mut client = Client::connect(world.socket());
    client.send(&vesper_api::to_line(&attach("bad", 30_000)), &[]);
    let home = "/local/domain/2/device/vesper/0";
    eventually("the device is made", || world.store.read(Tx::NONE, &format!("{home}/state")).is_ok());
    let guest = world.store.as_domain(2).unwrap();
    for (node, value) in [
        ("loader-ring-page-order", "0"),
        ("loader-ring-ref0", "seven"),
        ("loader-event-channel", "1"),
        ("version", "1"),
        ("state", "3"),
    ] {
        guest.write(Tx::NONE, &format!("{home}/{node}"), value.as_bytes()).unwrap();
    }
    let failure = client.reply().into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::DeviceStopped, "{failure:?}");
    assert_eq!(failure.kind.exit_status(), 7);
    let failure = world.insmod("2", &world.module("answer")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::DeviceStopped);
    world.insmod("1", &world.module("answer")).unwrap();
}

#[test]
fn images_that_wait_are_bounded_for_all_guests_together() {
    let size = support::module("m0", support::VERMAGIC, 600).len() as u64;
    let world = World::with(|config| config.waiting_bytes = 3 * size - 1);
    let (one, two) = (world.add_attached(1), world.add_attached(2));
    one.kernel().next(Reaction::works().held());
    two.kernel().next(Reaction::works().held());
    let mut clients = Vec::new();
    for dom in ["1", "2"] {
        let client = Client::connect(world.socket());
        let file = File::open(world.module(&format!("m{dom}"))).unwrap();
        client.send(&vesper_api::to_line(&insmod(dom)), &[file.as_raw_fd()]);
        clients.push(client);
    }
    eventually("both run", || !one.kernel().work().is_empty() && !two.kernel().work().is_empty());
    let failure = world.insmod("1", &world.module("m3")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::QueueFull, "{}", failure.message);
    one.kernel().let_go();
    clients[0].reply().into_result().unwrap();
    world.insmod("1", &world.module("m3")).unwrap();
    two.kernel().let_go();
    clients[1].reply().into_result().unwrap();
}
