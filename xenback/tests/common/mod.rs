// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine in this process with a backend and guests that are driven by hand, step by step and in one thread.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part of it")]

mod guest;
mod listener;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use guest::RawGuest;
pub use listener::{RECORD, RawExport, RawListener, drain, lines, write_lines};
use vesper_grant::DomId;
use vesper_grant::loopback::{LoopGuest, Machine};
use vesper_xenback::action::{Command, CommandId, ModuleName, Outcome};
use vesper_xenback::{Backend, DeviceState, Event, GuestInfo, Limits, Uuid};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx};

pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The machine, dom0's view of it, and the clock.
pub struct World {
    pub machine: Machine,
    pub store: Arc<MemoryStore>,
    pub backend: Backend,
    /// Time that the backend is told; it begins at the real time, which `submit` uses.
    pub now: Instant,
    /// Everything that happened.
    pub events: Vec<Event>,
    handles: Vec<LoopGuest>,
}

impl World {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let machine = Machine::new();
        let store = Arc::new(MemoryStore::new().unwrap());
        let backend = Backend::new(Arc::new(machine.clone()), store.clone(), limits).unwrap();
        let mut world =
            Self { machine, store, backend, now: Instant::now(), events: Vec::new(), handles: Vec::new() };
        world.settle();
        world
    }

    /// Another backend in the place of this one, which is dropped first.
    pub fn restart_backend(&mut self) {
        let spare = Arc::new(MemoryStore::new().unwrap());
        self.backend = Backend::new(Arc::new(Machine::new()), spare, Limits::default()).unwrap();
        self.backend =
            Backend::new(Arc::new(self.machine.clone()), self.store.clone(), Limits::default()).unwrap();
        self.settle();
    }

    pub fn uuid(id: u16) -> Uuid {
        let mut uuid = [0xab; 16];
        uuid[14..].copy_from_slice(&id.to_be_bytes());
        Uuid(uuid)
    }

    /// A guest that runs, with no device.
    pub fn add_guest(&mut self, id: u16) -> RawGuest {
        let guest = self.machine.add_guest(DomId(id), Self::uuid(id).0);
        let home = format!("/local/domain/{id}");
        self.store.mkdir(Tx::NONE, &home).unwrap();
        self.store.set_perms(Tx::NONE, &home, &[Perm::none(0), Perm::read(id)]).unwrap();
        self.store.write(Tx::NONE, &format!("{home}/name"), format!("guest{id}").as_bytes()).unwrap();
        self.store.introduce(id);
        self.handles.push(guest.clone());
        let guest = RawGuest::new(guest, self.store.as_domain(id).unwrap());
        self.settle();
        guest
    }

    /// The guest's own side once more.
    pub fn guest_handle(&self, id: u16) -> LoopGuest {
        self.handles.iter().find(|guest| guest.id() == DomId(id)).expect("a guest").clone()
    }

    /// A guest that is attached and connected and has reported that it has no modules.
    pub fn add_connected(&mut self, id: u16) -> RawGuest {
        let mut guest = self.add_guest(id);
        self.backend.attach(DomId(id)).unwrap();
        self.settle();
        guest.connect(self);
        assert_eq!(self.device(id), Some(DeviceState::Connected));
        guest
    }

    /// The same with a listener.
    pub fn add_listening(&mut self, id: u16) -> RawGuest {
        let mut guest = self.add_guest(id);
        guest.listener = Some(RawListener::new(&guest.guest));
        self.backend.attach(DomId(id)).unwrap();
        self.settle();
        guest.connect(self);
        assert_eq!(self.device(id), Some(DeviceState::Connected));
        guest
    }

    /// Lets the backend work until it has nothing left to do.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.events.extend(self.backend.run(self.now));
            if !self.is_ready() {
                return;
            }
        }
        panic!("the backend never comes to rest");
    }

    /// Whether the backend's descriptor is readable.
    pub fn is_ready(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.backend.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
    }

    /// Lets time pass, as its user would: from deadline to deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.backend.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    pub fn info(&self, id: u16) -> GuestInfo {
        self.backend.guest(DomId(id)).expect("the guest is known")
    }

    pub fn device(&self, id: u16) -> Option<DeviceState> {
        self.info(id).device
    }

    /// The number in the backend's node `state`; 0 if there is none.
    pub fn backend_state(&self, id: u16) -> u32 {
        let path = format!("/local/domain/0/backend/vesper/{id}/0/state");
        vesper_xenstore::read_u32_or(&*self.store, Tx::NONE, &path, 0..=9, 0).unwrap()
    }

    pub fn submit(&mut self, id: u16, command: Command) -> CommandId {
        // The backend counts from the real time; this clock may be ahead of it.
        let timeout = TIMEOUT + self.now.saturating_duration_since(Instant::now());
        let id = self.backend.submit(DomId(id), Self::uuid(id), command, timeout).unwrap();
        self.settle();
        id
    }

    /// The outcome of a command, taken out of the events.
    pub fn outcome(&mut self, wanted: CommandId) -> Outcome {
        let mut found = Vec::new();
        self.events.retain(|event| match event {
            Event::Finished { id, outcome, .. } if *id == wanted => {
                found.push(outcome.clone());
                false
            }
            _ => true,
        });
        assert_eq!(found.len(), 1, "outcomes of {wanted} (other events: {:?})", self.events);
        found.pop().unwrap()
    }

    /// Whether the command has an outcome.
    pub fn is_finished(&self, wanted: CommandId) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Finished { id, .. } if *id == wanted))
    }

    /// Loads a module into a guest that does as it is told, and checks that it got what was sent.
    pub fn load_works(&mut self, guest: &mut RawGuest) {
        let image: Vec<u8> = (0..10_000u32).map(|n| (n ^ u32::from(guest.id())) as u8).collect();
        let command = self.submit(guest.id(), load("probe", &image, "a=1"));
        let seen = guest.obey(self, 0).expect("a command");
        assert_eq!(seen.data, [&image[..], b"a=1"].concat());
        assert_eq!(self.outcome(command).result, Ok(()));
    }

    /// Everything that a guest's device held is given back.
    pub fn assert_nothing_held(&self, guest: &RawGuest) {
        assert_eq!(guest.guest.active_grants(), 0, "grants of guest {}", guest.id());
        if let Some(info) = self.backend.guest(DomId(guest.id())) {
            assert_eq!((info.counters.grants_mapped, info.counters.ports_bound), (0, 0));
        }
    }
}

pub fn name(name: &str) -> ModuleName {
    ModuleName::new(name).unwrap()
}

pub fn load(module: &str, image: &[u8], args: &str) -> Command {
    Command::Load { name: name(module), image: image.into(), args: args.as_bytes().into() }
}

pub fn unload(module: &str) -> Command {
    Command::Unload { name: name(module) }
}

/// Descriptors of this process.
pub fn open_descriptors() -> usize {
    let dir =
        nix::dir::Dir::open("/proc/self/fd", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty());
    let mut dir = dir.unwrap();
    let own = dir.as_raw_fd();
    assert!(own >= 0);
    dir.iter().count() - 1
}
