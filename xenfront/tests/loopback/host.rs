// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's end of the listener: maps what it is offered, and reads it with the real mirror.

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use vesper_grant::{Access, Devices, DomId, GrantRef, Host, Mapping, Port};
use vesper_relay_mirror::{Channel, Lost, Next, Reader, Region, Regions, Start};
use vesper_ring::BackRing;
use vesper_ring::wire::listener::{
    Answer, Asked, Chain, Descriptor, Export, ExportInfo, Request, Response, WORDS,
};
use vesper_ring::wire::{PAGE_SIZE, from_bytes};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};
use vesper_xenstore::{Store, Tx};

use crate::bench::{BACK, Bench, until};

/// One connection.
pub struct Ear {
    pub devices: Box<dyn Devices>,
    _ring_page: Mapping,
    ring: BackRing<Request, Response>,
    pub port: Port,
    open_id: u32,
    /// Exchanges of TIME so far: sent, and the stamps of the one before.
    pub times: Vec<(u64, u64, u64)>,
    pub heartbeat: Mapping,
    pub words: Mapping,
}

/// An export as the host has it.
pub struct Mirror {
    pub info: Descriptor,
    pub schema: String,
    pub channel: Arc<Channel>,
}

struct Mapped(Mapping);

// SAFETY: the mapping stays as it is while this is there; nobody makes a reference to its bytes.
unsafe impl Region for Mapped {
    fn start(&self) -> NonNull<u8> {
        self.0.as_ptr()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl Bench {
    pub fn feature(&self, name: &str, value: u32) {
        self.store.write(Tx::NONE, &format!("{BACK}/{name}"), value.to_string().as_bytes()).unwrap();
    }

    /// Connects as a backend that has a listener.
    pub fn listen(&self) -> Ear {
        self.feature("feature-listener", 1);
        self.set_state(2);
        self.wait_front(3);
        let devices = self.machine.open(DomId(5)).unwrap();
        let map = |names: &[String], access| {
            let refs: Vec<_> = names.iter().map(|name| GrantRef(self.number(name))).collect();
            devices.map(&refs, access).unwrap()
        };
        let page = map(&["listener-ring-ref0".into()], Access::ReadWrite);
        let heartbeat = map(&["listener-heartbeat-ref".into()], Access::ReadOnly);
        let words: Vec<_> = (0..WORDS).map(|place| format!("listener-words-ref{place}")).collect();
        let words = map(&words, Access::ReadOnly);
        let port = devices.bind(Port(self.number("listener-event-channel"))).unwrap();
        // SAFETY: the mapping is kept beside the ring.
        let ring = unsafe { BackRing::attach(page.as_ptr(), PAGE_SIZE) }.unwrap();
        self.set_state(4);
        self.wait_front(4);
        Ear { devices, _ring_page: page, ring, port, open_id: 0, times: Vec::new(), heartbeat, words }
    }
}

impl Ear {
    /// The next question, if there is one; exchanges of TIME are answered by the way.
    pub fn try_asked(&mut self) -> Option<Asked> {
        loop {
            let Some(request) = self.ring.take().unwrap() else {
                if self.ring.final_check().unwrap() {
                    continue;
                }
                return None;
            };
            self.open_id = request.id;
            match request.check().unwrap() {
                Asked::Time { sent, prev_sent, prev_got } => {
                    self.times.push((sent, prev_sent, prev_got));
                    self.answer(&Answer::TimeIs { got: 1, sent: 2 });
                }
                asked => return Some(asked),
            }
        }
    }

    pub fn asked(&mut self) -> Asked {
        until("a question", || self.try_asked())
    }

    /// Answers all exchanges of TIME that a connection begins with; nothing else is asked meanwhile.
    pub fn hear_time(&mut self) {
        until("eight exchanges of TIME", || {
            assert_eq!(self.try_asked(), None);
            (self.times.len() == 8).then_some(())
        });
    }

    /// Takes the question without looking at it, TIME or not.
    pub fn any(&mut self) {
        self.open_id = until("any question", || self.ring.take().unwrap()).id;
    }

    pub fn answer(&mut self, answer: &Answer) {
        self.ring.push(&answer.response(self.open_id)).unwrap();
        if self.ring.publish() {
            self.devices.notify(self.port).unwrap();
        }
    }

    pub fn done(&mut self, status: i32) {
        self.answer(&Answer::Done { status });
    }

    /// The EXPORT that is to come next.
    pub fn offer(&mut self) -> Export {
        match self.asked() {
            Asked::Export(export) => export,
            other => panic!("no EXPORT but {other:?}"),
        }
    }

    /// Maps what is offered, as a daemon does.
    pub fn map(&self, export: &Export) -> (Descriptor, String, Regions) {
        let mut page = [0; PAGE_SIZE];
        self.devices.copy_from_guest(GrantRef(export.gref), 0, &mut page).unwrap();
        let info = from_bytes::<ExportInfo>(&page[..size_of::<ExportInfo>()]).unwrap();
        let info = info.check(export).expect("the guest keeps to the protocol");
        let (mut chain, mut refs) = (Chain::new(export), Vec::new());
        while let Some(gref) = chain.page() {
            self.devices.copy_from_guest(GrantRef(gref), 0, &mut page).unwrap();
            refs.extend(chain.list(&page).unwrap().map(GrantRef));
        }
        assert_eq!(refs.len() as u32, info.grants());
        let map = |range: std::ops::Range<usize>, access| self.devices.map(&refs[range], access).unwrap();
        let mut schema = vec![0; info.schema_bytes() as usize];
        for (gref, part) in refs[info.schema()].iter().zip(schema.chunks_mut(PAGE_SIZE)) {
            self.devices.copy_from_guest(*gref, 0, part).unwrap();
        }
        // Only the consumed page may be written: the others refuse.
        for at in 0..refs.len() {
            let writable = self.devices.map(&refs[at..=at], Access::ReadWrite).is_ok();
            assert_eq!(writable, info.consumed().contains(&at), "grant {at}");
        }
        let regions = Regions {
            positions: Box::new(Mapped(map(info.positions(), Access::ReadOnly))),
            consumed: Box::new(Mapped(map(info.consumed(), Access::ReadWrite))),
            data: Box::new(Mapped(map(info.data(), Access::ReadOnly))),
        };
        (info, String::from_utf8(schema).unwrap(), regions)
    }

    /// The EXPORT that comes next, mapped, and answered.
    pub fn take(&mut self) -> (Export, Mirror) {
        let export = self.offer();
        let (info, schema, regions) = self.map(&export);
        let channel = Channel::new(*info.geometry(), regions, Duration::from_secs(60)).unwrap();
        self.done(0);
        (export, Mirror { info, schema, channel })
    }

    /// The guest exports a channel, and this takes it.
    pub fn open(&mut self, front: &LoopFrontend, spec: &ChannelSpec) -> (RelayChannel, Mirror) {
        thread::scope(|scope| {
            let channel = scope.spawn(|| front.relay().export(spec));
            let (export, mirror) = self.take();
            let channel = channel.join().unwrap().unwrap();
            assert_eq!(export.export, channel.number());
            (channel, mirror)
        })
    }

    /// The UNEXPORT that is to come next.
    pub fn leave(&mut self) -> u32 {
        match self.asked() {
            Asked::Unexport { export } => export,
            other => panic!("no UNEXPORT but {other:?}"),
        }
    }

    /// Whether the bell rings within that time; it is unmasked for the next.
    pub fn rung(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.devices.pending().unwrap().contains(&self.port) {
                self.devices.unmask(self.port).unwrap();
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is there to read in a buffer, and what is missing.
pub fn read(reader: &mut Reader, buffer: usize) -> (Vec<u8>, Lost) {
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
            Next::Nothing | Next::End => return (bytes, all),
        }
    }
}

impl Mirror {
    pub fn reader(&self) -> Reader {
        self.channel.reader(Start::Oldest)
    }
}
