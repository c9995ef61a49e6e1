// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where one reader is in one buffer.

use std::time::Instant;

use crate::Lost;

/// Where one reader is in one buffer, and what it has not been told yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Whose it is.
    pub(crate) id: u64,
    /// Sub-buffer that it reads.
    pub(crate) number: u64,
    /// Bytes of it that it has read.
    pub(crate) offset: u32,
    /// Bytes before that sub-buffer, in the count of [`Seen::start_of`](crate::seen::Seen::start_of).
    pub(crate) start: u64,
    /// Refused writes that it knows of.
    pub(crate) told: u64,
    /// It was given what is here, and has not taken it as read.
    pub(crate) offered: bool,
    /// What it has to be told next.
    pub(crate) lost: Lost,
    /// Whether the guest waits for it.
    pub(crate) holds: bool,
    /// It stood still for too long: the guest does not wait until it moves.
    pub(crate) left_behind: bool,
    /// Since when it is seen to stand still while the guest waits.
    pub(crate) still_since: Option<Instant>,
}

impl Cursor {
    pub(crate) fn new(id: u64, holds: bool, number: u64, offset: u32, start: u64) -> Self {
        let (told, offered, lost) = (0, false, Lost::default());
        Self { id, number, offset, start, told, offered, lost, holds, left_behind: false, still_since: None }
    }

    /// Whether the guest waits for it now.
    pub(crate) fn holds_now(&self) -> bool {
        self.holds && !self.left_behind
    }

    /// To the begin of that sub-buffer, with `start` bytes before it.
    pub(crate) fn jump(&mut self, number: u64, start: u64) {
        (self.number, self.offset, self.start) = (number, 0, start);
        self.offered = false;
    }

    /// The same, and what lies between is lost. A sub-buffer has at most `size` bytes.
    pub(crate) fn overtaken(&mut self, number: u64, start: u64, size: u32) {
        let sub_buffers = number.saturating_sub(self.number);
        let most = sub_buffers.saturating_mul(size.into()).saturating_sub(self.offset.into());
        let bytes = start.wrapping_sub(self.start).wrapping_sub(self.offset.into());
        self.lost.sub_buffers += sub_buffers;
        // More it can only be when the guest has changed what it said.
        self.lost.bytes = self.lost.bytes.saturating_add(bytes.min(most));
        self.jump(number, start);
    }

    /// To the next sub-buffer; this one had so many bytes.
    pub(crate) fn pass(&mut self, bytes: u32) {
        self.jump(self.number + 1, self.start.wrapping_add(bytes.into()));
    }

    /// It has read so many bytes.
    pub(crate) fn moved(&mut self, bytes: u32) {
        self.offset += bytes;
        self.offered = false;
        self.left_behind = false;
        self.still_since = None;
    }

    /// What is to be told, once.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        let lost = std::mem::take(&mut self.lost);
        (lost != Lost::default()).then_some(lost)
    }
}
