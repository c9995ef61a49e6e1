// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loopback keeps Xen's rules, seen through the traits alone.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_grant::loopback::{LoopGuest, Machine, StillMapped};
use vesper_grant::{
    Access, Devices, DomId, Error, GrantRef, Host, Mapping, PAGE_SIZE, Port, ShutdownReason, VcpuState,
};

const ID: DomId = DomId(5);
const UUID: [u8; 16] = [7; 16];
/// Far longer than anything takes: a wait that ends with it has failed.
const LONG: Duration = Duration::from_secs(60);

fn set_up() -> (Machine, LoopGuest, Box<dyn Devices>) {
    let machine = Machine::new();
    let guest = machine.add_guest(ID, UUID);
    let devices = machine.open(ID).unwrap();
    (machine, guest, devices)
}

fn byte(mapping: &Mapping, at: usize) -> u8 {
    assert!(at < mapping.len());
    // SAFETY: inside the mapping, which lives.
    unsafe { mapping.as_ptr().add(at).read_volatile() }
}

fn set_byte(mapping: &Mapping, at: usize, value: u8) {
    assert!(at < mapping.len() && mapping.access() == Access::ReadWrite);
    // SAFETY: inside the mapping, which lives and is writable.
    unsafe { mapping.as_ptr().add(at).write_volatile(value) }
}

fn readable(devices: &dyn Devices) -> bool {
    is_readable(devices.event_fd())
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
}

fn nothing_in_use(devices: &dyn Devices) {
    let counters = devices.counters();
    assert_eq!((counters.grants_mapped, counters.ports_bound, counters.unmap_failures), (0, 0, 0));
}

#[test]
fn pages_in_a_row_are_in_a_row_also_when_they_were_used_before() {
    let (_machine, guest, _devices) = set_up();
    let in_a_row = |count: usize| {
        let pages = guest.alloc_pages(count);
        assert_eq!(pages.len(), count);
        for (at, page) in pages.iter().enumerate() {
            assert_eq!(page.as_ptr().addr().get(), pages[0].as_ptr().addr().get() + at * PAGE_SIZE);
            let mut bytes = [1; PAGE_SIZE];
            page.read(0, &mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0));
            page.write(0, &[7; PAGE_SIZE]);
        }
        pages
    };
    let mut pages = in_a_row(9);
    // Holes of two pages and of three are left.
    drop(pages.drain(6..9));
    drop(pages.drain(1..3));
    let hole = pages[1].as_ptr();
    let three = in_a_row(3);
    assert!(three[0].as_ptr() > hole);
    in_a_row(2);
    in_a_row(4);
}

#[test]
fn pages_in_any_order_are_one_mapping_of_the_same_memory() {
    let (_machine, guest, devices) = set_up();
    let pages: Vec<_> = (0..9).map(|_| guest.alloc_page()).collect();
    let order = [3, 0, 8, 1, 1, 7];
    let refs: Vec<_> = order.iter().map(|&n: &usize| guest.grant(&pages[n], Access::ReadWrite)).collect();
    let mapping = devices.map(&refs, Access::ReadWrite).unwrap();
    assert_eq!((mapping.pages(), devices.counters().grants_mapped), (6, 6));
    for (at, &n) in order.iter().enumerate() {
        pages[n].write(17, &[n as u8 + 1]);
        assert_eq!(byte(&mapping, at * PAGE_SIZE + 17), n as u8 + 1);
        set_byte(&mapping, at * PAGE_SIZE + 4095, n as u8 + 100);
        // SAFETY: the last byte of a page that lives.
        assert_eq!(unsafe { pages[n].as_ptr().add(4095).read_volatile() }, n as u8 + 100);
    }
    drop(mapping);
    nothing_in_use(&*devices);
    assert_eq!(devices.counters().grants_mapped_total, 6);
    for gref in refs {
        guest.end_access(gref).unwrap();
    }
    assert_eq!(guest.active_grants(), 0);
}

