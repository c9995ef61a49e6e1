// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use vesper_relay_mirror::{Channel, Next, Reader};

/// Questions to a reader in one call: a guest whose positions jump must not keep a thread.
const TURNS: u32 = 4096;

/// The open files, by their handle.
#[derive(Default)]
pub(crate) struct Open {
    files: BTreeMap<u64, Arc<File>>,
    next: u64,
}

/// One open file.
pub(crate) enum File {
    /// `info`, as it was when it was opened.
    Info(String),
    /// A buffer.
    Buffer { channel: Arc<Channel>, buffer: usize, place: Mutex<Place> },
}

/// Where a file has been read to.
pub(crate) struct Place {
    reader: Reader,
    /// What the reader has passed and no read has had yet. The reads of a program end anywhere, and in the guest's pages the rest
    /// of a record might be written over before the next one.
    rest: VecDeque<u8>,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes; none at the end of file.
    Bytes(Vec<u8>),
    /// Nothing now.
    Nothing,
}

impl Open {
    pub(crate) fn add(&mut self, file: File) -> u64 {
        self.next += 1;
        self.files.insert(self.next, Arc::new(file));
        self.next
    }

    pub(crate) fn get(&self, handle: u64) -> Option<Arc<File>> {
        self.files.get(&handle).cloned()
    }

    pub(crate) fn remove(&mut self, handle: u64) {
        self.files.remove(&handle);
    }
}

impl File {
    /// A buffer of the channel, read from where the reader is.
    pub(crate) fn buffer(channel: &Arc<Channel>, buffer: usize, reader: Reader) -> Self {
        let place = Mutex::new(Place { reader, rest: VecDeque::new() });
        Self::Buffer { channel: channel.clone(), buffer, place }
    }

    /// Reads, and takes what it gives.
    pub(crate) fn read(&self, offset: u64, size: usize) -> Read {
        match self {
            Self::Info(text) => {
                let rest = usize::try_from(offset).ok().and_then(|from| text.as_bytes().get(from..));
                let rest = rest.unwrap_or_default();
                Read::Bytes(rest[..rest.len().min(size)].to_vec())
            }
            Self::Buffer { buffer, place, .. } => {
                place.lock().unwrap_or_else(PoisonError::into_inner).take(*buffer, size)
            }
        }
    }

    /// Whether a read would not wait.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Info(_) => true,
            Self::Buffer { buffer, place, .. } => {
                let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..TURNS {
                    if !place.rest.is_empty() {
                        return true;
                    }
                    match place.reader.next(*buffer) {
                        // Told once, so the next question gets further.
                        Next::Lost(_) => {}
                        Next::Data(_) | Next::End => return true,
                        Next::Nothing => return false,
                    }
                }
                // So much is lost that there is something to read.
                true
            }
        }
    }
}

impl Place {
    /// As much as there is, up to `size` bytes. A loss is passed over, as relay does: `info` has the counts.
    fn take(&mut self, buffer: usize, size: usize) -> Read {
        let mut bytes = vec![0; size];
        let mut filled = 0;
        for _ in 0..TURNS {
            if !self.rest.is_empty() {
                filled += self.rest.read(&mut bytes[filled..]).expect("memory can be read");
            }
            if filled == size {
                break;
            }
            match self.reader.next(buffer) {
                // What was written over meanwhile is not handed out; next() tells how much it was.
                Next::Data(piece) if piece.len() <= size - filled => {
                    if let Ok(count) = piece.copy_to(&mut bytes[filled..]) {
                        self.reader.advance(&piece, count);
                        filled += count;
                    }
                }
                // The next read may have room for all of it.
                Next::Data(_) if filled > 0 => break,
                Next::Data(piece) => {
                    let mut whole = Vec::new();
                    if piece.append_to(&mut whole).is_ok() {
                        self.reader.advance(&piece, whole.len());
                        self.rest = whole.into();
                    }
                }
                Next::Lost(_) => {}
                Next::End => return read(bytes, filled),
                Next::Nothing => break,
            }
        }
        if filled == 0 { Read::Nothing } else { read(bytes, filled) }
    }
}

fn read(mut bytes: Vec<u8>, filled: usize) -> Read {
    bytes.truncate(filled);
    Read::Bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vesper_relay_mirror::writer::{Export, WhenFull};
    use vesper_relay_mirror::{Geometry, Start};

    use super::*;

    /// Records of 8 bytes, so that a sub-buffer of 64 has 8.
    fn records(range: std::ops::Range<u64>) -> Vec<u8> {
        range.flat_map(u64::to_le_bytes).collect()
    }

    #[test]
    fn a_sub_buffer_that_was_begun_is_read_to_its_end_whatever_the_guest_does_meanwhile() {
        let geometry = Geometry::new(64, 2, 1).expect("a geometry");
        let export = Export::new(geometry, 0);
        let mut writer = export.writer(0, WhenFull::Overwrite, Arc::new(|| {}));
        let channel = Channel::new(geometry, export.regions(), Duration::from_secs(10)).expect("a channel");
        let file = File::buffer(&channel, 0, channel.reader_of(0, Start::Oldest).expect("the buffer"));
        for number in 0_u64..12 {
            writer.write(&number.to_le_bytes()).expect("it overwrites");
        }
        writer.publish();
        assert_eq!(file.read(0, 20), Read::Bytes(records(0..3)[..20].to_vec()));
        for number in 12_u64..40 {
            writer.write(&number.to_le_bytes()).expect("it overwrites");
        }
        writer.publish();
        assert!(file.is_readable());
        let Read::Bytes(bytes) = file.read(20, 1000) else { panic!("nothing") };
        let (rest, next) = bytes.split_at(64 - 20);
        assert_eq!(rest, &records(0..8)[20..]);
        // Behind it something is lost, and what comes begins with a record.
        let first = u64::from_le_bytes(next[..8].try_into().expect("a record"));
        assert!(first > 8 && first % 8 == 0, "{first}");
        assert_eq!(next, records(first..40));
        assert_eq!(file.read(0, 1000), Read::Nothing);
    }
}
