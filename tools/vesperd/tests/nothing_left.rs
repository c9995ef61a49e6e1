// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is used comes back, and nothing wakes the daemon without a cause. One test, because both are counted for the
//! whole process.

mod support;

use std::fs;
use std::time::Duration;

use support::events::{Fed, events};
use support::streaming::{Streamed, follow};
use support::{Client, World, eventually};
use vesper_api::{Done, InUse, Request};
use vesper_grant::Host;
use vesper_stream::Frame;
use vesper_xenfront::loopback::ChannelSpec;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The same, when what goes on in other threads (a frontend that begins to wait) has come to rest.
fn descriptors_at_rest() -> usize {
    let mut last = 0;
    eventually("the descriptors come to rest", || {
        let before = std::mem::replace(&mut last, descriptors());
        std::thread::sleep(Duration::from_millis(200));
        last == before
    });
    last
}

/// How often the threads that serve clients have gone to sleep or been taken off their CPU.
fn switches() -> u64 {
    let (mut threads, mut switches) = (0, 0);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if ["vesperd", "teller"].contains(&fs::read_to_string(task.join("comm")).unwrap().trim()) {
            threads += 1;
            let status = fs::read_to_string(task.join("status")).unwrap();
            let lines = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
            let counts = lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
            switches += counts.sum::<u64>();
        }
    }
    assert_eq!(threads, 2);
    switches
}

#[test]
fn everything_comes_back_and_an_idle_daemon_sleeps() {
    // To know whether guests hang, they must be looked at.
    let world = World::with(|config| config.events.watch = None);
    let guests: Vec<_> = (1..=4).map(|domid| world.add_attached(domid)).collect();
    let module = world.module("answer");
    let cycle = |domid: u16| {
        let dom = domid.to_string();
        // A channel with a reader that is there to the end, one that goes, and one that never reads.
        let spec = ChannelSpec::new("probe").schema("e n:u64");
        let probe = guests[usize::from(domid) - 1].relay().export(&spec).unwrap();
        let mut streams: Vec<_> =
            (0..3).map(|_| Streamed::begin(world.socket(), &follow(&dom)).unwrap()).collect();
        for number in 0..100u64 {
            // A full buffer refuses it.
            let _ = probe.record(0, 1, 1, &number.to_le_bytes());
        }
        assert!(streams[0].until(|stream| stream.seqs(probe.number(), 0).last() == Some(&99)));
        streams.truncate(2);
        let _goes_at_the_end = Fed::follow(&world, 0);
        events(&world);
        assert!(probe.stop(), "dom0 lets go of it");
        assert!(streams[0].until(|stream| matches!(stream.last(), Frame::End(_))));
        world.insmod(&dom, &module).unwrap();
        world.ask(&Request::Rmmod { dom: dom.clone(), name: "answer".into(), timeout_ms: None }).unwrap();
        world.ask(&Request::Detach { dom: dom.clone(), force: false, timeout_ms: None }).unwrap();
        let Done::Status(status) = world.ask(&Request::Status { dom: dom.clone() }).unwrap() else {
            panic!("not a status")
        };
        assert_eq!(status.in_use, InUse::default(), "while detached");
        world.ask(&Request::Attach { dom, timeout_ms: None }).unwrap();
    };
    cycle(1);
    let before = descriptors_at_rest();
    for number in 0..50 {
        cycle(1 + number % 4);
    }
    for _ in 0..200 {
        let _gone_at_once = Client::connect(world.socket());
    }
    world.ask(&Request::List {}).unwrap();
    // Fewer, when the first count met a connection that was still being closed.
    eventually("the descriptors are as many as before", || descriptors_at_rest() <= before);

    // Idle, with four guests attached, a client connected, one that waits for events and a stream that waits: it sleeps on.
    let _client = Client::connect(world.socket());
    let _waits = Fed::follow(&world, 0);
    let _probe = guests[0].relay().export(&ChannelSpec::new("quiet").schema("e")).unwrap();
    let mut stream = Streamed::begin(world.socket(), &follow("1")).unwrap();
    assert!(stream.until(|stream| stream.has(|frame| matches!(frame, Frame::CaughtUp {}))));
    world.ask(&Request::List {}).unwrap();
    // On a busy machine what came before takes a while, and a guest with a channel asks for the time every 10 s.
    let mut woken = Vec::new();
    let sleeps = (0..5).any(|_| {
        let before = switches();
        std::thread::sleep(Duration::from_secs(2));
        woken.push(switches() - before);
        woken.ends_with(&[0])
    });
    assert!(sleeps, "something woke it, in 2 s each: {woken:?}");

    for (domid, guest) in (1..=4).zip(guests) {
        world.destroy(domid, Some(guest));
    }
    eventually("no domain is held up", || {
        world.machine.domains().unwrap().iter().all(|domain| domain.id.0 == 0)
    });
    // Its client is still there, and has been told.
    stream.read_to_end();
    assert!(matches!(stream.last(), Frame::Gone(_)));
}
