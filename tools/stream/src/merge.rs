// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of time over all CPUs and channels of a guest, without waiting for ever.
//!
//! A guest publishes a record at once (urgent), with its sub-buffer, or after at most 100 ms. So a record that is
//! [`WINDOW`] older than the newest known beginning of a piece, or has waited that long, has no older one behind it any
//! more. vesperd sends of all buffers the one first whose next record is the oldest, so a backlog comes out in its exact
//! order whatever its size. A record that comes later than this all the same is shown when it comes.
//!
//! An urgent record that comes live does not wait, and takes along what is older than itself. In a backlog it waits as the
//! others do: nobody hurries to see what happened long ago, and older ones of other buffers are still on their way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::{Item, What};

/// How much older a record may be than one that is shown before it.
pub const WINDOW: Duration = Duration::from_millis(250);
/// Bytes that are held at most; beyond that the oldest are shown although they have not waited.
const HELD_MAX: usize = 16 << 20;

/// Puts items in order.
#[derive(Debug)]
pub struct Merger {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// When each that waits came, oldest first, and where it belongs.
    arrivals: VecDeque<(Instant, u64)>,
    /// Everything that belongs before this may be shown.
    released: u64,
    /// Everything may be shown.
    finished: bool,
    /// What comes has just been recorded.
    live: bool,
    held: usize,
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    order: u64,
    /// How many came before it.
    index: u64,
    item: Item,
}

impl Default for Merger {
    fn default() -> Self {
        Self {
            waiting: BinaryHeap::new(),
            arrivals: VecDeque::new(),
            // What has no place belongs before everything.
            released: 1,
            finished: false,
            live: false,
            held: 0,
            count: 0,
        }
    }
}

impl Merger {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on what comes has just been recorded: an urgent record does not wait any more.
    pub fn go_live(&mut self) {
        self.live = true;
    }

    /// Takes an item that has come now.
    pub fn push(&mut self, item: Item, now: Instant) {
        if item.first
            && let Some(order) = item.order
        {
            self.release(order.saturating_sub(WINDOW.as_nanos() as u64));
        }
        // Never the last place of all: that is the end's.
        let mut order = item.order.unwrap_or(0).min(u64::MAX - 1);
        match &item.what {
            What::Gone(_) => (self.finished, order) = (true, u64::MAX),
            What::Record { header, last_words, .. }
                if self.live && (header.urgent() || header.fatal() || *last_words) =>
            {
                self.release(order + 1);
            }
            _ => {}
        }
        if order >= self.released {
            self.arrivals.push_back((now, order));
        }
        self.held += item.bytes();
        self.waiting.push(Reverse(Waiting { order, index: self.count, item }));
        self.count += 1;
    }

    /// The next item, if it need not wait any more.
    pub fn pop(&mut self, now: Instant) -> Option<Item> {
        while let Some((came, order)) = self.arrivals.front().copied() {
            // What has been released meanwhile needs no moment of its own.
            if order >= self.released {
                if now < came + WINDOW {
                    break;
                }
                self.release(order + 1);
            }
            self.arrivals.pop_front();
        }
        let next = &self.waiting.peek()?.0;
        if next.order < self.released || self.finished || self.held > HELD_MAX {
            let Reverse(next) = self.waiting.pop()?;
            self.held -= next.item.bytes();
            return Some(next.item);
        }
        None
    }

    /// When [`Merger::pop`] has something although nothing more has come; `None`: nothing waits.
    pub fn next_due(&self) -> Option<Instant> {
        let (came, _) = self.arrivals.iter().find(|(_, order)| *order >= self.released)?;
        (!self.waiting.is_empty()).then(|| *came + WINDOW)
    }

    /// Nothing more comes: everything may be shown.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    fn release(&mut self, order: u64) {
        self.released = self.released.max(order);
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.order, self.index).cmp(&(other.order, other.index))
    }
}
