// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hook that tells Pacemaker at once.

use std::io::Write;
use std::process::Stdio;

use crate::node::{Node, source};

const EVENT: &str = r#"{"serial":17,"fault":17,"event":"guest-panic","severity":"fatal","guest":{"domid":3,"name":"web1","uuid":"x"},"time":"2026-03-01T12:34:56.789012345Z","cause":"panic message=\"a <b> & $(id) 'c' é\" \"cause\":\"x"}"#;
const CAUSE: &str = r#"guest-panic at 2026-03-01T12:34:56Z: panic message="a <b> & $(id) 'c' " "cause":"x"#;

/// A node with a guest web1 (domain 3), the service nginx in it, and the guest db1; Pacemaker's tools note what they are asked.
fn node() -> Node {
    let node = Node::new();
    std::fs::create_dir(node.path("tmp/vesper")).unwrap();
    let note = |name: &str, text: &str| node.file(&format!("tmp/vesper/{name}"), text, 0o644);
    note("vm-web1", "kind guest\nnode dom0\ndoing \nguest web1\ndomid 3\n");
    note("nginx", "kind service\nnode dom0\ndoing \nguest web1\ndomid 3\nservice nginx\nsince 0\n");
    note("vm-db1", "kind guest\nnode dom0\ndoing \nguest db1\ndomid 4\n");
    for tool in ["attrd_updater", "crm_resource"] {
        node.program(tool, "#!/bin/sh\necho ${0##*/} \"$@\" >> $FAKE/.calls\n[ ! -e $FAKE/.no-cluster ]\n");
    }
    node.program("cibadmin", "#!/bin/sh\ncase $* in *\"\n\"*) exit 105 ;; esac\n[ -e $FAKE/.cib ] && exec cat $FAKE/.cib\nexit 105\n");
    node
}

/// What the hook came to, and whom it failed by Pacemaker's tool.
fn push(node: &Node, environment: &[(&str, &str)]) -> (i32, Vec<String>) {
    let (status, calls) = run(node, environment);
    let failed = |call: String| {
        let words = call.strip_prefix("crm_resource --fail --resource ")?;
        Some(words.replace(" --node ", "@"))
    };
    let mut failed: Vec<_> = calls.into_iter().filter_map(failed).collect();
    failed.sort();
    (status, failed)
}

/// What the hook came to, and what it called.
fn run(node: &Node, environment: &[(&str, &str)]) -> (i32, Vec<String>) {
    let mut hook = node.command(&source("push"));
    hook.env("VESPER_NOTES", node.path("tmp/vesper"))
        .env("VESPER_FAIL_RESOURCE", node.path("bin/fail-resource"));
    hook.stdin(Stdio::piped()).stdout(Stdio::null());
    let usual = [
        ("EVENT", "guest-panic"),
        ("SEVERITY", "fatal"),
        ("NAME", "web1"),
        ("DOMID", "3"),
        ("FAILED", "guest"),
    ];
    hook.envs(usual.iter().chain(environment).map(|(name, value)| (format!("VESPER_{name}"), value)));
    let mut hook = hook.spawn().unwrap();
    // A hook that has nothing to do need not read.
    let _ = hook.stdin.take().unwrap().write_all(EVENT.as_bytes());
    let status = hook.wait().unwrap().code().unwrap();
    (status, node.calls())
}

#[test]
fn a_guest_that_ends_fails_with_its_services_and_the_cause() {
    let node = node();
    let both = (0, vec!["nginx@dom0".to_owned(), "vm-web1@dom0".to_owned()]);
    assert_eq!(push(&node, &[]), both);
    // The guest has rebooted since the last monitor; and the numbers have begun anew.
    assert_eq!(push(&node, &[("DOMID", "9")]), both);
    node.file("tmp/vesper/vm-web1", "kind guest\nnode dom0\ndoing \nguest web1\ndomid 32750\n", 0o644);
    assert_eq!(push(&node, &[("DOMID", "1")]).1, ["vm-web1@dom0"], "the service's guest is of before");
}

#[test]
fn the_cause_goes_into_an_attribute() {
    let node = node();
    node.program("attrd_updater", "#!/bin/sh\nprintf '%s\\n' \"$@\" > $FAKE/.attribute.$2\n");
    assert_eq!(push(&node, &[]).0, 0);
    let said = node.text("fake/.attribute.vesper-fault-vm-web1");
    assert_eq!(said, format!("-n\nvesper-fault-vm-web1\n-U\n{CAUSE}\n-d\n0\n"));
}

#[test]
fn only_what_failed_is_failed() {
    let node = node();
    let service = |name| [("FAILED", "service"), ("SERVICE", name), ("SEVERITY", "warning")];
    let table: [(&[_], &[&str]); 7] = [
        (&service("nginx"), &["nginx@dom0"]),
        (&service("postgres"), &[]),
        (&[("NAME", "db1"), ("DOMID", "4")], &["vm-db1@dom0"]),
        (&[("NAME", "other"), ("DOMID", "5")], &[]),
        (&[("FAILED", "")], &[]),
        (&[("FAILED", "something-new")], &[]),
        // A late word of the domain that was there before.
        (&[("DOMID", "2")], &[]),
    ];
    for (environment, wanted) in table {
        let (status, failed) = push(&node, environment);
        assert!(status == 0 && failed == wanted, "{environment:?}: {status} {failed:?}");
    }
}

