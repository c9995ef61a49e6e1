// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documents of `docs/events.md`.

use vesper_events::{Event, Kind};

const BOOK: &str = include_str!("../../../docs/events.md");

#[test]
fn documents_are_as_the_book_has_them() {
    let documents: Vec<_> = BOOK.lines().filter(|line| line.starts_with("{\"serial\"")).collect();
    assert_eq!(documents.len(), 4);
    for document in documents {
        let event: Event = vesper_api::from_line(document.as_bytes()).expect(document);
        let written = String::from_utf8(vesper_api::to_line(&event)).unwrap();
        assert_eq!(written.trim_end(), document);
        assert!(Kind::ALL.contains(&event.event));
    }
}

#[test]
fn each_kind_is_in_the_table_with_who_may_say_it() {
    for kind in Kind::ALL {
        let row = BOOK.lines().find(|line| line.starts_with(&format!("| `{kind}` | {}", kind.severity())));
        let guests = Kind::of_guest(kind.name()).is_some();
        let fits = |row: &str| row.ends_with(if guests { "| guest |" } else { "| dom0 |" });
        // Its severity is told in words.
        if kind != Kind::GuestGone {
            assert!(row.is_some_and(fits), "{kind}");
        }
        let name = String::from_utf8(vesper_api::to_line(&kind)).unwrap();
        assert_eq!(name.trim_end(), format!("\"{kind}\""));
    }
}

#[test]
fn what_a_newer_daemon_says_can_be_read() {
    let document = BOOK.lines().find(|line| line.starts_with("{\"serial\"")).unwrap();
    let newer = document.replace("\"guest-panic\"", "\"guest-bored\"").replacen('{', "{\"more\":[1],", 1);
    let event: Event = vesper_api::from_line(newer.as_bytes()).unwrap();
    assert_eq!(event.event, Kind::Unknown);
}