#[test]
fn a_refused_mapping_leaves_nothing_behind() {
    let (_machine, guest, devices) = set_up();
    let page = guest.alloc_page();
    let (good, read_only) = (guest.grant(&page, Access::ReadWrite), guest.grant(&page, Access::ReadOnly));
    let refused = [vec![good, GrantRef(4000)], vec![good, read_only], vec![GrantRef(0)]];
    for refs in refused {
        assert_eq!(devices.map(&refs, Access::ReadWrite).unwrap_err().errno(), Some(libc::EINVAL));
    }
    assert!(matches!(devices.map(&[], Access::ReadOnly), Err(Error::Invalid(_))));
    nothing_in_use(&*devices);
    guest.end_access(good).unwrap();
    assert!(devices.map(&[read_only], Access::ReadOnly).is_ok());
}

#[test]
fn a_grant_ends_only_when_no_longer_mapped() {
    let (_machine, guest, devices) = set_up();
    let gref = guest.grant(&guest.alloc_page(), Access::ReadOnly);
    let (first, second) = (devices.map(&[gref], Access::ReadOnly), devices.map(&[gref], Access::ReadOnly));
    drop(first);
    assert_eq!(guest.end_access(gref), Err(StillMapped(gref)));
    assert!(guest.is_mapped(gref));
    drop(second);
    guest.end_access(gref).unwrap();
    assert!(devices.map(&[gref], Access::ReadOnly).is_err());
    assert_eq!(guest.grant(&guest.alloc_page(), Access::ReadOnly), gref, "numbers are reused");
}

#[test]
fn a_page_is_reused_only_when_grant_and_mapping_are_gone() {
    let (_machine, guest, devices) = set_up();
    let page = guest.alloc_page();
    let place = page.as_ptr();
    let gref = guest.grant(&page, Access::ReadOnly);
    let mapping = devices.map(&[gref], Access::ReadOnly).unwrap();
    page.write(0, b"secret");
    drop(page);
    assert_ne!(guest.alloc_page().as_ptr(), place);
    drop(mapping);
    assert_ne!(guest.alloc_page().as_ptr(), place);
    guest.end_access(gref).unwrap();
    let (again, mut text) = (guest.alloc_page(), [1; 6]);
    assert_eq!(again.as_ptr(), place);
    again.read(0, &mut text);
    assert_eq!(text, [0; 6], "a page is zeroed when it is given out");
}

#[test]
fn copies_cross_no_page_and_say_what_xen_says() {
    let (_machine, guest, devices) = set_up();
    let pages: Vec<_> = (0..3).map(|_| guest.alloc_page()).collect();
    let refs: Vec<_> = pages.iter().map(|page| guest.grant(page, Access::ReadWrite)).collect();
    let bytes: Vec<u8> = (0..2 * PAGE_SIZE + 5).map(|n| (n % 251) as u8).collect();
    devices.copy_to_guest(&refs, &bytes).unwrap();
    let mut back = vec![0; PAGE_SIZE];
    for (gref, part) in refs.iter().zip(bytes.chunks(PAGE_SIZE)) {
        devices.copy_from_guest(*gref, 0, &mut back[..part.len()]).unwrap();
        assert_eq!(&back[..part.len()], part);
    }
    devices.copy_from_guest(refs[2], 4094, &mut back[..2]).unwrap();
    assert!(matches!(devices.copy_from_guest(refs[2], 4094, &mut back[..3]), Err(Error::Invalid(_))));
    assert!(matches!(devices.copy_to_guest(&refs[..2], &bytes), Err(Error::Invalid(_))));
    let counters = devices.counters();
    assert_eq!((counters.copies, counters.bytes_to_guest), (7, bytes.len() as u64));
    assert_eq!(counters.bytes_from_guest, bytes.len() as u64 + 2);

    let read_only = guest.grant(&pages[0], Access::ReadOnly);
    let error =
        devices.copy_to_guest(&[refs[0], read_only], &bytes[..PAGE_SIZE + 1]).unwrap_err().to_string();
    assert!(error.contains(&format!("grant {read_only} of domain 5")) && error.contains("GNTST_"), "{error}");
    let error = devices.copy_from_guest(GrantRef(999), 0, &mut back).unwrap_err().to_string();
    assert!(error.contains("GNTST_bad_gntref (-3)"), "{error}");
    nothing_in_use(&*devices);
}

