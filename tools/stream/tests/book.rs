// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/api.md about streams.

use vesper_stream::Frame;

/// Each example is a frame of this version, word for word, and each kind of frame has an example and a row.
#[test]
fn the_frames_of_the_book_are_true() {
    let book = include_str!("../../../docs/api.md");
    let mut kinds = Vec::new();
    for block in book.split("```jsonl\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let frame: Frame = vesper_api::from_line(line.as_bytes()).expect(line);
            assert_ne!(frame, Frame::Unknown, "{line}");
            assert_eq!(String::from_utf8(frame.line()).unwrap(), format!("{line}\n"));
            kinds.push(line.split('"').nth(3).unwrap().to_owned());
        }
    }
    kinds.sort();
    let all =
        ["caught-up", "clock", "data", "end", "export", "gone", "guest", "lost", "sure", "torn", "words"];
    assert_eq!(kinds, all);
    for kind in all.iter().filter(|kind| !["sure", "torn"].contains(kind)) {
        assert!(book.contains(&format!("| `{kind}` | ")), "{kind} has no row");
    }
}
