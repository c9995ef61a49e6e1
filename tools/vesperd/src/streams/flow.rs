// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be told of a guest next, frame by frame; to a client or into a file.
//!
//! Of all buffers the one goes first whose next record is the oldest, so that a reader can put a backlog in order of time
//! without keeping all of it. What has ended is told to its end before anything new is begun.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use vesper_relay_mirror::{Piece, Reader};
use vesper_stream::Frame;
use vesper_stream::frame::{Clock, Data, EndReason, Export, Gone, Guest, Words};

use super::source::Source;

/// Channels that have ended and wait to be read by a client that does not: each keeps a copy of its buffers. Of more than
/// these the oldest are given up; their sequence numbers still tell the client what it lost.
const ENDED_MAX: usize = 8;
/// The same in bytes of their buffers, if there is more than one.
const ENDED_BYTES: u64 = 32 << 20;
/// Channels that were given up and of which the client has yet to be told. With more it is given up itself.
const GIVEN_UP_MAX: usize = 256;
/// How often the guest's clock is looked at.
const CLOCK: Duration = Duration::from_secs(1);
/// Last words that wait; a guest has room for fewer.
const WORDS_MAX: usize = 64;

/// Where frames go.
pub(crate) trait Drain {
    /// Takes a frame, with its raw bytes if it has some.
    ///
    /// # Errors
    /// Of the writing; nothing more can be written then.
    fn say(&mut self, frame: &Frame, payload: &[u8]) -> io::Result<()>;

    /// Takes a piece of a guest's buffer. False: the guest wrote over it, so it counts for nothing.
    ///
    /// # Errors
    /// As [`Drain::say`].
    fn send(&mut self, data: Data, piece: &Piece) -> io::Result<bool>;
}

/// What is wanted of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The one channel that is wanted.
    pub(crate) channel: Option<String>,
    /// Go on when everything that was there has been told.
    pub(crate) follow: bool,
}

/// A guest's channels, and how far they have been told.
pub(crate) struct Flow {
    wanted: Wanted,
    /// The guest, until it has been told.
    guest: Option<Guest>,
    sources: Vec<Source>,
    words: VecDeque<(Words, Vec<u8>)>,
    clock: Option<Clock>,
    clock_told: Option<Clock>,
    clock_due: Option<Instant>,
    caught_up: bool,
    gone: Option<Gone>,
    over: bool,
    /// Frames of data told.
    turn: u64,
    /// The time that the last one began with.
    time: u64,
    /// Readers have moved on since that was asked for.
    moved_on: bool,
    /// A channel was given up.
    gave_up: bool,
}

impl Flow {
    /// Nothing of this guest yet; channels are added to it.
    pub(crate) fn new(wanted: Wanted, guest: Guest) -> Self {
        Self {
            wanted,
            guest: Some(guest),
            sources: Vec::new(),
            words: VecDeque::new(),
            clock: None,
            clock_told: None,
            clock_due: None,
            caught_up: false,
            gone: None,
            over: false,
            turn: 0,
            time: 0,
            moved_on: false,
            gave_up: false,
        }
    }

