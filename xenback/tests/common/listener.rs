// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's half of a guest that is driven by hand: its ring, its pages, and what it exports.

use std::sync::Arc;

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_grant::{Access, GrantRef, PAGE_SIZE, Port};
use vesper_relay_mirror::writer::{Kick, WhenFull, Writer};
use vesper_relay_mirror::{Lost, Next, Reader};
use vesper_ring::FrontRing;
use vesper_ring::wire::listener::{
    Answer, Asked, Descriptor, Export, ExportName, Geometry, Request, Response, WORDS,
};
use vesper_ring::wire::{Name, bytes_of};

use vesper_xenstore::{Store, Tx};

use super::{RawGuest, World};

/// A record of 32 bytes, by its header.
pub const RECORD: [u8; 32] = {
    let mut record = [0x5a; 32];
    record[0] = 32;
    record[1] = 0;
    record[2] = 0;
    record[3] = 0;
    record
};

/// Ring, heartbeat and last words.
pub struct RawListener {
    pub ring: Option<FrontRing<Request, Response>>,
    pub page: GuestPage,
    pub ring_ref: GrantRef,
    pub port: Port,
    /// The heartbeat, then the places of last words.
    pub pages: Vec<(GuestPage, GrantRef)>,
    pub last: Option<Request>,
    next_id: u32,
}

impl RawListener {
    pub fn new(guest: &LoopGuest) -> Self {
        let none = GrantRef(0);
        Self {
            ring: None,
            page: guest.alloc_page(),
            ring_ref: none,
            port: Port(0),
            pages: (0..1 + WORDS).map(|_| (guest.alloc_page(), none)).collect(),
            last: None,
            next_id: 5000,
        }
    }

    pub fn prepare(&mut self, guest: &LoopGuest) {
        self.page = guest.alloc_page();
        // SAFETY: a page of this guest's, held as long as the ring; only the ring and the host use it.
        self.ring = Some(unsafe { FrontRing::init(self.page.as_ptr(), PAGE_SIZE) }.unwrap());
        self.ring_ref = guest.grant(&self.page, Access::ReadWrite);
        for (page, gref) in &mut self.pages {
            *gref = guest.grant(page, Access::ReadOnly);
        }
        self.port = guest.alloc_unbound();
        self.last = None;
    }

    pub fn nodes(&self) -> Vec<(String, String)> {
        let mut nodes = vec![
            ("listener-ring-ref0".to_owned(), self.ring_ref.to_string()),
            ("listener-event-channel".to_owned(), self.port.to_string()),
            ("listener-heartbeat-ref".to_owned(), self.pages[0].1.to_string()),
        ];
        let words = self.pages[1..].iter().enumerate();
        nodes.extend(words.map(|(slot, (_, gref))| (format!("listener-words-ref{slot}"), gref.to_string())));
        nodes
    }

    pub fn end_grants(&mut self, guest: &LoopGuest) {
        self.ring = None;
        for gref in self.pages.iter().map(|(_, gref)| *gref).chain([self.ring_ref]) {
            guest.end_access(gref).unwrap();
        }
        guest.close(self.port);
    }

    /// Writes last words, as the frontend does.
    pub fn say(&self, slot: usize, state: u32, bytes: u32, name: &[u8], record: &[u8]) {
        let (page, _) = &self.pages[1 + slot];
        page.write(4, &bytes.to_le_bytes());
        page.write(8, name);
        page.write(72, record);
        page.write(0, &state.to_le_bytes());
    }

    /// Writes the heartbeat.
    pub fn beat(&self, period_ns: u64, beats: &[u64]) {
        let (page, _) = &self.pages[0];
        for (vcpu, beat) in beats.iter().enumerate() {
            page.write(8 * vcpu, &beat.to_le_bytes());
        }
        page.write(4032, &period_ns.to_le_bytes());
    }
}

impl RawGuest {
    pub fn listener(&mut self) -> &mut RawListener {
        self.listener.as_mut().expect("a guest with a listener")
    }

    /// Pushes a request onto the listener's ring as it is, and kicks.
    pub fn push_listener(&mut self, request: Request) {
        let listener = self.listener.as_mut().expect("a guest with a listener");
        let ring = listener.ring.as_mut().expect("a ring");
        ring.push(&request).unwrap();
        listener.last = Some(request);
        if ring.publish() {
            self.guest.notify(listener.port);
        }
    }

