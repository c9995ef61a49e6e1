// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transactions and the helpers on them.

use super::*;

pub fn transaction_conflict(world: &dyn World) {
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

pub fn transaction_isolation(world: &dyn World) {
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

pub fn siblings_conflict(world: &dyn World) {
    let store = world.dom0();
    store.mkdir(NONE, "/t/dir").unwrap();
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    store.write(one, "/t/dir/one", b"1").unwrap();
    store.write(two, "/t/dir/two", b"2").unwrap();
    assert_eq!(store.end(one, true), Ok(()));
    assert_eq!(store.end(two, true), Err(Error::Again), "both changed the parent's list");
    assert_eq!(store.list(NONE, "/t/dir").unwrap(), ["one"]);
}

pub fn transaction_ends_once(world: &dyn World) {
    let store = world.dom0();
    let tx = store.begin().unwrap();
    store.end(tx, true).unwrap();
    assert_eq!(errno(store.read(tx, "/")), libc::ENOENT);
    assert_eq!(errno(store.end(tx, true)), libc::ENOENT);
}

pub fn retry_gets_through(world: &dyn World) {
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

pub fn retry_is_bounded(world: &dyn World) {
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

pub fn write_existing_rule(world: &dyn World) {
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