    /// Whether a channel that appears is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.follow && self.gone.is_none() && self.means(name)
    }

    /// Whether a channel of this name is meant.
    pub(crate) fn means(&self, name: &str) -> bool {
        self.wanted.channel.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Adds a channel.
    pub(crate) fn add(&mut self, export: Export, reader: Reader) {
        self.sources.push(Source::new(export, reader));
        self.moved_on = true;
    }

    /// The channels that have more buffers than is known here.
    pub(crate) fn grown(&self) -> Vec<u32> {
        self.sources.iter().filter(|source| source.has_grown()).map(Source::number).collect()
    }

    /// A channel as it is now.
    pub(crate) fn extend(&mut self, export: &Export) {
        let known = self.sources.iter_mut().find(|source| source.is(export.export) && !source.has_ended());
        known.into_iter().for_each(|source| source.extend(export.clone()));
    }

    /// Something has moved in the guest's channels.
    pub(crate) fn moved(&mut self) {
        self.sources.iter_mut().for_each(Source::moved);
    }

    /// A channel has ended. True: for the first time there is more of that kind than is kept for a client, and the
    /// oldest is given up for it.
    pub(crate) fn ended(&mut self, number: u32, reason: EndReason) -> bool {
        self.sources.iter_mut().filter(|source| source.is(number)).for_each(|source| source.end(reason));
        let before = self.gave_up;
        while let Some(oldest) = self.oldest_too_many() {
            self.sources[oldest].give_up();
            self.gave_up = true;
        }
        self.gave_up && !before
    }

    /// The oldest channel that has ended and is kept, if too much is.
    fn oldest_too_many(&self) -> Option<usize> {
        let is_kept = |source: &Source| source.has_ended() && !source.is_given_up();
        let kept: Vec<_> = self.sources.iter().filter(|source| is_kept(source)).map(Source::bytes).collect();
        let too_large = kept.len() > 1 && kept.iter().sum::<u64>() > ENDED_BYTES;
        (kept.len() > ENDED_MAX || too_large).then(|| self.sources.iter().position(is_kept))?
    }

    /// Whether the client is so far behind that nothing more can be kept for it.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.sources.iter().filter(|source| source.is_given_up()).count() > GIVEN_UP_MAX
    }

    /// The guest wrote last words.
    pub(crate) fn words(&mut self, name: &str, record: &[u8]) {
        if self.means(name) && self.words.len() < WORDS_MAX {
            let export = self.sources.iter().rev().find(|source| source.name() == name).map(Source::number);
            let words = Words { export, name: name.to_owned(), bytes: record.len() };
            self.words.push_back((words, record.to_vec()));
        }
    }

    /// Whether it is time to look at the guest's clock again.
    pub(crate) fn wants_clock(&mut self, now: Instant) -> bool {
        let due = self.clock_due.is_none_or(|due| due <= now);
        if due {
            self.clock_due = Some(now + CLOCK);
        }
        due
    }

    /// The distance of the guest's clock. Its error grows by itself, so only what makes a difference is told again.
    pub(crate) fn clock(&mut self, clock: Clock) {
        let same = self.clock.is_some_and(|told| {
            let moved = told.offset_ns.abs_diff(clock.offset_ns);
            moved <= told.error_ns / 2
                && clock.error_ns >= told.error_ns / 2
                && clock.error_ns / 2 <= told.error_ns
        });
        if !same {
            self.clock = Some(clock);
        }
    }

    /// The guest's frontend was loaded anew.
    pub(crate) fn booted(&mut self, guest: Guest) {
        self.guest = Some(guest);
    }

    /// Nothing more comes of the guest.
    pub(crate) fn gone(&mut self, gone: Gone, reason: EndReason) {
        self.sources.iter_mut().for_each(|source| source.end(reason));
        self.gone.get_or_insert(gone);
    }

    /// Whether everything has been told.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether readers have moved on since this was asked last, so that the guest must be told.
    pub(crate) fn has_moved_on(&mut self) -> bool {
        std::mem::take(&mut self.moved_on)
    }

    /// Tells the next thing, and how many bytes of data it had; `None`: there is nothing now.
    ///
    /// # Errors
    /// Of the drain.
    pub(crate) fn step(&mut self, drain: &mut impl Drain) -> io::Result<Option<usize>> {
        if self.begin(drain)? {
            return Ok(Some(0));
        }
        if let Some((words, record)) = self.words.pop_front() {
            drain.say(&Frame::Words(words), &record)?;
            return Ok(Some(record.len()));
        }
        let (mut known, mut due) = (true, None);
        for (at, source) in self.sources.iter_mut().enumerate().filter(|(_, source)| source.is_announced()) {
            known &= source.look(!self.wanted.follow, drain)?;
            due = source.due(self.time).map(|found| (found, at)).into_iter().chain(due).min();
        }
        if !known {
            return Ok(Some(0));
        }
        if let Some((due, at)) = due {
            self.turn += 1;
            self.time = self.time.max(due.time);
            self.moved_on = true;
            return self.sources[at].send(due.buffer, self.turn, drain).map(Some);
        }
        self.close(drain)
    }

    /// Tells what must be known before data is. True: there was something.
    fn begin(&mut self, drain: &mut impl Drain) -> io::Result<bool> {
        let ending = self.sources.iter().any(|source| source.has_ended() && source.is_announced());
        if !ending {
            if let Some(guest) = self.guest.take() {
                drain.say(&Frame::Guest(guest), &[])?;
                return Ok(true);
            }
            if let Some(source) = self.sources.iter_mut().find(|source| !source.is_announced()) {
                source.announce(drain)?;
                return Ok(true);
            }
        }
        if let Some(clock) =
            self.clock.filter(|clock| Some(*clock) != self.clock_told && !self.sources.is_empty())
        {
            self.clock_told = Some(clock);
            drain.say(&Frame::Clock(clock), &[])?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Nothing more is there: tells of one thing that it has ended.
    fn close(&mut self, drain: &mut impl Drain) -> io::Result<Option<usize>> {
        if !self.caught_up && self.sources.iter().all(Source::caught_up) {
            self.caught_up = true;
            // The rest is for those who go on.
            self.over = !self.wanted.follow;
            drain.say(&Frame::CaughtUp {}, &[])?;
        } else if let Some(at) = self.sources.iter().position(Source::is_over) {
            let source = self.sources.remove(at);
            drain.say(&source.last(), &[])?;
        } else if self.sources.is_empty()
            && let Some(gone) = &self.gone
            && !self.over
        {
            self.over = true;
            drain.say(&Frame::Gone(gone.clone()), &[])?;
        } else {
            return Ok(None);
        }
        Ok(Some(0))
    }
}
