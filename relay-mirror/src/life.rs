// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a channel is mapped, extended, left and mapped again; how readers come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::channel::{Inner, Slot, Which};
use crate::memory::Mapped;
use crate::signal::Signal;
use crate::sync::{AtomicU64, RwLock};
use crate::{BadRegions, Channel, Geometry, Reader, Regions, Start};

impl Channel {
    /// The channel that is mapped in `regions`; these are its first part. What was consumed goes on from what the
    /// `consumed` page says. For `lag_limit` see [`tick`](Self::tick).
    ///
    /// # Errors
    ///
    /// Memory that is too small for this geometry.
    pub fn new(geometry: Geometry, regions: Regions, lag_limit: Duration) -> Result<Arc<Self>, BadRegions> {
        let inner = Inner {
            closed: false,
            buffers: Vec::new(),
            parts: Vec::new(),
            readers: BTreeMap::new(),
            last_reader: 0,
        };
        let (signal, copied) = (Signal::new(), AtomicU64::new(0));
        let channel = Self { geometry, lag_limit, inner: RwLock::new(inner), signal, copied };
        channel.add_part(geometry, regions)?;
        Ok(Arc::new(channel))
    }

    /// Adds a part: buffers of CPUs that came later, numbered on. Readers of all buffers read them too, from their oldest
    /// sub-buffer. Returns the number of its first buffer.
    ///
    /// # Errors
    ///
    /// Memory that is too small for this geometry, or sub-buffers unlike those of the channel.
    pub fn add_part(&self, geometry: Geometry, regions: Regions) -> Result<usize, BadRegions> {
        let (subbuf_size, subbufs) = (geometry.subbuf_size(), geometry.subbufs());
        if (subbuf_size, subbufs) != (self.geometry.subbuf_size(), self.geometry.subbufs()) {
            return Err(BadRegions::Unlike { subbuf_size, subbufs });
        }
        regions.check(&geometry)?;
        let mut guard = self.write();
        let inner = &mut *guard;
        let first = inner.buffers.len();
        inner.parts.push((geometry, first));
        for mapped in Mapped::all(&geometry, regions) {
            let mut buffer = Buffer::new(geometry, &mapped);
            for (&id, which) in inner.readers.iter().filter(|(_, which)| which.only.is_none()) {
                buffer.add_cursor(id, Start::Oldest, which.holds, Some(&mapped));
            }
            inner.buffers.push(Slot::new(mapped, buffer));
        }
        drop(guard);
        self.signal.raise();
        Ok(first)
    }

    /// Ends the channel and unmaps at once. What readers have not read yet is first copied into private memory (at most
    /// the channel's size); they read that, then get [`Next::End`](crate::Next::End). New ones get that at once.
    pub fn close(&self) {
        self.leave(true);
    }

    /// Unmaps at once as [`close`](Self::close) does, for a connection that is lost and may come back: after their
    /// private copy readers get [`Next::Nothing`](crate::Next::Nothing).
    pub fn suspend(&self) {
        self.leave(false);
    }

    fn leave(&self, close: bool) {
        let mut inner = self.write();
        inner.closed |= close;
        let mut unmapped = Vec::new();
        for slot in &mut inner.buffers {
            let (mapped, buffer) = slot.parts();
            if let Some(at) = mapped.take() {
                self.copied.fetch_add(buffer.keep(&at), Ordering::Relaxed);
                unmapped.push(at);
            }
        }
        drop(inner);
        drop(unmapped);
        self.signal.raise();
    }

    /// Maps one part of a suspended channel again, the first being 0. Readers go on where they are. Of a closed channel the
    /// memory is only given back.
    ///
    /// # Errors
    ///
    /// Memory that is too small. Nothing is changed then.
    ///
    /// # Panics
    ///
    /// If there is no such part, or it is mapped.
    pub fn resume(&self, part: usize, regions: Regions) -> Result<(), BadRegions> {
        let mut inner = self.write();
        let (geometry, first) = inner.parts[part];
        regions.check(&geometry)?;
        if inner.closed {
            return Ok(());
        }
        for (slot, at) in inner.buffers[first..].iter_mut().zip(Mapped::all(&geometry, regions)) {
            let (mapped, buffer) = slot.parts();
            assert!(mapped.is_none(), "part {part} is mapped already");
            buffer.look(&at);
            *mapped = Some(at);
        }
        drop(inner);
        self.signal.raise();
        Ok(())
    }

    pub(crate) fn add_reader(self: &Arc<Self>, which: Which, start: Start) -> Reader {
        let mut inner = self.write();
        inner.last_reader += 1;
        let id = inner.last_reader;
        inner.readers.insert(id, which);
        for (number, slot) in inner.buffers.iter_mut().enumerate() {
            if which.only.is_none_or(|only| only == number) {
                let (mapped, buffer) = slot.parts();
                buffer.add_cursor(id, start, which.holds, mapped.as_ref());
            }
        }
        drop(inner);
        Reader::new(Arc::clone(self), id)
    }

    pub(crate) fn remove_reader(&self, id: u64) {
        let mut inner = self.write();
        inner.readers.remove(&id);
        for slot in &mut inner.buffers {
            let (mapped, buffer) = slot.parts();
            let Some(gone) = buffer.cursors.iter().position(|cursor| cursor.id == id) else { continue };
            buffer.cursors.swap_remove(gone);
            buffer.release_kept();
            if let Some(at) = mapped {
                buffer.look(at);
                buffer.ask(at);
            }
        }
    }
}
