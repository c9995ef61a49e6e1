// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole streams: from frames to lines.

mod support;

use std::time::{Duration, Instant};

use support::{Made, boot, record, text_field};
use vesper_stream::frame::{Data, EndReason, Gone, GoneReason, Lost, Totals, Words};
use vesper_stream::merge::WINDOW;
use vesper_stream::{Decoder, Frame, Item, Merger, Parser, What};

/// What is shown of a stream, in the order of time.
fn shown(bytes: &[u8]) -> Vec<Item> {
    let (mut parser, mut decoder, mut merger) = (Parser::new(), Decoder::new(), Merger::new());
    let now = Instant::now();
    let (mut items, mut out) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(1000) {
        parser.push(piece);
        while let Some(entry) = parser.next_entry() {
            decoder.decode(entry, &mut items);
        }
        items.drain(..).for_each(|item| merger.push(item, now));
        out.extend(std::iter::from_fn(|| merger.pop(now)));
    }
    if let Some(entry) = parser.finish() {
        decoder.decode(entry, &mut items);
    }
    decoder.overdue(&mut items);
    items.into_iter().for_each(|item| merger.push(item, now));
    merger.finish();
    out.extend(std::iter::from_fn(|| merger.pop(now)));
    out
}

fn text(items: &[Item]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        vesper_stream::text::write(&mut text, item);
        text
    })
}

fn json(items: &[Item]) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    items.iter().for_each(|item| vesper_stream::json::write(&mut lines, item));
    let lines = String::from_utf8(lines).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SECOND: u64 = 1_000_000_000;
/// 2024-02-29T12:34:56Z minus the guest's 100 s.
const OFFSET: i64 = (1_709_210_096 - 100) * SECOND as i64;

#[test]
fn a_record_is_a_line_and_what_has_lines_of_its_own_follows() {
    let mut made = Made::new();
    made.export(1, "panic", "panic! cpu:u32 comm:str stack:str\n", &[Some(0)]);
    made.clock(OFFSET, 120_000);
    let payload = [
        1u32.to_le_bytes().to_vec(),
        text_field("in\u{1b}it \"x\""),
        text_field("panic+0x1\n\u{1b}[2Jdo_exit+0x2\n"),
    ];
    made.data(1, Some(0), &record(1, 3, 100 * SECOND + 789_012_345, 0, &payload.concat()));
    let items = shown(&made.bytes);
    assert_eq!(
        text(&items[1..]),
        "2024-02-29T12:34:56.789012Z web1 panic cpu0 panic! cpu=1 comm=\"in\\x1bit \\\"x\\\"\"\n    \
         stack:\n      panic+0x1\n      \\x1b[2Jdo_exit+0x2\n"
    );
    let line = &json(&items)[1];
    assert_eq!(
        serde_json::to_string(line).unwrap(),
        serde_json::to_string(&serde_json::json!({
            "item": "record", "time": "2024-02-29T12:34:56.789012345Z", "error_ns": 120_000,
            "guest_ns": 100_789_012_345u64, "domid": 3, "guest": "web1", "uuid": support::UUID, "boot_id": boot(),
            "channel": "panic", "cpu": 0, "event": "panic", "number": 1, "seq": 0, "urgent": true, "fatal": true,
            "fields": {"cpu": 1, "comm": "in\u{1b}it \"x\"", "stack": "panic+0x1\n\u{1b}[2Jdo_exit+0x2\n"},
        }))
        .unwrap()
    );
}

#[test]
fn what_is_lost_is_said_where_it_is_missing_and_once() {
    let mut made = Made::new();
    made.export(1, "c", "e n:u8", &[Some(0), Some(1)]);
    let event = |seq, time| record(1, 0, time, seq, &[seq as u8]);
    made.data(1, Some(0), &event(0, 10));
    made.data(1, Some(1), &event(0, 15));
    made.frame(&Frame::Lost(Lost { export: 1, cpu: Some(0), sub_buffers: 0, bytes: 0, writes: 3 }));
    made.data(1, Some(0), &[event(4, 20), event(5, 30)].concat());
    let totals = |cpu, records| Totals { cpu: Some(cpu), records, dropped: 3 };
    made.end(1, vec![totals(0, 8), totals(1, 1)], EndReason::Stopped);
    let shown = text(&shown(&made.bytes));
    let lines: Vec<_> = shown.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "+0.000000s web1 c cpu0 e n=0",
            "+0.000000s web1 c cpu1 e n=0",
            "+0.000000s web1 c cpu0 -- lost: 3 records (3 writes refused by a full buffer)",
            "+0.000000s web1 c cpu0 e n=4",
            "+0.000000s web1 c cpu0 e n=5",
            "+0.000000s web1 c cpu0 -- lost: 2 records",
            "+0.000000s web1 c -- the channel was closed by its module; lost in all: 5 records",
        ]
    );
}

