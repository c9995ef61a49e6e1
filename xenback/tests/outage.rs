// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenstore and the devices of dom0 fail for a while, without their connection ending: everything is made up for.

mod common;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::World;
use vesper_grant::loopback::Machine;
use vesper_grant::{Devices, DomId, DomainState, Host, VcpuState};
use vesper_xenback::{Backend, DeviceState, Event, Limits};
use vesper_xenstore::{Error, MemoryStore, Perm, Store, Tx, Watch};

/// A store whose requests time out while `away`.
struct Flaky {
    store: Arc<MemoryStore>,
    away: Arc<AtomicBool>,
}

impl Flaky {
    fn try_it(&self) -> Result<&MemoryStore, Error> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(Error::Refused { path: "(away)".into(), errno: 5 }),
            false => Ok(&self.store),
        }
    }
}

impl Store for Flaky {
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error> {
        self.try_it()?.read(tx, path)
    }
    fn write(&self, tx: Tx, path: &str, value: &[u8]) -> Result<(), Error> {
        self.try_it()?.write(tx, path, value)
    }
    fn mkdir(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.try_it()?.mkdir(tx, path)
    }
    fn remove(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.try_it()?.remove(tx, path)
    }
    fn list(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error> {
        self.try_it()?.list(tx, path)
    }
    fn get_perms(&self, tx: Tx, path: &str) -> Result<Vec<Perm>, Error> {
        self.try_it()?.get_perms(tx, path)
    }
    fn set_perms(&self, tx: Tx, path: &str, perms: &[Perm]) -> Result<(), Error> {
        self.try_it()?.set_perms(tx, path, perms)
    }
    fn begin(&self) -> Result<Tx, Error> {
        self.try_it()?.begin()
    }
    fn end(&self, tx: Tx, commit: bool) -> Result<(), Error> {
        self.try_it()?.end(tx, commit)
    }
    fn watch(&self, path: &str) -> Result<Watch, Error> {
        self.try_it()?.watch(path)
    }
    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.store.wake_fd()
    }
    fn drain_wake(&self) {
        self.store.drain_wake();
    }
    fn is_connected(&self) -> bool {
        self.store.is_connected()
    }
    fn domain_path(&self, domid: u16) -> Result<String, Error> {
        self.try_it()?.domain_path(domid)
    }
    fn is_introduced(&self, domid: u16) -> Result<bool, Error> {
        self.try_it()?.is_introduced(domid)
    }
}

/// A machine that can neither be asked nor opened while `away`.
struct FlakyHost {
    machine: Machine,
    away: Arc<AtomicBool>,
}

impl FlakyHost {
    fn try_it(&self) -> Result<&Machine, vesper_grant::Error> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(vesper_grant::Error::Xl("away".into())),
            false => Ok(&self.machine),
        }
    }
}

impl Host for FlakyHost {
    fn open(&self, guest: DomId) -> Result<Box<dyn Devices>, vesper_grant::Error> {
        self.try_it()?.open(guest)
    }
    fn domain(&self, id: DomId) -> Result<Option<DomainState>, vesper_grant::Error> {
        self.try_it()?.domain(id)
    }
    fn domains(&self) -> Result<Vec<DomainState>, vesper_grant::Error> {
        self.try_it()?.domains()
    }
    fn vcpus(&self, id: DomId) -> Result<Vec<VcpuState>, vesper_grant::Error> {
        self.try_it()?.vcpus(id)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A world, and the switches of its store and of its host.
fn world() -> (World, Arc<AtomicBool>, Arc<AtomicBool>) {
    let mut world = World::new();
    let (store, host) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    world.backend = Backend::new(
        Arc::new(FlakyHost { machine: world.machine.clone(), away: host.clone() }),
        Arc::new(Flaky { store: world.store.clone(), away: store.clone() }),
        Limits::default(),
    )
    .unwrap();
    world.settle();
    (world, store, host)
}

/// Nothing of it is held against the guest.
fn assert_no_blame(world: &World) {
    assert_eq!(world.info(1).counters.protocol_errors, 0);
    assert!(!world.events.iter().any(|event| matches!(event, Event::DeviceFailed { .. })));
}

fn switch(what: &AtomicBool, away: bool) {
    what.store(away, Ordering::Relaxed);
}

#[test]
fn a_change_of_the_frontend_that_cannot_be_read_is_read_later() {
    let (mut world, store, _) = world();
    let mut guest = world.add_guest(1);
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    guest.prepare();
    guest.publish();
    switch(&store, true);
    guest.set_state(3);
    world.settle();
    world.pass(3 * SECOND);
    switch(&store, false);
    world.pass(2 * SECOND);
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Connected), 4));
    assert_no_blame(&world);
    assert_eq!(world.backend.next_deadline(), None);
}

