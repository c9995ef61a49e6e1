// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rules put into guests, and what fails by them, through the real daemon's loop and the real frontend core.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::events::{Fed, events, of_kind};
use support::streaming::{Streamed, follow};
use support::{VERMAGIC, World, eventually, module};
use vesper_api::{DeviceStatus, Done, Request, Wanted, WantedState};
use vesper_events::{Failed, Kind};
use vesper_stream::Frame;
use vesper_xenfront::loopback::{ChannelSpec, FakeKernel, LoopFrontend, Reaction, Work};
use vesperd::Config;

const RULES: &str = r#"
attach.all = true
[[rule]]
guests = ["web*"]
probes = ["panic", "signal:exit names=nginx"]
"#;

/// A daemon with these rules, and modules of these groups.
fn world(rules: &str, groups: &[&str]) -> World {
    let world = World::with(|config| {
        let read = Config::parse("f", rules).unwrap();
        (config.rules, config.attach) = (read.rules, read.attach);
        config.probes = vec![config.socket.with_file_name("probes")];
    });
    groups.iter().for_each(|group| build(&world, group));
    world
}

fn build(world: &World, group: &str) {
    let dir = world.config.probes[0].join("6.1.0-loopback");
    fs::create_dir_all(&dir).unwrap();
    let image = module(&format!("vesper_{group}"), VERMAGIC, 600);
    fs::write(dir.join(format!("{group}.ko")), image).unwrap();
}

/// The same file with where its probes are, as the daemon reads it anew.
fn with_probes(world: &World, rules: &str) -> String {
    format!("directories.probes = [{:?}]\n{rules}", world.config.probes[0])
}

fn wanted(world: &World, dom: &str) -> Vec<Wanted> {
    match world.ask(&Request::Status { dom: dom.into() }).unwrap() {
        Done::Status(status) => status.wanted,
        other => panic!("no status: {other:?}"),
    }
}

fn states(world: &World, dom: &str) -> Vec<WantedState> {
    wanted(world, dom).iter().map(|wanted| wanted.state).collect()
}

fn loads(guest: &LoopFrontend) -> Vec<(String, String)> {
    let load = |work| match work {
        Work::Load { name, args, .. } => Some((name, String::from_utf8(args).unwrap())),
        Work::Unload { .. } => None,
    };
    guest.kernel().work().into_iter().filter_map(load).collect()
}

fn has(guest: &LoopFrontend, modules: &[&str]) -> bool {
    guest.kernel().modules() == modules
}

#[test]
fn a_guest_gets_its_probes_when_it_connects_and_again_when_it_reboots() {
    let mut world = world(RULES, &["panic", "signal"]);
    let other = world.add_guest_as(2, "db1", 2);
    let web = world.add_guest_as(1, "web1", 1);
    eventually("they are in", || has(&web, &["vesper_panic", "vesper_signal"]));
    let wanted_args = [
        ("vesper_panic".to_owned(), String::new()),
        ("vesper_signal".into(), "events=exit names=nginx".into()),
    ];
    assert_eq!(loads(&web), wanted_args);
    eventually("it is known", || states(&world, "web1") == [WantedState::In, WantedState::In]);
    assert_eq!(wanted(&world, "web1")[1].probe, "signal:exit names=nginx");
    assert_eq!(wanted(&world, "web1")[1].rule, "f:3");
    // The next daemon finds them there.
    world.stop();
    world.start().unwrap();
    eventually("they are found", || states(&world, "web1") == [WantedState::In, WantedState::In]);
    // What somebody takes out stays out until the guest connects anew.
    world.ask(&Request::Rmmod { dom: "1".into(), name: "vesper_panic".into(), timeout_ms: None }).unwrap();
    assert_eq!(states(&world, "web1"), [WantedState::Out, WantedState::In]);
    assert_eq!(loads(&web).len(), 2);
    world.destroy(1, Some(web));
    let web = world.add_guest_as(7, "web1", 1);
    eventually("they are in again", || has(&web, &["vesper_panic", "vesper_signal"]));
    assert!(other.kernel().work().is_empty() && wanted(&world, "db1").is_empty());
    assert_eq!(of_kind(&world, Kind::ProbeLost), []);
}

