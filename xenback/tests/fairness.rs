// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest's flood costs the others nothing but their fair share, and a lost xenstore costs nobody a connection.

mod common;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::{RawExport, RawGuest, World};
use vesper_grant::{DomId, Host};
use vesper_ring::wire::loader::{REPORT, Request};
use vesper_xenback::{Backend, DeviceState, Event, Limits};
use vesper_xenstore::{Error, MemoryStore, Perm, Store, Tx, Watch};

/// Asks as fast as it is answered, until told to stop.
fn flood(mut guest: RawGuest, stop: &AtomicBool) -> u64 {
    let mut asked = 0;
    while !stop.load(SeqCst) {
        let ring = guest.ring.as_mut().unwrap();
        if asked == 0 || ring.take().unwrap().is_some() {
            guest.push(Request { op: REPORT, ..Request::default() });
            // A kick for each, wanted or not.
            guest.guest.notify(guest.port);
            asked += 1;
        }
        thread::yield_now();
    }
    asked
}

#[test]
fn a_flood_has_its_budget_and_the_others_their_turn() {
    let budget = 4;
    let mut world = World::with_limits(Limits { budget, ..Limits::default() });
    let mut honest = world.add_connected(1);
    let flooding = world.add_connected(2);
    let stop = Arc::new(AtomicBool::new(false));
    let flooder = thread::spawn({
        let stop = stop.clone();
        move || flood(flooding, &stop)
    });
    let mut served = 0;
    for _ in 0..20_000 {
        let before = world.info(2).counters.requests;
        let events = world.backend.run(world.now);
        world.events.extend(events);
        let turn = world.info(2).counters.requests - before;
        assert!(turn <= u64::from(budget), "{turn} requests in one turn");
        served += turn;
        thread::yield_now();
        if served > 200 {
            break;
        }
    }
    assert!(served > 200, "only {served} requests of the flood were served");
    // The honest guest's request is answered within a few turns, however many the other one asks.
    honest.push(Request { op: REPORT, ..Request::default() });
    let turns = (1..100).find(|_| {
        let events = world.backend.run(world.now);
        world.events.extend(events);
        honest.take().is_some()
    });
    assert!(turns.is_some_and(|turns| turns <= 2), "answered after {turns:?} turns");
    stop.store(true, SeqCst);
    assert!(flooder.join().unwrap() > 200);
    assert_eq!(world.device(2), Some(DeviceState::Connected));
}

#[test]
fn a_turn_ends_with_its_budget_and_the_next_takes_the_rest() {
    let mut world = World::with_limits(Limits { budget: 4, ..Limits::default() });
    let mut guest = world.add_connected(1);
    // As many reports at once as no driver would push; each can be answered at once.
    let ring = guest.ring.as_mut().unwrap();
    for id in 0..10 {
        ring.push(&Request { op: REPORT, id, ..Request::default() }).unwrap();
    }
    assert!(ring.publish());
    guest.guest.notify(guest.port);
    let mut turns = Vec::new();
    while world.is_ready() {
        let before = world.info(1).counters.requests;
        let events = world.backend.run(world.now);
        assert_eq!(events, []);
        turns.push(world.info(1).counters.requests - before);
    }
    assert!(turns.starts_with(&[4, 4, 2]), "{turns:?}");
}

/// A store whose connection can be cut, and that counts what is read.
struct Cut {
    store: MemoryStore,
    cut: AtomicBool,
    reads: AtomicUsize,
}

impl Cut {
    /// In the place of the world's.
    fn into(world: &mut World) -> Arc<Self> {
        let store = world.store.as_domain(0).unwrap();
        let cut = Arc::new(Self { store, cut: AtomicBool::new(false), reads: AtomicUsize::new(0) });
        world.backend =
            Backend::new(Arc::new(world.machine.clone()), cut.clone(), Limits::default()).unwrap();
        cut
    }

