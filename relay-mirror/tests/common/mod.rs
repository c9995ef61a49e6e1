// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that can be verified, and a reader that verifies them.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vesper_relay_mirror::writer::{Export, Kick, Refused, WhenFull, Writer};
use vesper_relay_mirror::{Channel, Geometry, Lost, Next, Overwritten, Piece, Reader};

pub const LAG: Duration = Duration::from_secs(10);
/// Bytes of a write beside its payload: length, number, checksum.
pub const FRAME: usize = 16;

pub fn geometry(subbuf_size: u32, subbufs: u32, buffers: u32) -> Geometry {
    Geometry::new(subbuf_size, subbufs, buffers).expect("a geometry that can be")
}

pub fn mirror(geometry: Geometry, export: &Export) -> Arc<Channel> {
    Channel::new(geometry, export.regions(), LAG).expect("memory that is large enough")
}

pub fn no_kick() -> Kick {
    Arc::new(|| {})
}

/// Ends the others also when an assertion has failed.
pub struct SetAtEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A guest's writer that numbers what it writes.
pub struct Source {
    pub writer: Writer,
    /// Writes so far, those that were refused included.
    pub attempts: u64,
    /// Writes that got in.
    pub written: u64,
    pub bytes: u64,
    /// Bytes of each write that got in, by its number.
    pub sizes: Option<BTreeMap<u64, u64>>,
}

impl Source {
    pub fn new(export: &Export, buffer: u32, when_full: WhenFull) -> Self {
        Self::with(export.writer(buffer, when_full, no_kick()))
    }

    pub fn with(writer: Writer) -> Self {
        Self { writer, attempts: 0, written: 0, bytes: 0, sizes: None }
    }

    /// Writes a payload of so many bytes.
    pub fn write(&mut self, payload: usize) -> Result<(), Refused> {
        let number = self.attempts;
        self.attempts += 1;
        let bytes = framed(number, payload);
        self.writer.write(&bytes)?;
        self.written += 1;
        self.bytes += bytes.len() as u64;
        if let Some(sizes) = &mut self.sizes {
            sizes.insert(number, bytes.len() as u64);
        }
        Ok(())
    }

    /// Writes so often; some may be refused.
    pub fn write_some(&mut self, writes: usize, payload: usize) {
        for _ in 0..writes {
            let _ = self.write(payload);
        }
    }

    /// Ends the sub-buffer. Refused, it counts as a write.
    pub fn flush(&mut self) {
        if !self.writer.flush() {
            self.attempts += 1;
        }
    }
}

fn framed(number: u64, payload: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME + payload);
    bytes.extend_from_slice(&(payload as u32).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend((0..payload).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at) as u8));
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What one reader got of one buffer.
#[derive(Debug, Default)]
pub struct Sink {
    pub writes: u64,
    pub bytes: u64,
    pub lost: Lost,
    /// Number of the last write.
    pub last: Option<u64>,
    /// Lost since the last write.
    pub gap: Lost,
    /// Pieces that could not be read whole.
    pub torn: u64,
    pub ended: bool,
    /// Each write, and what was told as lost before it.
    pub got: Option<Vec<(u64, Lost)>>,
}

impl Sink {
    /// Takes what comes next. False: nothing did.
    pub fn turn(&mut self, reader: &mut Reader, buffer: usize) -> bool {
        match reader.next(buffer) {
            Next::Data(piece) => {
                let mut bytes = Vec::new();
                match piece.append_to(&mut bytes) {
                    Ok(()) => {
                        self.take(&bytes);
                        reader.advance(&piece, bytes.len());
                    }
                    Err(Overwritten) => self.torn += 1,
                }
                true
            }
            Next::Lost(lost) => {
                assert_ne!(lost, Lost::default(), "a loss of nothing");
                add(&mut self.lost, lost);
                add(&mut self.gap, lost);
                true
            }
            Next::Nothing => false,
            Next::End => {
                self.ended = true;
                false
            }
        }
    }

    /// Takes all that is there.
    pub fn drain(&mut self, reader: &mut Reader, buffer: usize) {
        while self.turn(reader, buffer) {}
    }

    /// Bytes that begin and end where writes do.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let payload = u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes")) as usize;
            let number = u64::from_le_bytes(bytes[4..12].try_into().expect("8 bytes"));
            let (write, rest) = bytes.split_at(payload + FRAME);
            let (content, sum) = write.split_at(payload + FRAME - 4);
            assert_eq!(checksum(content).to_le_bytes(), sum, "write {number} is torn");
            assert!(self.last.is_none_or(|last| last < number), "{number} comes after {:?}", self.last);
            if let Some(got) = &mut self.got {
                got.push((number, self.gap));
            }
            self.gap = Lost::default();
            self.last = Some(number);
            self.writes += 1;
            self.bytes += write.len() as u64;
            bytes = rest;
        }
    }
}

fn add(to: &mut Lost, lost: Lost) {
    to.sub_buffers += lost.sub_buffers;
    to.bytes += lost.bytes;
    to.writes += lost.writes;
}

/// The next piece, which must be there.
pub fn piece(reader: &mut Reader, buffer: usize) -> Piece {
    match reader.next(buffer) {
        Next::Data(piece) => piece,
        other => panic!("{other:?} instead of data"),
    }
}

/// The next loss, which must be there.
pub fn lost(reader: &mut Reader, buffer: usize) -> Lost {
    match reader.next(buffer) {
        Next::Lost(lost) => lost,
        other => panic!("{other:?} instead of a loss"),
    }
}
