// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes to frames, in whatever pieces they come.

use std::mem;

use serde::Deserialize;

use crate::frame::{Data, Frame, LINE_MAX, PAYLOAD_MAX};

/// What a line begins with after which reading goes on when something before it could not be read.
const BEGINNING: &[u8] = b"\n{\"frame\":\"";

/// A frame with its raw bytes, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A frame of this version. Those of newer ones are passed over. Data is what the guest wrote: what was not sure of it is
    /// given when it is, or not at all.
    Frame(Frame, Vec<u8>),
    /// So many bytes are no frame; what comes next is one again.
    Unreadable(u64),
}

/// Takes bytes, gives frames. It holds no more than two frames and what it was given last.
#[derive(Debug)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    start: usize,
    state: State,
    /// Data of which the next frame says what it is worth.
    unsure: Option<(Data, Vec<u8>)>,
}

#[derive(Debug)]
enum State {
    /// At the beginning of a line, of which so many bytes hold no newline.
    Line(usize),
    /// Before the raw bytes of this frame, whose line had so many.
    Payload(Frame, usize),
    /// Before so many raw bytes of a frame that is not known.
    Skip(usize),
    /// Behind so many bytes that could not be read.
    Lost(u64),
}

/// What is looked at in a frame that is not known.
#[derive(Deserialize)]
struct Sized {
    #[serde(default)]
    bytes: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, state: State::Line(0), unsure: None }
    }
}

