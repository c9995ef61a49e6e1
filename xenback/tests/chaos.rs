// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does anything in any order, byte by byte: nothing panics, every accepted command has exactly one
//! outcome, everything is given back, and the guest beside it never notices.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{RawGuest, TIMEOUT, World, load, unload};
use proptest::prelude::*;
use vesper_grant::DomId;
use vesper_ring::wire::bytes_of;
use vesper_ring::wire::loader::Request;
use vesper_xenback::{DeviceState, Event};

#[derive(Clone, Debug)]
enum Step {
    /// A word of the ring's header.
    Header(usize, u32),
    /// A request, written as the next entry and published.
    Ask(Request),
    /// The same, but for the command that the guest was told of last.
    AskForCurrent(Request),
    Kick,
    State(u32),
    Directory(Vec<u32>, u32),
    Text(Vec<u8>),
    Node(usize, String),
    Publish,
    ClosePort,
    /// What an honest guest does.
    Connect,
    Obey(i32),
    /// The operator's doings.
    Load,
    Unload,
    Attach,
    Detach(bool),
    Seconds(u64),
    RestartDaemon,
}

const NODES: [&str; 4] = ["loader-ring-ref0", "loader-event-channel", "version", "loader-ring-page-order"];

/// Mostly small numbers, where the borders are.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..12u32, 2 => 0..5000u32, 1 => any::<u32>()]
}

fn request() -> impl Strategy<Value = Request> {
    let ids = (0..20u16, 0..16u16, 0..4u64, 0..6u64);
    (ids, -20..3i32, number(), number(), number(), number()).prop_map(
        |(ids, status, gref, pages, bytes, offset)| {
            let (op, flags, run, seq) = ids;
            let op = if op < 12 { op % 4 + 1 } else { op };
            Request {
                op,
                flags,
                id: 1,
                run,
                seq,
                status,
                gref,
                pages,
                bytes,
                offset: offset.into(),
                ..Request::default()
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..4usize, number()).prop_map(|(word, value)| Step::Header(word, value)),
        3 => request().prop_map(Step::Ask),
        4 => request().prop_map(Step::AskForCurrent),
        1 => Just(Step::Kick),
        2 => (0..9u32).prop_map(Step::State),
        2 => (proptest::collection::vec(number(), 0..4), 0..2u32).prop_map(|(grefs, next)| Step::Directory(grefs, next)),
        1 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Step::Text),
        1 => (0..NODES.len(), "[0-9]{0,4}").prop_map(|(node, value)| Step::Node(node, value)),
        1 => Just(Step::Publish),
        1 => Just(Step::ClosePort),
        6 => Just(Step::Connect),
        8 => (-1..1i32).prop_map(Step::Obey),
        6 => Just(Step::Load),
        2 => Just(Step::Unload),
        2 => Just(Step::Attach),
        1 => any::<bool>().prop_map(Step::Detach),
        1 => (0..40u64).prop_map(Step::Seconds),
        1 => Just(Step::RestartDaemon),
    ]
}

struct Chaos {
    world: World,
    guest: RawGuest,
    outcomes: BTreeMap<vesper_xenback::action::CommandId, u32>,
    pushed: u32,
}

impl Chaos {
    fn submit(&mut self, command: vesper_xenback::action::Command) {
        let timeout = TIMEOUT + self.world.now.saturating_duration_since(Instant::now());
        if let Ok(id) = self.world.backend.submit(DomId(1), World::uuid(1), command, timeout) {
            assert!(self.outcomes.insert(id, 0).is_none());
        }
    }

    fn ask(&mut self, request: &Request) {
        let at = 64 + 96 * (self.pushed as usize % 32);
        self.guest.page.write(at, bytes_of(request));
        self.pushed = self.pushed.wrapping_add(1);
        self.guest.page.write(0, &self.pushed.to_le_bytes());
        self.guest.guest.notify(self.guest.port);
    }

    /// The ids in the response that was written last, whoever wrote it.
    fn current(&self) -> (u64, u64) {
        let mut bytes = [0; 16];
        self.guest.page.read(64 + 96 * (self.pushed.wrapping_sub(1) as usize % 32) + 8, &mut bytes);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (word(0), word(8))
    }

    /// The opcode of the answer to the last request; `None` if it has none.
    fn answered(&self) -> Option<u16> {
        let (mut produced, mut op) = ([0; 4], [0; 2]);
        self.guest.page.read(8, &mut produced);
        self.guest.page.read(64 + 96 * (self.pushed.wrapping_sub(1) as usize % 32), &mut op);
        (u32::from_le_bytes(produced) == self.pushed).then_some(u16::from_le_bytes(op))
    }

    fn connected(&self) -> bool {
        self.world.device(1) == Some(DeviceState::Connected)
    }

