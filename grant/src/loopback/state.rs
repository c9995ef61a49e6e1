// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine knows of one guest: its life and its grants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::events::Events;
use super::memory::{Memory, Page};
use crate::{Access, DomId, DomainState, GrantRef, GrantStatus, ShutdownReason, VcpuState};

/// The first references are reserved (`GNTTAB_NR_RESERVED_ENTRIES`), console and store use the first two.
const FIRST_GRANT: u32 = 8;

/// One guest; its handles, its devices and its mappings share it.
pub(super) struct Guest {
    pub(super) id: DomId,
    pub(super) uuid: [u8; 16],
    pub(super) memory: Arc<Memory>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) alive: bool,
    pub(super) paused: bool,
    pub(super) shutdown: Option<ShutdownReason>,
    pub(super) vcpus: Vec<VcpuState>,
    pub(super) events: Events,
    grants: BTreeMap<GrantRef, Grant>,
    ended: Vec<GrantRef>,
    next: u32,
    /// Pages mapped by dom0, those of ended lives included.
    mapped: usize,
}

struct Grant {
    page: Arc<Page>,
    access: Access,
    mapped: usize,
}

impl Guest {
    pub(super) fn new(id: DomId, uuid: [u8; 16]) -> Self {
        let state = State {
            alive: true,
            paused: false,
            shutdown: None,
            vcpus: vec![VcpuState { online: true, blocked: true, ..VcpuState::default() }],
            events: Events::default(),
            grants: BTreeMap::new(),
            ended: Vec::new(),
            next: FIRST_GRANT,
            mapped: 0,
        };
        Self { id, uuid, memory: Arc::new(Memory::new()), state: Mutex::new(state) }
    }

    /// A test that panics while holding the lock must not turn every drop after it into a second panic.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As Xen would tell it; `None` when the last trace is gone.
    pub(super) fn domain_state(&self) -> Option<DomainState> {
        let state = self.lock();
        if !state.alive && state.mapped == 0 {
            return None;
        }
        let running = state.alive && !state.paused && state.shutdown.is_none();
        Some(DomainState {
            id: self.id,
            uuid: self.uuid,
            running: false,
            blocked: running,
            paused: state.paused,
            dying: !state.alive,
            shutdown: state.shutdown,
            hvm: Some(false),
            vcpus_online: state.vcpus.iter().filter(|vcpu| vcpu.online).count() as u32,
            cpu_time_ns: state.vcpus.iter().map(|vcpu| vcpu.cpu_time_ns).sum(),
            pages: 0,
        })
    }

    /// The domain dies: its ports close and its grants end, but pages that are mapped stay until unmapped.
    pub(super) fn destroy(&self) {
        let mut state = self.lock();
        state.alive = false;
        state.events.close_all_guest();
        state.grants.clear();
    }
}

impl State {
    pub(super) fn grant(&mut self, page: Arc<Page>, access: Access) -> GrantRef {
        let gref = self.ended.pop().unwrap_or_else(|| {
            self.next += 1;
            GrantRef(self.next - 1)
        });
        if self.alive {
            self.grants.insert(gref, Grant { page, access, mapped: 0 });
        }
        gref
    }

    /// Whether the grant could be ended; `None` if there is no such grant.
    pub(super) fn end_access(&mut self, gref: GrantRef) -> Option<bool> {
        if self.grants.get(&gref)?.mapped > 0 {
            return Some(false);
        }
        self.grants.remove(&gref);
        self.ended.push(gref);
        Some(true)
    }

    pub(super) fn active_grants(&self) -> usize {
        self.grants.len()
    }

    pub(super) fn is_mapped(&self, gref: GrantRef) -> bool {
        self.grants.get(&gref).is_some_and(|grant| grant.mapped > 0)
    }

    /// The page of a grant, for a use that needs `access`; else what Xen would say (`acquire_grant_for_copy`).
    pub(super) fn page(&self, gref: GrantRef, access: Access) -> Result<Arc<Page>, GrantStatus> {
        if !self.alive {
            return Err(GrantStatus::BAD_DOMAIN);
        }
        match self.grants.get(&gref) {
            Some(grant) if access == Access::ReadWrite && grant.access == Access::ReadOnly => {
                Err(GrantStatus::GENERAL_ERROR)
            }
            Some(grant) => Ok(Arc::clone(&grant.page)),
            None if gref.0 < self.next => Err(GrantStatus::GENERAL_ERROR),
            None => Err(GrantStatus::BAD_GNTREF),
        }
    }

    /// Counts pages as mapped; each of `refs` has been looked up under the same lock.
    pub(super) fn mapped(&mut self, refs: &[GrantRef]) {
        for gref in refs {
            self.grants.get_mut(gref).expect("just looked up").mapped += 1;
        }
        self.mapped += refs.len();
    }

    pub(super) fn unmapped(&mut self, refs: &[GrantRef]) {
        for gref in refs {
            // After the domain's death its grants are gone.
            if let Some(grant) = self.grants.get_mut(gref) {
                grant.mapped -= 1;
            }
        }
        self.mapped -= refs.len();
    }
}
