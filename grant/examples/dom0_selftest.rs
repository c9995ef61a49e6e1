// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tries the real devices: `dom0_selftest DOMID`, as root in a dom0 on Xen, with a PV guest that does nothing.
//!
//! The guest takes no part: every PV guest has granted its console page (reference 0) and its xenstore page (reference
//! 1), and dom0 may open an unbound port on its behalf, as a toolstack does. Only the consumed input part of the console
//! page is written. Prints a line for each thing seen; panics at the first that is wrong.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::ptr;

use vesper_grant::xen::{abi, xl};
use vesper_grant::{
    Access, Devices, DomId, DomainState, Error, GrantRef, Host, Mapping, PAGE_SIZE, Port, XenHost,
};

/// `GNTTAB_RESERVED_CONSOLE`.
const CONSOLE: GrantRef = GrantRef(0);
/// `GNTTAB_RESERVED_XENSTORE`.
const XENSTORE: GrantRef = GrantRef(1);
const NEVER_GRANTED: GrantRef = GrantRef(30_000);

const HYPERVISOR_EVENT_CHANNEL_OP: u64 = 32;
const EVTCHNOP_ALLOC_UNBOUND: u64 = 6;

/// `struct evtchn_alloc_unbound` of `xen/event_channel.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AllocUnbound {
    dom: u16,
    remote_dom: u16,
    port: u32,
}

fn main() {
    let guest =
        std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("usage: dom0_selftest DOMID");
    let guest = DomId(guest);
    let host = XenHost::new().expect("XenHost");
    domain_state(&host, guest);
    let devices = host.open(guest).expect("open");
    maps(&*devices);
    copies(&*devices);
    events(&*devices, guest);
    let counters = devices.counters();
    assert_eq!((counters.grants_mapped, counters.ports_bound, counters.unmap_failures), (0, 0, 0));
    println!("selftest: all seen; {counters:?}");
}

fn domain_state(host: &XenHost, guest: DomId) {
    let all = host.domains().expect("domains");
    let dom0 = host.domain(DomId(0)).expect("asked").expect("dom0 exists");
    assert!(
        all[0].id == DomId(0) && dom0.running && dom0.vcpus_online > 0 && dom0.cpu_time_ns > 0,
        "{dom0:?}"
    );
    for nobody in [guest.0 + 1000, 0x7fef, 0x7ff0, u16::MAX] {
        assert_eq!(host.domain(DomId(nobody)).expect("asked"), None, "domain {nobody}");
    }
    let told = xl::domains().expect("xl");
    assert_eq!(told.len(), all.len());
    for (ours, xls) in all.iter().zip(&told) {
        assert_eq!((ours.id, ours.uuid, ours.vcpus_online), (xls.id, xls.uuid, xls.vcpus_online));
        assert_eq!((ours.paused, ours.dying, ours.shutdown), (xls.paused, xls.dying, xls.shutdown));
        assert!(xls.cpu_time_ns + 100_000_000 > ours.cpu_time_ns, "{} {}", xls.cpu_time_ns, ours.cpu_time_ns);
        assert_eq!(host.domain(ours.id).expect("asked").map(|state| state.uuid), Some(ours.uuid));
        vcpus(host, ours);
    }
    println!("selftest: the hypercall and xl tell the same of {} domains: {all:?}", all.len());
}

fn vcpus(host: &XenHost, domain: &DomainState) {
    let (ours, xls) = (host.vcpus(domain.id).expect("asked"), xl::vcpus(domain.id).expect("xl"));
    assert_eq!(ours.len(), xls.len(), "vCPUs of domain {}", domain.id);
    for (ours, xls) in ours.iter().zip(&xls) {
        assert_eq!(ours.online, xls.online);
        assert!(xls.cpu_time_ns + 100_000_000 > ours.cpu_time_ns, "{} {}", xls.cpu_time_ns, ours.cpu_time_ns);
    }
    let online = ours.iter().filter(|vcpu| vcpu.online).count();
    assert_eq!(online, domain.vcpus_online as usize);
}

fn seen(mapping: &Mapping, at: usize) -> u8 {
    assert!(at < mapping.len());
    // SAFETY: inside the mapping, which lives.
    unsafe { mapping.as_ptr().add(at).read_volatile() }
}

fn page(mapping: &Mapping, number: usize) -> Vec<u8> {
    (0..PAGE_SIZE).map(|at| seen(mapping, number * PAGE_SIZE + at)).collect()
}

