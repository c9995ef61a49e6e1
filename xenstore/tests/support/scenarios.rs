// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every store must do. The same scenarios run against the real xenstored and the in-process store, so that
//! the stand-in cannot drift away from the real thing.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_xenstore::{
    Error, Perm, Store, Tx, Watch, Written, read_opt, read_string, read_u32, read_u32_or, transaction,
    write_existing,
};

/// A store with its domains.
pub trait World {
    fn dom0(&self) -> &dyn Store;
    /// Introduces a domain and gives its own, unprivileged connection.
    fn guest(&self, domid: u16) -> Box<dyn Store>;
    fn release(&self, domid: u16);
}

type Scenario = (&'static str, fn(&dyn World));

/// Every scenario with its name.
const ALL: &[Scenario] = &[
    ("values are bytes", values_are_bytes),
    ("missing nodes", missing_nodes),
    ("bad paths", bad_paths),
    ("too big", too_big),
    ("typed reads", typed_reads),
    ("transaction conflict", transaction_conflict),
    ("transaction isolation", transaction_isolation),
    ("siblings conflict", siblings_conflict),
    ("transaction ends once", transaction_ends_once),
    ("retry gets through", retry_gets_through),
    ("retry is bounded", retry_is_bounded),
    ("write existing", write_existing_rule),
    ("permissions", permissions),
    ("hidden existence", hidden_existence),
    ("guest owns what it creates", guest_owns_what_it_creates),
    ("watch life", watch_life),
    ("watch reach", watch_reach),
    ("watch permissions", watch_permissions),
    ("watch in a transaction", watch_in_a_transaction),
    ("special watches", special_watches),
    ("watch flood", watch_flood),
    ("long directory", long_directory),
    ("node quota", node_quota),
    ("watch quota", watch_quota),
    ("transaction quota", transaction_quota),
    ("handshake", handshake),
];

/// Runs every scenario in a world of its own; all of them, before it fails.
pub fn run_all<W: World>(world: impl Fn() -> W) {
    let failed: Vec<_> = ALL
        .iter()
        .filter(|(name, run)| {
            println!("scenario: {name}");
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&world()))).is_err()
        })
        .map(|(name, _)| name)
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

const NONE: Tx = Tx::NONE;