impl Parser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what has arrived. Call [`Parser::next_entry`] until it has nothing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` until more has arrived.
    pub fn next_entry(&mut self) -> Option<Entry> {
        loop {
            let there = &self.buffer[self.start..];
            match &mut self.state {
                State::Line(seen) => {
                    let Some(end) = there[*seen..].iter().position(|byte| *byte == b'\n') else {
                        if there.len() < LINE_MAX {
                            *seen = there.len();
                            return None;
                        }
                        self.lose(there.len());
                        continue;
                    };
                    let end = *seen + end;
                    match read(&there[..end]) {
                        Some(Line::Frame(frame)) => {
                            self.start += end + 1;
                            self.state = State::Payload(frame, end + 1);
                        }
                        Some(Line::Unknown(bytes)) => {
                            self.start += end + 1;
                            self.state = State::Skip(bytes);
                        }
                        // The newline stays: the next line may begin a frame.
                        None => self.lose(end),
                    }
                }
                State::Payload(frame, _) => {
                    let bytes = frame.payload_bytes();
                    if there.len() < bytes {
                        return None;
                    }
                    let payload = there[..bytes].to_vec();
                    self.start += bytes;
                    let State::Payload(frame, _) = mem::replace(&mut self.state, State::Line(0)) else {
                        unreachable!("it was this state a moment ago");
                    };
                    if let Some(entry) = self.settle(frame, payload) {
                        return Some(entry);
                    }
                }
                State::Skip(bytes) => {
                    let passed = (*bytes).min(there.len());
                    self.start += passed;
                    *bytes -= passed;
                    if *bytes > 0 {
                        return None;
                    }
                    self.state = State::Line(0);
                }
                State::Lost(lost) => {
                    let found = there.windows(BEGINNING.len()).position(|window| window == BEGINNING);
                    // The newline belongs to what is lost; a beginning may have arrived in part.
                    let passed = found.map_or((there.len() + 1).saturating_sub(BEGINNING.len()), |at| at + 1);
                    let passed = passed.min(there.len());
                    self.start += passed;
                    *lost += passed as u64;
                    let lost = *lost;
                    found?;
                    self.state = State::Line(0);
                    return Some(Entry::Unreadable(lost));
                }
            }
        }
    }

    /// Nothing more arrives. What is left is less than a frame.
    pub fn finish(&mut self) -> Option<Entry> {
        let left = (self.buffer.len() - self.start) as u64;
        self.buffer.clear();
        self.start = 0;
        let left = left + self.unsure.take().map_or(0, |(_, payload)| payload.len() as u64);
        let unread = match mem::replace(&mut self.state, State::Line(0)) {
            State::Lost(lost) => lost + left,
            State::Payload(_, line) => line as u64 + left,
            State::Line(_) | State::Skip(_) => left,
        };
        (unread > 0).then_some(Entry::Unreadable(unread))
    }

    /// What there is to give when a frame is there.
    fn settle(&mut self, frame: Frame, payload: Vec<u8>) -> Option<Entry> {
        let unsure = self.unsure.take();
        match (frame, unsure) {
            (Frame::Data(data), None) if data.unsure => {
                self.unsure = Some((data, payload));
                None
            }
            (Frame::Sure {}, Some((data, payload))) => {
                Some(Entry::Frame(Frame::Data(Data { unsure: false, ..data }), payload))
            }
            (Frame::Sure {} | Frame::Torn {}, _) => None,
            (frame, None) => Some(Entry::Frame(frame, payload)),
            // Nobody says what it is worth. The frame that came instead goes with it: no writer of ours does that.
            (_, Some((_, unsure))) => Some(Entry::Unreadable((unsure.len() + payload.len()) as u64)),
        }
    }

    /// So many bytes cannot be read.
    fn lose(&mut self, bytes: usize) {
        self.start += bytes;
        self.state = State::Lost(bytes as u64);
    }
}

enum Line {
    Frame(Frame),
    /// A frame of a newer version, with so many raw bytes.
    Unknown(usize),
}

fn read(line: &[u8]) -> Option<Line> {
    let fits = |bytes: usize| bytes <= PAYLOAD_MAX;
    match vesper_api::from_line(line).ok()? {
        Frame::Unknown => {
            let Sized { bytes } = vesper_api::from_line(line).ok()?;
            usize::try_from(bytes).ok().filter(|bytes| fits(*bytes)).map(Line::Unknown)
        }
        frame => fits(frame.payload_bytes()).then_some(Line::Frame(frame)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Clock, Data};

    fn clock(error_ns: u64) -> Frame {
        Frame::Clock(Clock { offset_ns: 0, error_ns })
    }

    fn data(bytes: &[u8]) -> Vec<u8> {
        let mut out =
            Frame::Data(Data { export: 1, cpu: Some(0), bytes: bytes.len(), more: false, unsure: false })
                .line();
        out.extend_from_slice(bytes);
        out
    }

    fn parse(bytes: &[u8], piece: usize) -> Vec<Entry> {
        let mut parser = Parser::new();
        let mut entries = Vec::new();
        for piece in bytes.chunks(piece) {
            parser.push(piece);
            entries.extend(std::iter::from_fn(|| parser.next_entry()));
        }
        entries.extend(parser.finish());
        entries
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_passed_over() {
        let good = || Entry::Frame(clock(1), vec![]);
        let line = clock(1).line();
        let table: [(Vec<u8>, Option<Entry>); 8] = [
            (b"".to_vec(), None),
            (b"garbage\n".to_vec(), Some(Entry::Unreadable(8))),
            (b"{\"frame\":\"clock\"}\n".to_vec(), Some(Entry::Unreadable(18))),
            (
                b"{\"frame\":\"data\",\"export\":1,\"cpu\":0,\"bytes\":1048577}\n".to_vec(),
                Some(Entry::Unreadable(52)),
            ),
            (b"{\"frame\":\"newer\",\"bytes\":5}\n\n{\"fr".to_vec(), None),
            (b"{\"frame\":\"newer\",\"bytes\":99999999}\n".to_vec(), Some(Entry::Unreadable(35))),
            (
                [vec![0xff; 3 * LINE_MAX], b"\n".to_vec()].concat(),
                Some(Entry::Unreadable(3 * LINE_MAX as u64 + 1)),
            ),
            (data(b"\n{\"frame\":\"gone\",\"reason\":\"crashed\"}\n"), None),
        ];
        for (middle, wanted) in table {
            let bytes = [line.clone(), middle.clone(), line.clone()].concat();
            for piece in [1, 7, 4096, usize::MAX] {
                let mut entries = parse(&bytes, piece);
                assert_eq!(entries.remove(0), good());
                assert_eq!(
                    entries.pop(),
                    Some(good()),
                    "{:?}",
                    String::from_utf8_lossy(&middle[..20.min(middle.len())])
                );
                entries.retain(|entry| !matches!(entry, Entry::Frame(Frame::Data(_), _)));
                assert_eq!(entries, Vec::from_iter(wanted.clone()), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn data_that_is_not_sure_waits_for_the_frame_behind_it() {
        let unsure = |bytes: &[u8]| {
            let data = Data { export: 1, cpu: None, bytes: bytes.len(), more: false, unsure: true };
            [&*Frame::Data(data).line(), bytes].concat()
        };
        let mut parser = Parser::new();
        parser.push(&unsure(b"abc"));
        assert_eq!(parser.next_entry(), None);
        parser.push(&Frame::Sure {}.line());
        let Some(Entry::Frame(Frame::Data(data), payload)) = parser.next_entry() else { panic!("no data") };
        assert!(payload == b"abc" && !data.unsure);
        parser.push(
            &[unsure(b"xyz"), Frame::Torn {}.line(), clock(1).line(), unsure(b"1234"), clock(2).line()]
                .concat(),
        );
        assert_eq!(parser.next_entry(), Some(Entry::Frame(clock(1), vec![])));
        assert_eq!(parser.next_entry(), Some(Entry::Unreadable(4)));
        parser.push(&[clock(3).line(), unsure(b"12345")].concat());
        assert_eq!(parser.next_entry(), Some(Entry::Frame(clock(3), vec![])));
        assert_eq!((parser.next_entry(), parser.finish()), (None, Some(Entry::Unreadable(5))));
    }

    #[test]
    fn a_stream_that_was_cut_off_says_so() {
        let whole = [clock(1).line(), data(&[7; 100])].concat();
        let clock_bytes = clock(1).line().len();
        for cut in 0..=whole.len() {
            let entries = parse(&whole[..cut], 16);
            let unread: u64 = entries
                .iter()
                .map(|entry| if let Entry::Unreadable(bytes) = entry { *bytes } else { 0 })
                .sum();
            let read = if cut == whole.len() {
                cut
            } else if cut >= clock_bytes {
                clock_bytes
            } else {
                0
            };
            assert_eq!(unread, (cut - read) as u64, "cut at {cut}");
        }
    }
}
