// SPDX-License-Identifier: MIT OR Apache-2.0
//! The in-process store against every scenario.

mod support;

use support::scenarios::{World, run_all};
use vesper_xenstore::{MemoryStore, Store};

struct InProcess(MemoryStore);

impl World for InProcess {
    fn dom0(&self) -> &dyn Store {
        &self.0
    }

    fn guest(&self, domid: u16) -> Box<dyn Store> {
        self.0.introduce(domid);
        Box::new(self.0.as_domain(domid).expect("eventfd"))
    }

    fn release(&self, domid: u16) {
        self.0.release(domid);
    }
}

#[test]
fn every_scenario() {
    run_all(|| InProcess(MemoryStore::new().expect("eventfd")));
}