    /// Asks the listener, lets the backend work, and takes the answer if there is one.
    pub fn ask_listener(&mut self, world: &mut World, asked: Asked) -> Option<Answer> {
        let listener = self.listener();
        listener.next_id += 1;
        let id = listener.next_id;
        self.push_listener(asked.request(id));
        world.settle();
        self.take_listener()
    }

    pub fn take_listener(&mut self) -> Option<Answer> {
        let listener = self.listener();
        let response = listener.ring.as_mut()?.take().unwrap()?;
        Some(response.check(listener.last.as_ref().expect("a request")).unwrap())
    }

    /// The status of an answer to EXPORT or UNEXPORT.
    pub fn status(&mut self, world: &mut World, asked: Asked) -> i32 {
        match self.ask_listener(world, asked) {
            Some(Answer::Done { status }) => status,
            other => panic!("{other:?} to {asked:?}"),
        }
    }

    /// Announces an export; the status.
    pub fn export(&mut self, world: &mut World, export: &mut RawExport) -> i32 {
        let offer = export.grant();
        self.status(world, Asked::Export(offer))
    }

    /// What writers ring.
    pub fn bell(&self) -> Kick {
        let (guest, port) = (self.guest.clone(), self.listener.as_ref().expect("a listener").port);
        Arc::new(move || guest.notify(port))
    }

    pub fn kick_listener(&self) {
        self.guest.notify(self.listener.as_ref().expect("a listener").port);
    }
}

/// An export, or a part of one.
pub struct RawExport {
    pub number: u32,
    pub part: bool,
    pub descriptor: Descriptor,
    pub info: GuestPage,
    pub directory: Vec<GuestPage>,
    positions: Vec<GuestPage>,
    consumed: Vec<GuestPage>,
    schema: Vec<GuestPage>,
    data: Vec<GuestPage>,
    guest: LoopGuest,
    grants: Vec<GrantRef>,
}

impl RawExport {
    pub fn new(
        guest: &RawGuest,
        number: u32,
        name: &str,
        (subbuf_size, subbufs): (u32, u32),
        cpus: &[u16],
        schema: &str,
    ) -> Self {
        let guest = guest.guest.clone();
        let geometry = Geometry::new(subbuf_size, subbufs, cpus.len().max(1) as u32).unwrap();
        let name = ExportName::new(name).unwrap();
        let owner = Some(Name::new("probe").unwrap());
        let descriptor = Descriptor::new(name, owner, geometry, cpus, schema.len() as u32).unwrap();
        let pages = |count: u32| guest.alloc_pages(count as usize);
        let schema_pages = pages((schema.len() as u32).div_ceil(PAGE_SIZE as u32));
        for (page, bytes) in schema_pages.iter().zip(schema.as_bytes().chunks(PAGE_SIZE)) {
            page.write(0, bytes);
        }
        let export = Self {
            number,
            part: false,
            info: guest.alloc_page(),
            directory: pages(descriptor.grants().div_ceil(1023)),
            positions: pages(geometry.positions_pages()),
            consumed: pages(1),
            schema: schema_pages,
            data: pages(geometry.data_pages()),
            descriptor,
            guest,
            grants: Vec::new(),
        };
        export.info.write(0, bytes_of(&export.descriptor.info()));
        export
    }

    /// A small export of one CPU without a schema.
    pub fn small(guest: &RawGuest, number: u32, name: &str) -> Self {
        Self::new(guest, number, name, (4096, 4), &[0], "")
    }