#[test]
fn a_port_stays_masked_until_unmasked_and_loses_nothing() {
    let (_machine, guest, devices) = set_up();
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    assert_eq!(devices.pending().unwrap(), [local], "binding leaves the port pending");
    assert!(!readable(&*devices));

    guest.notify(remote);
    guest.notify(remote);
    assert!(!readable(&*devices) && devices.pending().unwrap().is_empty(), "masked");
    devices.unmask(local).unwrap();
    assert!(readable(&*devices), "what came while masked comes at unmask");
    assert_eq!(devices.pending().unwrap(), [local], "once");
    devices.unmask(local).unwrap();
    assert!(!readable(&*devices));
    guest.notify(remote);
    assert_eq!(devices.pending().unwrap(), [local]);
    assert_eq!(devices.counters().events, 3);
}

#[test]
fn events_reach_the_guest() {
    let (_machine, guest, devices) = set_up();
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    assert!(!guest.wait(remote, Duration::ZERO));
    devices.notify(local).unwrap();
    devices.notify(local).unwrap();
    let descriptor = guest.event_fd(remote);
    assert!(is_readable(descriptor.as_fd()));
    assert!(guest.wait(remote, LONG));
    assert!(!guest.wait(remote, Duration::ZERO), "several are one");
    assert_eq!(devices.counters().notifications, 2);
}

#[test]
fn a_waiting_guest_wakes_when_its_port_closes() {
    let (machine, guest, devices) = set_up();
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| guest.wait(remote, LONG));
        machine.destroy(ID);
        assert!(!waiter.join().unwrap());
    });
    devices.notify(local).expect("a closed peer swallows it");
    devices.unbind(local).unwrap();
    nothing_in_use(&*devices);
}

#[test]
fn only_free_ports_of_this_guest_can_be_bound() {
    let (machine, guest, devices) = set_up();
    let other = machine.add_guest(DomId(6), [8; 16]);
    let others = machine.open(DomId(6)).unwrap();
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    assert_eq!(devices.bind(remote).unwrap_err().errno(), Some(libc::EINVAL), "bound already");
    assert_eq!(others.bind(remote).unwrap_err().errno(), Some(libc::EINVAL), "another guest's");
    assert_eq!(other.alloc_unbound(), remote, "each guest counts for itself");
    for refused in
        [others.notify(local), others.unmask(local), others.unbind(local), devices.notify(Port(9999))]
    {
        assert!(matches!(refused, Err(Error::NotBound(_))));
    }
    let second = machine.open(ID).unwrap();
    for refused in [second.notify(local), second.unmask(local), second.unbind(local)] {
        assert!(matches!(refused, Err(Error::NotBound(_))), "bound by another descriptor of the same guest");
    }
    assert_eq!((others.counters().ports_bound, second.counters().ports_bound), (0, 0));
    devices.unbind(local).unwrap();
    assert!(matches!(devices.unbind(local), Err(Error::NotBound(_))));
    assert!(!guest.is_bound(remote));
    assert!(devices.bind(remote).is_ok(), "unbound, it can be bound again");
}

#[test]
fn closing_the_devices_gives_the_ports_back() {
    let (machine, guest, devices) = set_up();
    let remotes: Vec<_> = (0..3).map(|_| guest.alloc_unbound()).collect();
    let locals: Vec<_> = remotes.iter().map(|remote| devices.bind(*remote).unwrap()).collect();
    let mut seen = devices.pending().unwrap();
    seen.sort();
    assert_eq!(seen, locals);
    drop(devices);
    assert!(remotes.iter().all(|remote| !guest.is_bound(*remote)));
    guest.notify(remotes[0]);
    let devices = machine.open(ID).unwrap();
    for remote in remotes {
        devices.bind(remote).unwrap();
    }
    assert_eq!(devices.counters().ports_bound, 3);
}

#[test]
fn an_unbound_port_is_no_longer_reported() {
    let (_machine, guest, devices) = set_up();
    let local = devices.bind(guest.alloc_unbound()).unwrap();
    assert!(readable(&*devices));
    devices.unbind(local).unwrap();
    assert!(!readable(&*devices) && devices.pending().unwrap().is_empty());
}

