// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes outside transactions: values, paths, sizes, long directories.

use super::*;

pub fn values_are_bytes(world: &dyn World) {
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

pub fn missing_nodes(world: &dyn World) {
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

pub fn bad_paths(world: &dyn World) {
    let store = world.dom0();
    for path in ["", "/t//x", "/t/", "/a b", "/a\0b", "/\u{e4}", "/a:b"] {
        assert_eq!(errno(store.write(NONE, path, b"1")), libc::EINVAL, "{path:?}");
        assert_eq!(errno(store.read(NONE, path)), libc::EINVAL, "{path:?}");
    }
    assert_eq!(errno(store.set_perms(NONE, "/", &[])), libc::EINVAL);
    assert!(store.is_connected());
}

pub fn too_big(world: &dyn World) {
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

pub fn typed_reads(world: &dyn World) {
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

pub fn long_directory(world: &dyn World) {
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
