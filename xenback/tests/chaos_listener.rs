// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that shares anything in any order, byte by byte, while it is read, restarted and detached: nothing panics,
//! everything is given back, no zombie stays, and the guest beside it is read as ever.

mod common;

use std::time::Duration;

use common::{RawExport, RawGuest, World, drain, lines, write_lines};
use proptest::prelude::*;
use vesper_grant::{DomId, Host};
use vesper_relay_mirror::writer::WhenFull;
use vesper_relay_mirror::{Next, Reader, Start};
use vesper_ring::wire::listener::{Asked, Export, Request};
use vesper_xenback::{DeviceState, Event};

const G: DomId = DomId(1);

#[derive(Clone, Debug)]
enum Step {
    /// A request as it is.
    Push(Request),
    /// An honest export, or a part of one, with some bytes of descriptor or directory changed.
    Share {
        number: u32,
        name: u8,
        cpus: u16,
        part: bool,
        tamper: Option<(bool, usize, u8)>,
    },
    Unshare {
        number: u32,
    },
    /// The grants of what was shared are ended, mapped or not.
    Withdraw,
    Position {
        export: usize,
        word: usize,
        value: u64,
    },
    Words {
        slot: usize,
        state: u32,
        bytes: u32,
        fill: u8,
    },
    Beat(Vec<u64>),
    Kick,
    State(u32),
    Connect,
    NewBoot,
    Read {
        name: u8,
        oldest: bool,
    },
    StopReading,
    Look,
    Seconds(u64),
    Attach,
    Detach,
    RestartDaemon,
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (0..20u64, 0..5000u64).prop_map(|(high, low)| high << 32 | low),
        1 => any::<u64>(),
        1 => (0..64u32).prop_map(|bit| 1 << bit),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let small = || prop_oneof![4 => 0..20u32, 1 => any::<u32>()];
    (0..22u16, 0..3u16, 0..6u32, small(), small(), small(), value()).prop_map(
        |(op, flags, export, gref, directory, grants, sent)| {
            let sent = if op == 19 { sent } else { 0 };
            Request { op, flags, id: 9, export, gref, directory, grants, sent, ..Request::default() }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let tamper = prop::option::weighted(0.3, (any::<bool>(), 0..200usize, any::<u8>()));
    let share = (1..5u32, 0..3u8, 1..8u16, prop::bool::weighted(0.3), tamper);
    prop_oneof![
        2 => request().prop_map(Step::Push),
        10 => share.prop_map(|(number, name, cpus, part, tamper)| Step::Share { number, name, cpus, part, tamper }),
        3 => (1..5u32).prop_map(|number| Step::Unshare { number }),
        1 => Just(Step::Withdraw),
        8 => (0..8usize, 0..40usize, value())
            .prop_map(|(export, word, value)| Step::Position { export, word, value }),
        2 => (0..8usize, 0..4u32, 0..5000u32, any::<u8>())
            .prop_map(|(slot, state, bytes, fill)| Step::Words { slot, state, bytes, fill }),
        1 => prop::collection::vec(any::<u64>(), 0..5).prop_map(Step::Beat),
        3 => Just(Step::Kick),
        2 => (0..9u32).prop_map(Step::State),
        8 => Just(Step::Connect),
        1 => Just(Step::NewBoot),
        3 => (0..3u8, any::<bool>()).prop_map(|(name, oldest)| Step::Read { name, oldest }),
        1 => Just(Step::StopReading),
        1 => Just(Step::Look),
        1 => (0..40u64).prop_map(Step::Seconds),
        2 => Just(Step::Attach),
        1 => Just(Step::Detach),
        1 => Just(Step::RestartDaemon),
    ]
}

struct Chaos {
    world: World,
    guest: RawGuest,
    shared: Vec<RawExport>,
    readers: Vec<Reader>,
}

impl Chaos {
    fn connected(&self) -> bool {
        self.world.device(1) == Some(DeviceState::Connected)
    }

    /// A guest may end what the host still maps; the pages then stay until it does not.
    fn withdraw(&mut self) {
        for mut export in self.shared.drain(..) {
            if !export.is_mapped() {
                export.end();
            }
        }
    }

    fn act(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Push(request) => {
                let listener = self.guest.listener();
                if listener.ring.as_mut().is_some_and(|ring| ring.push(&request).is_ok()) {
                    let _ = listener.ring.as_mut().expect("just used").publish();
                    self.guest.kick_listener();
                }
            }
            Step::Share { number, name, cpus, part, tamper } => {
                let cpus: Vec<u16> = (0..8).filter(|cpu| cpus >> cpu & 1 != 0).collect();
                let name = format!("n{name}");
                let schema = if part { "" } else { "end! x:u8\n" };
                let mut export = RawExport::new(&self.guest, number, &name, (256, 3), &cpus, schema);
                export.part = part;
                let offer: Export = export.grant();
                if let Some((descriptor, at, byte)) = tamper {
                    let page = if descriptor { &export.info } else { &export.directory[0] };
                    page.write(at, &[byte]);
                }
                self.shared.push(export);
                self.act(Step::Push(Asked::Export(offer).request(1)));
            }
            Step::Unshare { number } => self.act(Step::Push(Asked::Unexport { export: number }.request(2))),
            Step::Withdraw => self.withdraw(),
            Step::Position { export, word, value } => {
                if let Some(export) = self.shared.get(export) {
                    export.poke(8 * word, value);
                }
                self.guest.kick_listener();
            }
            Step::Words { slot, state, bytes, fill } => {
                self.guest.listener().say(slot, state, bytes, &[fill; 56], &[fill; 64]);
                self.guest.kick_listener();
            }
            Step::Beat(beats) => self.guest.listener().beat(beats.first().copied().unwrap_or(0), &beats),
            Step::Kick => self.guest.kick_listener(),
            Step::State(state) => {
                if world.device(1).is_some() {
                    self.guest.force_state(world, state);
                }
            }
            Step::Connect => {
                if matches!(world.device(1), Some(DeviceState::Waiting)) {
                    self.guest.try_connect(world);
                }
            }
            Step::NewBoot => self.guest.boot_id = format!("{:032x}", world.events.len()),
            Step::Read { name, oldest } => {
                let start = if oldest { Start::Oldest } else { Start::Now };
                let channel = world.backend.channel(G, &format!("n{name}"));
                self.readers.extend(channel.map(|export| export.channel.reader(start)));
                world.backend.wake(G);
            }
            Step::StopReading => drop(self.readers.pop()),
            Step::Look => drop(world.backend.alive(G)),
            Step::Seconds(seconds) => world.pass(Duration::from_secs(seconds)),
            Step::Attach => drop(world.backend.attach(G)),
            Step::Detach => drop(world.backend.detach(G, true)),
            Step::RestartDaemon => world.restart_backend(),
        }
        self.world.settle();
        for reader in &mut self.readers {
            read(reader);
        }
        self.world.settle();
        if let (true, Some(info)) = (!self.connected(), self.world.backend.guest(G)) {
            assert_eq!((info.counters.grants_mapped, info.counters.ports_bound), (0, 0));
            assert!(self.shared.iter().all(|export| !export.is_mapped()), "unmapped with the connection");
        }
    }
}

/// Takes what there is, a bounded number of times.
fn read(reader: &mut Reader) {
    for buffer in 0..reader.channel().buffers() {
        for _ in 0..20 {
            match reader.next(buffer) {
                Next::Data(piece) => {
                    let mut bytes = Vec::new();
                    assert!(piece.len() <= 256);
                    let _ = piece.append_to(&mut bytes);
                    reader.advance(&piece, piece.len());
                }
                Next::Lost(_) => {}
                Next::Nothing | Next::End => break,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_guest_shares(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut bystander = world.add_listening(2);
        let mut theirs = RawExport::small(&bystander, 1, "n0");
        assert_eq!(bystander.export(&mut world, &mut theirs), 0);
        let mut writer = theirs.writer(0, WhenFull::Refuse, bystander.bell());
        let guest = world.add_listening(1);
        let mut chaos = Chaos { world, guest, shared: Vec::new(), readers: Vec::new() };
        for step in steps {
            chaos.act(step);
        }
        let Chaos { mut world, readers, .. } = chaos;
        world.machine.destroy(G);
        world.store.release(1);
        world.settle();
        prop_assert_eq!(world.machine.domain(G).unwrap(), None, "no zombie, whoever still reads");
        let ended = world.events.iter().filter(|event| matches!(event, Event::GuestEnded { domid: G, .. })).count();
        prop_assert_eq!(ended, 1);
        drop(readers);
        let mut reader = world.backend.channel(DomId(2), "n0").unwrap().channel.reader(Start::Oldest);
        write_lines(&mut writer, "a", 0..10);
        world.settle();
        prop_assert_eq!(drain(&mut reader, 0).0, lines("a", 0..10));
        prop_assert_eq!(world.info(2).counters.connections, 1);
    }
}
