// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files.

use std::collections::BTreeMap;
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
    Buffer { channel: Arc<Channel>, buffer: usize, reader: Mutex<Reader> },
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
    /// Reads, and takes what it gives.
    pub(crate) fn read(&self, offset: u64, size: usize) -> Read {
        match self {
            Self::Info(text) => {
                let rest = usize::try_from(offset).ok().and_then(|from| text.as_bytes().get(from..));
                let rest = rest.unwrap_or_default();
                Read::Bytes(rest[..rest.len().min(size)].to_vec())
            }
            Self::Buffer { buffer, reader, .. } => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                take(&mut reader, *buffer, size)
            }
        }
    }

    /// Whether a read would not wait.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Info(_) => true,
            Self::Buffer { buffer, reader, .. } => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..TURNS {
                    match reader.next(*buffer) {
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

/// As much as there is, up to `size` bytes. A loss is passed over, as relay does: `info` has the counts.
fn take(reader: &mut Reader, buffer: usize, size: usize) -> Read {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    for _ in 0..TURNS {
        if filled == size {
            break;
        }
        match reader.next(buffer) {
            Next::Data(piece) => {
                // What was written over meanwhile is not handed out; next() tells how much it was.
                if let Ok(count) = piece.copy_to(&mut bytes[filled..]) {
                    reader.advance(&piece, count);
                    filled += count;
                }
            }
            Next::Lost(_) => {}
            Next::End => return read(bytes, filled),
            Next::Nothing => break,
        }
    }
    if filled == 0 { Read::Nothing } else { read(bytes, filled) }
}

fn read(mut bytes: Vec<u8>, filled: usize) -> Read {
    bytes.truncate(filled);
    Read::Bytes(bytes)
}
