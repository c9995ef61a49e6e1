// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ocf:vesper:guest`.

use std::thread;
use std::time::Duration;

use crate::node::{Node, Run};

const PANIC: &str = r#"{"fault":17,"event":"guest-panic","severity":"fatal","failed":"guest","cause":"panic cpu=0 message=\"no \\\"init\\\"\""}"#;
const OOPS: &str = r#"{"fault":12,"event":"guest-oops","severity":"error","cause":"oops at foo+0x1/0x2"}"#;

fn guest(node: &Node, action: &str, more: &[(&str, &str)]) -> Run {
    let xmfile = node.path("web1.cfg").display().to_string();
    node.agent("guest", action, &[&[("xmfile", xmfile.as_str())], more].concat())
}

fn probe(node: &Node) -> Run {
    guest(node, "monitor", &[("CRM_meta_interval", "0")])
}

#[test]
fn a_guest_is_started_once_and_stopped() {
    let node = Node::new();
    assert_eq!(probe(&node).status, 7);
    assert_eq!(guest(&node, "start", &[]).status, 0);
    assert_eq!(guest(&node, "start", &[]).status, 0);
    assert_eq!(guest(&node, "monitor", &[]).status, 0);
    assert_eq!(node.calls(), ["xl create -q /web1.cfg"]);
    assert_eq!(node.text("tmp/vesper/vm1"), "kind guest\nnode dom0\ndoing \nguest web1\ndomid 1\n");
    assert_eq!(guest(&node, "stop", &[]).status, 0);
    assert_eq!(guest(&node, "stop", &[]).status, 0);
    assert_eq!(node.calls(), ["xl shutdown web1"]);
    assert!(!node.path("tmp/vesper/vm1").exists());
    assert_eq!(probe(&node).status, 7);
    // What cannot be started says why.
    node.fake(".broken", "");
    let run = guest(&node, "start", &[]);
    assert_eq!(
        (run.status, run.reason()),
        (1, format!("xl create {}: libxl: cannot find its kernel", node.path("web1.cfg").display()).as_str())
    );
    assert!(!node.path("tmp/vesper/vm1").exists());
}

/// Letters and reason as `xl list -v` has them; what a monitor says with vesperd, and without.
#[test]
fn what_a_monitor_says() {
    let node = Node::new();
    let table = [
        ("r----- -", 0, "", 0, ""),
        ("-b---- -", 0, "", 0, ""),
        ("--p--- -", 0, "", 0, ""),
        ("---s-- 2", 0, "", 0, ""),
        ("---sc- 3", 1, "vesper: guest web1: crashed", 1, "vesper: guest web1: xl: it has crashed"),
        ("---s-- 4", 1, "vesper: guest web1: watchdog", 1, "vesper: guest web1: xl: it has crashed"),
    ];
    for (state, with, said, without, said_without) in table {
        node.fake("web1", &format!("3 {state}"));
        // What a monitor takes on this machine now, when vesperd answers.
        let mut usual = Duration::ZERO;
        for (vesperd, status, reason) in [
            ("", with, said),
            ("down", without, said_without),
            ("busy", without, said_without),
            ("hangs", without, said_without),
        ] {
            node.fake(".vesperd", vesperd);
            for run in [guest(&node, "monitor", &[]), probe(&node)] {
                assert_eq!((run.status, run.reason()), (status, reason), "{state}, vesperd {vesperd}");
                usual = if vesperd.is_empty() { usual.max(run.took) } else { usual };
                let limit = 2 * usual + Duration::from_secs(2);
                assert!(run.took < limit, "{state}, vesperd {vesperd}: {:?}, limit {limit:?}", run.took);
            }
        }
    }
}

#[test]
fn a_guest_that_has_shut_down_and_is_kept_does_not_run() {
    let not_running = |why: &str| (1, format!("vesper: guest web1 is not running: {why}"));
    let table = [
        ("---s-- 0", "", not_running("shut-down")),
        ("---s-- 0", "down", not_running("xl: it has shut down")),
        ("---s-- 1", "", (0, String::new())),
        ("---s-- 1", "down", (0, String::new())),
        ("-----d -", "", not_running("destroyed")),
        ("-----d -", "down", (0, String::new())),
    ];
    // Each is looked at for 5 s.
    thread::scope(|scope| {
        for (state, vesperd, wanted) in table {
            scope.spawn(move || {
                let node = Node::new();
                node.fake("web1", &format!("3 {state}"));
                node.fake(".vesperd", vesperd);
                let run = guest(&node, "monitor", &[]);
                assert_eq!((run.status, run.reason().to_string()), wanted, "{state}, vesperd {vesperd}");
            });
        }
    });
}

