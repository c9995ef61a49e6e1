// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients that read streams.

use std::io::{BufRead, Read};
use std::path::Path;

use vesper_api::{Done, Failure, Request, Since, Streaming};
use vesper_stream::{Entry, Frame, Parser, Records};

use super::Client;

/// A stream of all channels, from the beginning, that goes on.
pub fn follow(dom: &str) -> Request {
    Request::Stream { dom: dom.into(), channel: None, since: Since::Boot, follow: true }
}

/// A client with a stream.
pub struct Streamed {
    pub client: Client,
    pub reply: Streaming,
    parser: Parser,
    /// What has come so far.
    pub frames: Vec<(Frame, Vec<u8>)>,
}

impl Streamed {
    pub fn begin(socket: &Path, request: &Request) -> Result<Self, Failure> {
        let mut client = Client::connect(socket);
        match client.ask(request, None).into_result()? {
            Done::Streaming(reply) => Ok(Self { client, reply, parser: Parser::new(), frames: Vec::new() }),
            other => panic!("no stream: {other:?}"),
        }
    }

    /// Reads until what has come is as wanted. False: the stream ended before.
    pub fn until(&mut self, mut wanted: impl FnMut(&Self) -> bool) -> bool {
        loop {
            while let Some(entry) = self.parser.next_entry() {
                let Entry::Frame(frame, payload) = entry else { panic!("{entry:?}") };
                self.frames.push((frame, payload));
            }
            if wanted(self) {
                return true;
            }
            let lines = self.client.lines();
            let there = lines.fill_buf().expect("the stream goes on").to_vec();
            if there.is_empty() {
                return false;
            }
            lines.consume(there.len());
            self.parser.push(&there);
        }
    }

    /// Reads to the end of the stream.
    pub fn read_to_end(&mut self) {
        assert!(!self.until(|_| false));
    }

    /// The sequence numbers of one channel's CPU.
    pub fn seqs(&self, export: u32, cpu: u16) -> Vec<u64> {
        let mut joined = Vec::new();
        for (frame, payload) in &self.frames {
            if let Frame::Data(data) = frame
                && (data.export, data.cpu) == (export, Some(cpu))
            {
                joined.extend_from_slice(payload);
            }
        }
        Records::of(&joined).map(|record| record.expect("records").header.seq).collect()
    }

    pub fn has(&self, wanted: impl Fn(&Frame) -> bool) -> bool {
        self.frames.iter().any(|(frame, _)| wanted(frame))
    }

    pub fn last(&self) -> &Frame {
        &self.frames.last().expect("there are frames").0
    }
}

/// Takes so many bytes of a stream and no more.
pub fn sip(client: &mut Client, bytes: usize) {
    client.lines().read_exact(&mut vec![0; bytes]).unwrap();
}