    fn act(&mut self, step: Step) {
        let Self { world, guest, .. } = self;
        match step {
            Step::Header(word, value) => {
                guest.page.write(word * 4, &value.to_le_bytes());
                guest.guest.notify(guest.port);
            }
            Step::Ask(request) => self.ask(&request),
            Step::AskForCurrent(request) => {
                let (run, seq) = self.current();
                self.ask(&Request { run, seq, ..request });
            }
            Step::Kick => guest.guest.notify(guest.port),
            Step::State(state) => guest.force_state(world, state),
            Step::Directory(grefs, next) => guest.write_directory(&grefs, next),
            Step::Text(bytes) => guest.text.0.write(0, &bytes),
            Step::Node(node, value) if world.device(1).is_some() => guest.write(NODES[node], &value),
            Step::Publish if world.device(1).is_some() => guest.publish(),
            Step::Node(..) | Step::Publish => {}
            Step::ClosePort => guest.guest.close(guest.port),
            Step::Connect => {
                // Its driver is loaded anew, whatever was before. The pages of before are leaked, as some are mapped.
                world.backend.attach(DomId(1)).unwrap();
                let handle = world.guest_handle(1);
                *guest = RawGuest::new(handle, vesper_store(world));
                for state in [6, 1] {
                    guest.force_state(world, state);
                    world.settle();
                }
                guest.prepare();
                guest.publish();
                guest.set_state(3);
                world.settle();
                self.pushed = 0;
                self.ask(&Request { op: 3, id: 1, ..Request::default() });
            }
            Step::Obey(status) => {
                if self.connected() && self.answered().is_none() {
                    return; // parked, or damaged
                }
                let directory = self.guest.directory.1.0;
                self.guest.write_directory(&[self.guest.window[0].1.0], 0);
                let mut next = Some(Request { op: 1, id: 3, ..Request::default() });
                while let Some(request) = next.filter(|_| self.connected() && self.pushed < 31) {
                    self.ask(&request);
                    self.world.settle();
                    let (run, seq) = self.current();
                    let told = Request { id: 2, run, seq, ..Request::default() };
                    next = match self.answered() {
                        Some(1) => Some(Request { op: 2, gref: directory, pages: 1, bytes: 5, ..told }),
                        Some(2) => Some(Request { op: 4, ..told }),
                        Some(3 | 6) => Some(Request { op: 1, flags: 1, status, ..told }),
                        Some(4) => Some(Request { op: 1, id: 3, ..Request::default() }),
                        _ => None,
                    };
                }
            }
            Step::Load => self.submit(load("probe", b"elf", "a=")),
            Step::Unload => self.submit(unload("probe")),
            Step::Attach => world.backend.attach(DomId(1)).unwrap(),
            Step::Detach(force) => {
                let _ = world.backend.detach(DomId(1), force);
            }
            Step::Seconds(seconds) => world.pass(Duration::from_secs(seconds)),
            Step::RestartDaemon => {
                // Outcomes of the daemon before are the business of its clients, who see it die.
                world.restart_backend();
                self.collect();
                self.outcomes.clear();
            }
        }
        self.world.settle();
        self.collect();
    }

    fn collect(&mut self) {
        for event in self.world.events.drain(..) {
            if let Event::Finished { id, .. } = event
                && let Some(count) = self.outcomes.get_mut(&id)
            {
                *count += 1;
                assert_eq!(*count, 1, "outcomes of {id}");
            }
        }
    }
}

fn vesper_store(world: &World) -> vesper_xenstore::MemoryStore {
    world.store.as_domain(1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn anything_in_any_order(steps in proptest::collection::vec(step(), 0..40)) {
        let mut world = World::new();
        let mut bystander = world.add_connected(2);
        world.load_works(&mut bystander);
        let guest = world.add_connected(1);
        world.events.clear();
        let mut chaos = Chaos { world, guest, outcomes: BTreeMap::new(), pushed: 1 };
        for step in steps {
            chaos.act(step);
        }
        let Chaos { mut world, mut outcomes, .. } = chaos;
        prop_assert_eq!(world.device(2), Some(DeviceState::Connected));
        // The module may be in: the bystander unloads it first, so that it can show that it works.
        let command = world.submit(2, unload("probe"));
        bystander.obey(&mut world, 0).unwrap();
        prop_assert_eq!(world.outcome(command).result, Ok(()));
        world.load_works(&mut bystander);

        world.pass(TIMEOUT + Duration::from_secs(1));
        for event in world.events.drain(..) {
            if let Event::Finished { id, .. } = event {
                *outcomes.entry(id).or_default() += 1;
            }
        }
        prop_assert!(outcomes.values().all(|count| *count == 1), "{:?}", outcomes);
        let _ = world.backend.detach(DomId(1), true);
        world.pass(Duration::from_secs(6));
        prop_assert_eq!(world.device(1), None);
        let counters = world.info(1).counters;
        prop_assert_eq!((counters.grants_mapped, counters.ports_bound), (0, 0));
    }
}
