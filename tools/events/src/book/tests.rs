// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a successor knows.

use vesper_api::GuestRef;

use super::*;
use crate::tests::{book, ended, record, source, who};
use crate::{End, Kind};

#[test]
fn a_successor_knows_what_was_told_and_where_it_was_read() {
    let mut book = book();
    let who = who(1, Some('a'));
    assert!(book.has_read(&who, &source(5)));
    book.report(&who, record(Kind::GuestPanic, "", 5), 0);
    let events: Vec<_> = book.told().into_iter().map(|told| told.event).collect();
    let (next, places) = book.kept();
    assert_eq!(next, 2);
    for kept in [
        Kept { events: events.clone(), next, ..Kept::default() },
        Kept { places, places_at: 9, next, ..Kept::default() },
    ] {
        let mut book = Book::new(&kept, 0);
        assert!(!book.has_read(&who, &source(5)) && !book.has_read(&who, &source(4)));
        assert!(book.has_read(&who, &source(6)));
        assert!(book.has_read(&crate::tests::who(1, Some('b')), &source(5)), "another boot counts anew");
    }
    let mut book = Book::new(&Kept { events, next, ..Kept::default() }, 0);
    // The domain is kept crashed; whoever sees it next knows no boot.
    book.report(&crate::tests::who(1, None), ended(End::Crashed, 9), 0);
    let told = book.told();
    assert_eq!((told[0].event.fault, told[0].event.event, told[0].act), (1, Kind::GuestPanic, false));
}

/// A guest has another number each time it starts: those of today come after many that are gone.
#[test]
fn a_successor_knows_todays_guests_however_many_there_were() {
    let mut before = book();
    let guest = |domid| {
        let guest = GuestRef { domid, name: "web".into(), uuid: "00000001-0000".into() };
        Who::new(guest, Some("a".repeat(32)))
    };
    for domid in 1..=3000 {
        before.report(&guest(domid), record(Kind::GuestOops, "", 5), 0);
    }
    let events: Vec<_> = before.told().into_iter().map(|told| told.event).collect();
    let mut book = Book::new(&Kept { events, next: 3001, ..Kept::default() }, 0);
    for domid in [1, 3000] {
        assert!(!book.has_read(&guest(domid), &source(5)), "domain {domid} is not known");
    }
}