#[test]
fn neither_vesperd_nor_xl_is_no_reason_to_fail_a_guest() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    node.fake(".vesperd", "down");
    node.fake(".xl", "fails");
    let run = guest(&node, "monitor", &[]);
    assert!(run.status == 0 && run.said.contains("neither vesperd nor xl answers"), "{run:?}");
    assert_eq!(probe(&node).status, 1, "whether it runs is not known");
    assert_eq!(guest(&node, "start", &[]).status, 1);
}

#[test]
fn a_guest_is_not_taken_for_another_one() {
    let node = Node::new();
    for (name, state) in
        [("web1", "3 -b---- -"), ("web11", "4 ---sc- 3"), ("my web1", "5 ---sc- 3"), ("web1 -", "6 ---sc- 3")]
    {
        node.fake(name, state);
    }
    node.fake(".vesperd", "down");
    assert_eq!(guest(&node, "monitor", &[]).status, 0);
    assert!(node.text("tmp/vesper/vm1").contains("domid 3\n"));
    assert_eq!(guest(&node, "monitor", &[("name", "my web1")]).status, 1);
    node.no_fake("web1");
    assert_eq!(probe(&node).status, 7);
}

#[test]
fn faults_fail_or_degrade() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    node.fake(".faults.web1", OOPS);
    let run = guest(&node, "monitor", &[]);
    assert_eq!(
        (run.status, run.reason()),
        (190, "vesper: guest web1 goes on after guest-oops: oops at foo+0x1/0x2")
    );
    assert_eq!(probe(&node).status, 0);
    node.fake(".faults.web1", &format!("{OOPS},{PANIC}"));
    node.fake(".because.web1", "fatal false");
    let reason = r#"vesper: guest web1: guest-panic: panic cpu=0 message="no \"init\"""#;
    for run in [guest(&node, "monitor", &[]), probe(&node)] {
        assert_eq!((run.status, run.reason()), (1, reason));
    }
    // A rule says that nothing fails with it.
    node.no_fake(".because.web1");
    node.fake(".faults.web1", &PANIC.replace(r#""failed":"guest","#, ""));
    assert_eq!(guest(&node, "monitor", &[]).status, 190);
    // A reason that only a newer vesperd knows.
    for (because, status) in [("new-word true", 190), ("new-word false", 1)] {
        node.fake(".because.web1", because);
        assert_eq!(guest(&node, "monitor", &[]).status, status);
    }
    // What a guest writes is text, whatever it looks like.
    node.no_fake(".because.web1");
    node.fake(
        ".faults.web1",
        r#"{"fault":12,"event":"guest-oops","severity":"error","cause":"x\"},{\"fault\":1,\"event\":\"guest-panic\",\"severity\":\"fatal\",\"because\":\"crashed\",\"alive\":false $(touch /tmp/x) `id`"}"#,
    );
    let run = guest(&node, "monitor", &[]);
    assert!(run.status == 190 && run.reason().ends_with("$(touch /tmp/x) `id`"), "{run:?}");
}

#[test]
fn scripts_are_asked_of_a_guest_that_can_answer() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    let good = node.program("good", "#!/bin/sh\necho asked $1 >> $FAKE/.calls\n");
    let bad = node.program("bad", "#!/bin/sh\nexit 3\n");
    let both = format!("{good} {bad}");
    assert_eq!(guest(&node, "monitor", &[("monitor_scripts", &good)]).status, 0);
    assert_eq!(node.calls(), ["asked web1"]);
    let run = guest(&node, "monitor", &[("monitor_scripts", &both)]);
    assert_eq!(
        (run.status, run.reason()),
        (1, format!("guest web1: {bad} says it is not well (status 3)").as_str())
    );
    for because in ["paused true", "saving true", "starved true"] {
        node.fake(".because.web1", because);
        assert_eq!(guest(&node, "monitor", &[("monitor_scripts", &both)]).status, 0, "{because}");
    }
    node.fake(".because.web1", "undecided true");
    assert_eq!(guest(&node, "monitor", &[("monitor_scripts", &both)]).status, 1);
}

