// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agents with the real command, which asks the real daemon's loop over loopback guests, and the hook as that runs it.

#[path = "../../../vesperd/tests/support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::{World, eventually};
use vesper_api::Request;
use vesper_grant::DomId;
use vesper_xenfront::loopback::ChannelSpec;
use vesperd::Config;

use crate::node::{Node, source};

const SCHEMA: &str = "panic! cpu:u32 message:str\noops event=guest-oops n:u32\n\
                      exit event=process-killed subject=pid pid:u32 comm:str\n";

/// The node's `vesper` is the real one, and asks this daemon.
fn ask(node: &Node, world: &World) {
    let (socket, command) = (world.socket().display(), env!("CARGO_BIN_EXE_vesper"));
    node.program("vesper", &format!("#!/bin/sh\nVESPER_SOCKET={socket} exec {command} \"$@\"\n"));
}

#[test]
fn a_monitor_says_what_the_daemon_knows() {
    let mut world = World::new();
    let guest = world.add_guest_as(3, "web1", 3);
    world.ask(&Request::Attach { dom: "web1".into(), timeout_ms: None }).unwrap();
    let probe = guest.relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    let node = Node::new();
    ask(&node, &world);
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

#[test]
fn a_service_that_fails_by_a_rule_is_pushed_and_moves_to_the_other_guest() {
    let rules = "[[rule]]\nguests = [\"web*\"]\n[[rule.service]]\nname = \"nginx\"\n";
    let world = World::with(|config| config.rules = Config::parse("f", rules).unwrap().rules);
    let guests = [(3, "web1"), (4, "web2")].map(|(domid, name)| world.add_guest_as(domid, name, domid as u8));
    for name in ["web1", "web2"] {
        world.ask(&Request::Attach { dom: name.into(), timeout_ms: None }).unwrap();
    }
    let probe = guests[0].relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    let node = Node::new();
    ask(&node, &world);
    let note = "#!/bin/sh\necho ${0##*/} \"$@\" >> $FAKE/.calls\n";
    let control = node.program("control", note);
    for tool in ["attrd_updater", "crm_resource"] {
        node.program(tool, note);
    }
    node.program("cibadmin", "#!/bin/sh\nexit 105\n");
    let hooks = world.config.events.hooks_dir.join("failed.d");
    fs::create_dir_all(&hooks).unwrap();
    let hook = format!(
        "#!/bin/sh\nexport FAKE={} VESPER_NOTES={} PATH={}:$PATH\nexec {}\n",
        node.path("fake").display(),
        node.path("tmp/vesper").display(),
        node.path("bin").display(),
        source("push").display()
    );
    fs::write(hooks.join("50-push"), hook).unwrap();
    for path in [hooks.parent().unwrap(), &hooks, &hooks.join("50-push")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    let service = |action: &str| {
        let parameters = [("guests", "web1 web2"), ("service", "nginx"), ("control", control.as_str())];
        node.agent("service", action, &parameters)
    };
    assert_eq!(service("start").status, 0);
    assert_eq!((service("monitor").status, node.calls()), (0, vec!["control start web1 nginx".into()]));
    let killed = |pid: u32, comm: &str| {
        let comm = [&(comm.len() as u16).to_le_bytes()[..], comm.as_bytes()].concat();
        probe.record(0, 3, 1, &[&pid.to_le_bytes()[..], &comm].concat()).unwrap();
    };
    killed(811, "cron");
    killed(812, "nginx");
    let failed = "crm_resource --fail --resource vm1 --node dom0";
    eventually("it is pushed", || node.text("fake/.calls").contains(failed));
    let cause = "process-killed at ";
    eventually("so is its cause", || node.text("fake/.calls").contains(cause));
    node.calls();
    let run = service("monitor");
    let reason = "vesper: nginx in guest web1: process-killed: exit pid=812 comm=\"nginx\"";
    assert_eq!((run.status, run.reason()), (1, reason));
    assert_eq!((service("stop").status, service("start").status, service("monitor").status), (0, 0, 0));
    assert_eq!(node.calls(), ["control stop web1 nginx", "control start web2 nginx"]);
    let xmfile = node.path("web1.cfg").display().to_string();
    let guest = node.agent("guest", "monitor", &[("xmfile", &xmfile)]);
    assert_eq!(guest.status, 0, "{guest:?}");
}
