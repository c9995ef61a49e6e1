// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every number, size and offset of `vesper_grant::xen::abi`, and the `GNTST_*` codes, against the C headers.
//!
//! Needs gcc and the packages libxen-dev and linux-libc-dev. `VESPER_XEN_INCLUDE` names a directory with the headers of
//! another Xen, which are looked at first.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

use vesper_grant::xen::abi::*;
use vesper_grant::{GrantStatus, ShutdownReason};

/// Pairs of a C expression and what this crate says of it.
#[derive(Default)]
struct Checks(Vec<(String, u64)>);

impl Checks {
    fn value(&mut self, c: &str, ours: impl TryInto<u64>) {
        self.0.push((c.into(), ours.try_into().ok().expect("no negative value is checked this way")));
    }
}

/// Size of a structure, and offset and size of each field named.
macro_rules! layout {
    ($checks:ident, $c:literal, $ours:ty, { $($c_field:literal => $field:ident),* $(,)? }) => {
        $checks.value(concat!("sizeof(", $c, ")"), size_of::<$ours>());
        $checks.value(concat!("_Alignof(", $c, ")"), align_of::<$ours>());
        $(
            $checks.value(concat!("offsetof(", $c, ", ", $c_field, ")"), offset_of!($ours, $field));
            $checks.value(concat!("sizeof(((", $c, "*)0)->", $c_field, ")"), size_of_field(|it: &$ours| &it.$field));
        )*
    };
}

fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Evaluates the expressions in one C program and compares.
fn compare(prologue: &str, checks: &Checks) {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("abi.c"), dir.path().join("abi"));
    let mut text = String::from(prologue);
    text.push_str("#include <stdio.h>\n#include <stddef.h>\nint main(void) {\n");
    for (c, _) in &checks.0 {
        writeln!(text, "printf(\"%llu\\n\", (unsigned long long)({c}));").unwrap();
    }
    text.push_str("return 0; }\n");
    std::fs::write(&source, text).unwrap();
    let mut gcc = Command::new("gcc");
    if let Some(include) = std::env::var_os("VESPER_XEN_INCLUDE") {
        gcc.arg("-I").arg(include);
    }
    let built = gcc.arg("-o").arg(&program).arg(&source).output().expect("gcc runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
    let theirs: Vec<u64> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(theirs.len(), checks.0.len());
    let wrong: Vec<String> = (checks.0.iter().zip(theirs))
        .filter(|((_, ours), theirs)| ours != theirs)
        .map(|((c, ours), theirs)| format!("{c}: {theirs:#x} in the header, {ours:#x} here"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The kernel's headers take these types from kernel-internal ones.
const KERNEL: &str = "#include <stddef.h>\n#include <stdint.h>\n#include <sys/ioctl.h>\n\
    typedef uint32_t grant_ref_t; typedef uint16_t domid_t; typedef uint64_t xen_pfn_t; typedef uint64_t xen_ulong_t;\n\
    #include <xen/gntdev.h>\n#include <xen/evtchn.h>\n";

#[test]
fn devices() {
    let mut checks = Checks::default();
    let c = &mut checks;
    layout!(c, "struct ioctl_gntdev_grant_ref", GntdevGrantRef, { "domid" => domid, "ref" => gref });
    layout!(c, "struct ioctl_gntdev_map_grant_ref", GntdevMap,
        { "count" => count, "pad" => pad, "index" => index, "refs" => refs });
    layout!(c, "struct ioctl_gntdev_unmap_grant_ref", GntdevUnmap,
        { "index" => index, "count" => count, "pad" => pad });
    layout!(c, "struct ioctl_gntdev_unmap_notify", GntdevUnmapNotify,
        { "index" => index, "action" => action, "event_channel_port" => event_channel_port });
    layout!(c, "struct gntdev_grant_copy_segment", CopySegment,
        { "source" => source, "dest" => dest, "len" => len, "flags" => flags, "status" => status });
    let side = "struct gntdev_grant_copy_segment";
    c.value(&format!("offsetof({side}, source.virt)"), offset_of!(CopySide, virt));
    c.value(&format!("offsetof({side}, source.foreign.ref)"), offset_of!(CopyForeign, gref));
    c.value(&format!("offsetof({side}, source.foreign.offset)"), offset_of!(CopyForeign, offset));
    c.value(&format!("offsetof({side}, source.foreign.domid)"), offset_of!(CopyForeign, domid));
    layout!(c, "struct ioctl_gntdev_grant_copy", GntdevGrantCopy, { "count" => count, "segments" => segments });
    layout!(c, "struct ioctl_evtchn_bind_interdomain", EvtchnBindInterdomain,
        { "remote_domain" => remote_domain, "remote_port" => remote_port });
    layout!(c, "struct ioctl_evtchn_unbind", EvtchnPort, { "port" => port });
    layout!(c, "struct ioctl_evtchn_notify", EvtchnPort, { "port" => port });
    layout!(c, "struct ioctl_evtchn_restrict_domid", EvtchnRestrictDomid, { "domid" => domid });
    c.value("UNMAP_NOTIFY_CLEAR_BYTE", UNMAP_NOTIFY_CLEAR_BYTE);
    c.value("UNMAP_NOTIFY_SEND_EVENT", UNMAP_NOTIFY_SEND_EVENT);
    c.value("IOCTL_GNTDEV_MAP_GRANT_REF", IOCTL_GNTDEV_MAP_GRANT_REF);
    c.value("IOCTL_GNTDEV_UNMAP_GRANT_REF", IOCTL_GNTDEV_UNMAP_GRANT_REF);
    c.value("IOCTL_GNTDEV_SET_UNMAP_NOTIFY", IOCTL_GNTDEV_SET_UNMAP_NOTIFY);
    c.value("IOCTL_GNTDEV_GRANT_COPY", IOCTL_GNTDEV_GRANT_COPY);
    c.value("IOCTL_EVTCHN_BIND_INTERDOMAIN", IOCTL_EVTCHN_BIND_INTERDOMAIN);
    c.value("IOCTL_EVTCHN_UNBIND", IOCTL_EVTCHN_UNBIND);
    c.value("IOCTL_EVTCHN_NOTIFY", IOCTL_EVTCHN_NOTIFY);
    c.value("IOCTL_EVTCHN_RESET", IOCTL_EVTCHN_RESET);
    c.value("IOCTL_EVTCHN_RESTRICT_DOMID", IOCTL_EVTCHN_RESTRICT_DOMID);
    compare(KERNEL, &checks);
}

#[test]
fn privcmd() {
    let mut checks = Checks::default();
    let c = &mut checks;
    layout!(c, "struct privcmd_hypercall", PrivcmdHypercall, { "op" => op, "arg" => arg });
    c.value("IOCTL_PRIVCMD_HYPERCALL", IOCTL_PRIVCMD_HYPERCALL);
    // The header includes <xen/interface/xen.h>, which user space does not have: taken without that line.
    let kernel = std::fs::read_to_string("/usr/include/xen/privcmd.h").expect("package linux-libc-dev");
    let prologue = kernel.replace("#include <xen/interface/xen.h>", "");
    compare(&format!("{KERNEL}{prologue}\n"), &checks);
}

#[test]
fn xen() {
    let mut checks = Checks::default();
    let c = &mut checks;
    c.value("__HYPERVISOR_sysctl", HYPERVISOR_SYSCTL);
    c.value("__HYPERVISOR_domctl", HYPERVISOR_DOMCTL);
    c.value("XEN_DOMCTL_getdomaininfo", DOMCTL_GETDOMAININFO);
    c.value("XEN_DOMCTL_getvcpuinfo", DOMCTL_GETVCPUINFO);
    c.value("XEN_SYSCTL_getdomaininfolist", SYSCTL_GETDOMAININFOLIST);
    c.value("XEN_SYSCTL_INTERFACE_VERSION", SYSCTL_VERSION);
    for (flag, ours) in [
        ("dying", DOMINF_DYING),
        ("hvm_guest", DOMINF_HVM_GUEST),
        ("shutdown", DOMINF_SHUTDOWN),
        ("paused", DOMINF_PAUSED),
        ("blocked", DOMINF_BLOCKED),
        ("running", DOMINF_RUNNING),
        ("shutdownshift", DOMINF_SHUTDOWN_SHIFT),
    ] {
        c.value(&format!("XEN_DOMINF_{flag}"), ours);
    }
    c.value("GNTCOPY_source_gref", GNTCOPY_SOURCE_GREF);
    c.value("GNTCOPY_dest_gref", GNTCOPY_DEST_GREF);
    layout!(c, "struct xen_domctl_getdomaininfo", DomainInfo, {
        "domain" => domain, "pad1" => pad1, "flags" => flags, "tot_pages" => tot_pages, "max_pages" => max_pages,
        "outstanding_pages" => outstanding_pages, "shr_pages" => shr_pages, "paged_pages" => paged_pages,
        "shared_info_frame" => shared_info_frame, "cpu_time" => cpu_time, "nr_online_vcpus" => nr_online_vcpus,
        "max_vcpu_id" => max_vcpu_id, "ssidref" => ssidref, "handle" => handle, "cpupool" => cpupool,
        "gpaddr_bits" => gpaddr_bits, "pad2" => pad2, "arch_config" => arch_config,
    });
    layout!(c, "struct xen_domctl_getvcpuinfo", VcpuInfo, {
        "vcpu" => vcpu, "online" => online, "blocked" => blocked, "running" => running, "cpu_time" => cpu_time,
        "cpu" => cpu,
    });
    layout!(c, "struct xen_domctl", Domctl, {
        "cmd" => cmd, "interface_version" => interface_version, "domain" => domain, "_pad" => pad, "u" => u,
    });
    layout!(c, "struct xen_sysctl_getdomaininfolist", DomainInfoList, {
        "first_domain" => first_domain, "max_domains" => max_domains, "buffer" => buffer,
        "num_domains" => num_domains,
    });
    layout!(c, "struct xen_sysctl", Sysctl, { "cmd" => cmd, "interface_version" => interface_version, "u" => u });
    // Known are 4.17's and 4.20's, whichever of them is looked at.
    c.value("XEN_DOMCTL_INTERFACE_VERSION == 0x15 || XEN_DOMCTL_INTERFACE_VERSION == 0x17", 1_u32);
    for code in 0..=13_i16 {
        let (name, _) = GrantStatus(-code).name_and_meaning();
        c.value(&format!("-({name})"), code.unsigned_abs());
    }
    for (reason, ours) in [
        ("poweroff", ShutdownReason::Poweroff),
        ("reboot", ShutdownReason::Reboot),
        ("suspend", ShutdownReason::Suspend),
        ("crash", ShutdownReason::Crash),
        ("watchdog", ShutdownReason::Watchdog),
        ("soft_reset", ShutdownReason::SoftReset),
    ] {
        let code = (0..=u8::MAX).find(|code| ShutdownReason::from_code(*code) == ours).unwrap();
        c.value(&format!("SHUTDOWN_{reason}"), code);
    }
    let headers = "#include <stdint.h>\n#define __XEN_TOOLS__ 1\n#include <xen/xen.h>\n#include <xen/domctl.h>\n\
        #include <xen/sysctl.h>\n#include <xen/sched.h>\n#include <xen/grant_table.h>\n";
    compare(headers, &checks);
}