#[test]
fn domains_that_cannot_be_listed_are_listed_later() {
    for by_host in [false, true] {
        let (mut world, store, host) = world();
        let away = if by_host { host } else { store };
        switch(&away, true);
        let guest = world.add_guest(1);
        assert!(world.backend.guests().is_empty());
        switch(&away, false);
        world.pass(2 * SECOND);
        assert_eq!(world.backend.guests().len(), 1, "appeared while away");
        switch(&away, true);
        world.machine.destroy(DomId(1));
        world.store.release(1);
        world.settle();
        switch(&away, false);
        world.pass(2 * SECOND);
        assert!(world.backend.guests().is_empty(), "gone while away");
        assert_eq!(world.backend.next_deadline(), None);
        drop(guest);
    }
}

#[test]
fn what_this_side_cannot_do_is_not_held_against_the_guest() {
    let (mut world, _, host) = world();
    let mut guest = world.add_guest(1);
    world.backend.attach(DomId(1)).unwrap();
    world.settle();
    guest.prepare();
    guest.publish();
    switch(&host, true);
    guest.set_state(3);
    world.settle();
    assert_eq!((world.device(1), world.backend_state(1)), (Some(DeviceState::Waiting), 2));
    world.pass(3 * SECOND);
    switch(&host, false);
    world.pass(2 * SECOND);
    assert_eq!(world.device(1), Some(DeviceState::Connected));
    assert_no_blame(&world);
}

#[test]
fn a_connection_is_kept_while_its_nodes_cannot_be_read() {
    let (mut world, store, _) = world();
    let mut guest = world.add_connected(1);
    switch(&store, true);
    guest.set_state(4);
    world.settle();
    world.pass(2 * SECOND);
    switch(&store, false);
    world.pass(2 * SECOND);
    world.load_works(&mut guest);
    assert_eq!(world.info(1).counters.connections, 1);
    assert_no_blame(&world);
}

#[test]
fn a_device_is_detached_when_its_nodes_are_gone() {
    let (mut world, store, _) = world();
    let mut guest = world.add_connected(1);
    switch(&store, true);
    world.backend.detach(DomId(1), false).unwrap();
    world.pass(6 * SECOND);
    let detached = Event::Detached { domid: DomId(1) };
    assert!(!world.events.contains(&detached), "its nodes are there");
    assert_ne!(world.device(1), None);
    switch(&store, false);
    world.pass(2 * SECOND);
    assert!(world.events.contains(&detached));
    assert_eq!((world.device(1), world.backend_state(1)), (None, 0));
    guest.end_grants();
    assert_eq!(world.backend.next_deadline(), None);
}

#[test]
fn a_state_that_could_not_be_written_is_written_later() {
    let (mut world, store, _) = world();
    let _guest = world.add_connected(1);
    switch(&store, true);
    world.backend.detach(DomId(1), false).unwrap();
    world.settle();
    assert_eq!(world.backend_state(1), 4);
    switch(&store, false);
    world.pass(2 * SECOND);
    assert_eq!(world.backend_state(1), 5);
}
