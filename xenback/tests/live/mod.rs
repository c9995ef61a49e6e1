// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine in this process whose guests are the real frontend core, in threads; the daemon's loop is the test's.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_grant::DomId;
use vesper_grant::loopback::{LoopGuest, Machine};
use vesper_xenback::action::{Command, CommandId, ModuleName, Outcome};
use vesper_xenback::{Backend, DeviceState, Event, GuestInfo, Limits, Uuid};
use vesper_xenfront::loopback::{FakeKernel, LoopFrontend};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx};

pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a test waits for what must come. Far longer than it takes; only a failure gets there.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub machine: Machine,
    pub store: Arc<MemoryStore>,
    pub backend: Backend,
    pub outcomes: BTreeMap<CommandId, Outcome>,
    pub events: Vec<Event>,
    pub guests: Vec<LoopGuest>,
}

pub fn uuid(id: u16) -> Uuid {
    let mut uuid = [1; 16];
    uuid[14..].copy_from_slice(&id.to_be_bytes());
    Uuid(uuid)
}

pub fn load(module: &str, image: Vec<u8>) -> Command {
    Command::Load { name: ModuleName::new(module).unwrap(), image: image.into(), args: Arc::from(*b"n=1") }
}

pub fn unload(module: &str) -> Command {
    Command::Unload { name: ModuleName::new(module).unwrap() }
}

impl World {
    pub fn new() -> Self {
        let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new().unwrap()));
        let backend = Backend::new(Arc::new(machine.clone()), store.clone(), Limits::default()).unwrap();
        Self { machine, store, backend, outcomes: BTreeMap::new(), events: Vec::new(), guests: Vec::new() }
    }

    pub fn add_guest(&mut self, id: u16) -> LoopFrontend {
        let guest = self.machine.add_guest(DomId(id), uuid(id).0);
        self.guests.push(guest.clone());
        let home = format!("/local/domain/{id}");
        for (path, perms) in [(home.clone(), Perm::read(id)), (format!("{home}/device"), Perm::read(id))] {
            self.store.mkdir(Tx::NONE, &path).unwrap();
            self.store.set_perms(Tx::NONE, &path, &[Perm::none(0), perms]).unwrap();
        }
        self.store.introduce(id);
        LoopFrontend::start(guest, self.store.as_domain(id).unwrap(), FakeKernel::new())
    }

    pub fn add_connected(&mut self, id: u16) -> LoopFrontend {
        let frontend = self.add_guest(id);
        self.attach(id);
        frontend
    }

    pub fn attach(&mut self, id: u16) {
        self.backend.attach(DomId(id)).unwrap();
        self.until("connected", |world| world.device(id) == Some(DeviceState::Connected));
    }

    pub fn detach(&mut self, id: u16) {
        self.backend.detach(DomId(id), true).unwrap();
        self.until("detached", |world| world.device(id).is_none());
    }

    /// The daemon's loop, until something is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if is_so(self) {
                return;
            }
            assert!(Instant::now() < end, "never {what}; events: {:?}", self.events);
        }
    }

    pub fn turn(&mut self) {
        let mut fds = [PollFd::new(self.backend.as_fd(), PollFlags::POLLIN)];
        let wait = self.backend.next_deadline().map_or(Duration::from_millis(20), |deadline| {
            deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(20))
        });
        poll(&mut fds, PollTimeout::try_from(wait).unwrap()).unwrap();
        for event in self.backend.run(Instant::now()) {
            if let Event::Finished { id, outcome, .. } = event {
                assert!(self.outcomes.insert(id, outcome).is_none(), "a second outcome of {id}");
            } else {
                self.events.push(event);
            }
        }
    }

    pub fn info(&self, id: u16) -> GuestInfo {
        self.backend.guest(DomId(id)).unwrap()
    }

    pub fn device(&self, id: u16) -> Option<DeviceState> {
        self.backend.guest(DomId(id)).and_then(|info| info.device)
    }

    pub fn submit(&mut self, id: u16, command: Command, timeout: Duration) -> CommandId {
        self.backend.submit(DomId(id), uuid(id), command, timeout).unwrap()
    }

    pub fn outcome(&mut self, id: CommandId) -> Outcome {
        self.until("finished", |world| world.outcomes.contains_key(&id));
        self.outcomes.remove(&id).unwrap()
    }

    pub fn run(&mut self, id: u16, command: Command) -> Outcome {
        let command = self.submit(id, command, TIMEOUT);
        self.outcome(command)
    }
}

impl World {
    /// Another backend in the place of this one, which is dropped first.
    pub fn restart_backend(&mut self) {
        let spare = Arc::new(MemoryStore::new().unwrap());
        self.backend = Backend::new(Arc::new(Machine::new()), spare, Limits::default()).unwrap();
        self.backend =
            Backend::new(Arc::new(self.machine.clone()), self.store.clone(), Limits::default()).unwrap();
    }
}
