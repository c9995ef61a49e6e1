// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches.

use super::*;

pub fn watch_life(world: &dyn World) {
    let store = world.dom0();
    let watch = store.watch("/t/w").unwrap();
    assert_eq!(watch.path(), "/t/w");
    assert!(watch.take_dirty(), "dirty from the start");
    fired(store, &watch);
    assert!(!fired(store, &watch));
    put(store, "/t/w", "1");
    await_dirty(store, &watch);
    let twin = store.watch("/t/w").unwrap();
    assert!(fired(store, &twin));
    drop(watch);
    put(store, "/t/w", "2");
    await_dirty(store, &twin);
    drop(twin);
    store.domain_path(0).unwrap();
    store.drain_wake();
    put(store, "/t/w", "3");
    store.domain_path(0).unwrap();
    let mut fds = [PollFd::new(store.wake_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0), "nobody watches any more");
}

pub fn watch_reach(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/top/mid/leaf", "1");
    put(store, "/t/topper", "1");
    let top = store.watch("/t/top").unwrap();
    let leaf = store.watch("/t/top/mid/leaf").unwrap();
    let clean = || {
        fired(store, &top);
        fired(store, &leaf);
    };
    clean();
    put(store, "/t/topper", "2");
    put(store, "/t", "2");
    assert_eq!((fired(store, &top), fired(store, &leaf)), (false, false), "sibling, parent");
    put(store, "/t/top/mid/leaf", "2");
    assert_eq!((fired(store, &top), fired(store, &leaf)), (true, true));
    put(store, "/t/top/mid", "2");
    assert_eq!((fired(store, &top), fired(store, &leaf)), (true, false));
    perms(store, "/t/top/mid/leaf", &[Perm::none(0), Perm::read(9)]);
    assert_eq!((fired(store, &top), fired(store, &leaf)), (true, true), "permissions");
    store.mkdir(NONE, "/t/top/mid/leaf").unwrap();
    assert_eq!((fired(store, &top), fired(store, &leaf)), (false, false), "mkdir of what exists");
    store.remove(NONE, "/t/top/mid").unwrap();
    assert_eq!((fired(store, &top), fired(store, &leaf)), (true, true), "removal reaches what was below");
}

pub fn watch_permissions(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    put(dom0, "/t/open", "1");
    put(dom0, "/t/closed", "1");
    perms(dom0, "/t/open", &[Perm::none(0), Perm::read(5)]);
    let open = guest.watch("/t/open").unwrap();
    let closed = guest.watch("/t/closed").unwrap();
    fired(&*guest, &open);
    fired(&*guest, &closed);
    put(dom0, "/t/open", "2");
    put(dom0, "/t/closed", "2");
    assert_eq!((fired(&*guest, &open), fired(&*guest, &closed)), (true, false));
    dom0.remove(NONE, "/t/closed").unwrap();
    dom0.remove(NONE, "/t/open").unwrap();
    assert_eq!((fired(&*guest, &open), fired(&*guest, &closed)), (true, false));
}

pub fn watch_in_a_transaction(world: &dyn World) {
    let store = world.dom0();
    let watch = store.watch("/t/w").unwrap();
    fired(store, &watch);
    let tx = store.begin().unwrap();
    store.write(tx, "/t/w/x", b"1").unwrap();
    assert!(!fired(store, &watch), "not before the commit");
    store.end(tx, true).unwrap();
    assert!(fired(store, &watch));
    let tx = store.begin().unwrap();
    store.write(tx, "/t/w/x", b"2").unwrap();
    store.end(tx, false).unwrap();
    assert!(!fired(store, &watch), "not after an abort");
}

pub fn special_watches(world: &dyn World) {
    let store = world.dom0();
    let (come, go) = (store.watch("@introduceDomain").unwrap(), store.watch("@releaseDomain").unwrap());
    fired(store, &come);
    fired(store, &go);
    assert_eq!(store.is_introduced(7), Ok(false));
    assert_eq!(store.is_introduced(0), Ok(true));
    assert_eq!(store.domain_path(7).unwrap(), "/local/domain/7");
    let _guest = world.guest(7);
    assert_eq!((fired(store, &come), fired(store, &go)), (true, false));
    assert_eq!(store.is_introduced(7), Ok(true));
    world.release(7);
    assert_eq!((fired(store, &come), fired(store, &go)), (false, true));
    assert_eq!(store.is_introduced(7), Ok(false));
}

pub fn watch_flood(world: &dyn World) {
    let store = world.dom0();
    let guest = world.guest(5);
    put(store, "/local/domain/5/data", "");
    perms(store, "/local/domain/5/data", &[Perm::none(5)]);
    let watches: Vec<Watch> = (0..8).map(|_| store.watch("/local/domain/5/data").unwrap()).collect();
    for round in 0..10_000 {
        store.write(NONE, "/local/domain/5/data/x", format!("{round}").as_bytes()).unwrap();
    }
    for round in 0..100 {
        guest.write(NONE, "data/y", format!("{round}").as_bytes()).unwrap();
    }
    assert_eq!(store.read(NONE, "/local/domain/5/data/x").unwrap(), b"9999");
    assert_eq!(store.read(NONE, "/local/domain/5/data/y").unwrap(), b"99");
    assert!(watches.iter().all(Watch::take_dirty));
    assert!(!watches.iter().any(Watch::take_dirty), "80,000 events are one flag each");
}
