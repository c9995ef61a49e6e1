// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest whose every move is the test's: honest ones in one call, dishonest ones byte by byte.

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_grant::{Access, GrantRef, PAGE_SIZE, Port};
use vesper_ring::FrontRing;
use vesper_ring::wire::loader::{Loaded, Request, Response};
use vesper_ring::wire::{Answer, Asked, CommandId, CommandResult, Fetch, LogPage, Report, bytes_of};
use vesper_xenstore::{MemoryStore, Store, Tx, transaction};

use super::{RawListener, World};

/// What a guest that obeys was told to do.
#[derive(Debug, Default)]
pub struct Seen {
    pub load: bool,
    pub name: String,
    pub data: Vec<u8>,
}

/// A guest driven by hand.
pub struct RawGuest {
    pub guest: LoopGuest,
    /// The guest's view of xenstore.
    pub store: MemoryStore,
    pub ring: Option<FrontRing<Request, Response>>,
    pub page: GuestPage,
    pub ring_ref: GrantRef,
    pub port: Port,
    /// Pages of a window and its directory, and a text page, all granted.
    pub window: Vec<(GuestPage, GrantRef)>,
    pub directory: (GuestPage, GrantRef),
    pub text: (GuestPage, GrantRef),
    /// The last request and its id.
    pub last: Option<Request>,
    next_id: u32,
    /// An answer that was taken but not acted on.
    pub told: Option<Answer>,
    /// Grants beyond those of every guest.
    pub extra: Vec<GrantRef>,
    /// `None`: a frontend without a listener.
    pub listener: Option<RawListener>,
    /// What it publishes as its boot id.
    pub boot_id: String,
    granted: bool,
}

/// Pages of a guest's window: small, so that a transfer takes several.
pub const WINDOW: u32 = 2;

impl RawGuest {
    pub fn new(guest: LoopGuest, store: MemoryStore) -> Self {
        let page = guest.alloc_page();
        let text = guest.alloc_page();
        let directory = guest.alloc_page();
        let none = GrantRef(0);
        Self {
            page,
            ring_ref: none,
            port: Port(0),
            window: (0..WINDOW).map(|_| (guest.alloc_page(), none)).collect(),
            directory: (directory, none),
            text: (text, none),
            guest,
            store,
            ring: None,
            last: None,
            next_id: 1000,
            told: None,
            extra: Vec::new(),
            listener: None,
            boot_id: "00112233445566778899aabbccddeeff".into(),
            granted: false,
        }
    }

    pub fn id(&self) -> u16 {
        self.guest.id().0
    }

    fn path(&self, node: &str) -> String {
        format!("/local/domain/{}/device/vesper/0/{node}", self.id())
    }

    pub fn write(&self, node: &str, value: &str) {
        self.store.write(Tx::NONE, &self.path(node), value.as_bytes()).unwrap();
    }

    pub fn remove(&self, node: &str) {
        self.store.remove(Tx::NONE, &self.path(node)).unwrap();
    }

    /// Sets the state as dom0 does, for a guest whose nodes were taken away.
    pub fn force_state(&self, world: &World, state: u32) {
        world.store.write(Tx::NONE, &self.path("state"), state.to_string().as_bytes()).unwrap();
    }

    pub fn set_state(&self, state: u32) {
        self.write("state", &state.to_string());
    }

    /// Grants a new ring and all else, without telling anyone.
    pub fn prepare(&mut self) {
        self.end_grants();
        self.page = self.guest.alloc_page();
        // SAFETY: a page of this guest's, held as long as the ring; only the ring and the host use it.
        self.ring = Some(unsafe { FrontRing::init(self.page.as_ptr(), PAGE_SIZE) }.unwrap());
        let grant = |page: &GuestPage| self.guest.grant(page, Access::ReadWrite);
        self.ring_ref = grant(&self.page);
        self.directory.1 = grant(&self.directory.0);
        self.text.1 = grant(&self.text.0);
        let guest = &self.guest;
        for (page, gref) in &mut self.window {
            *gref = guest.grant(page, Access::ReadWrite);
        }
        self.port = self.guest.alloc_unbound();
        if let Some(listener) = &mut self.listener {
            listener.prepare(&self.guest);
        }
        self.granted = true;
        (self.last, self.told) = (None, None);
        self.write_directory(&self.window.iter().map(|(_, gref)| gref.0).collect::<Vec<_>>(), 0);
    }

    pub fn write_directory(&self, grants: &[u32], next: u32) {
        let words = std::iter::once(&next).chain(grants);
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        self.directory.0.write(0, &bytes);
    }

    /// Publishes the nodes in one transaction.
    pub fn publish(&self) {
        let put = |tx, node: &str, value: &str| self.store.write(tx, &self.path(node), value.as_bytes());
        transaction(&self.store, |tx| {
            put(tx, "loader-ring-page-order", "0")?;
            put(tx, "loader-ring-ref0", &self.ring_ref.to_string())?;
            put(tx, "loader-event-channel", &self.port.to_string())?;
            put(tx, "version", "1")?;
            put(tx, "kernel-release", "6.1.0-test")?;
            put(tx, "vermagic", "6.1.0-test SMP mod_unload")?;
            put(tx, "boot-id", &self.boot_id)?;
            for (node, value) in self.listener.iter().flat_map(RawListener::nodes) {
                put(tx, &node, &value)?;
            }
            put(tx, "frontend-version", "0.1.0")
        })
        .unwrap();
    }

