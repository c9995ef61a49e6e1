// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device from its creation to its end.

use super::*;

/// The life of a device as both sides see it: states 1, 2, 3, 4 and the close, with the nodes and permissions of
/// the protocol.
pub fn handshake(world: &dyn World) {
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
