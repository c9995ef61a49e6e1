// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams made by hand.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use vesper_stream::Frame;
use vesper_stream::frame::{Clock, Cpu, Data, End, EndReason, Export, Guest, Totals};

/// UUID of the guest.
pub const UUID: &str = "c3b7a1de-0b57-4b5a-9c11-2f8a64e9a001";

/// Its boot id.
pub fn boot() -> String {
    "6f1d4a0b2c9e4f7786aa05d1c3b2e4f1".into()
}

/// A stream of the guest web1.
pub struct Made {
    pub bytes: Vec<u8>,
}

impl Made {
    pub fn new() -> Self {
        let mut made = Self { bytes: Vec::new() };
        made.frame(&Frame::Guest(Guest {
            domid: 3,
            name: "web1".into(),
            uuid: UUID.into(),
            boot_id: Some(boot()),
            kernel: None,
        }));
        made
    }

    pub fn frame(&mut self, frame: &Frame) {
        self.bytes.extend_from_slice(&frame.line());
    }

    pub fn export(&mut self, export: u32, name: &str, schema: &str, cpus: &[Cpu]) {
        let schema = Some(schema.to_owned());
        self.frame(&Frame::Export(Export { schema, ..described(export, name, cpus) }));
    }

    pub fn foreign(&mut self, export: u32, name: &str, cpus: &[Cpu]) {
        self.frame(&Frame::Export(described(export, name, cpus)));
    }

    pub fn clock(&mut self, offset_ns: i64, error_ns: u64) {
        self.frame(&Frame::Clock(Clock { offset_ns, error_ns }));
    }

    pub fn data(&mut self, export: u32, cpu: Cpu, bytes: &[u8]) {
        self.frame(&Frame::Data(Data { export, cpu, bytes: bytes.len(), more: false, unsure: false }));
        self.bytes.extend_from_slice(bytes);
    }

    pub fn end(&mut self, export: u32, cpus: Vec<Totals>, reason: EndReason) {
        self.frame(&Frame::End(End { export, cpus, reason }));
    }
}

fn described(export: u32, name: &str, cpus: &[Cpu]) -> Export {
    let (name, cpus) = (name.into(), cpus.to_vec());
    Export { export, name, subbuf_size: 65536, subbufs: 4, cpus, ..Export::default() }
}

/// A record as the guest writes it.
pub fn record(event: u16, flags: u16, time: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
    let bytes = (24 + payload.len()).next_multiple_of(8);
    let mut out = (bytes as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&event.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&time.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(bytes, 0);
    out
}

/// A text as a payload has it.
pub fn text_field(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}