/// Waits until the watch is dirty. Fails after 10 s.
fn await_dirty(store: &dyn Store, watch: &Watch) {
    while !watch.take_dirty() {
        let mut fds = [PollFd::new(store.wake_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(10_000u16)).expect("poll");
        assert!(ready > 0, "{} did not fire", watch.path());
        store.drain_wake();
    }
}

/// Whether the watch fired for what others changed before this call: events come in order with the answers.
fn fired(store: &dyn Store, watch: &Watch) -> bool {
    store.domain_path(0).expect("any answer");
    watch.take_dirty()
}

fn put(store: &dyn Store, path: &str, value: &str) {
    store.write(NONE, path, value.as_bytes()).unwrap_or_else(|error| panic!("writing {path}: {error}"));
}

fn perms(store: &dyn Store, path: &str, perms: &[Perm]) {
    store.set_perms(NONE, path, perms).unwrap_or_else(|error| panic!("perms of {path}: {error}"));
}

fn errno<T: std::fmt::Debug>(outcome: Result<T, Error>) -> i32 {
    outcome.expect_err("this must be refused").errno()
}

fn values_are_bytes(world: &dyn World) {
    let store = world.dom0();
    let every: Vec<u8> = (0..=255).collect();
    for value in [every.as_slice(), b"", b"\0", b"a\0", b"\xff\xfe"] {
        store.write(NONE, "/t/deep/er", value).unwrap();
        assert_eq!(store.read(NONE, "/t/deep/er").unwrap(), value);
    }
    assert_eq!(store.read(NONE, "/t/deep").unwrap(), b"");
    store.mkdir(NONE, "/t/deep/er").unwrap();
    assert_eq!(store.read(NONE, "/t/deep/er").unwrap(), b"\xff\xfe", "mkdir leaves an existing node alone");
    assert_eq!(store.list(NONE, "/t").unwrap(), ["deep"]);
    assert!(store.list(NONE, "/t/deep/er").unwrap().is_empty());
}

fn missing_nodes(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/there", "1");
    assert_eq!(store.read(NONE, "/t/no"), Err(Error::NoEntry { path: "/t/no".into() }));
    assert_eq!(errno(store.list(NONE, "/t/no")), libc::ENOENT);
    assert_eq!(errno(store.get_perms(NONE, "/t/no")), libc::ENOENT);
    assert_eq!(errno(store.set_perms(NONE, "/t/no", &[Perm::none(0)])), libc::ENOENT);
    assert_eq!(store.remove(NONE, "/t/no"), Ok(()), "its parent exists");
    assert_eq!(errno(store.remove(NONE, "/t/no/deeper")), libc::ENOENT);
    assert_eq!(errno(store.remove(NONE, "/")), libc::EINVAL);
    assert_eq!(read_opt(store, NONE, "/t/no"), Ok(None));
    put(store, "/t/there/a/b", "2");
    store.remove(NONE, "/t/there").unwrap();
    assert_eq!(errno(store.read(NONE, "/t/there/a/b")), libc::ENOENT, "removal takes all below");
}

fn bad_paths(world: &dyn World) {
    let store = world.dom0();
    for path in ["", "/t//x", "/t/", "/a b", "/a\0b", "/\u{e4}", "/a:b"] {
        assert_eq!(errno(store.write(NONE, path, b"1")), libc::EINVAL, "{path:?}");
        assert_eq!(errno(store.read(NONE, path)), libc::EINVAL, "{path:?}");
    }
    assert_eq!(errno(store.set_perms(NONE, "/", &[])), libc::EINVAL);
    assert!(store.is_connected());
}

fn too_big(world: &dyn World) {
    let store = world.dom0();
    let path = "/t/big";
    let most = vec![b'x'; 4096 - path.len() - 1];
    store.write(NONE, path, &most).unwrap();
    assert_eq!(store.read(NONE, path).unwrap(), most);
    let more = vec![b'x'; most.len() + 1];
    let error = store.write(NONE, path, &more).unwrap_err();
    assert!(matches!(error, Error::TooBig { len: 4097, max: 4096, .. }), "{error}");
    assert_eq!(store.read(NONE, path).unwrap(), most);
}

fn typed_reads(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/n", "17");
    assert_eq!(read_u32(store, NONE, "/t/n", 0..=17), Ok(17));
    assert_eq!(read_string(store, NONE, "/t/n").unwrap(), "17");
    let error = read_u32(store, NONE, "/t/n", 0..=16).unwrap_err();
    assert_eq!(error.to_string(), "/t/n: value \"17\" is not a number from 0 to 16");
    assert_eq!(read_u32_or(store, NONE, "/t/absent", 0..=9, 3), Ok(3));
    for bad in ["", "-1", "+1", " 1", "1 ", "0x1", "1\n", "4294967296", "99999999999999999999"] {
        put(store, "/t/n", bad);
        assert_eq!(errno(read_u32(store, NONE, "/t/n", 0..=u32::MAX)), libc::EINVAL, "{bad:?}");
        assert_eq!(errno(read_u32_or(store, NONE, "/t/n", 0..=u32::MAX, 1)), libc::EINVAL, "{bad:?}");
    }
    store.write(NONE, "/t/n", b"\x1b[2J\xff").unwrap();
    let error = read_string(store, NONE, "/t/n").unwrap_err();
    assert_eq!(error.to_string(), "/t/n: value \"\\x1b[2J\\xff\" is not UTF-8 text");
}

fn transaction_conflict(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/a", "1");
    // Wrote what another changed.
    let tx = store.begin().unwrap();
    store.write(tx, "/t/a", b"tx").unwrap();
    put(store, "/t/a", "other");
    assert_eq!(store.end(tx, true), Err(Error::Again));
    assert_eq!(store.read(NONE, "/t/a").unwrap(), b"other");
    // Only read what another changed.
    let tx = store.begin().unwrap();
    store.read(tx, "/t/a").unwrap();
    store.write(tx, "/t/b", b"tx").unwrap();
    put(store, "/t/a", "again");
    assert_eq!(store.end(tx, true), Err(Error::Again));
    assert_eq!(read_opt(store, NONE, "/t/b"), Ok(None));
    // Touched nothing that another changed.
    let tx = store.begin().unwrap();
    store.write(tx, "/t/a", b"tx").unwrap();
    put(store, "/elsewhere/x", "1");
    assert_eq!(store.end(tx, true), Ok(()));
    assert_eq!(store.read(NONE, "/t/a").unwrap(), b"tx");
}

fn transaction_isolation(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/a", "1");
    let tx = store.begin().unwrap();
    store.write(tx, "/t/a", b"2").unwrap();
    store.write(tx, "/t/new/er", b"3").unwrap();
    assert_eq!(store.read(tx, "/t/a").unwrap(), b"2");
    assert_eq!(store.read(tx, "/t/new/er").unwrap(), b"3");
    assert_eq!(store.read(NONE, "/t/a").unwrap(), b"1");
    assert_eq!(read_opt(store, NONE, "/t/new"), Ok(None));
    store.remove(tx, "/t/new").unwrap();
    assert_eq!(read_opt(store, tx, "/t/new/er"), Ok(None));
    store.end(tx, false).unwrap();
    assert_eq!(store.read(NONE, "/t/a").unwrap(), b"1");
}

fn siblings_conflict(world: &dyn World) {
    let store = world.dom0();
    store.mkdir(NONE, "/t/dir").unwrap();
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    store.write(one, "/t/dir/one", b"1").unwrap();
    store.write(two, "/t/dir/two", b"2").unwrap();
    assert_eq!(store.end(one, true), Ok(()));
    assert_eq!(store.end(two, true), Err(Error::Again), "both changed the parent's list");
    assert_eq!(store.list(NONE, "/t/dir").unwrap(), ["one"]);
}

fn transaction_ends_once(world: &dyn World) {
    let store = world.dom0();
    let tx = store.begin().unwrap();
    store.end(tx, true).unwrap();
    assert_eq!(errno(store.read(tx, "/")), libc::ENOENT);
    assert_eq!(errno(store.end(tx, true)), libc::ENOENT);
}

fn retry_gets_through(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/count", "0");
    let mut runs = 0;
    let seen = transaction(store, |tx| {
        runs += 1;
        let seen = read_u32(store, tx, "/t/count", 0..=100)?;
        if runs <= 3 {
            // A rival who is faster.
            put(store, "/t/count", &(seen + 10).to_string());
        }
        store.write(tx, "/t/count", (seen + 1).to_string().as_bytes())?;
        Ok(seen)
    });
    assert_eq!((runs, seen), (4, Ok(30)));
    assert_eq!(read_u32(store, NONE, "/t/count", 0..=100), Ok(31));
    let error = transaction(store, |tx| {
        store.write(tx, "/t/count", b"99")?;
        store.read(tx, "/t/none")
    });
    assert_eq!(errno(error), libc::ENOENT);
    assert_eq!(read_u32(store, NONE, "/t/count", 0..=100), Ok(31), "an error of the body aborts");
}

fn retry_is_bounded(world: &dyn World) {
    let store = world.dom0();
    put(store, "/t/count", "0");
    let mut runs = 0;
    let outcome = transaction(store, |tx| {
        runs += 1;
        store.read(tx, "/t/count")?;
        put(store, "/t/count", &runs.to_string());
        Ok(())
    });
    assert_eq!((runs, outcome), (vesper_xenstore::TRANSACTION_TRIES, Err(Error::Again)));
}

fn write_existing_rule(world: &dyn World) {
    let store = world.dom0();
    assert_eq!(write_existing(store, NONE, "/t/state", b"4"), Ok(Written::Gone));
    assert_eq!(read_opt(store, NONE, "/t/state"), Ok(None));
    put(store, "/t/state", "3");
    let watch = store.watch("/t/state").unwrap();
    assert!(fired(store, &watch));
    assert_eq!(write_existing(store, NONE, "/t/state", b"4"), Ok(Written::Changed));
    await_dirty(store, &watch);
    assert_eq!(write_existing(store, NONE, "/t/state", b"4"), Ok(Written::Same));
    assert!(!fired(store, &watch), "the same value fires no watch");
    let inside = transaction(store, |tx| write_existing(store, tx, "/t/state", b"5"));
    assert_eq!((inside, store.read(NONE, "/t/state")), (Ok(Written::Changed), Ok(b"5".to_vec())));
}

fn permissions(world: &dyn World) {
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

fn hidden_existence(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    put(dom0, "/t/secret/node", "1");
    assert_eq!(errno(guest.read(NONE, "/t/secret/node")), libc::EACCES);
    assert_eq!(errno(guest.read(NONE, "/t/secret/none")), libc::EACCES);
    perms(dom0, "/t/secret", &[Perm::none(0), Perm::read(5)]);
    assert_eq!(errno(guest.read(NONE, "/t/secret/none")), libc::ENOENT);
    assert_eq!(errno(guest.write(NONE, "/t/secret/none", b"")), libc::EACCES);
}

fn guest_owns_what_it_creates(world: &dyn World) {
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

fn watch_life(world: &dyn World) {
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

fn watch_reach(world: &dyn World) {
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

fn watch_permissions(world: &dyn World) {
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

fn watch_in_a_transaction(world: &dyn World) {
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

fn special_watches(world: &dyn World) {
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

fn watch_flood(world: &dyn World) {
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

fn long_directory(world: &dyn World) {
    let store = world.dom0();
    // 400 names of 40 bytes and their NULs: four messages.
    let names: Vec<String> = (0..400).map(|number| format!("{number:0>40}")).collect();
    for name in &names {
        put(store, &format!("/t/long/{name}"), "");
    }
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(store.list(NONE, "/t/long").unwrap()), names);
    let tx = store.begin().unwrap();
    store.remove(tx, &format!("/t/long/{}", names[0])).unwrap();
    assert_eq!(sorted(store.list(tx, "/t/long").unwrap()), names[1..]);
    store.end(tx, false).unwrap();
}

/// A guest with a directory of its own.
fn guest_with_home(world: &dyn World) -> Box<dyn Store> {
    let guest = world.guest(5);
    world.dom0().mkdir(NONE, "/local/domain/5").unwrap();
    perms(world.dom0(), "/local/domain/5", &[Perm::none(5)]);
    guest
}

fn node_quota(world: &dyn World) {
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

fn watch_quota(world: &dyn World) {
    let guest = guest_with_home(world);
    // xenstored's comparison lets one more than the quota of 128 through.
    let watches: Vec<_> = (0..129).map(|_| guest.watch("data").unwrap()).collect();
    assert!(matches!(guest.watch("data"), Err(Error::Quota { .. })));
    drop(watches);
    drop(guest.watch("data").expect("dropped watches are given back"));
}

fn transaction_quota(world: &dyn World) {
    let guest = guest_with_home(world);
    // Here too: one more than 10.
    let open: Vec<_> = (0..11).map(|_| guest.begin().unwrap()).collect();
    assert_eq!(errno(guest.begin()), libc::ENOSPC);
    for tx in open {
        guest.end(tx, false).unwrap();
    }
    guest.begin().expect("ended transactions are given back");
}

/// The life of a device as both sides see it: states 1, 2, 3, 4 and the close, with the nodes and permissions of
/// the protocol.
fn handshake(world: &dyn World) {
    let (dom0, guest) = (world.dom0(), world.guest(5));
    let (fe, be) = ("/local/domain/5/device/vesper/0", "/local/domain/0/backend/vesper/5/0");
    let state = |dir: &str| format!("{dir}/state");
    transaction(dom0, |tx| {
        for (dir, owner, reader, peer, peer_key, peer_id) in
            [(fe, 5, 0, be, "backend", "backend-id"), (be, 0, 5, fe, "frontend", "frontend-id")]
        {
            dom0.mkdir(tx, dir)?;
            dom0.set_perms(tx, dir, &[Perm::none(owner), Perm::read(reader)])?;
            dom0.write(tx, &format!("{dir}/{peer_key}"), peer.as_bytes())?;
            dom0.write(tx, &format!("{dir}/{peer_id}"), reader.to_string().as_bytes())?;
            dom0.write(tx, &state(dir), b"1")?;
        }
        Ok(())
    })
    .unwrap();
    let dom0_watch = dom0.watch(&state(fe)).unwrap();
    let backend: String = read_string(&*guest, NONE, "device/vesper/0/backend").unwrap();
    assert_eq!(backend, be);
    let guest_watch = guest.watch(&state(&backend)).unwrap();
    assert!(fired(dom0, &dom0_watch) && fired(&*guest, &guest_watch));
    fired(&*guest, &guest_watch);

    // Backend offers, frontend publishes in one transaction and goes to 3.
    put(dom0, &format!("{be}/feature-x"), "1");
    assert_eq!(write_existing(dom0, NONE, &state(be), b"2"), Ok(Written::Changed));
    await_dirty(&*guest, &guest_watch);
    assert_eq!(read_u32(&*guest, NONE, &state(&backend), 0..=8), Ok(2));
    transaction(&*guest, |tx| {
        guest.write(tx, "device/vesper/0/loader-ring-ref", b"8")?;
        guest.write(tx, "device/vesper/0/loader-event-channel", b"3")
    })
    .unwrap();
    assert_eq!(write_existing(&*guest, NONE, "device/vesper/0/state", b"3"), Ok(Written::Changed));
    await_dirty(dom0, &dom0_watch);
    assert_eq!(read_u32(dom0, NONE, &state(fe), 0..=8), Ok(3));
    assert_eq!(read_u32(dom0, NONE, &format!("{fe}/loader-ring-ref"), 1..=u32::MAX), Ok(8));

    // Backend connects, frontend follows; the guest cannot forge the backend's state.
    assert_eq!(write_existing(dom0, NONE, &state(be), b"4"), Ok(Written::Changed));
    await_dirty(&*guest, &guest_watch);
    assert_eq!(write_existing(&*guest, NONE, "device/vesper/0/state", b"4"), Ok(Written::Changed));
    await_dirty(dom0, &dom0_watch);
    assert_eq!(errno(guest.write(NONE, &state(be), b"6")), libc::EACCES);
    assert_eq!(errno(write_existing(&*guest, NONE, &state(be), b"6")), libc::EACCES);
    assert_eq!(errno(guest.remove(NONE, be)), libc::EACCES);
    assert_eq!(read_u32(dom0, NONE, &state(be), 0..=8), Ok(4));

    // Closing, Closed; the frontend sees its directory go.
    for step in [b"5", b"6"] {
        assert_eq!(write_existing(dom0, NONE, &state(be), step), Ok(Written::Changed));
        await_dirty(&*guest, &guest_watch);
        assert_eq!(write_existing(&*guest, NONE, "device/vesper/0/state", step), Ok(Written::Changed));
        await_dirty(dom0, &dom0_watch);
    }
    dom0.remove(NONE, be).unwrap();
    dom0.remove(NONE, fe).unwrap();
    await_dirty(dom0, &dom0_watch);
    assert_eq!(write_existing(dom0, NONE, &state(fe), b"1"), Ok(Written::Gone));
}
