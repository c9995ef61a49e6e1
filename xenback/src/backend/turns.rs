// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose turn it is: those who have work left, who were rung for, or whose time has come. A run visits nobody else, so
//! that a guest costs the same among ten as among a thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_grant::DomId;

/// Guests that want a turn, now or later.
pub(super) struct Turns {
    bell: Arc<Bell>,
    /// Those who want one at once.
    now: BTreeSet<DomId>,
    /// When each of the others is due.
    later: BTreeSet<(Instant, DomId)>,
    /// The same by guest.
    due: BTreeMap<DomId, Instant>,
    /// The guest after the one that came first in the last run.
    next: DomId,
}

impl Turns {
    /// Nobody wants one, but [`Turns::as_fd`] is readable: there is a first run to be made.
    pub(super) fn new() -> Result<Self, Errno> {
        let raised = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            bell: Arc::new(Bell { rung: Mutex::default(), raised }),
            now: BTreeSet::new(),
            later: BTreeSet::new(),
            due: BTreeMap::new(),
            next: DomId(0),
        })
    }

    /// Readable while someone wants a turn at once, until [`Turns::hear`].
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.raised.as_fd()
    }

    /// What any thread calls when this guest is to have a turn.
    pub(super) fn ringer(&self, guest: DomId) -> impl Fn() + Send + Sync + 'static {
        let bell = Arc::clone(&self.bell);
        move || bell.ring(guest)
    }

    /// Makes the descriptor readable.
    pub(super) fn raise(&self) {
        self.bell.raise();
    }

    /// The descriptor is readable no more.
    pub(super) fn hear(&self) {
        // EAGAIN means that it was not raised.
        let _ = self.bell.raised.read();
    }

    /// Those who were rung for since.
    pub(super) fn rung(&self) -> BTreeSet<DomId> {
        std::mem::take(&mut self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the guest wants now: a turn at once, and one then.
    pub(super) fn set(&mut self, guest: DomId, at_once: bool, due: Option<Instant>) {
        if at_once {
            self.now.insert(guest);
        }
        let before = match due {
            Some(due) => self.due.insert(guest, due),
            None => self.due.remove(&guest),
        };
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.later.remove(&(before, guest));
        }
        self.later.extend(due.map(|due| (due, guest)));
    }

    /// The guest is gone.
    pub(super) fn remove(&mut self, guest: DomId) {
        self.set(guest, false, None);
        self.now.remove(&guest);
    }

    /// Whether someone wants a turn at once.
    pub(super) fn is_wanted(&self) -> bool {
        !self.now.is_empty()
    }

    /// When the first of those who wait is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.later.first().map(|(due, _)| *due)
    }

    /// Everyone whose turn it is, beginning with another one each time. Who is due stays so until [`Turns::set`].
    pub(super) fn take(&mut self, now: Instant) -> Vec<DomId> {
        self.now.extend(self.later.iter().take_while(|(due, _)| *due <= now).map(|(_, guest)| *guest));
        let from_next = self.now.split_off(&self.next);
        let order: Vec<_> = from_next.into_iter().chain(std::mem::take(&mut self.now)).collect();
        if let Some(first) = order.first() {
            self.next = DomId(first.0.saturating_add(1));
        }
        order
    }
}

/// What other threads ring.
struct Bell {
    rung: Mutex<BTreeSet<DomId>>,
    raised: EventFd,
}

impl Bell {
    fn ring(&self, guest: DomId) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let first = rung.is_empty();
        rung.insert(guest);
        drop(rung);
        // Who takes the set takes all of it, so the first raises for those behind it.
        if first {
            self.raise();
        }
    }

    fn raise(&self) {
        // EAGAIN means that it is raised as high as can be.
        let _ = self.raised.write(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    const A: DomId = DomId(1);
    const B: DomId = DomId(7);
    const C: DomId = DomId(9);

    fn is_readable(turns: &Turns) -> bool {
        poll(&mut [PollFd::new(turns.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn who_wants_nothing_has_no_turn_and_the_first_is_another_each_time() {
        let (mut turns, now) = (Turns::new().unwrap(), Instant::now());
        let mut firsts = Vec::new();
        for _ in 0..6 {
            [A, B, C].into_iter().for_each(|guest| turns.set(guest, guest != B, None));
            let order = turns.take(now);
            assert_eq!(order.len(), 2, "{order:?}");
            firsts.push(order[0]);
            assert!(!turns.is_wanted());
        }
        assert_eq!(firsts, [A, C, A, C, A, C]);
    }

    #[test]
    fn who_is_due_has_a_turn_then_and_until_it_says_otherwise() {
        let (mut turns, now) = (Turns::new().unwrap(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        turns.set(A, false, Some(at(2)));
        turns.set(B, false, Some(at(1)));
        turns.set(C, false, Some(at(3)));
        turns.set(C, false, Some(at(9)));
        assert_eq!((turns.next_deadline(), turns.take(now)), (Some(at(1)), vec![]));
        assert_eq!(turns.take(at(2)), [A, B]);
        turns.set(B, false, None);
        assert_eq!((turns.next_deadline(), turns.take(at(2))), (Some(at(2)), vec![A]));
        turns.remove(A);
        assert_eq!((turns.next_deadline(), turns.take(at(8))), (Some(at(9)), vec![]));
        assert_eq!(turns.take(at(9)), [C]);
    }

    #[test]
    fn each_ring_is_heard() {
        let turns = Turns::new().unwrap();
        turns.hear();
        assert!(!is_readable(&turns));
        [A, B, A].into_iter().for_each(|guest| turns.ringer(guest)());
        assert!(is_readable(&turns));
        turns.hear();
        assert_eq!(turns.rung(), BTreeSet::from([A, B]));
        turns.ringer(C)();
        assert!(is_readable(&turns), "the first after a look raises again");
        assert_eq!(turns.rung(), BTreeSet::from([C]));
    }
}