fn maps(devices: &dyn Devices) {
    let mapping = devices.map(&[XENSTORE, CONSOLE], Access::ReadOnly).expect("map read-only");
    let (xenstore, console) = (page(&mapping, 0), page(&mapping, 1));
    assert_ne!(xenstore, console);
    // `out_prod` of struct xencons_interface: the guest's kernel has printed something, and not 2 GiB of it.
    let out_prod = u32::from_ne_bytes(console[3084..3088].try_into().expect("four bytes"));
    assert!((1..1 << 31).contains(&out_prod), "{out_prod}");
    assert_eq!(devices.counters().grants_mapped, 2);
    assert!(matches!(mapping.set_unmap_notify(Some(0), None), Err(Error::Invalid(_))));
    drop(mapping);
    assert_eq!(devices.counters().grants_mapped, 0);
    println!("selftest: two pages mapped in another order, and given back");

    let mut refused = String::new();
    for _ in 0..300 {
        let error =
            devices.map(&[XENSTORE, NEVER_GRANTED], Access::ReadOnly).expect_err("a grant never made");
        refused = error.to_string();
    }
    // Xen counts the mappings of one grant in 8 bits, and a PV dom0 makes two of each.
    let refs = [XENSTORE, CONSOLE].repeat(50);
    let many = devices.map(&refs, Access::ReadOnly).expect("100 pages in one mapping");
    assert!(page(&many, 98) == page(&many, 0) && page(&many, 99) == page(&many, 1));
    println!("selftest: 300 refused mappings ({refused}) left nothing; 100 pages in one mapping");
}

fn copies(devices: &dyn Devices) {
    let mapping = devices.map(&[XENSTORE], Access::ReadOnly).expect("map");
    let mut copied = [0; PAGE_SIZE];
    devices.copy_from_guest(XENSTORE, 0, &mut copied).expect("copy a page out");
    assert_eq!(copied[..], page(&mapping, 0));
    let mut part = [0; 100];
    devices.copy_from_guest(XENSTORE, 996, &mut part).expect("copy a part out");
    assert_eq!(part, copied[996..1096]);

    let bytes: Vec<u8> = (0..500).map(|n| (n % 241) as u8).collect();
    devices.copy_to_guest(&[CONSOLE], &bytes).expect("copy in");
    let console = devices.map(&[CONSOLE], Access::ReadOnly).expect("map");
    assert_eq!(page(&console, 0)[..500], bytes);
    let out = devices.copy_from_guest(NEVER_GRANTED, 0, &mut part).expect_err("a grant never made");
    let into = devices.copy_to_guest(&[NEVER_GRANTED], &bytes).expect_err("a grant never made");
    assert!(matches!((&out, &into), (Error::Copy { .. }, Error::Copy { .. })), "{out} {into}");
    println!("selftest: copies agree with the mapping; refused as they should be: {out}");
}

fn events(devices: &dyn Devices, guest: DomId) {
    let remote = alloc_unbound(guest);
    let local = devices.bind(remote).expect("bind");
    println!(
        "selftest: port {local} bound to {remote}; a second time: {}",
        devices.bind(remote).unwrap_err()
    );
    let mut taken = Vec::new();
    for _ in 0..100 {
        taken.extend(devices.pending().expect("read"));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(taken, [local], "pending once after binding, then masked");
    devices.unmask(local).expect("unmask");
    devices.notify(local).expect("notify");

    let mapping = devices.map(&[CONSOLE], Access::ReadWrite).expect("map writable");
    assert_eq!(seen(&mapping, 240), 240);
    mapping.set_unmap_notify(Some(240), Some(local)).expect("unmap notify");
    mapping.set_unmap_notify(None, None).expect("taken back");
    let error = mapping.set_unmap_notify(Some(1), Some(Port(60_000))).expect_err("no such port");
    mapping.set_unmap_notify(Some(240), Some(local)).expect("unmap notify");
    drop(mapping);
    let mut around = [1; 3];
    devices.copy_from_guest(CONSOLE, 239, &mut around).expect("copy");
    assert_eq!(around, [239, 0, 0], "240 cleared; 241 was 0 before");
    println!("selftest: the unmap cleared its byte and no other; refused: {error}");

    devices.unbind(local).expect("unbind");
    assert!(matches!(devices.notify(local), Err(Error::NotBound(_))));
    assert!(matches!(devices.unmask(local), Err(Error::NotBound(_))));
    let again = devices.bind(remote).expect("the guest's port can be bound again");
    devices.unbind(again).expect("unbind");
    println!("selftest: unbound, bound again");
}

/// Opens a port of the guest's that dom0 may bind to.
fn alloc_unbound(guest: DomId) -> Port {
    let memory =
        OpenOptions::new().read(true).write(true).open("/dev/xen/hypercall").expect("hypercall memory");
    let privcmd = OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd").expect("privcmd");
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice, left in place until the process ends.
    let at = unsafe {
        libc::mmap(ptr::null_mut(), PAGE_SIZE, protection, libc::MAP_SHARED, memory.as_raw_fd(), 0)
    };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    let at = at.cast::<AllocUnbound>();
    // SAFETY: `at` is a page of ours, and the hypercall takes an evtchn_alloc_unbound there.
    unsafe {
        at.write(AllocUnbound { dom: guest.0, remote_dom: 0, port: 0 });
        let request = abi::PrivcmdHypercall {
            op: HYPERVISOR_EVENT_CHANNEL_OP,
            arg: [EVTCHNOP_ALLOC_UNBOUND, at.expose_provenance() as u64, 0, 0, 0],
        };
        let rc = libc::ioctl(privcmd.as_raw_fd(), abi::IOCTL_PRIVCMD_HYPERCALL, &raw const request);
        assert!(rc >= 0, "alloc_unbound: {}", std::io::Error::last_os_error());
        Port((*at).port)
    }
}
