// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: its domains, seen from dom0.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::guest::LoopGuest;
use super::host::LoopDevices;
use super::state::Guest;
use crate::{Devices, DomId, DomainState, Error, Host, Port, ShutdownReason, VcpuState};

/// A machine with dom0 and no guests yet. Clones are the same machine.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    guests: Mutex<BTreeMap<DomId, Arc<Guest>>>,
    numbers: Arc<Numbers>,
}

/// Numbers of dom0's, each given once in a machine's life.
pub(super) struct Numbers {
    next_port: AtomicU32,
    next_device: AtomicU64,
}

impl Numbers {
    pub(super) fn port(&self) -> Port {
        Port(self.next_port.fetch_add(1, Relaxed))
    }

    pub(super) fn device(&self) -> u64 {
        self.next_device.fetch_add(1, Relaxed)
    }
}

impl Machine {
    /// A machine with dom0 only.
    #[expect(clippy::new_without_default, reason = "a machine is started, not defaulted")]
    pub fn new() -> Self {
        let numbers = Numbers { next_port: AtomicU32::new(64), next_device: AtomicU64::new(0) };
        Self(Arc::new(Inner { guests: Mutex::default(), numbers: Arc::new(numbers) }))
    }

    /// Starts a guest and gives the guest's own side of it.
    ///
    /// # Panics
    /// If the number is dom0's or is in use, be it by a dying domain.
    pub fn add_guest(&self, id: DomId, uuid: [u8; 16]) -> LoopGuest {
        assert_ne!(id, DomId(0), "domain 0 is there already");
        let mut guests = self.guests();
        assert!(!guests.contains_key(&id), "domain {id} exists");
        let guest = Arc::new(Guest::new(id, uuid));
        guests.insert(id, Arc::clone(&guest));
        LoopGuest(guest)
    }

    /// Destroys a domain, as `xl destroy`: it shows as dying until its last page is unmapped. No such domain: nothing.
    pub fn destroy(&self, id: DomId) {
        if let Some(guest) = self.guests().get(&id) {
            guest.destroy();
        }
    }

    /// Pauses or unpauses a domain. What its threads do is up to the test.
    pub fn set_paused(&self, id: DomId, paused: bool) {
        if let Some(guest) = self.guests().get(&id) {
            guest.lock().paused = paused;
        }
    }

    /// What Xen says of the domain's vCPUs from now on; a guest begins with one that waits for an event.
    pub fn set_vcpus(&self, id: DomId, vcpus: &[VcpuState]) {
        if let Some(guest) = self.guests().get(&id) {
            guest.lock().vcpus = vcpus.to_vec();
        }
    }

    /// The guest's kernel crashed and the toolstack preserves it (`on_crash="preserve"`).
    pub fn crash(&self, id: DomId) {
        self.shut_down(id, ShutdownReason::Crash);
    }

    /// The guest shut down and stays as it is until destroyed.
    pub fn shut_down(&self, id: DomId, reason: ShutdownReason) {
        if let Some(guest) = self.guests().get(&id) {
            guest.lock().shutdown = Some(reason);
        }
    }

    /// It goes on from where it shut down, as after a save or a soft reset.
    pub fn resume(&self, id: DomId) {
        if let Some(guest) = self.guests().get(&id) {
            guest.lock().shutdown = None;
        }
    }

    /// The domains there are, dying ones included; those whose last trace is gone are forgotten here.
    fn guests(&self) -> MutexGuard<'_, BTreeMap<DomId, Arc<Guest>>> {
        let mut guests = self.0.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|_, guest| guest.domain_state().is_some());
        guests
    }
}

impl Host for Machine {
    fn open(&self, guest: DomId) -> Result<Box<dyn Devices>, Error> {
        let guest = self.guests().get(&guest).cloned().ok_or(Error::NoDomain(guest))?;
        Ok(Box::new(LoopDevices::open(guest, Arc::clone(&self.0.numbers))))
    }

    fn domain(&self, id: DomId) -> Result<Option<DomainState>, Error> {
        if id == DomId(0) {
            return Ok(Some(dom0()));
        }
        Ok(self.guests().get(&id).and_then(|guest| guest.domain_state()))
    }

    fn domains(&self) -> Result<Vec<DomainState>, Error> {
        let guests = self.guests();
        Ok(std::iter::once(dom0()).chain(guests.values().filter_map(|guest| guest.domain_state())).collect())
    }

    fn vcpus(&self, id: DomId) -> Result<Vec<VcpuState>, Error> {
        Ok(self.guests().get(&id).map(|guest| guest.lock().vcpus.clone()).unwrap_or_default())
    }
}

fn dom0() -> DomainState {
    DomainState {
        id: DomId(0),
        uuid: [0; 16],
        running: true,
        blocked: false,
        paused: false,
        dying: false,
        shutdown: None,
        hvm: Some(false),
        vcpus_online: 1,
        cpu_time_ns: 0,
        pages: 0,
    }
}