#[test]
fn garbage_is_counted_and_the_next_frame_is_read() {
    let mut made = Made::new();
    made.export(1, "c", "e n:u8\nBroken", &[Some(0)]);
    made.data(1, Some(0), &[record(1, 0, 1, 0, b"a"), vec![0xff; 100]].concat());
    made.bytes.extend_from_slice(b"{\"frame\":\n");
    made.data(1, Some(0), &record(1, 0, 2, 1, b"b"));
    made.data(1, Some(0), &record(2, 0, 3, 2, b"?"));
    made.data(1, Some(7), b"no such buffer");
    made.data(9, Some(0), b"no such channel");
    made.data(1, Some(0), &record(1, 0, 4, 1, b"c"));
    let shown = text(&shown(&made.bytes));
    for line in [
        "    event 2 cannot be read: \"Broken\" is no name of an event: [a-z][a-z0-9_]{0,31}, with a ! behind it if it is fatal\n",
        "c cpu0 -- undecodable: 100 bytes\n",
        "- web1 -- undecodable: 10 bytes\n",
        "c cpu0 e n=98\n",
        "c cpu0 event 2, 8 bytes\n    000000 3f 00 00 00 00 00 00 00\n",
        "c cpu7 -- undecodable: 14 bytes\n",
        "- web1 -- undecodable: 15 bytes\n",
        "c cpu0 -- sequence number 1, where 3 should follow\n",
        "c cpu0 e n=99\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
}

#[test]
fn a_piece_that_came_in_parts_is_whole() {
    let mut made = Made::new();
    made.export(1, "c", "e s:str", &[None]);
    let whole = record(1, 0, 1, 0, &text_field(&"x".repeat(3000)));
    for (at, part) in whole.chunks(1000).enumerate() {
        let more = at < 3;
        made.frame(&Frame::Data(Data { export: 1, cpu: None, bytes: part.len(), more, unsure: false }));
        made.bytes.extend_from_slice(part);
    }
    let items = shown(&made.bytes);
    assert!(text(&items).contains(&format!(" c global e s=\"{}\"\n", "x".repeat(3000))));
    let cut = made.bytes.len() - 1040;
    made.bytes.truncate(cut);
    assert!(!text(&shown(&made.bytes)).contains(" e s="));
}

/// The guest wrote over the rest of a piece after its beginning had been sent.
#[test]
fn what_is_whole_of_a_piece_that_was_overwritten_counts() {
    let mut made = Made::new();
    made.export(1, "c", "e n:u8", &[Some(0)]);
    let piece = [record(1, 0, 1, 0, b"a"), record(1, 0, 2, 1, b"b"), record(1, 0, 3, 2, b"c")].concat();
    made.frame(&Frame::Data(Data { export: 1, cpu: Some(0), bytes: 70, more: true, unsure: false }));
    made.bytes.extend_from_slice(&piece[..70]);
    made.frame(&Frame::Lost(Lost { export: 1, cpu: Some(0), sub_buffers: 1, bytes: 26, writes: 0 }));
    made.data(1, Some(0), &record(1, 0, 4, 3, b"d"));
    let shown = text(&shown(&made.bytes));
    let lines: Vec<_> = shown.lines().skip(1).map(|line| line.split_once("cpu0 ").unwrap().1).collect();
    let lost = "-- lost: 1 record (1 sub-buffer overwritten before being read, 26 bytes)";
    assert_eq!(lines, ["e n=97", "e n=98", lost, "e n=100"]);
}

#[test]
fn a_foreign_modules_bytes_are_shown_as_they_are() {
    let mut made = Made::new();
    made.foreign(1, "theirs", &[Some(0)]);
    made.data(1, Some(0), b"one line\nanother\t\xc3\xa9\n");
    made.data(1, Some(0), b"\x00\x01two");
    let items = shown(&made.bytes);
    assert_eq!(
        text(&items[1..]),
        "- web1 theirs cpu0 20 bytes\n    one line\n    another\\té\n- web1 theirs cpu0 5 bytes\n    000000 00 01 74 77 6f\n"
    );
    assert_eq!(json(&items)[2]["hex"], "000174776f");
}

#[test]
fn last_words_are_read_with_the_schema_of_their_channel() {
    let mut made = Made::new();
    made.export(4, "panic", "panic! cpu:u32", &[Some(0)]);
    made.end(4, vec![], EndReason::GuestGone);
    let words = record(1, 2, 7 * SECOND, 0, &1u32.to_le_bytes());
    for (export, name) in [(Some(4), "panic"), (None, "panic"), (None, "unheard")] {
        made.frame(&Frame::Words(Words { export, name: name.into(), bytes: words.len() }));
        made.bytes.extend_from_slice(&words);
    }
    made.frame(&Frame::Gone(Gone { reason: GoneReason::Crashed, cause: Some("panic: \u{7}".into()) }));
    let shown = text(&shown(&made.bytes));
    let told = "+7.000000s web1 panic panic! cpu=1 (last words)\n";
    assert_eq!(shown.matches(told).count(), 2, "{shown}");
    assert!(shown.contains("+7.000000s web1 unheard event 1, 8 bytes\n"), "{shown}");
    assert!(shown.ends_with("- web1 -- the guest crashed: panic: \\x07\n"), "{shown}");
}

/// vesperd sends the buffer first whose next record is the oldest; CPU 0 has few records and CPU 1 many.
#[test]
fn a_backlog_comes_out_in_exact_order() {
    let mut made = Made::new();
    made.export(1, "c", "e n:u32", &[Some(0), Some(1), Some(2)]);
    let piece = |from: u64, count: u64, step: u64, seq: u64| {
        let records = (0..count).map(|at| record(1, 0, from + at * step, seq + at, &[0; 4]));
        records.collect::<Vec<_>>().concat()
    };
    made.data(1, Some(0), &piece(SECOND, 10, 3 * SECOND, 0));
    // Urgent it was when it was recorded.
    made.data(1, Some(2), &record(1, 3, SECOND + 1, 0, &[0; 4]));
    for at in 0..100 {
        made.data(1, Some(1), &piece(2 * SECOND + at * SECOND / 2, 50, SECOND / 100, at * 50));
    }
    let times: Vec<_> = shown(&made.bytes).iter().filter_map(|item| item.time).collect();
    assert_eq!(times.len(), 5011);
    assert!(times.is_sorted());
}

#[test]
fn a_record_waits_for_others_but_not_for_ever_and_an_urgent_one_not_at_all() {
    let mut made = Made::new();
    made.export(1, "c", "e n:u8", &[Some(0), Some(1)]);
    let (mut parser, mut decoder, mut merger) = (Parser::new(), Decoder::new(), Merger::new());
    merger.go_live();
    let start = Instant::now();
    let mut push = |merger: &mut Merger, made: &mut Made, now| {
        parser.push(&std::mem::take(&mut made.bytes));
        let mut items = Vec::new();
        std::iter::from_fn(|| parser.next_entry()).for_each(|entry| decoder.decode(entry, &mut items));
        items.into_iter().for_each(|item| merger.push(item, now));
    };
    let times = |merger: &mut Merger, now| -> Vec<u64> {
        std::iter::from_fn(|| merger.pop(now)).filter_map(|item| item.time).collect()
    };
    made.data(1, Some(0), &record(1, 0, 20, 0, b"a"));
    push(&mut merger, &mut made, start);
    assert_eq!(times(&mut merger, start), [0u64; 0], "CPU 1 may have an older one");
    made.data(1, Some(1), &record(1, 0, 10, 0, b"b"));
    let later = start + Duration::from_millis(100);
    push(&mut merger, &mut made, later);
    assert_eq!(times(&mut merger, later), [0u64; 0]);
    assert_eq!(merger.next_due(), Some(start + WINDOW));
    assert_eq!(times(&mut merger, start + WINDOW), [10, 20]);
    assert_eq!(merger.next_due(), None);

    made.data(1, Some(0), &[record(1, 0, 40, 1, b"c"), record(1, 0, 60, 2, b"e")].concat());
    made.data(1, Some(1), &record(1, 1, 50, 1, b"d"));
    push(&mut merger, &mut made, later);
    assert_eq!(times(&mut merger, later), [40, 50], "what is older goes along, what is newer waits");
    made.data(1, Some(0), &record(1, 0, u64::MAX, 3, b"f"));
    push(&mut merger, &mut made, later);
    assert_eq!(times(&mut merger, later), [60]);
    assert_eq!(times(&mut merger, later + WINDOW), [u64::MAX]);
}

#[test]
fn a_flood_does_not_fill_the_memory() {
    let mut merger = Merger::new();
    let mut made = Made::new();
    made.export(1, "c", "e s:str", &[Some(0)]);
    let (mut parser, mut decoder) = (Parser::new(), Decoder::new());
    let now = Instant::now();
    let mut shown = 0;
    for seq in 0..1000 {
        made.data(1, Some(0), &record(1, 0, seq, seq, &text_field(&"x".repeat(60_000))));
        parser.push(&std::mem::take(&mut made.bytes));
        let mut items = Vec::new();
        std::iter::from_fn(|| parser.next_entry()).for_each(|entry| decoder.decode(entry, &mut items));
        items.into_iter().for_each(|item| merger.push(item, now));
        shown += std::iter::from_fn(|| merger.pop(now))
            .filter(|item| matches!(item.what, What::Record { .. }))
            .count();
    }
    assert!(shown > 700, "{shown} of 1000 were shown, the others are held");
}