#[test]
fn unmapping_clears_the_byte_then_rings() {
    let (_machine, guest, devices) = set_up();
    let pages = [guest.alloc_page(), guest.alloc_page()];
    let refs = pages.each_ref().map(|page| guest.grant(page, Access::ReadWrite));
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    let mapping = devices.map(&refs, Access::ReadWrite).unwrap();
    set_byte(&mapping, PAGE_SIZE + 3, 0xaa);
    mapping.set_unmap_notify(Some(PAGE_SIZE + 3), Some(local)).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            assert!(guest.wait(remote, LONG));
            let mut alive = [1];
            pages[1].read(3, &mut alive);
            (alive[0], refs.map(|gref| guest.end_access(gref)))
        });
        drop(mapping);
        assert_eq!(waiter.join().unwrap(), (0, [Ok(()), Ok(())]), "all is done when the guest hears of it");
    });
}

#[test]
fn the_notification_survives_the_devices() {
    let (machine, guest, devices) = set_up();
    let page = guest.alloc_page();
    let gref = guest.grant(&page, Access::ReadWrite);
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    let mapping = devices.map(&[gref], Access::ReadWrite).unwrap();
    mapping.set_unmap_notify(None, Some(local)).unwrap();
    drop(devices);
    assert!(guest.is_bound(remote), "the mapping holds the port");
    assert!(!guest.wait(remote, Duration::ZERO));
    drop(mapping);
    assert!(guest.wait(remote, LONG));
    assert!(!guest.is_bound(remote));
    machine.open(ID).unwrap().bind(remote).expect("the port can be bound again");
}

#[test]
fn a_notification_can_be_taken_back_and_is_refused_where_it_cannot_work() {
    let (_machine, guest, devices) = set_up();
    let gref = guest.grant(&guest.alloc_page(), Access::ReadWrite);
    let remote = guest.alloc_unbound();
    let local = devices.bind(remote).unwrap();
    let read_only = devices.map(&[gref], Access::ReadOnly).unwrap();
    assert!(matches!(read_only.set_unmap_notify(Some(0), None), Err(Error::Invalid(_))));
    let mapping = devices.map(&[gref], Access::ReadWrite).unwrap();
    assert!(matches!(mapping.set_unmap_notify(Some(PAGE_SIZE), None), Err(Error::Invalid(_))));
    assert_eq!(mapping.set_unmap_notify(None, Some(Port(9))).unwrap_err().errno(), Some(libc::EINVAL));
    set_byte(&mapping, 0, 0xaa);
    mapping.set_unmap_notify(Some(0), Some(local)).unwrap();
    mapping.set_unmap_notify(None, None).unwrap();
    drop(mapping);
    assert!(!guest.wait(remote, Duration::ZERO));
    assert_eq!(byte(&read_only, 0), 0xaa);
    devices.unbind(local).unwrap();
    assert!(!guest.is_bound(remote), "nothing holds the port any more");
}

#[test]
fn threads_of_a_destroyed_guest_run_on() {
    let (machine, guest, devices) = set_up();
    let port = guest.alloc_unbound();
    devices.bind(port).unwrap();
    let before = guest.event_fd(port);
    machine.destroy(ID);
    for fd in [before, guest.event_fd(port), guest.event_fd(Port(77))] {
        assert!(is_readable(fd.as_fd()), "nothing left to wait for");
    }
    assert!(!guest.wait(port, LONG) && !guest.is_bound(port));
    guest.notify(port);
    guest.close(port);
    let port = guest.alloc_unbound();
    assert!(is_readable(guest.event_fd(port).as_fd()));
    let page = guest.alloc_page();
    page.write(0, b"text");
    let gref = guest.grant(&page, Access::ReadWrite);
    assert!(!guest.is_mapped(gref) && guest.end_access(gref).is_ok());
    assert_eq!(guest.active_grants(), 0);
}

#[test]
#[should_panic(expected = "none of its own")]
fn a_port_that_a_running_guest_never_opened() {
    let (_machine, guest, _devices) = set_up();
    guest.event_fd(Port(77));
}