#[test]
fn what_cannot_be_loaded_is_told_once_and_tried_again_when_asked() {
    let mut world = world(RULES, &["panic"]);
    let web = world.add_guest_as(1, "web1", 1);
    let failed = |world: &World| states(world, "web1") == [WantedState::In, WantedState::Failed];
    eventually("one is in, the other is not there", || failed(&world));
    let why = wanted(&world, "web1")[1].why.clone().unwrap();
    for text in [
        "there are no probes signal for the kernel 6.1.0-loopback in ",
        "cargo xtask kmod --kernel 6.1.0-loopback",
    ] {
        assert!(why.contains(text), "{why}");
    }
    eventually("it is an event", || of_kind(&world, Kind::ProbeLost).len() == 1);
    let lost = of_kind(&world, Kind::ProbeLost).remove(0);
    assert_eq!((lost.subject.as_deref(), lost.guest.domid), (Some("probe=signal"), 1));
    assert!(lost.cause.starts_with("a rule wants the probes signal in it: there are no"), "{}", lost.cause);

    // The guest's kernel does not want it: that is the guest's to say, and not asked for a second time.
    build(&world, "signal");
    web.kernel().next(Reaction::refuses(1));
    world.reload(&with_probes(&world, RULES));
    eventually("it was asked", || {
        wanted(&world, "web1")[1].why.as_ref().is_some_and(|why| why.contains("EPERM"))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(loads(&web).len(), 2);
    world.reload(&with_probes(&world, RULES));
    eventually("it is in", || has(&web, &["vesper_panic", "vesper_signal"]));
    eventually("it is known", || states(&world, "web1") == [WantedState::In, WantedState::In]);
}

#[test]
fn what_somebody_else_loaded_is_in() {
    let world = world(RULES, &["panic", "signal"]);
    let web = world.add_bare_guest(1, "web1", 1);
    let kernel = FakeKernel::new();
    kernel.next(Reaction::refuses(17));
    let web = LoopFrontend::start(web, world.store.as_domain(1).unwrap(), kernel);
    eventually("both are in", || states(&world, "web1") == [WantedState::In, WantedState::In]);
    assert_eq!(web.kernel().modules(), ["vesper_signal"]);
    assert_eq!(of_kind(&world, Kind::ProbeLost), []);
}

#[test]
fn a_guest_that_has_no_time_is_asked_again_in_silence() {
    let world = World::with(|config| {
        let read = Config::parse("f", RULES).unwrap();
        (config.rules, config.attach) = (read.rules, read.attach);
        config.probes = vec![config.socket.with_file_name("probes")];
        config.timeout = Duration::from_millis(300);
    });
    ["panic", "signal"].iter().for_each(|group| build(&world, group));
    let web = world.add_bare_guest(1, "web1", 1);
    let kernel = FakeKernel::new();
    kernel.next(Reaction::works().held());
    let web = LoopFrontend::start(web, world.store.as_domain(1).unwrap(), kernel);
    eventually("neither is in", || states(&world, "web1") == [WantedState::Failed, WantedState::Failed]);
    assert!(wanted(&world, "web1")[0].why.as_ref().unwrap().contains("may still do it"));
    eventually("it is told", || of_kind(&world, Kind::ProbeLost).len() == 2);
    // The second time it has none either.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(states(&world, "web1"), [WantedState::Failed, WantedState::Failed]);
    web.kernel().let_go();
    eventually("both are in", || states(&world, "web1") == [WantedState::In, WantedState::In]);
    assert_eq!(loads(&web).len(), 2);
    assert_eq!(of_kind(&world, Kind::ProbeLost).iter().map(|event| 1 + event.repeated).sum::<u64>(), 2);
}

/// A guest that connects again and again is asked now and then.
#[test]
fn a_guest_that_connects_without_end_is_no_storm() {
    let world = world(RULES, &["panic"]);
    let web = world.add_bare_guest(1, "web1", 1);
    let kernel = FakeKernel::new();
    (0..100).for_each(|_| kernel.next(Reaction::refuses(1)));
    let web = LoopFrontend::start(web, world.store.as_domain(1).unwrap(), kernel);
    let connections = || match world.ask(&Request::Status { dom: "1".into() }) {
        Ok(Done::Status(status)) => status.counters.connections,
        _ => 0,
    };
    eventually("it is asked", || loads(&web).len() == 1);
    let begun = Instant::now();
    for connected in 1..5 {
        eventually("it is connected", || connections() == connected);
        web.resume();
    }
    eventually("it is connected", || connections() == 5);
    std::thread::sleep(Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(loads(&web).len(), 1, "of five connections");
    eventually("it is asked again", || loads(&web).len() == 2);
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn reloading_costs_no_record_and_a_wrong_file_changes_nothing() {
    let mut world = world("attach.all = true", &["panic"]);
    let web = world.add_guest_as(1, "web1", 1);
    eventually("it is connected", || {
        world.guest(1).is_some_and(|guest| guest.device == DeviceStatus::Connected)
    });
    let spec = ChannelSpec::new("probe").schema("exit event=process-killed subject=pid pid:u32 comm:str");
    let probe = web.relay().export(&spec).unwrap();
    eventually("it can be read", || {
        let asked = world.ask(&Request::Channels { dom: Some("1".into()) });
        matches!(asked, Ok(Done::Channels(channels)) if !channels.guests[0].channels.is_empty())
    });
    let mut stream = Streamed::begin(world.socket(), &follow("1")).unwrap();
    let mut fed = Fed::begin(&world, &Request::Events { dom: None, since: 0, follow: true }).unwrap();
    let exit = |pid: u32| {
        let payload = [&pid.to_le_bytes()[..], &5u16.to_le_bytes(), b"nginx"].concat();
        probe.record(0, 1, 1, &payload).unwrap();
    };
    for pid in 0..20 {
        exit(pid);
        let rules = with_probes(&world, RULES);
        world.reload(if pid % 2 == 0 { &rules } else { "[[rule]]\nguests = 3\n" });
    }
    assert!(stream.until(|stream| stream.seqs(1, 0).len() == 20));
    assert_eq!(stream.seqs(1, 0), (0..20).collect::<Vec<_>>());
    let wrong = |frame: &Frame| matches!(frame, Frame::Lost(_) | Frame::End(_) | Frame::Gone(_));
    assert!(!stream.has(wrong));
    // A rule that was added counts for guests that are there; after a wrong file, too.
    eventually("its probe is in", || has(&web, &["vesper_panic"]));
    assert_eq!(wanted(&world, "web1").len(), 2);
    // And for what fails from now on.
    assert!((0..20).all(|_| fed.until(Kind::ProcessKilled).failed.is_none()));
    let service = "[[rule]]\nguests = [\"web1\"]\n[[rule.service]]\nname = \"www\"\nprocess = \"nginx\"\n";
    world.reload(&with_probes(&world, service));
    exit(99);
    let event = fed.until(Kind::ProcessKilled);
    assert_eq!((event.process.as_deref(), event.failed), (Some("nginx"), Some(Failed::Service)));
    assert_eq!(event.service.as_deref(), Some("www"));
    assert_eq!(wanted(&world, "web1"), [], "what was loaded stays, what is not wanted any more is not shown");
    assert_eq!(web.kernel().modules(), ["vesper_panic"]);
}

#[test]
fn guests_that_are_meant_from_now_on_are_attached() {
    let mut world = world("", &[]);
    let _web = world.add_guest_as(1, "web1", 1);
    let _other = world.add_guest_as(2, "db1", 2);
    let state = |world: &World, domid| world.guest(domid).map(|guest| guest.device);
    eventually("they are seen", || state(&world, 2) == Some(DeviceStatus::Detached));
    world.reload("attach.names = [\"web*\"]");
    eventually("it is attached", || state(&world, 1) == Some(DeviceStatus::Connected));
    assert_eq!(state(&world, 2), Some(DeviceStatus::Detached));
    // What was detached by hand stays so.
    world.ask(&Request::Detach { dom: "1".into(), force: false, timeout_ms: None }).unwrap();
    world.reload("attach.names = [\"web*\", \"x\"]");
    assert_eq!(state(&world, 1), Some(DeviceStatus::Detached));
}

#[test]
fn what_failed_is_what_hooks_are_told() {
    let rules = "attach.all = true\n[[rule]]\nguests = [\"web*\"]\n[[rule.service]]\nname = \"www\"\nprocess = \"nginx\"\n";
    let world = world(rules, &[]);
    let file = world.config.events.hooks_dir.join("failed.d/50-push");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let dir = world.dir.path();
    let script = "echo \"$VESPER_NAME $VESPER_EVENT $VESPER_FAILED $VESPER_SERVICE\" >> log";
    fs::write(&file, format!("#!/bin/sh\ncd {}\n{script}\n", dir.display())).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    let web = world.add_guest_as(1, "web1", 1);
    eventually("it is connected", || {
        world.guest(1).is_some_and(|guest| guest.device == DeviceStatus::Connected)
    });
    let schema = "panic! comm:str\nexit event=process-killed subject=pid pid:u32 comm:str";
    let probe = web.relay().export(&ChannelSpec::new("probe").schema(schema)).unwrap();
    let exit = |pid: u32, comm: &str| {
        let payload = [&pid.to_le_bytes()[..], &(comm.len() as u16).to_le_bytes(), comm.as_bytes()].concat();
        probe.record(0, 2, 1, &payload).unwrap();
    };
    exit(1, "sh");
    exit(2, "nginx");
    let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
    let service = "web1 process-killed service www\n";
    eventually("the service failed", || log() == service);
    let _other = world.add_bare_guest(2, "db$(1)", 2);
    eventually("it is seen", || world.guest(2).is_some());
    world.destroy(2, None);
    eventually("the other guest failed", || log().lines().count() == 2);
    assert_eq!(log(), format!("{service}db$(1) guest-gone guest \n"));
    let told: Vec<_> = events(&world).into_iter().map(|event| event.failed).collect();
    assert_eq!(told, [None, Some(Failed::Service), Some(Failed::Guest)]);
}