    /// The handshake up to state 4, and a report of no modules.
    pub fn connect(&mut self, world: &mut World) {
        self.prepare();
        self.publish();
        self.set_state(3);
        world.settle();
        assert_eq!(world.backend_state(self.id()), 4, "{:?}", world.events);
        self.set_state(4);
        world.settle();
        assert_eq!(
            self.ask(world, Asked::Report(Report { gref: 0, entries: 0, more: false })),
            Some(Answer::Done)
        );
    }

    /// Goes away as a driver does that is unloaded.
    pub fn close(&mut self, world: &mut World) {
        self.set_state(5);
        world.settle();
        self.end_grants();
        self.set_state(6);
        world.settle();
    }

    /// Ends every grant; fails if dom0 still maps one.
    pub fn end_grants(&mut self) {
        if !std::mem::take(&mut self.granted) {
            return;
        }
        let grants = [self.ring_ref, self.directory.1, self.text.1];
        let extra = std::mem::take(&mut self.extra);
        for gref in grants.into_iter().chain(self.window.iter().map(|(_, gref)| *gref)).chain(extra) {
            self.guest.end_access(gref).unwrap();
        }
        self.guest.close(self.port);
        self.ring = None;
        if let Some(listener) = &mut self.listener {
            listener.end_grants(&self.guest);
        }
    }

    /// The grants of before are left as they are, mapped or not.
    pub fn forget_grants(&mut self) {
        self.granted = false;
    }

    /// Pushes a request as it is, and kicks.
    pub fn push(&mut self, request: Request) {
        let ring = self.ring.as_mut().expect("a ring");
        ring.push(&request).unwrap();
        self.last = Some(request);
        if ring.publish() {
            self.guest.notify(self.port);
        }
    }

    /// Pushes a request, lets the backend work, and takes the answer if there is one.
    pub fn ask(&mut self, world: &mut World, asked: Asked) -> Option<Answer> {
        self.next_id += 1;
        self.push(asked.request(self.next_id));
        world.settle();
        self.take()
    }

    /// Takes an answer, checked against the last request.
    pub fn take(&mut self) -> Option<Answer> {
        let response = self.ring.as_mut()?.take().unwrap()?;
        Some(response.check(self.last.as_ref().expect("a request")).unwrap())
    }

    /// Asks for work; the answer, if any, is kept in `told`.
    pub fn idle(&mut self, world: &mut World) {
        self.told = self.ask(world, Asked::Dummy(None));
    }

    /// Gives a result and asks for work.
    pub fn result(&mut self, world: &mut World, command: CommandId, status: i32, log: &str) {
        self.text.0.write(0, log.as_bytes());
        let page = LogPage { gref: self.text.1.0, bytes: log.len() as u32, truncated: false };
        let log = (!log.is_empty()).then_some(page);
        self.told = self.ask(world, Asked::Dummy(Some(CommandResult { command, status, nanos: 5_000, log })));
    }

    pub fn report(&mut self, world: &mut World, modules: &[Loaded]) -> Option<Answer> {
        let bytes: Vec<u8> = modules.iter().flat_map(|module| bytes_of(module).to_vec()).collect();
        self.text.0.write(0, &bytes);
        let entries = modules.len() as u32;
        let gref = if entries == 0 { 0 } else { self.text.1.0 };
        self.ask(world, Asked::Report(Report { gref, entries, more: false }))
    }

    pub fn fetch_request(&self, command: CommandId, offset: u64, bytes: u32) -> Asked {
        Asked::Fetch(Fetch { command, directory: self.directory.1.0, pages: WINDOW, bytes, offset })
    }

    /// The command that waits: as answer to the last request, or to one that asks for work.
    pub fn next_command(&mut self, world: &mut World) -> Option<Answer> {
        if let Some(told) = self.told.take().or_else(|| self.take()) {
            return Some(told);
        }
        if self.last.is_none_or(|last| last.op != vesper_ring::wire::loader::DUMMY) {
            self.idle(world);
        }
        self.told.take()
    }

    /// Fetches `total` bytes; `None` if cancelled.
    pub fn fetch_all(&mut self, world: &mut World, command: CommandId, total: u64) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        while (data.len() as u64) < total {
            let bytes = (total - data.len() as u64).min(u64::from(WINDOW) * PAGE_SIZE as u64) as u32;
            let asked = self.fetch_request(command, data.len() as u64, bytes);
            match self.ask(world, asked) {
                Some(Answer::Filled { status: 0, .. }) => {}
                Some(Answer::Cancelled { .. }) => return None,
                other => panic!("{other:?} to a fetch"),
            }
            let mut window = vec![0; WINDOW as usize * PAGE_SIZE];
            for ((page, _), part) in self.window.iter().zip(window.chunks_mut(PAGE_SIZE)) {
                page.read(0, part);
            }
            data.extend(&window[..bytes as usize]);
        }
        Some(data)
    }

    /// Does what it is told, once, and says that it came to `status`. `None` if there was nothing to do.
    pub fn obey(&mut self, world: &mut World, status: i32) -> Option<Seen> {
        let mut seen = Seen::default();
        let command = match self.next_command(world)? {
            Answer::Load { command, name, image_bytes, args_bytes } => {
                (seen.load, seen.name) = (true, name.to_string());
                seen.data = self.fetch_all(world, command, image_bytes + u64::from(args_bytes))?;
                command
            }
            Answer::Unload { command, name } => {
                seen.name = name.to_string();
                let answer = self.ask(world, Asked::Prepared { command, status: 0 });
                assert_eq!(answer, Some(Answer::Proceed { command }));
                command
            }
            other => panic!("{other:?} to a request for work"),
        };
        self.result(world, command, status, "");
        Some(seen)
    }
}
