// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mirror of one channel.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::{BadRegions, Geometry, Reader, Regions, Start};

/// A guest's relay channel as the host sees it. Every method may be called from any thread.
///
/// The owner's loop, on each kick: [`update`](Self::update), let readers read, [`arm`](Self::arm); not to be slept while
/// that says that there is more. Readers in other threads go on by themselves and [`wait`](Self::wait) when there is
/// nothing.
pub struct Channel {}

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

#[allow(unused_variables, reason = "signatures first")]
impl Channel {
    /// The channel that is mapped in `regions`; these are its first part. Reading begins where the `consumed` page says
    /// that it ended. A reader that stands still for `lag_limit` while its buffer is full is left behind (see
    /// [`tick`](Self::tick)).
    ///
    /// # Errors
    ///
    /// Memory that is too small for this geometry.
    pub fn new(geometry: Geometry, regions: Regions, lag_limit: Duration) -> Result<Arc<Self>, BadRegions> {
        unimplemented!()
    }

    /// Adds a part: buffers of CPUs that came later, numbered on. Readers of all buffers read them too, from their
    /// beginning. Returns the number of its first buffer.
    ///
    /// # Errors
    ///
    /// Memory that is too small for `buffers` buffers; a geometry with other sub-buffers than the channel's.
    pub fn add_part(&self, geometry: Geometry, regions: Regions) -> Result<usize, BadRegions> {
        unimplemented!()
    }

    /// Sub-buffers' sizes, and the buffers of the first part.
    pub fn geometry(&self) -> Geometry {
        unimplemented!()
    }

    /// Buffers of all parts.
    pub fn buffers(&self) -> usize {
        unimplemented!()
    }

    /// Looks where the guest is, and wakes who waits if anything moved.
    pub fn update(&self) -> Update {
        unimplemented!()
    }

    /// Tells the guest what need not be kept any more and when to kick, for each buffer; then looks again, as
    /// [`update`](Self::update) does. True: there may be work for which no kick comes, so do not sleep.
    ///
    /// The kick is asked for at the next sub-buffer if a reader has read all there is, else when the guest is half a
    /// buffer ahead of the slowest reader; without a reader, never.
    pub fn arm(&self) -> bool {
        unimplemented!()
    }

    /// A reader of all buffers. It counts for what is consumed: the guest does not write over what it has not read
    /// (unless its channel overwrites).
    pub fn reader(self: &Arc<Self>, start: Start) -> Reader {
        unimplemented!()
    }

    /// A reader of one buffer; of the others it gets [`Next::End`](crate::Next::End). `None`: there is no such buffer.
    pub fn reader_of(self: &Arc<Self>, buffer: usize, start: Start) -> Option<Reader> {
        unimplemented!()
    }

    /// A reader of all buffers that the guest does not wait for, and that holds nothing back.
    pub fn watcher(self: &Arc<Self>, start: Start) -> Reader {
        unimplemented!()
    }

    /// Whether there is a reader that is no watcher.
    pub fn has_readers(&self) -> bool {
        unimplemented!()
    }

    /// Each buffer, as it was last looked at.
    pub fn status(&self) -> Vec<BufferStatus> {
        unimplemented!()
    }

    /// Leaves readers behind that have not moved for the lag limit while their buffer was full: they no longer hold the
    /// guest up, until they move; what is written over meanwhile they are told as lost. Returns when to call again;
    /// `None`: not before the next kick.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        unimplemented!()
    }

    /// Ends the channel and unmaps at once. What readers have not read yet is first copied into private memory (at most
    /// the channel's size); they read that, then get [`Next::End`](crate::Next::End).
    pub fn close(&self) {
        unimplemented!()
    }

    /// Unmaps at once as [`close`](Self::close) does, for a connection that is lost and may come back: after their
    /// private copy readers get [`Next::Nothing`](crate::Next::Nothing).
    pub fn suspend(&self) {
        unimplemented!()
    }

    /// Maps one part of a suspended channel again, the first being 0. Its readers go on where they are.
    ///
    /// # Errors
    ///
    /// Memory that is too small. Nothing is changed then.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn resume(&self, part: usize, regions: Regions) -> Result<(), BadRegions> {
        unimplemented!()
    }

    /// Number that grows whenever something moved: new data or the end of a buffer was seen by [`update`](Self::update)
    /// or [`arm`](Self::arm), or the channel was extended, suspended, resumed or closed.
    ///
    /// To miss nothing: take it, read until there is nothing, then [`wait`](Self::wait) with it.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }

    /// Waits until the generation is not `seen` any more, at most for `time`; returns the present one.
    pub fn wait(&self, seen: u64, time: Duration) -> u64 {
        unimplemented!()
    }

    /// Wakes `waker` once, when the generation is not `seen` any more; at once if it is not already.
    pub fn wake_after(&self, seen: u64, waker: &Waker) {
        unimplemented!()
    }
}
