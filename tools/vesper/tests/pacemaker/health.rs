// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's own health.

use std::fs;

use crate::node::{Node, source};

/// A dom0 in which all is well.
fn node() -> Node {
    let node = Node::new();
    for dir in ["proc/pressure", "sys/devices/system/edac/mc/mc0", "sys/block/sda/device", "sys/fs/ext4/sda1"]
    {
        fs::create_dir_all(node.path("root").join(dir)).unwrap();
    }
    for (name, text) in [
        ("proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 500000 kB\n"),
        (
            "proc/pressure/memory",
            "some avg10=90.00 avg60=90.00 avg300=0.00 total=9\nfull avg10=50.00 avg60=0.31 avg300=0.00 total=9\n",
        ),
        ("proc/uptime", "1000.12 900.00\n"),
        (
            "proc/interrupts",
            "  CPU0 CPU1\nMCE:  1  2  Machine check exceptions\nMCP: 77 88  Machine check polls\n",
        ),
        ("sys/devices/system/edac/mc/mc0/ce_count", "5\n"),
        ("sys/devices/system/edac/mc/mc0/ue_count", "0\n"),
        ("sys/block/sda/device/ioerr_cnt", "0x10\n"),
        ("sys/fs/ext4/sda1/errors_count", "0\n"),
    ] {
        set(&node, name, text);
    }
    node.program("xenstore-list", "#!/bin/sh\n[ ! -e $FAKE/.xenstored ]\n");
    node.program("attrd_updater", "#!/bin/sh\necho attrd_updater \"$@\" >> $FAKE/.calls\n");
    node
}

fn set(node: &Node, name: &str, text: &str) {
    node.file(&format!("root/{name}"), text, 0o644);
}

/// What is printed, and what Pacemaker is told.
fn look(node: &Node) -> (String, String) {
    let (root, state) = (node.path("root").display().to_string(), node.path("state").display().to_string());
    let run =
        node.run(&source("host-health"), &[("VESPER_HEALTH_ROOT", &root), ("VESPER_HEALTH_STATE", &state)]);
    assert_eq!(run.status, 0, "{run:?}");
    let told = node.calls();
    assert_eq!(told.len(), 1, "{told:?}");
    let colour = told[0].strip_prefix("attrd_updater -n #health-vesper -U ").unwrap();
    (run.said.trim_end().into(), colour.strip_suffix(" -d 5").unwrap().into())
}

#[test]
fn a_host_that_is_well_is_green() {
    let node = node();
    assert_eq!(
        look(&node),
        ("green".into(), "green".into()),
        "counters that were not zero before are no news"
    );
    fs::remove_dir_all(node.path("root/sys")).unwrap();
    fs::remove_dir_all(node.path("root/proc/pressure")).unwrap();
    assert_eq!(look(&node).0, "green", "what a machine does not have cannot be bad");
}

#[test]
fn each_trouble_is_named_with_its_colour() {
    let meminfo = |available: u32| format!("MemTotal: 1000000 kB\nMemAvailable: {available} kB\n");
    let pressure = |full: &str| {
        format!("some avg10=0.00 avg60=0.00\nfull avg10=0.00 avg60={full} avg300=0.00 total=1\n")
    };
    let table = [
        ("proc/meminfo", meminfo(100_000), "green"),
        ("proc/meminfo", meminfo(99_000), "yellow: memory: 9 % is available"),
        ("proc/meminfo", meminfo(29_000), "red: memory: 2 % is available"),
        (
            "proc/pressure/memory",
            pressure("10.00"),
            "yellow: memory: everything waits for it 10 % of the time",
        ),
        ("proc/pressure/memory", pressure("40.50"), "red: memory: everything waits for it 40 % of the time"),
        (
            "sys/devices/system/edac/mc/mc0/ce_count",
            "6".into(),
            "yellow: corrected memory errors: 1 in 10 min",
        ),
        (
            "sys/devices/system/edac/mc/mc0/ce_count",
            "15".into(),
            "red: corrected memory errors: 10 in 10 min",
        ),
        (
            "sys/devices/system/edac/mc/mc0/ue_count",
            "1".into(),
            "red: uncorrected memory errors: 1 since boot",
        ),
        (
            "proc/interrupts",
            "MCE: 1 4 Machine check exceptions\nMCP: 77 99\n".into(),
            "yellow: machine checks: 2 in 10 min",
        ),
        (
            "proc/interrupts",
            "MCE: 1 2 Machine check exceptions\n 52:  2  0  xen-dyn    -virq      mce\n 53: 9 9 xen-dyn -event mcelog\n"
                .into(),
            "yellow: machine checks: 2 in 10 min",
        ),
        ("sys/block/sda/device/ioerr_cnt", "0x12".into(), "yellow: failed requests of disks: 2 in 10 min"),
        ("sys/fs/ext4/sda1/errors_count", "3".into(), "yellow: file system on sda1: the kernel found errors"),
    ];
    for (name, text, wanted) in table {
        let node = node();
        assert_eq!(look(&node).0, "green");
        set(&node, name, &format!("{text}\n"));
        let (said, told) = look(&node);
        assert_eq!((said.as_str(), told.as_str()), (wanted, wanted.split(':').next().unwrap()), "{name}");
    }
    let node = node();
    node.fake(".xenstored", "does not answer");
    assert_eq!(look(&node), ("red: xenstored does not answer".into(), "red".into()));
}

#[test]
fn an_error_is_forgotten_after_a_while() {
    let node = node();
    let errors = |count: u32| set(&node, "sys/block/sda/device/ioerr_cnt", &format!("0x{count:x}\n"));
    let mut said = Vec::new();
    for (uptime, count) in [(1000, 16), (1060, 18), (1600, 18), (1700, 18), (1710, 17), (1720, 40)] {
        set(&node, "proc/uptime", &format!("{uptime}.00 1.00\n"));
        errors(count);
        said.push(look(&node).0);
    }
    let two = "yellow: failed requests of disks: 2 in 10 min";
    assert_eq!(said[..5], ["green", two, two, "green", "green"]);
    assert!(said[5].starts_with("red: "), "{said:?}");
    assert!(node.text("state/disks").lines().count() <= 6);
}
