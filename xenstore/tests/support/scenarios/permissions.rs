// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest may do, and how much of it.

use super::*;

pub fn permissions(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    let other = world.guest(6);
    let (fe, be) = ("/local/domain/5/device/x", "/local/domain/0/backend/x/5");
    put(dom0, fe, "f");
    perms(dom0, fe, &[Perm::none(5), Perm::read(0)]);
    put(dom0, be, "b");
    perms(dom0, be, &[Perm::none(0), Perm::read(5)]);
    assert_eq!(dom0.get_perms(NONE, be).unwrap(), [Perm::none(0), Perm::read(5)]);
    assert_eq!(guest.read(NONE, be).unwrap(), b"b");
    assert_eq!(guest.write(NONE, be, b"evil"), Err(Error::Access { path: be.into() }));
    assert_eq!(errno(guest.remove(NONE, be)), libc::EACCES);
    assert_eq!(errno(guest.set_perms(NONE, be, &[Perm::both(5)])), libc::EACCES);
    assert_eq!(errno(guest.write(NONE, &format!("{be}/below"), b"evil")), libc::EACCES);
    assert_eq!(errno(guest.list(NONE, "/local/domain/0")), libc::EACCES);
    guest.write(NONE, "device/x", b"mine").unwrap();
    assert_eq!(dom0.read(NONE, fe).unwrap(), b"mine", "relative paths are below the guest's home");
    assert_eq!(errno(guest.set_perms(NONE, fe, &[Perm::both(6)])), libc::EACCES, "no giving away");
    assert_eq!(errno(other.read(NONE, fe)), libc::EACCES);
    assert_eq!(errno(other.read(NONE, be)), libc::EACCES);
    let tx = guest.begin().unwrap();
    assert_eq!(errno(guest.write(tx, be, b"evil")), libc::EACCES);
    assert_eq!(guest.end(tx, true), Ok(()));
    assert_eq!(dom0.read(NONE, be).unwrap(), b"b");
}

pub fn hidden_existence(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    put(dom0, "/t/secret/node", "1");
    assert_eq!(errno(guest.read(NONE, "/t/secret/node")), libc::EACCES);
    assert_eq!(errno(guest.read(NONE, "/t/secret/none")), libc::EACCES);
    perms(dom0, "/t/secret", &[Perm::none(0), Perm::read(5)]);
    assert_eq!(errno(guest.read(NONE, "/t/secret/none")), libc::ENOENT);
    assert_eq!(errno(guest.write(NONE, "/t/secret/none", b"")), libc::EACCES);
}

pub fn guest_owns_what_it_creates(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    dom0.mkdir(NONE, "/local/domain/5/data").unwrap();
    perms(dom0, "/local/domain/5/data", &[Perm::none(0), Perm::both(5)]);
    guest.write(NONE, "data/a/b", b"1").unwrap();
    assert_eq!(dom0.get_perms(NONE, "/local/domain/5/data/a/b").unwrap()[0].domid, 5);
    assert_eq!(dom0.get_perms(NONE, "/local/domain/5/data/a").unwrap()[0].domid, 5);
    put(dom0, "/local/domain/5/data/a/c", "1");
    assert_eq!(dom0.get_perms(NONE, "/local/domain/5/data/a/c").unwrap()[0].domid, 5, "inherited");
    guest.remove(NONE, "data/a").unwrap();
    assert!(dom0.list(NONE, "/local/domain/5/data").unwrap().is_empty());
}

/// A guest with a directory of its own.
fn guest_with_home(world: &dyn World) -> Box<dyn Store> {
    let guest = world.guest(5);
    world.dom0().mkdir(NONE, "/local/domain/5").unwrap();
    perms(world.dom0(), "/local/domain/5", &[Perm::none(5)]);
    guest
}

pub fn node_quota(world: &dyn World) {
    let guest = guest_with_home(world);
    // The list of children counts for the size of a node: 531 names of up to three digits fit.
    let outcome = (0..1000).try_for_each(|number| guest.write(NONE, &format!("wide/{number}"), b""));
    assert_eq!(errno(outcome), libc::ENOSPC);
    assert_eq!(guest.list(NONE, "wide").unwrap().len(), 531);
    guest.remove(NONE, "wide").unwrap();
    assert_eq!(errno(guest.write(NONE, "deep/0/0", &[b'x'; 2048])), libc::ENOSPC);
    assert_eq!(read_opt(&*guest, NONE, "deep"), Ok(None), "all or nothing");

    let node = |number: u32| format!("deep/{}/{}", number / 100, number % 100);
    let made = (0..1000).take_while(|&number| guest.write(NONE, &node(number), b"").is_ok()).count();
    // The quota of 1000 holds the home directory, `deep` and its ten children too.
    assert_eq!(made, 988);
    assert_eq!(errno(guest.write(NONE, &node(988), b"")), libc::ENOSPC);
    guest.remove(NONE, &node(1)).unwrap();
    guest.write(NONE, &node(988), b"now").unwrap();
    put(world.dom0(), "/t/dom0/has/none", "1");
}

pub fn watch_quota(world: &dyn World) {
    let guest = guest_with_home(world);
    // xenstored's comparison lets one more than the quota of 128 through.
    let watches: Vec<_> = (0..129).map(|_| guest.watch("data").unwrap()).collect();
    assert!(matches!(guest.watch("data"), Err(Error::Quota { .. })));
    drop(watches);
    drop(guest.watch("data").expect("dropped watches are given back"));
}

pub fn transaction_quota(world: &dyn World) {
    let guest = guest_with_home(world);
    // Here too: one more than 10.
    let open: Vec<_> = (0..11).map(|_| guest.begin().unwrap()).collect();
    assert_eq!(errno(guest.begin()), libc::ENOSPC);
    for tx in open {
        guest.end(tx, false).unwrap();
    }
    guest.begin().expect("ended transactions are given back");
}
