// SPDX-License-Identifier: MIT OR Apache-2.0
//! One buffer: what was seen of it, who reads it, and what comes next for each of them.

use std::sync::Arc;

use vesper_ring::wire::listener::Geometry;

use crate::asking::Asked;
use crate::cursor::Cursor;
use crate::kept::Kept;
use crate::memory::Mapped;
use crate::refused::Refused;
use crate::seen::{Seen, TRIES};
use crate::{Lost, Start};

/// All that is known of one buffer. The memory it lies in is given to each call, `None` when it is not mapped.
pub(crate) struct Buffer {
    pub(crate) geometry: Geometry,
    pub(crate) seen: Seen,
    /// Few, so that looking for one is fast.
    pub(crate) cursors: Vec<Cursor>,
    /// What was taken over when it was unmapped, until all have read it.
    pub(crate) kept: Option<Arc<Kept>>,
    pub(crate) asked: Asked,
    pub(crate) refused: Refused,
    /// Something has moved since the owner looked.
    pub(crate) unreported: bool,
    /// The kick for it may not come any more, because another one was asked for.
    pub(crate) missed: bool,
}

/// What comes next for a cursor.
pub(crate) enum Step {
    /// Bytes at the cursor, so many; from the private copy if there is one.
    Data {
        number: u64,
        offset: u32,
        bytes: u32,
        kept: Option<Arc<Kept>>,
    },
    Lost(Lost),
    /// All there is has been read.
    Nothing,
}

/// What there is of the sub-buffer at a cursor.
enum Extent {
    /// It was written over.
    Gone,
    /// Nobody knows how much: the guest broke the rules.
    Nonsense,
    /// Readable up to `end`.
    Here { end: u32, complete: bool, kept: Option<Arc<Kept>> },
}

impl Buffer {
    /// A buffer that was not mapped before.
    pub(crate) fn new(geometry: Geometry, at: &Mapped) -> Self {
        let seen = Seen::new(geometry, at);
        let asked = Asked::found(at.consumed(), &seen);
        let mut buffer = Self {
            geometry,
            seen,
            cursors: Vec::new(),
            kept: None,
            asked,
            refused: Refused::default(),
            unreported: true,
            missed: false,
        };
        if buffer.seen.dropped > 0 {
            buffer.note_refused();
        }
        buffer
    }

    /// Looks where the guest is. True: something has moved.
    pub(crate) fn look(&mut self, at: &Mapped) -> bool {
        let dropped = self.seen.dropped;
        let moved = self.seen.look(at);
        if self.seen.dropped > dropped {
            self.note_refused();
        }
        self.unreported |= moved;
        moved
    }

    /// Writes were refused. The place is here: a buffer that was full is still where it was, for what the guest may write
    /// over is told to it only after a look.
    fn note_refused(&mut self) {
        self.refused.add(self.seen.produced, self.seen.offset, self.seen.dropped);
    }

    /// A new reader's place.
    pub(crate) fn add_cursor(&mut self, id: u64, start: Start, holds: bool, at: Option<&Mapped>) {
        if let Some(at) = at {
            self.look(at);
        }
        let mut cursor = Cursor::new(id, holds, self.seen.produced, self.seen.offset, self.seen.start());
        match (start, at) {
            (Start::Oldest, Some(at)) => {
                let (number, start) = self.place(at, Seen::oldest);
                cursor.jump(number, start);
                cursor.told = self.refused.up_to(number, 0);
            }
            (Start::Now, _) | (Start::Oldest, None) => cursor.told = self.seen.dropped,
        }
        self.cursors.push(cursor);
    }

    /// The sub-buffer that `which` names, and the bytes before it. A guest that is faster is looked at again; at last it
    /// is the current one, of which that is always known.
    fn place(&mut self, at: &Mapped, which: impl Fn(&Seen) -> u64) -> (u64, u64) {
        for _ in 0..TRIES {
            let number = which(&self.seen);
            if let Some(start) = self.seen.start_of(at, number) {
                return (number, start);
            }
            self.look(at);
        }
        (self.seen.produced, self.seen.start())
    }