#[test]
fn what_is_meant_to_be_is_not_pushed() {
    let node = node();
    for doing in ["start", "stop", "migrate"] {
        for name in ["vm-web1", "nginx"] {
            let note =
                node.text(&format!("tmp/vesper/{name}")).replace("doing \n", &format!("doing {doing}\n"));
            node.file(&format!("tmp/vesper/{name}"), &note, 0o644);
        }
        assert_eq!(push(&node, &[]), (0, vec![]), "{doing}");
        for name in ["vm-web1", "nginx"] {
            let note =
                node.text(&format!("tmp/vesper/{name}")).replace(&format!("doing {doing}\n"), "doing \n");
            node.file(&format!("tmp/vesper/{name}"), &note, 0o644);
        }
    }
    for nvpair in [
        r#"<nvpair id="cib-bootstrap-options-maintenance-mode" name="maintenance-mode" value="true"/>"#,
        r#"<nvpair id="nodes-1-maintenance" name="maintenance" value="on"/>"#,
        r#"<nvpair id="vm-web1-meta_attributes-is-managed" name="is-managed" value="False"/>"#,
    ] {
        node.fake(".cib", nvpair);
        assert_eq!(push(&node, &[]), (0, vec![]), "{nvpair}");
    }
    node.fake(
        ".cib",
        r#"<nvpair id="x" name="maintenance" value="false"/><nvpair id="y" name="is-managed" value="true"/>"#,
    );
    assert_eq!(push(&node, &[]).1.len(), 2);
}

/// `fail-resource`, which is on some nodes, with that end.
fn direct(end: &str) -> Node {
    let node = node();
    node.program("fail-resource", &format!("#!/bin/sh\necho ${{0##*/}} \"$@\" >> $FAKE/.calls\n{end}\n"));
    node
}

/// It has that to say of each resource.
fn of_each(said: &str) -> String {
    format!("while [ $# -gt 0 ]; do echo \"$1 {said}\"; shift 3; done")
}

#[test]
fn what_is_faster_than_the_tools_is_taken_where_it_is_there() {
    let node = direct(&of_each("0"));
    node.fake(".cib", r#"<nvpair id="x" name="maintenance-mode" value="true"/>"#);
    let (status, calls) = run(&node, &[]);
    assert_eq!((status, calls.len()), (0, 3), "{calls:?}");
    // Services first; the causes when all are failed.
    assert_eq!(calls[0], "fail-resource nginx dom0 service vm-web1 dom0 guest");
    for resource in ["nginx", "vm-web1"] {
        let cause = format!("attrd_updater -n vesper-fault-{resource} ");
        assert!(calls.iter().any(|call| call.starts_with(&cause)), "{calls:?}");
    }
}

#[test]
fn what_the_faster_one_says_counts() {
    let table = [
        (of_each("3"), 0),
        (of_each("1 not known"), 1),
        ("echo nginx 0; echo vm-web1 3".into(), 0),
        // Of some it has not said what became of them.
        ("echo nginx 0".into(), 1),
        ("echo nginx 0; echo no controller >&2; exit 1".into(), 1),
        ("kill -ALRM $$".into(), 1),
    ];
    for (end, status) in table {
        let node = direct(&end);
        let (seen, calls) = run(&node, &[]);
        assert_eq!(seen, status, "{end}");
        assert!(!calls.iter().any(|call| call.starts_with("crm_resource")), "{end}: {calls:?}");
        assert_eq!(
            calls.iter().filter(|call| call.starts_with("attrd_updater")).count(),
            2,
            "{end}: the cause"
        );
    }
}

#[test]
fn where_the_faster_one_cannot_start_the_tools_do_it() {
    // As the dynamic linker says it when a library is of another version; and one that is not as it was.
    for end in ["exit 127", "kill -SEGV $$"] {
        assert_eq!(push(&direct(end), &[]).1.len(), 2, "{end}");
    }
    // What it failed before it crashed is not failed twice.
    assert_eq!(push(&direct("echo nginx 0; kill -SEGV $$"), &[]), (0, vec!["vm-web1@dom0".to_owned()]));
}

#[test]
fn a_cluster_that_does_not_answer_is_told_in_the_log() {
    let node = node();
    node.fake(".no-cluster", "");
    assert_eq!(push(&node, &[]).0, 1);
    // What is not known to be in Pacemaker's hands is left to the next monitor.
    node.program("cibadmin", "#!/bin/sh\necho no connection >&2\nexit 102\n");
    assert_eq!(push(&node, &[]), (1, vec![]));
    // A note that is damaged.
    node.file("tmp/vesper/nginx", "kind service\nguest web1\nservice nginx\n", 0o644);
    assert_eq!(run(&node, &[]).1.len(), 1, "the cause of vm-web1");
    // Nothing runs here, or nothing ever did.
    std::fs::remove_dir_all(node.path("tmp/vesper")).unwrap();
    assert_eq!(push(&node, &[]).0, 0);
}
