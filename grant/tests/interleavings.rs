// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random sequences against a model, and threads against each other: whatever the order, no event is lost, every page
//! shows what its guest wrote, and all counts return to zero.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use proptest::prelude::*;
use vesper_grant::loopback::{LoopGuest, Machine};
use vesper_grant::{Access, Devices, DomId, GrantRef, Host, Mapping, PAGE_SIZE, Port};

const ID: DomId = DomId(3);
const SLOTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Grant { slot: usize, writable: bool },
    End { slot: usize },
    Map { slots: Vec<usize>, writable: bool },
    Unmap { which: usize },
    Bind { slot: usize },
    Unbind { slot: usize },
    GuestNotify { slot: usize },
    HostNotify { slot: usize },
    Take,
    Unmask { slot: usize },
    GuestTakes { slot: usize },
    Reopen,
    Destroy,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    prop_oneof![
        4 => (slot.clone(), any::<bool>()).prop_map(|(slot, writable)| Step::Grant { slot, writable }),
        3 => slot.clone().prop_map(|slot| Step::End { slot }),
        4 => (prop::collection::vec(slot.clone(), 1..4), any::<bool>())
            .prop_map(|(slots, writable)| Step::Map { slots, writable }),
        3 => (0..4_usize).prop_map(|which| Step::Unmap { which }),
        3 => slot.clone().prop_map(|slot| Step::Bind { slot }),
        1 => slot.clone().prop_map(|slot| Step::Unbind { slot }),
        4 => slot.clone().prop_map(|slot| Step::GuestNotify { slot }),
        2 => slot.clone().prop_map(|slot| Step::HostNotify { slot }),
        4 => Just(Step::Take),
        4 => slot.clone().prop_map(|slot| Step::Unmask { slot }),
        2 => slot.prop_map(|slot| Step::GuestTakes { slot }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Destroy),
    ]
}

/// One channel as the model sees it.
#[derive(Clone, Copy, Default)]
struct Channel {
    local: Option<Port>,
    queued: bool,
    masked: bool,
    pending: bool,
    guest: bool,
}

impl Channel {
    fn fire(&mut self) {
        if self.masked {
            self.pending = true;
        } else {
            (self.masked, self.queued) = (true, true);
        }
    }
}

struct Grant {
    gref: GrantRef,
    writable: bool,
    mapped: usize,
}

