// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arbitrary bytes: nothing panics, nothing is unbounded, nothing reaches a terminal as a command, no byte goes uncounted.

mod support;

use std::time::Instant;

use proptest::prelude::*;
use support::{Made, record};
use vesper_stream::{Decoder, Entry, Item, Merger, Parser, Records, Schema, What};

/// Everything that is shown of a stream, in text and JSON.
fn show(bytes: &[u8], piece: usize) -> (Vec<Item>, String) {
    let (mut parser, mut decoder, mut merger) = (Parser::new(), Decoder::new(), Merger::new());
    let now = Instant::now();
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.push(piece);
        while let Some(entry) = parser.next_entry() {
            decoder.decode(entry, &mut items);
        }
    }
    items.drain(..).for_each(|item| merger.push(item, now));
    merger.finish();
    items.extend(std::iter::from_fn(|| merger.pop(now)));
    let (mut text, mut json) = (String::new(), Vec::new());
    for item in &items {
        vesper_stream::text::write(&mut text, item);
        vesper_stream::json::write(&mut json, item);
    }
    for line in String::from_utf8(json).unwrap().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object());
    }
    (items, text)
}

/// Bytes that look like a stream here and there.
fn broken_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        4 => (1u16..4, any::<u16>(), any::<u64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(event, flags, time, seq, payload)| {
                let mut made = Made { bytes: vec![] };
                made.data(1, Some(0), &record(event, flags, time, seq, &payload));
                made.bytes
            }),
        1 => Just(b"{\"frame\":\"gone\",\"reason\":\"crashed\",\"cause\":\"\\u001b[2J\"}\n".to_vec()),
        1 => Just(b"{\"frame\":\"words\",\"name\":\"x\\u001b\",\"bytes\":30}\n".to_vec()),
        1 => Just(b"{\"frame\":\"lost\",\"export\":1,\"cpu\":0,\"writes\":3}\n".to_vec()),
        1 => Just(b"{\"frame\":\"end\",\"export\":1,\"cpus\":[{\"cpu\":0,\"records\":7,\"dropped\":0}],\"reason\":\"lost\"}\n".to_vec()),
        1 => Just(b"{\"frame\":\"clock\",\"offset_ns\":-9223372036854775808,\"error_ns\":1}\n".to_vec()),
    ];
    (prop::collection::vec(piece, 0..20), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(pieces, at, byte)| {
            let mut made = Made::new();
            made.export(1, "c\u{1b}", "a! s:str n:u8\nb x:x64 t:str\n", &[Some(0)]);
            pieces.iter().for_each(|piece| made.bytes.extend_from_slice(piece));
            let at = at.index(made.bytes.len());
            made.bytes[at] = byte;
            made.bytes
        },
    )
}

proptest! {
    #[test]
    fn a_broken_stream_is_shown_as_far_as_it_goes(bytes in broken_stream(), piece in 1usize..300) {
        let (items, text) = show(&bytes, piece);
        prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
        // However it is cut, it is the same.
        prop_assert_eq!(items, show(&bytes, usize::MAX).0);
    }

    #[test]
    fn every_byte_is_a_frame_or_counted(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut parser = Parser::new();
        parser.push(&bytes);
        let entries: Vec<_> = std::iter::from_fn(|| parser.next_entry()).chain(std::iter::from_fn(|| None)).collect();
        let unread: u64 = entries.into_iter().chain(parser.finish()).map(|entry| match entry {
            Entry::Unreadable(bytes) => bytes,
            Entry::Frame(..) => 0,
        }).sum();
        prop_assert_eq!(unread, bytes.len() as u64);
    }

    #[test]
    fn every_byte_of_a_piece_is_a_record_or_undecodable(bytes in prop::collection::vec(any::<u8>(), 0..500), good in 0usize..4) {
        let mut piece: Vec<u8> = (0..good).flat_map(|seq| record(1, 0, 1, seq as u64, b"payload")).collect();
        piece.extend_from_slice(&bytes);
        let counted: usize = Records::of(&piece).map(|record| match record {
            Ok(record) => record.header.bytes as usize,
            Err(undecodable) => undecodable.0,
        }).sum();
        prop_assert_eq!(counted, piece.len());
    }

    #[test]
    fn any_text_is_a_schema(text in ".{0,300}", event in any::<u16>(), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let schema = Schema::parse(&text);
        if let Some(event) = schema.event(event % 4) {
            let values = vesper_stream::value::decode(event, &payload);
            prop_assert!(values.fields.len() <= event.fields.len());
        }
    }

    /// The merge loses nothing, makes nothing up, and keeps each buffer's own order.
    #[test]
    fn the_order_of_a_buffer_is_kept(times in prop::collection::vec((0u16..3, any::<u64>(), any::<bool>()), 0..60)) {
        let mut made = Made::new();
        made.export(1, "c", "e", &[Some(0), Some(1), Some(2)]);
        let mut seqs = [0u64; 3];
        for (cpu, time, urgent) in &times {
            let seq = &mut seqs[usize::from(*cpu)];
            made.data(1, Some(*cpu), &record(1, u16::from(*urgent), *time, *seq, b""));
            *seq += 1;
        }
        let mut found = [0u64; 3];
        for item in show(&made.bytes, 4096).0 {
            if let What::Record { header, .. } = item.what {
                let next = &mut found[usize::from(item.cpu.unwrap())];
                prop_assert_eq!(header.seq, *next);
                *next += 1;
            }
        }
        prop_assert_eq!(found, seqs);
    }
}
