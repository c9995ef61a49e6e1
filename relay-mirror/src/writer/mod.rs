// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's side over plain memory: relay's buffers as `kernel/relay.c` fills them, and the positions as the
//! frontend's callback (`xenfront/kmod/vesper_positions.c`) publishes them, store by store.
//!
//! For tests and benchmarks: an [`Export`] has memory of its own, which each mirror maps anew, so that one that uses memory
//! after unmapping it is found out; a [`Writer`] may also be put over memory that is somebody else's.

mod memory;
mod relay;

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vesper_ring::wire::PAGE_SIZE;
use vesper_ring::wire::listener::{CONSUMED_PAGES, Consumed, Geometry};

use crate::Regions;
use memory::MemoryFile;
pub use relay::{Kick, Refused, WhenFull, Writer};

/// One part of an export, in memory of its own.
pub struct Export {
    geometry: Geometry,
    first: u64,
    memory: Arc<Memory>,
}

struct Memory {
    positions: Arc<MemoryFile>,
    consumed: Arc<MemoryFile>,
    data: Arc<MemoryFile>,
}

impl Export {
    /// Empty buffers whose first sub-buffer has the number `first`: so many were written and consumed before.
    pub fn new(geometry: Geometry, first: u64) -> Self {
        let file = |pages| Arc::new(MemoryFile::new(pages as usize * PAGE_SIZE));
        let (positions, consumed) = (file(geometry.positions_pages()), file(CONSUMED_PAGES));
        let memory = Arc::new(Memory { positions, consumed, data: file(geometry.data_pages()) });
        let export = Self { geometry, first, memory };
        for buffer in 0..geometry.buffers() {
            let found = Consumed { consumed: first as u32, wake: 0 };
            export.word(&export.memory.consumed, buffer as usize * 8).store(found.word(), Ordering::Release);
            drop(export.writer(buffer, WhenFull::Refuse, Arc::new(|| {})));
        }
        export
    }

    /// A writer of one buffer, at its begin. One at a time.
    ///
    /// # Panics
    ///
    /// If there is no such buffer.
    pub fn writer(&self, buffer: u32, when_full: WhenFull, kick: Kick) -> Writer {
        let (positions, consumed, data) =
            (self.memory.positions.start(), self.memory.consumed.start(), self.memory.data.start());
        let hold = Arc::clone(&self.memory);
        // SAFETY: the memory is as large as the geometry needs it, and held.
        unsafe {
            Writer::over(
                &self.geometry,
                buffer,
                self.first,
                [positions, consumed, data],
                hold,
                when_full,
                kick,
            )
        }
    }

    /// What the host maps: unmapped for it when it drops it, while the export's own view stays.
    pub fn regions(&self) -> Regions {
        Regions {
            positions: Box::new(self.memory.positions.share(false)),
            consumed: Box::new(self.memory.consumed.share(true)),
            data: Box::new(self.memory.data.share(false)),
        }
    }

    /// Regions that were handed out and are still mapped.
    pub fn mapped(&self) -> usize {
        let memory = &self.memory;
        [&memory.positions, &memory.consumed, &memory.data].map(|file| file.shared()).iter().sum()
    }

    /// A word of the positions, for a guest that lies. In bytes from their begin.
    ///
    /// # Panics
    ///
    /// If it is not one.
    pub fn position(&self, offset: usize) -> &AtomicU64 {
        self.word(&self.memory.positions, offset)
    }

    /// What the host says of a buffer.
    pub fn consumed(&self, buffer: u32) -> &AtomicU64 {
        self.word(&self.memory.consumed, buffer as usize * 8)
    }

    /// Changes one byte of the data, for a guest that lies.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn scribble(&self, at: usize, byte: u8) {
        assert!(at < self.memory.data.len().get());
        // SAFETY: within the memory.
        unsafe { self.memory.data.start().add(at).write_volatile(byte) };
    }

    fn word<'a>(&self, file: &'a MemoryFile, offset: usize) -> &'a AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= NonZeroUsize::get(file.len()));
        let start: NonNull<u8> = file.start();
        // SAFETY: aligned and within the memory, which is mapped as long as the file is there.
        unsafe { AtomicU64::from_ptr(start.add(offset).as_ptr().cast()) }
    }
}
