// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with one guest, and dom0's nodes of its device.

use std::thread::sleep;
use std::time::{Duration, Instant};

use vesper_grant::DomId;
use vesper_grant::loopback::{LoopGuest, Machine};
use vesper_xenfront::loopback::{FakeKernel, LoopFrontend};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx, read_u32};

pub const FRONT: &str = "/local/domain/5/device/vesper/0";
pub const BACK: &str = "/local/domain/0/backend/vesper/5/0";
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bench {
    pub machine: Machine,
    pub guest: LoopGuest,
    pub store: MemoryStore,
}

pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(1));
    }
}

impl Bench {
    pub fn new() -> (Self, LoopFrontend) {
        let machine = Machine::new();
        let guest = machine.add_guest(DomId(5), [5; 16]);
        let store = MemoryStore::new().unwrap();
        store.introduce(5);
        let front = LoopFrontend::start(guest.clone(), guest_store(&store), FakeKernel::new());
        (Self { machine, guest, store }, front)
    }

    pub fn make_nodes(&self) {
        let node = |path: String, value: &str, owner: u16, reader: u16| {
            self.store.write(Tx::NONE, &path, value.as_bytes()).unwrap();
            let perms = [
                Perm { domid: owner, read: false, write: false },
                Perm { domid: reader, read: true, write: false },
            ];
            self.store.set_perms(Tx::NONE, &path, &perms).unwrap();
        };
        node(BACK.into(), "", 0, 5);
        for (name, value) in [("frontend", FRONT), ("frontend-id", "5"), ("version", "1"), ("state", "1")] {
            node(format!("{BACK}/{name}"), value, 0, 5);
        }
        node(FRONT.into(), "", 5, 0);
        node(format!("{FRONT}/backend"), BACK, 0, 5);
        node(format!("{FRONT}/state"), "1", 5, 0);
    }

    pub fn set_state(&self, state: u32) {
        self.store.write(Tx::NONE, &format!("{BACK}/state"), state.to_string().as_bytes()).unwrap();
    }

    pub fn front_state(&self) -> u32 {
        read_u32(&self.store, Tx::NONE, &format!("{FRONT}/state"), 0..=8).unwrap_or(0)
    }

    pub fn wait_front(&self, state: u32) {
        until(&format!("frontend state {state}"), || (self.front_state() == state).then_some(()));
    }

    pub fn number(&self, name: &str) -> u32 {
        read_u32(&self.store, Tx::NONE, &format!("{FRONT}/{name}"), 0..=u32::MAX).unwrap()
    }
}

pub fn guest_store(store: &MemoryStore) -> MemoryStore {
    store.as_domain(5).unwrap()
}