struct World {
    machine: Machine,
    guest: LoopGuest,
    devices: Box<dyn Devices>,
    pages: Vec<vesper_grant::loopback::GuestPage>,
    ports: Vec<Port>,
    grants: BTreeMap<usize, Grant>,
    mappings: Vec<(Mapping, Vec<usize>)>,
    channels: [Channel; SLOTS],
    /// Grants mapped by the devices open now; the counters belong to them.
    mapped_here: u64,
    mapped_before: Vec<bool>,
    alive: bool,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new();
        let guest = machine.add_guest(ID, [1; 16]);
        let pages: Vec<_> = (0..SLOTS).map(|_| guest.alloc_page()).collect();
        for (slot, page) in pages.iter().enumerate() {
            page.write(0, &[slot as u8 + 1]);
        }
        let ports = (0..SLOTS).map(|_| guest.alloc_unbound()).collect();
        Self {
            devices: machine.open(ID).unwrap(),
            machine,
            guest,
            pages,
            ports,
            grants: BTreeMap::new(),
            mappings: Vec::new(),
            channels: [Channel::default(); SLOTS],
            mapped_here: 0,
            mapped_before: Vec::new(),
            alive: true,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Grant { slot, writable } => {
                if let std::collections::btree_map::Entry::Vacant(place) = self.grants.entry(slot) {
                    let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
                    let gref = self.guest.grant(&self.pages[slot], access);
                    if self.alive {
                        place.insert(Grant { gref, writable, mapped: 0 });
                    }
                }
            }
            Step::End { slot } => {
                if let Some(grant) = self.grants.get(&slot) {
                    assert_eq!(self.guest.end_access(grant.gref).is_ok(), grant.mapped == 0);
                    if grant.mapped == 0 {
                        self.grants.remove(&slot);
                    }
                }
            }
            Step::Map { slots, writable } => self.map(slots, writable),
            Step::Unmap { which } => {
                if which < self.mappings.len() {
                    let (mapping, slots) = self.mappings.swap_remove(which);
                    if !self.mapped_before.swap_remove(which) {
                        self.mapped_here -= slots.len() as u64;
                    }
                    drop(mapping);
                    for slot in slots {
                        if let Some(grant) = self.grants.get_mut(&slot) {
                            grant.mapped -= 1;
                        }
                    }
                }
            }
            Step::Bind { slot } => {
                let bound = self.devices.bind(self.ports[slot]);
                let free = self.alive && self.channels[slot].local.is_none();
                assert_eq!(bound.is_ok(), free);
                if let Ok(local) = bound {
                    let guest = self.channels[slot].guest;
                    self.channels[slot] = Channel { local: Some(local), guest, ..Channel::default() };
                    self.channels[slot].fire();
                }
            }
            Step::Unbind { slot } => {
                if let Some(local) = self.channels[slot].local {
                    self.devices.unbind(local).unwrap();
                    self.channels[slot] = Channel { guest: self.channels[slot].guest, ..Channel::default() };
                }
            }
            Step::GuestNotify { slot } => {
                self.guest.notify(self.ports[slot]);
                if self.alive && self.channels[slot].local.is_some() {
                    self.channels[slot].fire();
                }
            }
            Step::HostNotify { slot } => {
                if let Some(local) = self.channels[slot].local {
                    self.devices.notify(local).unwrap();
                    self.channels[slot].guest |= self.alive;
                }
            }
            Step::Take => {
                let taken: BTreeSet<Port> = self.devices.pending().unwrap().into_iter().collect();
                let expected = self.channels.iter().filter(|c| c.queued).map(|c| c.local.unwrap()).collect();
                assert_eq!(taken, expected);
                self.channels.iter_mut().for_each(|channel| channel.queued = false);
            }
            Step::Unmask { slot } => {
                let channel = &mut self.channels[slot];
                // Only what was taken: the device would report a port twice otherwise, as the real one.
                if let Some(local) = channel.local
                    && !channel.queued
                {
                    self.devices.unmask(local).unwrap();
                    channel.masked = false;
                    if std::mem::take(&mut channel.pending) {
                        channel.fire();
                    }
                }
            }
            Step::GuestTakes { slot } => {
                let came = self.guest.wait(self.ports[slot], Duration::ZERO);
                assert_eq!(came, self.alive && std::mem::take(&mut self.channels[slot].guest));
            }
            Step::Reopen => {
                if self.alive {
                    self.devices = self.machine.open(ID).unwrap();
                    self.mapped_here = 0;
                    self.mapped_before.fill(true);
                    for channel in &mut self.channels {
                        *channel = Channel { guest: channel.guest, ..Channel::default() };
                    }
                }
            }
            Step::Destroy => {
                self.machine.destroy(ID);
                self.alive = false;
                self.grants.clear();
            }
        }
    }

    fn map(&mut self, slots: Vec<usize>, writable: bool) {
        let refs: Vec<_> = slots
            .iter()
            .map(|slot| self.grants.get(slot).map_or(GrantRef(u32::MAX), |grant| grant.gref))
            .collect();
        let allowed = slots.iter().all(|slot| self.grants.get(slot).is_some_and(|g| g.writable || !writable));
        let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
        let mapped = self.devices.map(&refs, access);
        assert_eq!(mapped.is_ok(), allowed && self.alive);
        if let Ok(mapping) = mapped {
            self.mapped_here += slots.len() as u64;
            for slot in &slots {
                self.grants.get_mut(slot).unwrap().mapped += 1;
            }
            self.mappings.push((mapping, slots));
            self.mapped_before.push(false);
        }
    }

    fn check(&self) {
        let counters = self.devices.counters();
        assert_eq!(counters.grants_mapped, self.mapped_here);
        assert_eq!(counters.ports_bound, self.channels.iter().filter(|c| c.local.is_some()).count() as u64);
        assert_eq!(self.guest.active_grants(), self.grants.len());
        let shown = self.machine.domain(ID).unwrap().map(|domain| domain.dying);
        let expected = if self.alive { Some(false) } else { (!self.mappings.is_empty()).then_some(true) };
        assert_eq!(shown, expected);
        for (mapping, slots) in &self.mappings {
            for (at, slot) in slots.iter().enumerate() {
                // SAFETY: the first byte of a page inside the mapping, which lives.
                assert_eq!(unsafe { mapping.as_ptr().add(at * PAGE_SIZE).read_volatile() }, *slot as u8 + 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_sequence_agrees_with_the_model(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
            world.check();
        }
        for which in (0..world.mappings.len()).rev() {
            world.run(Step::Unmap { which });
        }
        for slot in 0..SLOTS {
            world.run(Step::Unbind { slot });
        }
        world.check();
        let counters = world.devices.counters();
        prop_assert_eq!((counters.grants_mapped, counters.ports_bound, counters.unmap_failures), (0, 0, 0));
    }
}

#[test]
fn threads_that_map_notify_and_destroy_leave_nothing() {
    for round in 0..20 {
        let machine = Machine::new();
        let guest = machine.add_guest(ID, [1; 16]);
        let devices = machine.open(ID).unwrap();
        let pages: Vec<_> = (0..8).map(|_| guest.alloc_page()).collect();
        let refs: Vec<_> = pages.iter().map(|page| guest.grant(page, Access::ReadWrite)).collect();
        let port = guest.alloc_unbound();
        let local = devices.bind(port).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for part in refs.chunks(2) {
                let machine = &machine;
                scope.spawn(move || {
                    let Ok(devices) = machine.open(ID) else { return };
                    for turn in 0..200 {
                        let Ok(mapping) = devices.map(part, Access::ReadWrite) else { break };
                        // Refused once the domain has died; then there is nothing to notify.
                        let _ = mapping.set_unmap_notify(Some(turn), Some(local));
                    }
                    let counters = devices.counters();
                    assert_eq!((counters.grants_mapped, counters.unmap_failures), (0, 0));
                });
            }
            let (guest, over, machine, refs) = (&guest, &over, &machine, &refs);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    guest.notify(port);
                    for gref in refs {
                        if guest.is_alive() && guest.end_access(*gref).is_ok() && guest.is_alive() {
                            guest.grant(&pages[0], Access::ReadWrite);
                        }
                    }
                }
            });
            for turn in 0..200 {
                for port in devices.pending().unwrap() {
                    devices.unmask(port).unwrap();
                }
                if round % 2 == 0 && turn == 100 {
                    machine.destroy(ID);
                }
            }
            over.store(true, SeqCst);
        });
        devices.unbind(local).unwrap();
        assert_eq!(devices.counters().ports_bound, 0);
        machine.destroy(ID);
        assert_eq!(machine.domain(ID).unwrap(), None, "no zombie");
    }
}
