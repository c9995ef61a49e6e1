// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of the frame parser.

use proptest::collection::vec;
use proptest::prelude::*;
use vesper_xenstore::wire::{Frame, HEADER_LEN, Header, Kind, Malformed, PAYLOAD_MAX, Parser};

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let payload = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), PAYLOAD_MAX - 1..=PAYLOAD_MAX)];
    let kind = proptest::sample::select(Kind::ALL).prop_map(|(kind, _)| kind);
    let frame = (kind, any::<u32>(), any::<u32>(), payload)
        .prop_map(|(kind, req_id, tx_id, payload)| Frame { kind, req_id, tx_id, payload });
    vec(frame, 0..6)
}

/// Pushes the stream in pieces of these sizes, over and over.
fn parse(stream: &[u8], pieces: &[usize]) -> (Vec<Frame>, Result<(), Malformed>) {
    let (mut parser, mut found, mut rest) = (Parser::default(), Vec::new(), stream);
    for &size in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.clamp(1, rest.len()));
        if let Err(error) = parser.push(now, |frame| found.push(frame)) {
            return (found, Err(error));
        }
        rest = later;
    }
    (found, Ok(()))
}

proptest! {
    #[test]
    fn split_reads_change_nothing(frames in frames(), pieces in vec(1usize..5000, 1..8)) {
        let stream: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        prop_assert_eq!(parse(&stream, &pieces), (frames.clone(), Ok(())));
        prop_assert_eq!(parse(&stream, &[1]), (frames, Ok(())));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..9000), pieces in vec(1usize..5000, 1..8)) {
        let (whole, outcome) = parse(&bytes, &[usize::MAX]);
        prop_assert_eq!(parse(&bytes, &pieces), (whole, outcome));
    }

    /// Mostly valid streams with a few bytes changed: what comes out is bounded and the same for every split.
    #[test]
    fn damaged_streams_are_bounded(
        frames in frames(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        pieces in vec(1usize..5000, 1..8),
    ) {
        let mut stream: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        prop_assume!(!stream.is_empty());
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let (found, outcome) = parse(&stream, &pieces);
        prop_assert!(found.iter().all(|frame| frame.payload.len() <= PAYLOAD_MAX));
        prop_assert_eq!(parse(&stream, &[usize::MAX]), (found, outcome));
    }

    #[test]
    fn headers_go_round(kind: u32, req_id: u32, tx_id: u32, len: u32) {
        let header = Header { kind, req_id, tx_id, len };
        prop_assert_eq!(Header::decode(&header.encode()), header);
    }

    /// A length above the limit is refused as soon as the header is there, before any payload.
    #[test]
    fn long_messages_are_refused_at_the_header(len in PAYLOAD_MAX as u32 + 1..) {
        let header = Header { kind: Kind::Read as u32, req_id: 1, tx_id: 0, len }.encode();
        prop_assert_eq!(parse(&header, &[HEADER_LEN]), (vec![], Err(Malformed::Length(len))));
    }
}
