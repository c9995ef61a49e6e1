// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ocf:vesper:service`.

use crate::node::{Node, Run};

const KILLED: &str = r#"{"fault":21,"event":"process-killed","severity":"warning","failed":"service","service":"nginx","cause":"exit pid=812 sig=9"}"#;

/// Two guests, and what starts and stops the service in them.
fn node() -> Node {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    node.fake("web2", "4 -b---- -");
    node.program("control", "#!/bin/sh\necho \"$@\" >> $FAKE/.calls\n[ ! -e \"$FAKE/.refuses.$2\" ]\n");
    node
}

fn service(node: &Node, action: &str, more: &[(&str, &str)]) -> Run {
    let control = node.path("bin/control").display().to_string();
    let usual = [("guests", "web1 web2"), ("service", "nginx"), ("control", control.as_str())];
    node.agent("service", action, &[&usual, more].concat())
}

fn started() -> Node {
    let node = node();
    assert_eq!(service(&node, "monitor", &[]).status, 7);
    assert_eq!((service(&node, "start", &[]).status, service(&node, "start", &[]).status), (0, 0));
    assert_eq!(service(&node, "monitor", &[]).status, 0);
    assert_eq!(node.calls(), ["start web1 nginx"]);
    node
}

#[test]
fn a_service_that_fails_goes_to_the_next_guest_alone() {
    let node = started();
    node.fake(".faults.web1", KILLED);
    let run = service(&node, "monitor", &[]);
    assert_eq!(
        (run.status, run.reason()),
        (1, "vesper: nginx in guest web1: process-killed: exit pid=812 sig=9")
    );
    assert_eq!((service(&node, "stop", &[]).status, service(&node, "start", &[]).status), (0, 0));
    assert_eq!(node.calls(), ["stop web1 nginx", "start web2 nginx"], "no guest was touched");
    assert_eq!(service(&node, "monitor", &[]).status, 0);
    // Back again: the old fault counts no more, a new one does.
    node.fake(".faults.web2", &KILLED.replace("21", "30"));
    assert_eq!(service(&node, "monitor", &[]).status, 1);
    assert_eq!((service(&node, "stop", &[]).status, service(&node, "start", &[]).status), (0, 0));
    assert_eq!(node.calls(), ["stop web2 nginx", "start web1 nginx"]);
    assert_eq!(service(&node, "monitor", &[]).status, 0);
    node.fake(".faults.web1", &format!("{KILLED},{}", KILLED.replace("21", "31")));
    assert_eq!(service(&node, "monitor", &[]).status, 1);
    // Another service's fault is not this one's.
    node.fake(".faults.web1", &KILLED.replace("nginx", "postgres").replace("21", "40"));
    assert_eq!(service(&node, "monitor", &[]).status, 0);
}

#[test]
fn what_ends_while_it_is_started_is_no_failure() {
    let node = node();
    node.program("control", &format!("#!/bin/sh\necho '{KILLED}' > $FAKE/.faults.$2\n"));
    assert_eq!(service(&node, "start", &[]).status, 0);
    assert_eq!(service(&node, "monitor", &[]).status, 0);
    node.fake(".faults.web1", &KILLED.replace("21", "22"));
    assert_eq!(service(&node, "monitor", &[]).status, 1);
    // Without an answer, what was known before counts.
    let node = started();
    node.fake(".faults.web2", KILLED);
    node.program("control", "#!/bin/sh\necho down > $FAKE/.vesperd\n");
    node.no_fake("web1");
    assert_eq!((service(&node, "stop", &[]).status, service(&node, "start", &[]).status), (0, 0));
    node.no_fake(".vesperd");
    assert_eq!(service(&node, "monitor", &[]).status, 0);
}

#[test]
fn a_guest_that_ends_takes_its_service_along() {
    for (state, reason) in [
        (Some("3 ---sc- 3"), "vesper: guest web1, in which it runs: crashed"),
        (Some("9 -b---- -"), "vesper: guest web1, in which it ran, has been started anew"),
        (None, "vesper: guest web1, in which it ran, is not there"),
    ] {
        let node = started();
        match state {
            Some(state) => node.fake("web1", state),
            None => node.no_fake("web1"),
        }
        let run = service(&node, "monitor", &[]);
        assert_eq!((run.status, run.reason()), (1, reason));
        assert_eq!((service(&node, "stop", &[]).status, service(&node, "start", &[]).status), (0, 0));
        let stopped = state.is_some_and(|state| state.starts_with('9'));
        let wanted: &[_] =
            if stopped { &["stop web1 nginx", "start web2 nginx"] } else { &["start web2 nginx"] };
        assert_eq!(node.calls(), wanted, "{reason}");
    }
}

