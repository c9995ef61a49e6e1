// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's agent with the real command, which asks the real daemon's loop over a loopback guest.

#[path = "../../../vesperd/tests/support/mod.rs"]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{World, eventually};
use vesper_api::Request;
use vesper_grant::DomId;
use vesper_xenfront::loopback::ChannelSpec;

use crate::node::Node;

const SCHEMA: &str = "panic! cpu:u32 message:str\noops event=guest-oops n:u32\n";

#[test]
fn a_monitor_says_what_the_daemon_knows() {
    let mut world = World::new();
    let guest = world.add_guest_as(3, "web1", 3);
    world.ask(&Request::Attach { dom: "web1".into(), timeout_ms: None }).unwrap();
    let probe = guest.relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    let node = Node::new();
    let command = env!("CARGO_BIN_EXE_vesper");
    node.program(
        "vesper",
        &format!("#!/bin/sh\nVESPER_SOCKET={} exec {command} \"$@\"\n", world.socket().display()),
    );
    // What xl would say at the end, when it is asked.
    node.fake("web1", "3 -b---- -");
    let xmfile = node.path("web1.cfg").display().to_string();
    let monitor = || node.agent("guest", "monitor", &[("xmfile", &xmfile)]);
    let from = Instant::now();
    let run = monitor();
    assert_eq!(run.status, 0, "{run:?}");
    assert!(from.elapsed() < Duration::from_secs(1), "{:?}", from.elapsed());
    assert!(node.text("tmp/vesper/vm1").contains("guest web1\ndomid 3\n"));
    assert_eq!(fs::read_to_string(node.path("fake/.calls")).unwrap_or_default(), "", "xl is not needed");

    probe.record(0, 2, 1, &3u32.to_le_bytes()).unwrap();
    eventually("it is degraded", || monitor().status == 190);
    assert_eq!(monitor().reason(), "vesper: guest web1 goes on after guest-oops: oops n=3");
    let text = "no \"init\" \u{1b}[2J";
    let payload = [&0u32.to_le_bytes()[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    guest.relay().last_words(Some(&probe), 1, &payload).unwrap();
    eventually("it has failed", || monitor().status == 1);
    let reason = r#"vesper: guest web1: guest-panic: panic cpu=0 message="no \"init\" \x1b[2J""#;
    assert_eq!(monitor().reason().replace("\\\\", "\\"), reason);
    world.machine.crash(DomId(3));
    world.store.shut_down();
    eventually("it is still so", || monitor().status == 1 && monitor().reason() == reason);
    world.stop();
    assert_eq!(monitor().status, 0, "xl is asked");
    node.fake("web1", "3 ---sc- 3");
    assert_eq!(monitor().reason(), "vesper: guest web1: xl: it has crashed");
}
