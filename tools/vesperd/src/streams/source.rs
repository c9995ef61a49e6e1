// SPDX-License-Identifier: MIT OR Apache-2.0
//! One channel that a stream reads: which of its buffers has what.

use std::io;

use vesper_relay_mirror::{BufferStatus, Lost, Next, Piece, Reader};
use vesper_stream::Frame;
use vesper_stream::frame::{self, Data, End, EndReason, Export, Totals};

use super::Drain;

/// Most bytes of a frame. So many fit into a socket's buffer that epoll calls writable, and others have their turn soon.
const FRAME: usize = 128 << 10;
/// Where a record's header has its time.
const TIME: usize = 8;

/// A channel and its reader.
pub(crate) struct Source {
    export: Export,
    reading: Reading,
    buffers: Vec<Buffer>,
    announced: bool,
    /// Why it ended, once that has been told.
    reason: Option<EndReason>,
}

enum Reading {
    /// With this reader.
    On(Reader),
    /// No more: these were the totals.
    GivenUp(Vec<BufferStatus>),
}

struct Buffer {
    state: State,
    /// Where it stood when the stream began: sub-buffer and offset. `None` once that has been reached.
    goal: Option<(u64, u32)>,
    /// When it was sent last, counted in frames of the stream.
    turn: u64,
}

impl Buffer {
    fn new(goal: Option<(u64, u32)>) -> Self {
        Self { state: State::Unknown, goal, turn: 0 }
    }
}

/// What is to be sent next: of the oldest, that which was not sent for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) time: u64,
    turn: u64,
    pub(crate) buffer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has to be looked at.
    Unknown,
    /// It has records, the first of this time; `None`: a foreign module's, without one.
    Has(Option<u64>),
    /// A piece of it was cut: the rest goes first.
    Cut,
    /// There is nothing now.
    Idle,
    /// There will be nothing any more.
    Over,
}

impl Source {
    /// A channel that is read with `reader`.
    pub(crate) fn new(export: Export, reader: Reader) -> Self {
        let status = reader.channel().status();
        let buffers =
            status.iter().map(|buffer| Buffer::new(Some((buffer.produced, buffer.offset)))).collect();
        Self { export, reading: Reading::On(reader), buffers, announced: false, reason: None }
    }

    pub(crate) fn number(&self) -> u32 {
        self.export.export
    }

    pub(crate) fn is(&self, number: u32) -> bool {
        self.export.export == number
    }

    pub(crate) fn name(&self) -> &str {
        &self.export.name
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Says what it is.
    ///
    /// # Errors
    /// Of the drain.
    pub(crate) fn announce(&mut self, drain: &mut impl Drain) -> io::Result<()> {
        self.announced = true;
        drain.say(&Frame::Export(self.export.clone()), &[])
    }

    /// It has buffers for other CPUs now.
    pub(crate) fn extend(&mut self, export: Export) {
        self.announced = false;
        self.buffers.resize_with(export.cpus.len().max(self.buffers.len()), || Buffer::new(None));
        self.export = Export { since: self.export.since, ..export };
    }

    /// Something has moved.
    pub(crate) fn moved(&mut self) {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.state == State::Idle) {
            buffer.state = State::Unknown;
        }
    }