#[test]
fn a_guest_that_reboots_is_waited_for() {
    let node = Node::new();
    node.fake("web1", "3 ---s-- 1");
    thread::scope(|scope| {
        let monitor = scope.spawn(|| guest(&node, "monitor", &[]));
        thread::sleep(Duration::from_millis(500));
        node.no_fake("web1");
        thread::sleep(Duration::from_millis(1500));
        node.fake("web1", "4 -b---- -");
        let run = monitor.join().unwrap();
        assert_eq!(run.status, 0, "{run:?}");
    });
    assert!(node.text("tmp/vesper/vm1").contains("domid 4\n"));
    node.no_fake("web1");
    let run = guest(&node, "monitor", &[]);
    assert!(run.status == 7 && run.took >= Duration::from_secs(5), "{run:?}");
    // It shut down and is kept so: it does not run, and is not completely stopped either.
    node.fake("web1", "5 ---s-- 0");
    let run = guest(&node, "monitor", &[]);
    assert_eq!((run.status, run.reason()), (1, "vesper: guest web1 is not running: shut-down"));
}

#[test]
fn what_is_dead_is_destroyed_and_not_asked() {
    let table = [
        ("-b---- -", "", "", vec!["xl shutdown web1"], 0),
        ("-b---- -", "deaf", "2", vec!["xl shutdown web1", "xl destroy 3"], 0),
        ("-b---- -", "", "0", vec!["xl destroy 3"], 0),
        ("---sc- 3", "", "", vec!["xl destroy 3"], 0),
        ("--p--- -", "", "", vec!["xl destroy 3"], 0),
        ("---sc- 3", "stuck", "", vec!["xl destroy 3"], 1),
    ];
    for (state, xl, limit, wanted, status) in table {
        let node = Node::new();
        node.fake("web1", &format!("3 {state}"));
        node.fake(".xl", xl);
        let run = guest(&node, "stop", &[("shutdown_timeout", limit)]);
        assert_eq!(
            (run.status, node.calls()),
            (status, wanted.iter().map(ToString::to_string).collect()),
            "{state} {xl}"
        );
        let noted = node.text("tmp/vesper/vm1");
        assert_eq!(noted.contains("doing stop"), status != 0, "{noted}");
    }
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    node.fake(".because.web1", "starved true");
    assert_eq!((guest(&node, "stop", &[]).status, node.calls()), (0, vec!["xl shutdown web1".into()]));
    let node = Node::new();
    node.fake("web1", "3 ---sc- 3");
    assert_eq!(guest(&node, "start", &[]).status, 0, "what is left of the one before is taken away");
    assert_eq!(node.calls(), ["xl destroy 3", "xl create -q /web1.cfg"]);
}

/// It would run beside the one that Pacemaker starts elsewhere.
#[test]
fn a_guest_that_reboots_while_it_is_stopped_does_not_come_back() {
    for vesperd in ["", "down"] {
        let node = Node::new();
        node.fake("web1", "3 -b---- -");
        node.fake(".xl", "reboots");
        node.fake(".vesperd", vesperd);
        assert_eq!(guest(&node, "monitor", &[]).status, 0);
        assert_eq!(guest(&node, "stop", &[]).status, 0);
        assert_eq!(node.calls(), ["xl shutdown web1", "xl destroy 4"], "vesperd {vesperd}");
        assert!(!node.path("fake/web1").exists());
    }
    // The stop begins while it is away.
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    assert_eq!(guest(&node, "monitor", &[]).status, 0);
    node.no_fake("web1");
    thread::scope(|scope| {
        let stop = scope.spawn(|| guest(&node, "stop", &[]));
        thread::sleep(Duration::from_millis(1500));
        node.fake("web1", "4 -b---- -");
        let run = stop.join().unwrap();
        assert_eq!(run.status, 0, "{run:?}");
    });
    assert!(node.calls().contains(&"xl destroy 4".to_string()) && !node.path("fake/web1").exists());
}

#[test]
fn a_guest_of_which_nothing_is_known_is_asked_to_shut_down() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    node.fake(".vesperd", "down");
    // xl answers when it is asked again, and the guest is still there then.
    node.fake(".xl", "slow");
    let xl = node
        .text("bin/xl")
        .replace("list)\n", "list) [ -e $FAKE/.asked ] || { touch $FAKE/.asked; exit 1; }\n");
    node.program("xl", &xl);
    assert_eq!(guest(&node, "stop", &[]).status, 0);
    assert_eq!(node.calls(), ["xl shutdown web1"]);
}

#[test]
fn what_a_migration_that_broke_off_leaves_goes_with_the_guest() {
    for (left, there) in [("web1--migratedaway", false), ("web1--incoming", true)] {
        let node = Node::new();
        if there {
            node.fake("web1", "3 -b---- -");
        }
        node.fake(left, "4 --p--- -");
        assert_eq!(guest(&node, "stop", &[]).status, 0);
        assert_eq!(node.calls().last(), Some(&format!("xl destroy {left}")));
        node.fake(left, "4 --p--- -");
        node.fake(".xl", "stuck");
        assert_eq!(guest(&node, "stop", &[]).status, 1);
    }
}