    /// What comes next for a cursor, as far as was seen.
    pub(crate) fn step(&mut self, cursor: &mut Cursor, at: Option<&Mapped>) -> Step {
        loop {
            let refused = self.refused.up_to(cursor.number, cursor.offset);
            cursor.lost.writes += refused.saturating_sub(cursor.told);
            cursor.told = cursor.told.max(refused);
            if let Some(lost) = cursor.take_lost() {
                return Step::Lost(lost);
            }
            match self.extent(cursor, at) {
                Extent::Gone => {
                    let Some(at) = at else { return Step::Nothing };
                    // Nothing is lost without need. But the oldest is written over next, so a reader that the guest was
                    // faster than would be too late again.
                    let (offered, held) = (cursor.offered, cursor.holds.then_some(self.asked.consumed));
                    let (number, start) = self.place(at, |seen| match held {
                        _ if !offered => seen.oldest(),
                        // What was not consumed yet a guest keeps, unless its channel overwrites; then it is older the next time.
                        Some(consumed) if consumed >= seen.oldest() => seen.ahead_of_guest().min(consumed),
                        _ => seen.ahead_of_guest(),
                    });
                    cursor.overtaken(number, start, self.geometry.subbuf_size());
                }
                Extent::Nonsense => {
                    self.seen.nonsense += 1;
                    let size = self.geometry.subbuf_size();
                    let start = cursor.start.wrapping_add(size.into());
                    cursor.overtaken(cursor.number + 1, start, size);
                }
                Extent::Here { end, complete, kept } => {
                    let until =
                        self.refused.next_in(cursor.number, cursor.offset).unwrap_or(u32::MAX).min(end);
                    if until > cursor.offset {
                        let (number, offset) = (cursor.number, cursor.offset);
                        cursor.offered = true;
                        return Step::Data { number, offset, bytes: until - offset, kept };
                    }
                    if !complete {
                        return Step::Nothing;
                    }
                    cursor.pass(end);
                }
            }
        }
    }

    fn extent(&mut self, cursor: &Cursor, at: Option<&Mapped>) -> Extent {
        let number = cursor.number;
        if let Some(kept) = &self.kept
            && let Some(end) = kept.length(number)
            && (number < kept.last() || cursor.offset < end || at.is_none())
        {
            return Extent::Here { end, complete: number < kept.last(), kept: Some(Arc::clone(kept)) };
        }
        let Some(at) = at else {
            return Extent::Here { end: cursor.offset, complete: false, kept: None };
        };
        for _ in 0..TRIES {
            if !self.seen.holds(number) {
                return Extent::Gone;
            }
            if number == self.seen.produced {
                return Extent::Here { end: self.seen.offset, complete: false, kept: None };
            }
            if let Some(end) = at.bytes_of(number) {
                return Extent::Here { end, complete: true, kept: None };
            }
            // Another one is complete in this place; so the guest must have gone on.
            self.look(at);
        }
        Extent::Nonsense
    }

    /// A reader has read `bytes` bytes from that place on. True: it has come to another sub-buffer.
    pub(crate) fn advance(&mut self, id: u64, place: (u64, u32), bytes: u32, at: Option<&Mapped>) -> bool {
        let Some(mine) = self.cursors.iter().position(|cursor| cursor.id == id) else { return false };
        let mut cursor = self.cursors[mine];
        if (cursor.number, cursor.offset) != place {
            return false;
        }
        cursor.moved(bytes);
        if let Extent::Here { end, complete: true, .. } = self.extent(&cursor, at)
            && cursor.offset >= end
        {
            cursor.pass(end);
        }
        self.cursors[mine] = cursor;
        self.release_kept();
        cursor.number != place.0
    }

    /// Forgets the private copy when all have read it and the buffer is mapped again, or nobody is left to read it.
    pub(crate) fn release_kept(&mut self) {
        let Some(kept) = &self.kept else { return };
        let end = (kept.last(), kept.length(kept.last()).unwrap_or(0));
        if self.cursors.iter().all(|cursor| (cursor.number, cursor.offset) >= end) {
            self.kept = None;
        }
    }
}
