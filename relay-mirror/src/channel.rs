// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mirror of one channel: looking, arming, waiting.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::memory::Mapped;
use crate::signal::Signal;
use crate::sync::{AtomicU64, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::{Geometry, Reader, Start};

/// A guest's relay channel as the host sees it. Every method may be called from any thread.
///
/// The owner's loop, on each kick: [`update`](Self::update), let readers read, [`arm`](Self::arm), and not to sleep while
/// that says that there is more. Readers in other threads go on by themselves and [`wait`](Self::wait) when there is
/// nothing. When they ask for a later kick, the one before it may not come: an owner that itself reads beside them
/// also asks to be [woken](Self::wake_after).
pub struct Channel {
    pub(crate) geometry: Geometry,
    pub(crate) lag_limit: Duration,
    pub(crate) inner: RwLock<Inner>,
    pub(crate) signal: Signal,
    pub(crate) copied: AtomicU64,
}

/// What changes when a channel is mapped, extended or left, or a reader comes or goes. Whoever touches mapped memory holds
/// the lock of it for reading.
pub(crate) struct Inner {
    pub(crate) closed: bool,
    pub(crate) buffers: Vec<Slot>,
    /// Geometry of each part and its first buffer.
    pub(crate) parts: Vec<(Geometry, usize)>,
    pub(crate) readers: BTreeMap<u64, Which>,
    pub(crate) last_reader: u64,
}

/// One buffer, and where it is mapped.
pub(crate) struct Slot {
    pub(crate) mapped: Option<Mapped>,
    state: Mutex<Buffer>,
}

/// What a reader reads.
#[derive(Clone, Copy)]
pub(crate) struct Which {
    /// `None`: all buffers, those to come, too.
    pub(crate) only: Option<usize>,
    /// Whether the guest waits for it.
    pub(crate) holds: bool,
}

/// What [`Channel::update`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// There is something that was not there at the last call: data, refused writes, or the end of a buffer.
    pub moved: bool,
    /// All buffers are final: the guest has closed the channel and writes no more.
    pub ended: bool,
}

/// Where one buffer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStatus {
    /// Sub-buffers that the guest has completed.
    pub produced: u64,
    /// Bytes of the current one that are safe to read.
    pub offset: u32,
    /// Sub-buffers that the host needs no more, as it last told the guest.
    pub consumed: u64,
    /// Writes that the guest refused because the buffer was full, in all.
    pub dropped: u64,
    /// Sequence numbers that `vesper_record` has given out, in all; 0 for modules that write with relay's own functions.
    pub records: u64,
    /// The guest has closed it; nothing above will move any more.
    pub ended: bool,
    /// Values in the guest's pages that no honest guest writes: they were ignored or clamped.
    pub nonsense: u64,
}

impl Slot {
    pub(crate) fn new(mapped: Mapped, state: Buffer) -> Self {
        Self { mapped: Some(mapped), state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parts(&mut self) -> (&mut Option<Mapped>, &mut Buffer) {
        (&mut self.mapped, self.state.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Channel {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sizes of the sub-buffers, and how many buffers the first part has.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Buffers of all parts.
    pub fn buffers(&self) -> usize {
        self.read().buffers.len()
    }

    /// Looks where the guest is, and wakes who waits if anything moved.
    pub fn update(&self) -> Update {
        let mut update = Update { moved: false, ended: true };
        for slot in &self.read().buffers {
            let mut buffer = slot.lock();
            if let Some(at) = &slot.mapped {
                buffer.look(at);
            }
            update.moved |= std::mem::take(&mut buffer.unreported);
            buffer.missed = false;
            update.ended &= buffer.seen.ended;
        }
        if update.moved {
            self.signal.raise();
        }
        update
    }

    /// Tells the guest what need not be kept any more and when to kick, for each buffer, and looks again. True: there may
    /// be work for which no kick comes, so do not sleep.
    ///
    /// The kick is asked for at the next sub-buffer if a reader has read all there is, else when the guest is half a
    /// buffer ahead of the slowest reader; without a reader, never.
    pub fn arm(&self) -> bool {
        let mut more = false;
        for slot in &self.read().buffers {
            let mut buffer = slot.lock();
            let Some(at) = slot.mapped.as_ref().filter(|_| !buffer.seen.ended) else { continue };
            buffer.look(at);
            let quiet = buffer.asked.is_quiet(buffer.seen.produced);
            if buffer.ask(at) {
                // Of what a quiet guest published meanwhile it told nobody.
                more |= buffer.look_again(at) && quiet;
            }
            more |= buffer.missed || buffer.asked.is_due(buffer.seen.produced);
        }
        more
    }

    /// A reader of all buffers, those of later parts, too. The guest does not write over what it has not read, unless its
    /// channel overwrites.
    pub fn reader(self: &Arc<Self>, start: Start) -> Reader {
        self.add_reader(Which { only: None, holds: true }, start)
    }

    /// A reader of one buffer; of the others it gets [`Next::End`](crate::Next::End). `None`: there is no such buffer.
    pub fn reader_of(self: &Arc<Self>, buffer: usize, start: Start) -> Option<Reader> {
        let which = Which { only: Some(buffer), holds: true };
        (buffer < self.buffers()).then(|| self.add_reader(which, start))
    }

    /// A reader of all buffers that the guest does not wait for, and that holds nothing back.
    pub fn watcher(self: &Arc<Self>, start: Start) -> Reader {
        self.add_reader(Which { only: None, holds: false }, start)
    }

    /// Whether there is a reader that is no watcher.
    pub fn has_readers(&self) -> bool {
        self.read().readers.values().any(|which| which.holds)
    }

    /// Each buffer, as it was last looked at.
    pub fn status(&self) -> Vec<BufferStatus> {
        let status = |slot: &Slot| {
            let buffer = slot.lock();
            BufferStatus {
                produced: buffer.seen.produced,
                offset: buffer.seen.offset,
                consumed: buffer.asked.consumed,
                dropped: buffer.seen.dropped,
                records: buffer.seen.records,
                ended: buffer.seen.ended,
                nonsense: buffer.seen.nonsense,
            }
        };
        self.read().buffers.iter().map(status).collect()
    }

    /// Leaves readers behind that have not moved for the lag limit while their buffer was full: they hold the guest up no
    /// longer, until they move; what is written over meanwhile they are told as lost. Returns when to call again;
    /// `None`: after the next kick.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        let mut next = None::<Instant>;
        for slot in &self.read().buffers {
            let mut buffer = slot.lock();
            let Some(at) = &slot.mapped else { continue };
            buffer.look(at);
            let (left, again) = buffer.tick(now, self.lag_limit);
            if left {
                buffer.ask(at);
            }
            next = [next, again].into_iter().flatten().min();
        }
        next
    }

    /// Number that grows when something moved: new data or the end of a buffer was seen, or the channel was extended,
    /// suspended, resumed or closed.
    ///
    /// To miss nothing: take it, read until there is nothing, then [`wait`](Self::wait) with it.
    pub fn generation(&self) -> u64 {
        self.signal.generation()
    }

    /// Waits until the generation is not `seen` any more, at most for `time`; returns the present one.
    pub fn wait(&self, seen: u64, time: Duration) -> u64 {
        self.signal.wait(seen, time)
    }

    /// Wakes `waker` once, when the generation is not `seen` any more; at once if it is not already.
    pub fn wake_after(&self, seen: u64, waker: &Waker) {
        self.signal.wake_after(seen, waker);
    }

    /// Bytes that were copied into memory of this process so far. Looking at a [`Piece`](crate::Piece) in its place and
    /// writing it out copy nothing.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }
}
