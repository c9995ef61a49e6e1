// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ocf-tester` of Debian's resource-agents over both agents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::node::Node;

fn passes(node: &Node, agent: &str, parameters: &[(&str, String)]) {
    let root =
        PathBuf::from(std::env::var_os("VESPER_OCF").expect("VESPER_OCF says where resource-agents is"));
    // Its data is where the package was unpacked, and so is xmllint.
    let tester = fs::read_to_string(root.join("usr/sbin/ocf-tester")).unwrap();
    let tester =
        tester.replace("DATADIR=/usr/share", &format!("DATADIR={}", root.join("usr/share").display()));
    let tester = node.file("ocf-tester", &tester, 0o755);
    let (lint, libraries) = (root.join("usr/bin/xmllint"), root.join("usr/lib/x86_64-linux-gnu"));
    node.program(
        "xmllint",
        &format!("#!/bin/sh\nLD_LIBRARY_PATH={} exec {} \"$@\"\n", libraries.display(), lint.display()),
    );
    fs::create_dir_all(node.path("fake")).unwrap();
    let mut command = node.command(Path::new(&tester));
    command.args(["-n", "vm1"]);
    for (name, value) in parameters {
        command.args(["-o", &format!("{name}={value}")]);
    }
    let out = command.arg(node.path("ocf/resource.d/vesper").join(agent)).output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success() && said.contains("passed all tests"), "{said}");
}

#[test]
fn the_guest_passes() {
    let node = Node::new();
    passes(&node, "guest", &[("xmfile", node.path("web1.cfg").display().to_string())]);
}

#[test]
fn the_service_passes() {
    let node = Node::new();
    node.fake("web1", "3 -b---- -");
    let control = node.program("control", "#!/bin/sh\nexit 0\n");
    passes(&node, "service", &[("guests", "web1".into()), ("control", control)]);
}
