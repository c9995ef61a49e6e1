// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is used comes back, and nothing wakes the daemon without a cause. One test, because both are counted for the
//! whole process.

mod support;

use std::fs;
use std::time::Duration;

use support::{Client, World, eventually};
use vesper_api::{Done, InUse, Request};
use vesper_grant::Host;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How often the daemon's thread has gone to sleep or been taken off its CPU.
fn switches() -> u64 {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if fs::read_to_string(task.join("comm")).unwrap().trim() == "vesperd" {
            let status = fs::read_to_string(task.join("status")).unwrap();
            return status
                .lines()
                .filter(|line| line.starts_with("voluntary_ctxt_switches"))
                .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
                .sum();
        }
    }
    panic!("there is no thread vesperd");
}

#[test]
fn everything_comes_back_and_an_idle_daemon_sleeps() {
    let world = World::new();
    let guests: Vec<_> = (1..=4).map(|domid| world.add_attached(domid)).collect();
    let module = world.module("answer");
    let cycle = |domid: u16| {
        let dom = domid.to_string();
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
    let before = descriptors();
    for number in 0..50 {
        cycle(1 + number % 4);
    }
    for _ in 0..200 {
        let _gone_at_once = Client::connect(world.socket());
    }
    world.ask(&Request::List {}).unwrap();
    // Fewer, when the first count met a connection that was still being closed.
    eventually("the descriptors are as many as before", || descriptors() <= before);

    // Idle, with four guests attached and a client connected: it sleeps on.
    let _client = Client::connect(world.socket());
    world.ask(&Request::List {}).unwrap();
    let mut last = switches();
    eventually("it comes to rest", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = switches();
        std::mem::replace(&mut last, now) == now
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), last, "something woke it");

    for (domid, guest) in (1..=4).zip(guests) {
        world.destroy(domid, Some(guest));
    }
    eventually("no domain is held up", || {
        world.machine.domains().unwrap().iter().all(|domain| domain.id.0 == 0)
    });
}