    /// It has ended, because of this.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.reason.get_or_insert(reason);
        self.moved();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.reason.is_some()
    }

    /// Bytes of its buffers.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.export.subbuf_size) * u64::from(self.export.subbufs) * self.buffers.len() as u64
    }

    /// Nothing more is read of it, so that what is kept for it can go.
    pub(crate) fn give_up(&mut self) {
        self.reading = Reading::GivenUp(self.status());
        self.export.schema = None;
        for buffer in &mut self.buffers {
            (buffer.state, buffer.goal) = (State::Over, None);
        }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.reading, Reading::GivenUp(_))
    }

    /// Whether it has buffers of which the stream does not know the CPU yet.
    pub(crate) fn has_grown(&self) -> bool {
        matches!(&self.reading, Reading::On(reader) if reader.channel().buffers() > self.buffers.len())
    }

    /// Looks at every buffer of which nothing is known. What is missing there is said. False: not all is known now.
    ///
    /// # Errors
    /// Of the drain.
    pub(crate) fn look(&mut self, to_goal: bool, drain: &mut impl Drain) -> io::Result<bool> {
        for buffer in 0..self.buffers.len() {
            // Once more for what is behind a loss; a guest that writes over everything all the time is not waited for.
            for _ in 0..2 {
                if self.buffers[buffer].state == State::Unknown {
                    let next = self.read(buffer);
                    self.buffers[buffer].state = self.found(buffer, next, to_goal, drain)?;
                }
            }
        }
        Ok(self.buffers.iter().all(|buffer| buffer.state != State::Unknown))
    }

    fn read(&mut self, buffer: usize) -> Next {
        match &mut self.reading {
            Reading::On(reader) => reader.next(buffer),
            Reading::GivenUp(_) => Next::End,
        }
    }

    fn found(
        &mut self,
        buffer: usize,
        next: Next,
        to_goal: bool,
        drain: &mut impl Drain,
    ) -> io::Result<State> {
        let goal = &mut self.buffers[buffer].goal;
        Ok(match next {
            Next::Data(piece) => {
                goal.take_if(|goal| piece.place() >= *goal);
                // A guest that goes on recording does not keep a client that wants what was there.
                if to_goal && goal.is_none() { State::Over } else { State::Has(self.time(&piece)) }
            }
            Next::Lost(lost) => {
                let Lost { sub_buffers, bytes, writes } = lost;
                let (export, cpu) = (self.export.export, self.cpu(buffer));
                drain.say(&Frame::Lost(frame::Lost { export, cpu, sub_buffers, bytes, writes }), &[])?;
                State::Unknown
            }
            Next::Nothing => {
                *goal = None;
                // Nothing comes of a channel that has ended, even if its mirror waits for more.
                if self.reason.is_some() || to_goal { State::Over } else { State::Idle }
            }
            Next::End => {
                *goal = None;
                State::Over
            }
        })
    }

    /// The time of its first record, if it has records.
    fn time(&self, piece: &Piece) -> Option<u64> {
        self.export.schema.as_ref()?;
        piece.inspect(|raw| raw.bytes_at(TIME)).ok()?.map(u64::from_le_bytes)
    }

    /// The buffer that is to be sent next. `now` is the time of those without one.
    pub(crate) fn due(&self, now: u64) -> Option<Due> {
        let due = |(at, buffer): (usize, &Buffer)| match buffer.state {
            State::Cut => Some(Due { time: 0, turn: 0, buffer: at }),
            State::Has(time) => Some(Due { time: time.unwrap_or(now), turn: buffer.turn, buffer: at }),
            _ => None,
        };
        self.buffers.iter().enumerate().filter_map(due).min()
    }

    /// Sends what a buffer has, at most a frame of it; this is the stream's `turn`. Returns the bytes.
    ///
    /// # Errors
    /// Of the drain.
    pub(crate) fn send(&mut self, buffer: usize, turn: u64, drain: &mut impl Drain) -> io::Result<usize> {
        self.buffers[buffer].turn = turn;
        let piece = match self.read(buffer) {
            Next::Data(piece) => piece,
            // It was written over, or copied away, since it was looked at.
            other => {
                self.buffers[buffer].state = self.found(buffer, other, false, drain)?;
                return Ok(0);
            }
        };
        let whole = piece.len();
        let piece = piece.cut(FRAME);
        let (bytes, more) = (piece.len(), piece.len() < whole);
        let data = Data { export: self.export.export, cpu: self.cpu(buffer), bytes, more, unsure: false };
        let good = drain.send(data, &piece)?;
        if let (true, Reading::On(reader)) = (good, &mut self.reading) {
            reader.advance(&piece, bytes);
        }
        self.buffers[buffer].state = if good && more { State::Cut } else { State::Unknown };
        Ok(bytes)
    }

    /// Whether it has reached where it stood when the stream began.
    pub(crate) fn caught_up(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.goal.is_none())
    }

    /// Whether nothing more comes of it.
    pub(crate) fn is_over(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.state == State::Over)
    }

    /// What there is to say last.
    pub(crate) fn last(&self) -> Frame {
        let totals = |(at, buffer): (usize, &BufferStatus)| Totals {
            cpu: self.cpu(at),
            records: buffer.records,
            dropped: buffer.dropped,
        };
        Frame::End(End {
            export: self.export.export,
            cpus: self.status().iter().enumerate().map(totals).collect(),
            reason: self.reason.unwrap_or(EndReason::Stopped),
        })
    }

    fn status(&self) -> Vec<BufferStatus> {
        match &self.reading {
            Reading::On(reader) => reader.channel().status(),
            Reading::GivenUp(status) => status.clone(),
        }
    }

    fn cpu(&self, buffer: usize) -> Option<u16> {
        self.export.cpus.get(buffer).copied().flatten()
    }
}