#[test]
fn a_destroyed_domain_is_dying_until_its_last_page_is_unmapped() {
    let (machine, guest, devices) = set_up();
    let pages = [guest.alloc_page(), guest.alloc_page()];
    let refs = pages.each_ref().map(|page| guest.grant(page, Access::ReadOnly));
    pages[1].write(9, b"last words");
    let mapping = devices.map(&refs, Access::ReadOnly).unwrap();
    assert!(!machine.domain(ID).unwrap().unwrap().dying);
    machine.destroy(ID);
    drop(pages);
    // Reused, one of these would have wiped the text.
    let _fresh = [guest.alloc_page(), guest.alloc_page()];
    let dying = machine.domain(ID).unwrap().expect("a zombie shows");
    assert!(dying.dying && dying.uuid == UUID);
    let text: Vec<u8> = (0..10).map(|at| byte(&mapping, PAGE_SIZE + 9 + at)).collect();
    assert_eq!(text, b"last words");
    assert!(devices.map(&refs[..1], Access::ReadOnly).is_err(), "nothing new of it can be mapped");
    assert!(devices.copy_from_guest(refs[0], 0, &mut [0]).is_err());
    assert!(!guest.is_alive() && guest.end_access(refs[0]).is_ok());
    drop(mapping);
    assert_eq!(machine.domain(ID).unwrap(), None);
    assert_eq!(machine.domains().unwrap().len(), 1, "dom0 alone");
    assert!(matches!(machine.open(ID), Err(Error::NoDomain(ID))));
    nothing_in_use(&*devices);

    let next = machine.add_guest(ID, [9; 16]);
    let gref = next.grant(&next.alloc_page(), Access::ReadOnly);
    assert!(
        devices.map(&[gref], Access::ReadOnly).is_err(),
        "devices of the old domain do not reach the new one"
    );
    machine.open(ID).unwrap().map(&[gref], Access::ReadOnly).unwrap();
}

#[test]
fn the_life_of_a_domain_is_told() {
    let (machine, _guest, _devices) = set_up();
    let state = || machine.domain(ID).unwrap().unwrap();
    assert!(!state().paused && state().shutdown.is_none());
    machine.set_paused(ID, true);
    assert!(state().paused);
    machine.set_paused(ID, false);
    machine.crash(ID);
    assert_eq!(state().shutdown, Some(ShutdownReason::Crash));
    assert!(!state().dying && !state().running && !state().blocked);
    let ids: Vec<_> = machine.domains().unwrap().iter().map(|domain| domain.id.0).collect();
    assert_eq!(ids, [0, 5]);
    assert_eq!(machine.vcpus(ID).unwrap().len(), 1);
    let busy = VcpuState { online: true, running: true, cpu_time_ns: 9, ..VcpuState::default() };
    machine.set_vcpus(ID, &[busy, busy, VcpuState::default()]);
    assert_eq!(machine.vcpus(ID).unwrap()[1], busy);
    assert_eq!((state().vcpus_online, state().cpu_time_ns), (2, 18));
    assert_eq!(machine.vcpus(DomId(77)).unwrap(), []);
}

#[test]
fn real_threads_share_the_memory() {
    let (_machine, guest, devices) = set_up();
    const ROUNDS: u32 = 2_000;
    let page = guest.alloc_page();
    let gref = guest.grant(&page, Access::ReadWrite);
    let remote = guest.alloc_unbound();
    let mapping = devices.map(&[gref], Access::ReadWrite).unwrap();
    let local = devices.bind(remote).unwrap();
    // SAFETY: page-aligned addresses of one page that outlives both threads, used as AtomicU32 only.
    let (theirs, ours) = unsafe {
        (
            AtomicU32::from_ptr(page.as_ptr().cast().as_ptr()),
            AtomicU32::from_ptr(mapping.as_ptr().cast().as_ptr()),
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                theirs.store(2 * round + 1, SeqCst);
                guest.notify(remote);
                while theirs.load(SeqCst) != 2 * round + 2 {
                    assert!(guest.wait(remote, LONG), "a lost event");
                }
            }
        });
        let mut done = 0;
        while done < ROUNDS {
            let fd = devices.event_fd();
            let woken =
                poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(60_000_u16)).unwrap();
            assert_eq!(woken, 1, "a lost event");
            for port in devices.pending().unwrap() {
                if ours.load(SeqCst) == 2 * done + 1 {
                    ours.store(2 * done + 2, SeqCst);
                    done += 1;
                    devices.notify(local).unwrap();
                }
                devices.unmask(port).unwrap();
            }
        }
    });
    drop(mapping);
    devices.unbind(local).unwrap();
    nothing_in_use(&*devices);
}
