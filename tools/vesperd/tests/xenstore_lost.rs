// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenstored goes away and comes back.

mod support;

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use support::{World, eventually};
use vesper_api::{DeviceStatus, Request};
use vesper_xenstore::{Error, MemoryStore, Perm, Store, Tx, Watch};

fn gone() -> Error {
    Error::Disconnected { why: "cut by the test".into() }
}

/// A connection that can be cut.
struct Cut {
    store: MemoryStore,
    cut: AtomicBool,
}

impl Cut {
    fn new(store: &MemoryStore) -> Self {
        Self { store: store.as_domain(0).unwrap(), cut: AtomicBool::new(false) }
    }

    fn alive(&self) -> Result<&MemoryStore, Error> {
        if self.cut.load(SeqCst) { Err(gone()) } else { Ok(&self.store) }
    }

    /// The connection ends; as with the real one, the wake descriptor tells.
    fn cut(&self) {
        self.cut.store(true, SeqCst);
        self.store.introduce(u16::MAX);
    }
}

impl Store for Cut {
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error> {
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
        self.alive().is_ok()
    }
    fn domain_path(&self, domid: u16) -> Result<String, Error> {
        self.alive()?.domain_path(domid)
    }
    fn is_introduced(&self, domid: u16) -> Result<bool, Error> {
        self.alive()?.is_introduced(domid)
    }
}

#[test]
fn devices_go_on_without_xenstore_and_the_daemon_connects_again() {
    let mut world = World::new();
    world.stop();
    let current = Arc::new(Mutex::new(Arc::new(Cut::new(&world.store))));
    let refused = Arc::new(AtomicBool::new(false));
    let (stop, theirs) = UnixStream::pair().unwrap();
    let daemon = {
        let (machine, config, base) = (world.machine.clone(), world.config.clone(), world.store.clone());
        let (current, refused) = (current.clone(), refused.clone());
        let first = current.lock().unwrap().clone();
        let reconnect: vesperd::Reconnect = Box::new(move || {
            if refused.load(SeqCst) {
                return Err(gone());
            }
            let next = Arc::new(Cut::new(&base));
            *current.lock().unwrap() = next.clone();
            Ok(next)
        });
        let reload = support::no_reload();
        std::thread::spawn(move || {
            vesperd::run(Arc::new(machine), first, reconnect, &config, theirs, reload, || ())
        })
    };
    eventually("the daemon listens", || UnixStream::connect(world.socket()).is_ok());
    let guest = world.add_attached(1);

    let _forgotten = world.add_attached(3);

    refused.store(true, SeqCst);
    current.lock().unwrap().cut();
    world.insmod("1", &world.module("answer")).unwrap();
    assert_eq!(guest.kernel().modules(), ["answer"], "a device in use needs no xenstore");
    let nodes = ["/local/domain/0/backend/vesper/3", "/local/domain/3/device/vesper"];
    for path in nodes {
        world.store.remove(Tx::NONE, path).unwrap();
    }
    let lost = current.lock().unwrap().clone();
    refused.store(false, SeqCst);
    eventually("it is connected again", || !Arc::ptr_eq(&lost, &current.lock().unwrap()));

    // As after a xenstored that has forgotten everything: to attach makes the nodes anew, whether anything answers or not.
    let _ = world.ask(&Request::Attach { dom: "3".into(), timeout_ms: Some(100) });
    for path in nodes {
        assert!(world.store.read(Tx::NONE, &format!("{path}/0/state")).is_ok(), "{path}");
    }

    // What needs xenstore works again, for the old guest and for a new one.
    let _new = world.add_attached(2);
    assert_eq!(world.guest(2).unwrap().device, DeviceStatus::Connected);
    world.ask(&Request::Rmmod { dom: "1".into(), name: "answer".into(), timeout_ms: None }).unwrap();
    world.ask(&Request::Detach { dom: "1".into(), force: false, timeout_ms: None }).unwrap();
    drop(stop);
    daemon.join().unwrap().unwrap();
}