#[test]
fn a_service_that_was_stopped_begins_where_it_is_preferred() {
    let node = started();
    assert_eq!((service(&node, "stop", &[]).status, service(&node, "stop", &[]).status), (0, 0));
    assert_eq!(service(&node, "monitor", &[]).status, 7);
    assert_eq!(service(&node, "start", &[]).status, 0);
    assert_eq!(node.calls(), ["stop web1 nginx", "start web1 nginx"]);
    node.fake(".refuses.web1", "");
    assert_eq!(service(&node, "stop", &[("CRM_meta_timeout", "1500")]).status, 1, "it may still run");
    node.no_fake(".refuses.web1");
    assert_eq!(service(&node, "stop", &[]).status, 0);
    node.calls();
    node.fake(".refuses.web1", "");
    node.fake("web2", "4 --p--- -");
    let run = service(&node, "start", &[("CRM_meta_timeout", "1500")]);
    let control = node.path("bin/control").display().to_string();
    let reason = format!("nginx cannot be started in any guest: web1: {control} start failed; web2: paused");
    assert_eq!((run.status, run.reason()), (1, reason.as_str()));
    assert_eq!(service(&node, "monitor", &[]).status, 7);
}

/// Nobody gets into a guest that is shutting down; it takes the service along.
#[test]
fn a_service_that_cannot_be_stopped_is_stopped_when_its_guest_has_ended() {
    let node = started();
    node.fake(".refuses.web1", "");
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| service(&node, "stop", &[]));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        node.no_fake("web1");
        let run = stop.join().unwrap();
        assert_eq!(run.status, 0, "{run:?}");
    });
    assert_eq!(service(&node, "monitor", &[]).status, 7);
}

#[test]
fn a_guest_that_is_on_its_way_is_waited_for() {
    let node = node();
    node.no_fake("web1");
    node.no_fake("web2");
    std::thread::scope(|scope| {
        let start = scope.spawn(|| service(&node, "start", &[]));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        node.fake("web2", "5 -b---- -");
        let run = start.join().unwrap();
        assert_eq!(run.status, 0, "{run:?}");
    });
    assert_eq!(node.calls(), ["start web2 nginx"]);
}

#[test]
fn paused_and_unknown_are_no_failures_and_scripts_are_asked() {
    let node = started();
    let bad = node.program("bad", "#!/bin/sh\nexit 1\n");
    let scripts = [("monitor_scripts", bad.as_str())];
    assert_eq!(service(&node, "monitor", &scripts).status, 1);
    node.fake("web1", "3 --p--- -");
    assert_eq!(service(&node, "monitor", &scripts).status, 0);
    node.fake(".vesperd", "hangs");
    assert_eq!(service(&node, "monitor", &scripts).status, 0);
    node.fake(".xl", "fails");
    assert_eq!(service(&node, "monitor", &scripts).status, 0);
}

#[test]
fn what_is_configured_wrongly_is_named() {
    let node = node();
    for (parameter, status, reason) in [
        (("guests", ""), 6, "guests is not set: say in which guests the service may run"),
        (("guests", "web1 7"), 6, "guests: only digits would be taken for a domid: 7"),
        (("guests", "a/b"), 6, "guests: no guest has a slash in its name: a/b"),
        (("service", "a b"), 6, "service=a b: letters, digits and _.@- are wanted"),
        (("control", ""), 6, "control is not set: say which program starts and stops the service"),
        (("control", "/nowhere"), 5, "/nowhere is not there, or not executable"),
    ] {
        let run = service(&node, "validate-all", &[parameter]);
        assert_eq!((run.status, run.reason()), (status, reason), "{parameter:?}");
    }
    assert_eq!(service(&node, "validate-all", &[]).status, 0);
    assert_eq!(service(&node, "stop", &[("control", "/nowhere")]).status, 0, "it was never started");
}