#[test]
fn without_xen_no_guest_runs() {
    let node = Node::new();
    node.file("hypervisor", "", 0o644);
    node.fake(".vesperd", "down");
    node.fake(".xl", "fails");
    for (action, status) in [("monitor", 5), ("start", 5), ("stop", 0)] {
        let run = guest(&node, action, &[]);
        assert_eq!(run.status, status, "{action}: {run:?}");
    }
    assert_eq!(probe(&node).reason(), "this node was booted without Xen");
}

#[test]
fn a_guest_is_migrated() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    assert_eq!(guest(&node, "migrate_to", &[]).status, 2);
    node.fake(".broken", "");
    let to = [("CRM_meta_migrate_target", "dom0b")];
    let run = guest(&node, "migrate_to", &to);
    assert_eq!((run.status, run.reason()), (1, "xl migrate web1 dom0b: migration target: no route to dom0b"));
    assert!(node.text("tmp/vesper/vm1").contains("doing \n"));
    node.no_fake(".broken");
    assert_eq!(guest(&node, "migrate_to", &to).status, 0);
    assert!(!node.path("tmp/vesper/vm1").exists());
    node.fake("web1", "7 -b---- -");
    assert_eq!(guest(&node, "migrate_from", &[]).status, 0);
    assert!(node.text("tmp/vesper/vm1").contains("domid 7\n"));
    // A host that is too busy for it is a reason to leave.
    node.fake(".because.web1", "starved true");
    assert_eq!(guest(&node, "migrate_from", &[]).status, 0);
    assert_eq!(guest(&node, "migrate_to", &to).status, 0);
}

#[test]
fn what_is_configured_wrongly_is_named() {
    let node = Node::new();
    let file = node.path("web1.cfg").display().to_string();
    let nameless = node.file("nameless.cfg", "memory = 256\n", 0o644);
    let table = [
        (vec![("xmfile", "")], 6, "xmfile is not set: say which xl configuration file the guest has".into()),
        (vec![("xmfile", "web1.cfg")], 6, "xmfile=web1.cfg: a whole path is wanted, beginning with /".into()),
        (vec![("xmfile", "/nowhere")], 5, "xmfile=/nowhere: there is no such file on this node".into()),
        (
            vec![("xmfile", nameless.as_str())],
            6,
            format!("{nameless} has no line name = \"...\": set the parameter name"),
        ),
        (
            vec![("shutdown_timeout", "soon")],
            6,
            "shutdown_timeout=soon: a whole number of seconds is wanted".into(),
        ),
        (
            vec![("name", "12")],
            6,
            "name=12: only digits would be taken for a domid; give the guest another name".into(),
        ),
        (vec![("name", "a/b")], 6, "name=a/b: no guest has a slash in its name".into()),
        (
            vec![("monitor_scripts", "/nowhere")],
            5,
            "monitor_scripts: /nowhere is not there, or not executable".into(),
        ),
        (vec![("xmfile", file.as_str())], 0, String::new()),
    ];
    for (parameters, status, reason) in table {
        let run = guest(&node, "validate-all", &parameters);
        assert_eq!((run.status, run.reason()), (status, reason.as_str()), "{parameters:?}");
    }
    // The file is out of reach; the guest is not.
    node.fake("web1", "3 -b---- -");
    let gone = [("xmfile", "/nowhere"), ("name", "web1")];
    assert_eq!(guest(&node, "monitor", &gone).status, 0);
    assert_eq!(guest(&node, "start", &gone).status, 5);
    assert_eq!(guest(&node, "stop", &gone).status, 0);
    assert_eq!(guest(&node, "stop", &[("xmfile", "/nowhere")]).status, 0);
    // Nobody said its name, but it was seen to run here.
    node.fake("web1", "3 -b---- -");
    assert_eq!(guest(&node, "monitor", &[]).status, 0);
    let gone = [("xmfile", "/nowhere")];
    assert_eq!(guest(&node, "monitor", &gone).status, 0);
    node.calls();
    assert_eq!(guest(&node, "stop", &gone).status, 0);
    assert_eq!(node.calls(), ["xl shutdown web1"]);
    assert_eq!((node.agent("guest", "promote", &[]).status, node.agent("guest", "", &[]).status), (3, 3));
    let run = node.agent("guest", "meta-data", &[]);
    assert!(
        run.status == 0 && run.said.contains(r#"<resource-agent name="guest" version="0.1.0">"#),
        "{run:?}"
    );
}
