// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest is told: what need not be kept any more, and when to kick.
//!
//! | readers of the buffer | consumed | wake |
//! |---|---|---|
//! | one has read all complete sub-buffers | that of the slowest | at the next switch |
//! | all are behind | that of the slowest | when half of the buffer lies before the slowest, then when it is full |
//! | all were left behind | all that is complete | half a buffer further on |
//! | only watchers | as it was | half a buffer further on |
//! | none | as it was | never |
//!
//! The guest stores its head, makes a full fence and reads the word; here the word is stored, then comes a full fence, then
//! the head is read again. So either the guest sees what is wanted, or what it did is seen here.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vesper_ring::wire::listener::Consumed;

use crate::buffer::Buffer;
use crate::memory::Mapped;
use crate::seen::Seen;
use crate::sync::fence;

/// What the guest was told last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Sub-buffers before this one may be written over.
    pub(crate) consumed: u64,
    /// At which one it is to kick; `None`: at none.
    wake: Option<u64>,
    word: Consumed,
    /// It was not looked at since: the guest may have passed that without having seen it.
    unsure: bool,
}

impl Asked {
    /// What the host before this one said, as far as it can be.
    pub(crate) fn found(word: Consumed, seen: &Seen) -> Self {
        let behind = u64::from((seen.produced as u32).wrapping_sub(word.consumed));
        let consumed = seen.produced.saturating_sub(behind).max(seen.oldest());
        Self { consumed, wake: None, word, unsure: true }
    }

    /// The guest has come to where it was to kick, and may have done so before it was told to.
    pub(crate) fn is_due(&self, produced: u64) -> bool {
        self.wake.is_some_and(|wake| produced >= wake)
    }

    /// The guest was told not to kick, for bytes that it publishes after a quiet time neither.
    pub(crate) fn is_quiet(&self, produced: u64) -> bool {
        !self.word.wakes_idle(produced as u32)
    }
}

impl Buffer {
    /// Tells the guest what need not be kept and when to kick. True: who means to sleep must [look
    /// again](Self::look_again). A look has just been made: what was refused until then was refused where the buffer was
    /// full by what was said before.
    pub(crate) fn ask(&mut self, at: &Mapped) -> bool {
        self.missed |= self.unreported && self.asked.is_due(self.seen.produced);
        let asked = Asked { consumed: self.consumable(), wake: self.wake(), ..self.asked };
        let (consumed, produced) = (asked.consumed as u32, self.seen.produced as u32);
        let word = match asked.wake {
            Some(wake) => Consumed { consumed, wake: wake as u32 },
            // Each "never" is as good as any other.
            None if asked.is_quiet(self.seen.produced) => Consumed { consumed, ..asked.word },
            None => Consumed::quiet(consumed, produced),
        };
        let changed = word != self.asked.word;
        self.asked = Asked { word, unsure: changed || asked.unsure, ..asked };
        if changed {
            at.store_consumed(word);
        }
        self.asked.unsure
    }

    /// Looks whether the guest did anything before it could see what it is asked for. True: something has moved.
    pub(crate) fn look_again(&mut self, at: &Mapped) -> bool {
        fence(Ordering::SeqCst);
        self.asked.unsure = false;
        self.look(at)
    }

    fn consumable(&self) -> u64 {
        let slowest =
            self.cursors.iter().filter(|cursor| cursor.holds_now()).map(|cursor| cursor.number).min();
        let consumed = match slowest {
            Some(number) => number,
            None if self.cursors.iter().any(|cursor| cursor.holds) => self.seen.produced,
            None => 0,
        };
        consumed.clamp(self.asked.consumed, self.seen.produced.max(self.asked.consumed))
    }

    fn wake(&self) -> Option<u64> {
        let (produced, subbufs) = (self.seen.produced, u64::from(self.geometry.subbufs()));
        let half = (subbufs / 2).max(1);
        let mut readers = self.cursors.iter().filter(|cursor| cursor.holds_now()).map(|cursor| cursor.number);
        match readers.next().map(|first| readers.fold((first, first), |(a, b), c| (a.min(c), b.max(c)))) {
            Some((_, fastest)) if fastest >= produced => Some(produced + 1),
            Some((slowest, _)) => {
                [slowest + half, slowest + subbufs].into_iter().find(|wake| *wake > produced)
            }
            None if self.cursors.is_empty() => None,
            None => Some(produced + half),
        }
    }

    /// Leaves readers behind for which the guest has waited too long. Returns whether there was one, and when the next
    /// one will be.
    pub(crate) fn tick(&mut self, now: Instant, limit: Duration) -> (bool, Option<Instant>) {
        let full = self.seen.is_full(self.asked.consumed) && !self.seen.ended;
        let (mut left, mut next) = (false, None::<Instant>);
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.holds_now()) {
            if !full || cursor.number > self.asked.consumed {
                cursor.still_since = None;
                continue;
            }
            let until = *cursor.still_since.get_or_insert(now) + limit;
            if now >= until {
                cursor.left_behind = true;
                left = true;
            } else {
                next = Some(next.map_or(until, |other| other.min(until)));
            }
        }
        (left, next)
    }
}
