// SPDX-License-Identifier: MIT OR Apache-2.0
use std::fs;

use vesper_stream::Moment;

use super::*;
use crate::tests::who;
use crate::{Book, Failed, Report};

/// An event of its own.
fn event(serial: u64, kind: Kind) -> Event {
    let mut book = Book::new(&Kept { next: serial, ..Kept::nothing() }, 0);
    book.report(&who(1, None), Report::seen(kind, "because", Moment { nanos: serial }), serial);
    book.told().remove(0).event
}

fn write(journal: &mut Journal, event: &Event) {
    journal.append(&Entry::Event(Box::new(event.clone()))).unwrap();
}

fn serials(kept: &Kept) -> Vec<u64> {
    kept.events.iter().map(|event| event.serial).collect()
}

#[test]
fn what_was_written_is_there_again_and_what_was_not_acted_on_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    let (mut journal, kept) = Journal::open(&dir, LIMIT_MIN, None).unwrap();
    assert_eq!(kept, Kept::nothing());
    let crashed = event(1, Kind::GuestCrashed);
    write(&mut journal, &crashed);
    write(&mut journal, &event(2, Kind::BlockError));
    write(&mut journal, &event(3, Kind::BlockError));
    for fault in [1, 2] {
        journal.append(&Entry::Hook { fault, hook: "10-x".into(), outcome: "ok".into() }).unwrap();
    }
    journal.append(&Entry::Acted { fault: 1, kind: Kind::GuestCrashed }).unwrap();
    journal.append(&Entry::Acted { fault: 3, kind: Kind::BlockError }).unwrap();
    // It is known better now.
    write(&mut journal, &Event { serial: 4, event: Kind::GuestPanic, ..crashed });
    journal.sync().unwrap();
    drop(journal);
    let (_, kept) = Journal::open(&dir, LIMIT_MIN, None).unwrap();
    assert_eq!((serials(&kept), kept.next, kept.damaged), (vec![2, 3, 4], 5, 0));
    let pending: Vec<_> = kept.pending().map(|event| (event.fault, event.event)).collect();
    assert_eq!(pending, [(2, Kind::BlockError), (1, Kind::GuestPanic)]);
    assert!(kept.acted[&2].hooks.contains("10-x"));
}

#[test]
fn what_turned_out_to_be_worse_is_pending_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    let hung = event(1, Kind::GuestHung);
    let dead = Event { serial: 2, failed: Some(Failed::Guest), ..hung.clone() };
    let acted = || Entry::Acted { fault: 1, kind: Kind::GuestHung };
    let told = |event: &Event| Entry::Event(Box::new(event.clone()));
    let steps = [
        (told(&hung), true),
        (acted(), false),
        (told(&dead), true),
        (acted(), false),
        (told(&Event { serial: 3, repeated: 1, ..dead.clone() }), false),
    ];
    for (entry, pending) in steps {
        journal.append(&entry).unwrap();
        let (_, kept) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
        assert_eq!(kept.pending().count() == 1, pending, "{entry:?}");
    }
}

/// Whatever the last line was cut to when the daemon died: nothing before it is lost, and what follows can be read.
#[test]
fn a_torn_last_line_costs_that_line() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    write(&mut journal, &event(1, Kind::GuestOops));
    let whole = journal.bytes;
    write(&mut journal, &event(2, Kind::GuestOops));
    let path = journal.path.clone();
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let (mut journal, kept) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
        assert_eq!((serials(&kept), kept.next), (vec![1], 2), "cut at {cut}");
        assert_eq!(kept.damaged, u64::from(cut > whole), "cut at {cut}");
        write(&mut journal, &event(3, Kind::GuestOops));
        let (_, kept) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
        assert_eq!((serials(&kept), kept.damaged), (vec![1, 3], 0), "cut at {cut}");
    }
}

#[test]
fn a_line_that_was_changed_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    (1..4).for_each(|serial| write(&mut journal, &event(serial, Kind::GuestOops)));
    let text = fs::read_to_string(&journal.path).unwrap();
    fs::write(&journal.path, text.replacen("\"serial\":2", "\"serial\":7", 1)).unwrap();
    let (_, kept) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    assert_eq!((serials(&kept), kept.damaged), (vec![1, 3], 1));
}

#[test]
fn the_oldest_go_and_the_serials_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    let place = Place { domid: 1, uuid: "u".into(), boot_id: None, export: 1, cpu: Some(0), seq: 41 };
    let mut one = event(1, Kind::GuestOops);
    one.cause = "x".repeat(1000);
    for serial in 1..=4000 {
        write(&mut journal, &Event { serial, fault: serial, ..one.clone() });
        if journal.is_long() {
            journal.begin(serial + 1, vec![place.clone()]).unwrap();
        }
        let all: u64 =
            fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(all <= LIMIT_MIN, "{all} bytes after {serial}");
    }
    drop(journal);
    let (_, kept) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    let there = serials(&kept);
    assert!(there.len() > 400 && there[0] > 2000, "{} from {}", there.len(), there[0]);
    assert_eq!((kept.next, kept.damaged, &kept.places), (4001, 0, &vec![place]));
    assert!(kept.places_at > there[0]);
}

/// A full disk is an error, and leaves no half line behind.
#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), LIMIT_MIN, None).unwrap();
    write(&mut journal, &event(1, Kind::GuestOops));
    journal.file = File::options().append(true).open("/dev/full").unwrap();
    let error = journal.append(&Entry::Acted { fault: 1, kind: Kind::GuestOops }).unwrap_err();
    assert!(error.to_string().contains(".log: No space left on device"), "{error}");
    let nowhere = Journal::open(&dir.path().join("00000000000000000001.log"), LIMIT_MIN, None).unwrap_err();
    assert!(nowhere.to_string().contains("00000000000000000001.log: "), "{nowhere}");
}