    /// Grants everything, and what is to be announced.
    pub fn grant(&mut self) -> Export {
        assert!(self.grants.is_empty(), "granted already");
        let guest = &self.guest;
        let all = |pages: &[GuestPage], access| -> Vec<GrantRef> {
            pages.iter().map(|page| guest.grant(page, access)).collect()
        };
        let listed = [
            all(&self.positions, Access::ReadOnly),
            all(&self.consumed, Access::ReadWrite),
            all(&self.schema, Access::ReadOnly),
            all(&self.data, Access::ReadOnly),
        ]
        .concat();
        let directory = all(&self.directory, Access::ReadOnly);
        let next = directory.iter().skip(1).copied().chain([GrantRef(0)]);
        for ((page, grants), next) in self.directory.iter().zip(listed.chunks(1023)).zip(next) {
            let words = [next].into_iter().chain(grants.iter().copied());
            page.write(0, &words.flat_map(|gref| gref.0.to_le_bytes()).collect::<Vec<_>>());
        }
        let info = guest.grant(&self.info, Access::ReadOnly);
        let offer = Export {
            export: self.number,
            gref: info.0,
            directory: directory[0].0,
            grants: listed.len() as u32,
            part: self.part,
        };
        self.grants = [listed, directory, vec![info]].concat();
        offer
    }

    /// Whether the host maps any page of it.
    pub fn is_mapped(&self) -> bool {
        self.grants.iter().any(|gref| self.guest.is_mapped(*gref))
    }

    /// Ends every grant; fails if the host still maps one.
    pub fn end(&mut self) {
        for gref in std::mem::take(&mut self.grants) {
            self.guest.end_access(gref).unwrap();
        }
    }

    /// Writes one word of the positions, for a guest that lies.
    pub fn poke(&self, at: usize, word: u64) {
        self.positions[at / PAGE_SIZE].write(at % PAGE_SIZE, &word.to_le_bytes());
    }

    /// What the host said of a buffer: consumed and wake.
    pub fn consumed(&self, buffer: usize) -> u64 {
        let mut word = [0; 8];
        self.consumed[0].read(8 * buffer, &mut word);
        u64::from_le_bytes(word)
    }

    /// A writer at the begin of an empty buffer.
    pub fn writer(&self, buffer: u32, when_full: WhenFull, kick: Kick) -> Writer {
        let start = |pages: &[GuestPage]| pages[0].as_ptr();
        let memory = [start(&self.positions), start(&self.consumed), start(&self.data)];
        let hold: Vec<Vec<GuestPage>> =
            vec![self.positions.clone(), self.consumed.clone(), self.data.clone()];
        // SAFETY: pages in a row, as many as the geometry has, held by the writer; nobody else writes them and nobody makes a
        // reference to them.
        unsafe {
            Writer::over(self.descriptor.geometry(), buffer, 0, memory, Arc::new(hold), when_full, kick)
        }
    }
}

/// Everything that a reader is given of one buffer now: the bytes, and what was lost. True: it has ended.
pub fn drain(reader: &mut Reader, buffer: usize) -> (Vec<u8>, Lost, bool) {
    let (mut bytes, mut all) = (Vec::new(), Lost::default());
    loop {
        match reader.next(buffer) {
            Next::Data(piece) => {
                piece.append_to(&mut bytes).unwrap();
                reader.advance(&piece, piece.len());
            }
            Next::Lost(lost) => {
                all.sub_buffers += lost.sub_buffers;
                all.bytes += lost.bytes;
                all.writes += lost.writes;
            }
            Next::Nothing => return (bytes, all, false),
            Next::End => return (bytes, all, true),
        }
    }
}

/// Lines `PREFIX0`, `PREFIX1` … of 16 bytes each.
pub fn lines(prefix: &str, range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|n| format!("{:<15}\n", format!("{prefix}{n}")).into_bytes()).collect()
}

/// Writes such lines one by one, and shows them as the frontend's timer does.
pub fn write_lines(writer: &mut Writer, prefix: &str, range: std::ops::Range<u32>) {
    for n in range {
        writer.write(&lines(prefix, n..n + 1)).unwrap();
    }
    writer.publish();
}

impl RawExport {
    /// Writes the first of the words that are the host's.
    pub fn scribble_consumed(&self, word: u64) {
        self.consumed[0].write(0, &word.to_le_bytes());
    }
}

impl RawGuest {
    /// The handshake as far as it comes, by a guest that may have done anything before.
    pub fn try_connect(&mut self, world: &mut World) {
        self.forget_grants();
        self.prepare();
        if self.store.read(Tx::NONE, &format!("/local/domain/{}/device/vesper/0/state", self.id())).is_err() {
            return;
        }
        self.publish();
        self.force_state(world, 3);
        world.settle();
        if world.backend_state(self.id()) == 4 {
            self.force_state(world, 4);
            world.settle();
        }
    }
}
