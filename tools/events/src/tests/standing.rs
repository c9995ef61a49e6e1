// SPDX-License-Identifier: MIT OR Apache-2.0
//! What still counts of each guest.

use super::*;

/// The numbers of the faults of guest 1.
fn faults(standing: &Standing) -> Vec<u64> {
    standing.of(&who(1, None).guest).iter().map(|event| event.fault).collect()
}

fn event(serial: u64, kind: Kind, failed: Option<Failed>, service: &str) -> Event {
    let mut book = Book::new(&Kept { next: serial, ..Kept::nothing() }, 0);
    book.report(&who(1, Some('a')), record(kind, "", serial), 0);
    let service = (!service.is_empty()).then(|| service.to_owned());
    Event { failed, service, stack: vec!["a+0x1".into()], ..book.told().remove(0).event }
}

#[test]
fn what_counts_stands_until_it_is_over() {
    let mut standing = Standing::default();
    let hung = event(1, Kind::GuestHung, Some(Failed::Guest), "");
    standing.add(&hung);
    standing.add(&event(2, Kind::ProcessKilled, None, ""));
    standing.add(&event(3, Kind::BlockError, None, ""));
    assert_eq!(faults(&standing), [1, 3], "what is only killed counts for nothing");
    standing.add(&Event { serial: 4, repeated: 1, ..hung.clone() });
    assert_eq!(faults(&standing), [3, 1]);
    let kept = &standing.of(&hung.guest)[1];
    assert!(kept.serial == 4 && kept.stack.is_empty(), "{kept:?}");
    assert!(standing.of(&who(2, None).guest).is_empty());
    standing.add(&Event { serial: 5, recovered: true, ..hung.clone() });
    assert_eq!(faults(&standing), [3]);
    // dom0 does not always know the boot; what is of another one is over.
    standing.add(&Event { boot_id: None, ..event(6, Kind::GuestGone, Some(Failed::Guest), "") });
    assert_eq!(faults(&standing), [3, 6]);
    standing.add(&Event { boot_id: who(1, Some('b')).boot_id, ..event(7, Kind::GuestOops, None, "") });
    assert_eq!(faults(&standing), [6, 7]);
    standing.forget(1, hung.guest.uuid);
    assert!(faults(&standing).is_empty());
}

#[test]
fn of_too_many_those_go_that_say_least() {
    let mut standing = Standing::default();
    let (guest, service) = (Some(Failed::Guest), Some(Failed::Service));
    standing.add(&event(1, Kind::GuestHung, guest, ""));
    standing.add(&event(2, Kind::ProcessKilled, service, "database"));
    let mut oops = standing.clone();
    oops.add(&event(3, Kind::GuestOops, None, ""));
    (4..103).for_each(|serial| oops.add(&event(serial, Kind::BlockError, None, "")));
    assert_eq!(faults(&oops), [[1, 2, 3].as_slice(), &(90..103).collect::<Vec<_>>()].concat());
    (3..103).for_each(|serial| standing.add(&event(serial, Kind::BlockError, None, "")));
    assert_eq!(faults(&standing), [[1, 2].as_slice(), &(89..103).collect::<Vec<_>>()].concat());
    // One that fails again and again.
    (103..203).for_each(|serial| standing.add(&event(serial, Kind::ProcessKilled, service, "www")));
    assert_eq!(faults(&standing), [[1, 2].as_slice(), &(189..203).collect::<Vec<_>>()].concat());
    // Each another one: the guest's own failure stays.
    (203..303).for_each(|serial| {
        standing.add(&event(serial, Kind::ProcessKilled, service, &format!("www{serial}")));
    });
    assert_eq!(faults(&standing), [[1].as_slice(), &(288..303).collect::<Vec<_>>()].concat());
}

#[test]
fn a_guest_that_the_book_forgets_is_named() {
    let mut book = book();
    tell(&mut book, [ended(End::Crashed, 1)]);
    book.is_gone(&who(1, None).guest, SECOND);
    book.tick(60 * SECOND);
    assert!(book.forgotten().is_empty());
    book.tick(61 * SECOND);
    assert_eq!(book.forgotten(), [(1, who(1, None).guest.uuid)]);
    assert!(book.forgotten().is_empty());
}
