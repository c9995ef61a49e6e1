// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hook for xl's network cards (`tools/vesperd/dist/vesper.hook`), sourced as Xen's vif scripts do it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The script's frame, as in Xen's `xen-hotplug-common.sh` and `vif-bridge`: an error ends it, and `xl create` with it.
const SCRIPT: &str = "set -e\ntrap 'exit 9' ERR\ncommand=$1\n. \"$HOOK\"\ntouch on";
/// A `vesper` that waits until it may end, or some seconds; then it fails.
const VESPER: &str = "#!/bin/sh\necho \"$@\" > asked.new; mv asked.new asked\n\
    for i in $(seq 500); do [ ! -e go ] || break; sleep 0.01; done\ntouch ended\nexit 3\n";

/// What `vesper` is asked for when a network card is there or goes, if it is.
fn asked(command: &str, path: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    fs::write(file("vesper"), VESPER).unwrap();
    fs::set_permissions(file("vesper"), Permissions::from_mode(0o755)).unwrap();
    let status = Command::new("bash")
        .args(["-c", SCRIPT, "vif-bridge", command])
        .current_dir(dir.path())
        .env("HOOK", Path::new(env!("CARGO_MANIFEST_DIR")).join("../vesperd/dist/vesper.hook"))
        .env("PATH", format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap()))
        .env("XENBUS_PATH", path)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() && file("on").exists(), "the script goes on");
    assert!(!file("ended").exists(), "and waits for nobody");
    let mut rounds = 0;
    while !file("asked").exists() {
        rounds += 1;
        // Where nothing is to come, a moment has to do.
        if rounds == if command == "online" { 6000 } else { 50 } {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    fs::write(file("go"), "").unwrap();
    let asked = fs::read_to_string(file("asked")).unwrap();
    while !file("ended").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    Some(asked)
}

#[test]
fn a_guest_with_a_network_card_is_attached_and_nobody_waits_for_that() {
    for path in ["backend/vif/12/0", "/local/domain/0/backend/vif/12/3"] {
        assert_eq!(asked("online", path).as_deref(), Some("attach 12\n"));
    }
}

#[test]
fn a_card_that_goes_attaches_nothing() {
    assert_eq!(asked("offline", "backend/vif/12/0"), None);
}