    fn alive(&self) -> Result<&MemoryStore, Error> {
        match self.cut.load(SeqCst) {
            false => Ok(&self.store),
            true => Err(Error::Disconnected { why: "cut".into() }),
        }
    }
}

impl Store for Cut {
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error> {
        self.reads.fetch_add(1, SeqCst);
        self.alive()?.read(tx, path)
    }
    fn write(&self, tx: Tx, path: &str, value: &[u8]) -> Result<(), Error> {
        self.alive()?.write(tx, path, value)
    }
    fn mkdir(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.alive()?.mkdir(tx, path)
    }
    fn remove(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.alive()?.remove(tx, path)
    }
    fn list(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error> {
        self.alive()?.list(tx, path)
    }
    fn get_perms(&self, tx: Tx, path: &str) -> Result<Vec<Perm>, Error> {
        self.alive()?.get_perms(tx, path)
    }
    fn set_perms(&self, tx: Tx, path: &str, perms: &[Perm]) -> Result<(), Error> {
        self.alive()?.set_perms(tx, path, perms)
    }
    fn begin(&self) -> Result<Tx, Error> {
        self.alive()?.begin()
    }
    fn end(&self, tx: Tx, commit: bool) -> Result<(), Error> {
        self.alive()?.end(tx, commit)
    }
    fn watch(&self, path: &str) -> Result<Watch, Error> {
        self.alive()?.watch(path)
    }
    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.store.wake_fd()
    }
    fn drain_wake(&self) {
        self.store.drain_wake();
    }
    fn is_connected(&self) -> bool {
        !self.cut.load(SeqCst)
    }
    fn domain_path(&self, domid: u16) -> Result<String, Error> {
        self.alive()?.domain_path(domid)
    }
    fn is_introduced(&self, domid: u16) -> Result<bool, Error> {
        self.alive()?.is_introduced(domid)
    }
}

#[test]
fn a_lost_xenstore_costs_no_connection_and_dead_guests_are_still_noticed() {
    let mut world = World::new();
    let cut = Cut::into(&mut world);
    let mut stays = world.add_connected(1);
    let dies = world.add_connected(2);
    cut.cut.store(true, SeqCst);
    // The real client raises its descriptor; here the next change does.
    world.store.introduce(9);
    world.settle();
    assert!(world.events.contains(&Event::StoreLost));
    world.load_works(&mut stays);
    world.machine.destroy(DomId(2));
    world.pass(Duration::from_secs(1));
    assert!(world.events.contains(&Event::GuestGone { domid: DomId(2), uuid: World::uuid(2) }));
    assert_eq!(world.machine.domain(DomId(2)).unwrap(), None, "no zombie");
    drop(dies);
    assert!(world.backend.attach(DomId(1)).is_err(), "nothing can be attached now");

    // A new connection, to a store that was started again and is empty.
    let empty = Arc::new(MemoryStore::new().unwrap());
    empty.introduce(1);
    world.backend.set_store(empty.clone()).unwrap();
    world.store = empty;
    world.settle();
    assert_eq!((world.device(1), world.info(1).counters.connections), (Some(DeviceState::Connected), 1));
    world.load_works(&mut stays);
    assert_eq!(world.backend.next_deadline(), None, "nothing is polled any more");
}

/// What is written down of an export changes a node that is watched; that must not have every device looked at.
#[test]
fn what_one_guest_shares_costs_no_look_at_the_others() {
    let mut world = World::new();
    let store = Cut::into(&mut world);
    let _others: Vec<_> = (2..40).map(|id| world.add_connected(id)).collect();
    let mut guest = world.add_listening(1);
    let before = store.reads.load(SeqCst);
    let mut export = RawExport::small(&guest, 1, "panic");
    assert_eq!(guest.export(&mut world, &mut export), 0);
    let reads = store.reads.load(SeqCst) - before;
    assert!(reads < 10, "{reads} nodes were read");
}
