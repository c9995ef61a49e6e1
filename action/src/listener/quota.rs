// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much guests may share, each and all together; asked before anything is mapped.
//!
//! A host has a limited number of mappings of foreign pages, which its disks and networks need too: a guest that shares
//! without end would take them from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use std::time::{Duration, Instant};

use super::Refusal;

/// The time over which exports are counted.
const PERIOD: Duration = Duration::from_secs(60);
/// Exports and parts that a guest may announce in [`PERIOD`]. Each costs the host some calls of its kernel and a note.
const EXPORTS: u32 = 1200;
/// How many times what a guest may share at a time it may have mapped anew in [`PERIOD`].
const TIMES: u64 = 64;

/// What guests may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages of records of one guest. For the positions of small sub-buffers there is an eighth of it beside it, and two
    /// pages for each export.
    pub pages_per_guest: u32,
    /// Exports of one guest.
    pub exports_per_guest: u32,
    /// Pages of all guests, everything counted.
    pub pages_total: u32,
}

impl Default for Limits {
    /// 16 MiB and 16 exports for a guest, 256 MiB for all.
    fn default() -> Self {
        Self { pages_per_guest: 4096, exports_per_guest: 16, pages_total: 65536 }
    }
}

/// The quota of all guests together.
#[derive(Debug)]
pub struct Quota {
    limits: Limits,
    pages: AtomicU64,
}

impl Quota {
    /// With nothing shared yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, pages: AtomicU64::new(0) })
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Pages that are held.
    pub fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    fn take(self: &Arc<Self>, size: Size) -> Option<Hold> {
        let (pages, max) = (size.data + size.rest, u64::from(self.limits.pages_total));
        self.pages
            .fetch_update(Relaxed, Relaxed, |held| held.checked_add(pages).filter(|sum| *sum <= max))
            .ok()?;
        Some(Hold { quota: Arc::clone(self), size })
    }
}

/// Pages that something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Pages of records.
    pub(super) data: u64,
    /// Positions and the consumed page.
    pub(super) rest: u64,
}

/// A part of the quota, given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    quota: Arc<Quota>,
    size: Size,
}

impl Hold {
    /// Takes what an export (`first`) or another part of one needs, beside what the guest holds already.
    pub(super) fn take<'a>(
        quota: &Arc<Quota>,
        held: impl Iterator<Item = &'a Self>,
        exports: usize,
        first: bool,
        size: Size,
    ) -> Result<Self, Refusal> {
        let limits = quota.limits;
        if first && exports >= limits.exports_per_guest as usize {
            return Err(Refusal::TooManyExports(limits.exports_per_guest));
        }
        let (mut data, mut rest) = (size.data, size.rest);
        for hold in held {
            data += hold.size.data;
            rest += hold.size.rest;
        }
        let most = u64::from(limits.pages_per_guest);
        // Two a part: its consumed page, and what its positions take of a page.
        let most_rest = most / 8 + 2 * u64::from(limits.exports_per_guest);
        if data > most || rest > most_rest {
            return Err(Refusal::TooManyPages { wanted: data + rest, most });
        }
        quota.take(size).ok_or(Refusal::HostIsFull { most: limits.pages_total })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.quota.pages.fetch_sub(self.size.data + self.size.rest, Relaxed);
    }
}

/// What a guest had mapped of late: mapping costs the host more than announcing costs the guest.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: Option<Instant>,
    exports: u32,
    pages: u64,
}

impl Rate {
    /// Counts what is to be mapped now.
    pub(super) fn admit(&mut self, size: Size, limits: Limits, now: Instant) -> Result<(), Refusal> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        self.exports = self.exports.saturating_add(1);
        self.pages += size.data;
        let pages = u64::from(limits.pages_per_guest) * TIMES;
        if self.exports > EXPORTS || self.pages > pages { Err(Refusal::TooOften) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(data: u64) -> Size {
        Size { data, rest: 2 }
    }

    #[test]
    fn exports_and_pages_are_counted_over_a_minute() {
        let (limits, now) = (Limits { pages_per_guest: 10, ..Limits::default() }, Instant::now());
        let mut rate = Rate::default();
        let mut admitted = |pages, now| rate.admit(size(pages), limits, now).is_ok();
        assert_eq!((0..2000).filter(|_| admitted(0, now)).count(), 1200);
        let later = now + PERIOD;
        assert_eq!((0..100).filter(|_| admitted(10, later)).count(), 64);
        assert!(!admitted(0, later) && admitted(10, later + PERIOD));
    }

    #[test]
    fn each_limit_holds_and_what_is_dropped_is_free_again() {
        let quota = Quota::new(Limits { pages_per_guest: 100, exports_per_guest: 2, pages_total: 250 });
        let take = |held: &[Hold], data| Hold::take(&quota, held.iter(), held.len(), true, size(data));
        let mut one = vec![take(&[], 60).unwrap()];
        assert_eq!(take(&one, 41).unwrap_err(), Refusal::TooManyPages { wanted: 105, most: 100 });
        one.push(take(&one, 40).unwrap());
        assert_eq!(take(&one, 0).unwrap_err(), Refusal::TooManyExports(2));
        assert_eq!(quota.pages(), 104);
        let two = vec![take(&[], 100).unwrap()];
        assert_eq!(take(&[], 50).unwrap_err(), Refusal::HostIsFull { most: 250 });
        drop(one);
        let three = take(&[], 50).unwrap();
        drop((two, three));
        assert_eq!(quota.pages(), 0);
        let refused = Hold::take(&quota, [].iter(), 0, true, Size { data: 1, rest: 17 });
        assert_eq!(refused.unwrap_err(), Refusal::TooManyPages { wanted: 18, most: 100 });
    }
}
