// SPDX-License-Identifier: MIT OR Apache-2.0
use std::os::unix::fs::PermissionsExt;
use std::{fs, thread};

use nix::unistd::{Uid, setfsuid};
use vesper_stream::Moment;

use super::*;
use crate::tests::who;
use crate::{Book, Failed, Report};

/// As a daemon does that starts.
fn open(dir: &Path, limit: u64) -> (Journal, Kept) {
    let kept = Kept::read(dir);
    (Journal::open(dir, limit, None, kept.next, "boot").unwrap(), kept)
}

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
    let (mut journal, kept) = open(&dir, LIMIT_MIN);
    assert_eq!(kept, Kept::nothing());
    let crashed = event(1, Kind::GuestCrashed);
    write(&mut journal, &crashed);
    write(&mut journal, &event(2, Kind::BlockError));
    write(&mut journal, &event(3, Kind::BlockError));
    for fault in [1, 2] {
        journal.append(&Entry::Hook { fault, hook: "10-x".into(), outcome: "ok".into() }).unwrap();
    }
    journal.append(&Entry::Acted { fault: 1, kind: Kind::GuestCrashed, serial: Some(1) }).unwrap();
    journal.append(&Entry::Acted { fault: 3, kind: Kind::BlockError, serial: None }).unwrap();
    // It is known better now.
    write(&mut journal, &Event { serial: 4, event: Kind::GuestPanic, ..crashed });
    journal.sync().unwrap();
    drop(journal);
    let (_, kept) = open(&dir, LIMIT_MIN);
    assert_eq!((serials(&kept), kept.next, kept.damaged), (vec![2, 3, 4], 5, 0));
    let pending: Vec<_> = kept.pending().map(|event| (event.fault, event.event)).collect();
    assert_eq!(pending, [(2, Kind::BlockError), (1, Kind::GuestPanic)]);
    assert!(kept.acted[&2].hooks.contains("10-x"));
}

/// The line of the event itself may be the one that did not fit on a full disk.
#[test]
fn what_was_acted_on_is_no_new_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    journal.append(&Entry::Hook { fault: 5, hook: "10-x".into(), outcome: "ok".into() }).unwrap();
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!(kept.next, 6, "a hook has run");
    journal.append(&Entry::Acted { fault: 7, kind: Kind::GuestPanic, serial: None }).unwrap();
    let (mut journal, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!(kept.next, 8, "all was done");
    write(&mut journal, &event(kept.next, Kind::GuestPanic));
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!(kept.pending().map(|event| event.serial).collect::<Vec<_>>(), [1, 8]);
}

#[test]
fn what_turned_out_to_be_worse_is_pending_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    let hung = event(1, Kind::GuestHung);
    let dead = Event { serial: 2, failed: Some(Failed::Guest), ..hung.clone() };
    let acted = |serial| Entry::Acted { fault: 1, kind: Kind::GuestHung, serial };
    let told = |event: &Event| Entry::Event(Box::new(event.clone()));
    let steps = [
        (told(&hung), true),
        (acted(Some(1)), false),
        (told(&dead), true),
        // What runs for less ends later.
        (acted(Some(1)), true),
        (acted(Some(2)), false),
        (told(&Event { serial: 3, repeated: 1, ..dead.clone() }), false),
    ];
    for (entry, pending) in steps {
        journal.append(&entry).unwrap();
        let (_, kept) = open(dir.path(), LIMIT_MIN);
        assert_eq!(kept.pending().count() == 1, pending, "{entry:?}");
    }
}

/// After it a guest with the same number and the same UUID is not the one that had failed.
#[test]
fn nothing_of_an_earlier_boot_of_dom0_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |serial| Event { failed: Some(Failed::Guest), ..event(serial, Kind::GuestPanic) };
    let pending = |kept: &Kept| kept.pending().map(|event| event.failed).collect::<Vec<_>>();
    let (mut journal, mut kept) = open(dir.path(), LIMIT_MIN);
    assert!(kept.booted("boot"), "it is not known yet");
    journal.booted().unwrap();
    write(&mut journal, &failed(1));
    // An upgrade of the daemon.
    let mut kept = Kept::read(dir.path());
    assert!(!kept.booted("boot") && kept.of_this_boot().len() == 1);
    assert_eq!(pending(&kept), [Some(Failed::Guest)]);
    // A boot: it is still told, and what is to be done whatever has failed is done.
    let mut journal = Journal::open(dir.path(), LIMIT_MIN, None, kept.next, "another").unwrap();
    let places = Places { domid: 1, uuid: "u".into(), boot_id: None, read: vec![(1, Some(0), 4)] };
    journal.append(&Entry::Places(places)).unwrap();
    assert!(kept.booted("another"));
    journal.booted().unwrap();
    for kept in [kept, Kept::read(dir.path())] {
        assert_eq!((serials(&kept), kept.of_this_boot(), kept.places.len()), (vec![1], &[][..], 0));
        assert_eq!(pending(&kept), [None]);
        let mut book = Book::new(&kept, 0);
        book.report(&who(1, None), crate::tests::ended(crate::End::Crashed, 9), 0);
        assert_eq!(book.told()[0].event.fault, kept.next, "it is not the end of that one");
    }
    write(&mut journal, &failed(2));
    // Whichever files are still there.
    journal.begin(3, Vec::new()).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if entry.path() != journal.path {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(!Kept::read(dir.path()).booted("another"));
}

/// Whatever the last line was cut to when the daemon died: nothing before it is lost, and what follows can be read.
#[test]
fn a_torn_last_line_costs_that_line() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    let whole = journal.bytes;
    write(&mut journal, &event(2, Kind::GuestOops));
    let path = journal.path.clone();
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let (mut journal, kept) = open(dir.path(), LIMIT_MIN);
        assert_eq!((serials(&kept), kept.next), (vec![1], 2), "cut at {cut}");
        assert_eq!(kept.damaged, u64::from(cut > whole), "cut at {cut}");
        write(&mut journal, &event(3, Kind::GuestOops));
        let (_, kept) = open(dir.path(), LIMIT_MIN);
        assert_eq!((serials(&kept), kept.damaged), (vec![1, 3], 0), "cut at {cut}");
    }
}

#[test]
fn a_line_that_was_changed_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    (1..4).for_each(|serial| write(&mut journal, &event(serial, Kind::GuestOops)));
    let text = fs::read_to_string(&journal.path).unwrap();
    fs::write(&journal.path, text.replacen("\"serial\":2", "\"serial\":7", 1)).unwrap();
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!((serials(&kept), kept.damaged), (vec![1, 3], 1));
}

/// Whatever is in it: what comes before and behind it is there, and what is written next can be read.
#[test]
fn a_line_without_end_costs_that_line() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    let long = vec![b'x'; 3 * LIMIT_MIN as usize + 7];
    let ended = [&long[..], b"\n"].concat();
    for (line, serial) in [(&ended, 2), (&ended, 3), (&long, 4)] {
        let mut file = File::options().append(true).open(&journal.path).unwrap();
        file.write_all(line).unwrap();
        let (mut journal, kept) = open(dir.path(), LIMIT_MIN);
        assert_eq!((serials(&kept), kept.damaged), ((1..serial).collect(), serial - 1));
        write(&mut journal, &event(serial, Kind::GuestOops));
    }
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!((serials(&kept), kept.damaged), (vec![1, 2, 3, 4], 2));
}

#[test]
fn the_oldest_go_and_the_serials_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    let read = (0..2100).map(|cpu| (1, Some(cpu), 41)).collect();
    let places = Places { domid: 1, uuid: "u".into(), boot_id: None, read };
    let mut one = event(1, Kind::GuestOops);
    one.cause = "x".repeat(1000);
    for serial in 1..=4000 {
        write(&mut journal, &Event { serial, fault: serial, ..one.clone() });
        if journal.is_long() {
            journal.begin(serial + 1, vec![places.clone()]).unwrap();
        }
        let all: u64 =
            fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(all <= LIMIT_MIN, "{all} bytes after {serial}");
    }
    drop(journal);
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    let there = serials(&kept);
    assert!(there.len() > 400 && there[0] > 2000, "{} from {}", there.len(), there[0]);
    assert_eq!((kept.next, kept.damaged), (4001, 0));
    assert!(kept.places_at > there[0] && kept.places == [places]);
}

/// The places of 40 guests at worst, which are more than a line may have.
fn many(seen: u64) -> Vec<Places> {
    let read: Vec<_> = (0..4096).map(|at| (u32::MAX - at, Some(511), u64::MAX - 1 + seen)).collect();
    let uuid = "00000001-0000-0000-0000-000000000000".to_owned();
    let of = |domid| Places { domid, uuid: uuid.clone(), boot_id: Some("a".repeat(32)), read: read.clone() };
    (1..=40).map(of).collect()
}

#[test]
fn as_many_places_as_there_are_fit() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 16 * LIMIT_MIN;
    let (mut journal, _) = open(dir.path(), limit);
    write(&mut journal, &event(1, Kind::GuestOops));
    journal.begin(2, many(1)).unwrap();
    assert!(journal.bytes > LIMIT_MIN && !journal.is_long(), "{} bytes", journal.bytes);
    write(&mut journal, &event(2, Kind::GuestOops));
    let (mut journal, kept) = open(dir.path(), limit);
    assert_eq!((serials(&kept), kept.damaged, kept.places_at), (vec![1, 2], 0, 2));
    assert!(kept.places == many(1));
    write(&mut journal, &event(3, Kind::GuestOops));
    let (_, kept) = open(dir.path(), limit);
    assert_eq!((serials(&kept), kept.damaged), (vec![1, 2, 3], 0));
}

/// A daemon that was killed while it began a file: what the file before it says holds.
#[test]
fn some_of_the_places_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 16 * LIMIT_MIN);
    journal.begin(2, many(0)).unwrap();
    write(&mut journal, &event(2, Kind::GuestOops));
    journal.begin(3, many(1)).unwrap();
    let bytes = fs::read(&journal.path).unwrap();
    fs::write(&journal.path, &bytes[..bytes.len() - 10]).unwrap();
    let (mut journal, kept) = open(dir.path(), 16 * LIMIT_MIN);
    assert_eq!((serials(&kept), kept.places_at, kept.damaged), (vec![2], 2, 1));
    assert!(kept.places == many(0));
    journal.begin(4, many(1).split_off(39)).unwrap();
    let (_, kept) = open(dir.path(), 16 * LIMIT_MIN);
    assert_eq!((kept.places.len(), kept.places_at), (1, 4), "they are not of another file's either");
}

#[test]
fn what_an_earlier_version_wrote_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let document = r#"{"entry":"begin","next":7,"places":[{"domid":1,"uuid":"u","boot_id":"b","export":2,"cpu":3,"seq":4},{"domid":1,"uuid":"u","export":2,"seq":5}]}"#;
    let line = format!("{:08x} {document}\n", crc32fast::hash(document.as_bytes()));
    fs::write(dir.path().join("00000000000000000007.log"), line).unwrap();
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    let place = |boot_id: Option<&str>, read| Places {
        domid: 1,
        uuid: "u".into(),
        boot_id: boot_id.map(str::to_owned),
        read: vec![read],
    };
    assert_eq!(kept.places, [place(Some("b"), (2, Some(3), 4)), place(None, (2, None, 5))]);
    assert_eq!((kept.next, kept.places_at, kept.damaged), (7, 7, 0));
}

/// A file is named by its first serial, and much may be done about events without a new one.
#[test]
fn without_a_new_event_the_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    let outcome = "x".repeat(1000);
    for _ in 0..1200 {
        journal.append(&Entry::Hook { fault: 1, hook: "10-x".into(), outcome: outcome.clone() }).unwrap();
        if journal.is_long() {
            journal.begin(2, Vec::new()).unwrap();
        }
    }
    journal.append(&Entry::Acted { fault: 9, kind: Kind::GuestOops, serial: None }).unwrap();
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!((kept.next, kept.damaged), (10, 0));
}

/// An empty last file is what a full disk leaves. Nothing need be written into it to go on.
#[test]
fn what_is_only_opened_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    journal.begin(2, many(0).split_off(39)).unwrap();
    write(&mut journal, &event(2, Kind::GuestOops));
    fs::write(dir.path().join("00000000000000000003.log"), "").unwrap();
    let before = Kept::read(dir.path());
    assert_eq!((serials(&before), before.places.len()), (vec![2], 1));
    open(dir.path(), LIMIT_MIN);
    assert!(Kept::read(dir.path()) == before);
}

/// A directory in its place stands for a disk that is broken there.
#[test]
fn a_file_that_cannot_be_read_costs_that_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    journal.begin(9, Vec::new()).unwrap();
    write(&mut journal, &event(9, Kind::GuestOops));
    fs::create_dir(dir.path().join("00000000000000000005.log")).unwrap();
    let (_, kept) = open(dir.path(), LIMIT_MIN);
    assert_eq!((serials(&kept), kept.unreadable.len()), (vec![1, 9], 1));
    assert!(kept.unreadable[0].contains("5.log: Is a directory"), "{}", kept.unreadable[0]);

    // Nor is the last one gone on with, and what may be in it is not given out again.
    fs::create_dir(dir.path().join("00000000000009000000.log")).unwrap();
    let (mut journal, kept) = open(dir.path(), LIMIT_MIN);
    assert!(kept.next > 9_000_000, "{}", kept.next);
    write(&mut journal, &event(kept.next, Kind::GuestOops));
    assert_eq!(serials(&Kept::read(dir.path())), [1, 9, kept.next]);
}

/// As on a disk that is mounted read-only. Root may write nearly everywhere, so a thread that is nobody tries.
#[test]
fn what_cannot_be_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(&journal.path, 0o444);
    allow(dir.path(), 0o555);
    let as_nobody = thread::scope(|scope| {
        let there = scope.spawn(|| {
            setfsuid(Uid::from_raw(65534));
            (Kept::read(dir.path()), Journal::open(dir.path(), LIMIT_MIN, None, 2, "boot").map(drop))
        });
        there.join().unwrap()
    });
    allow(dir.path(), 0o755);
    let (kept, opened) = as_nobody;
    assert_eq!((serials(&kept), kept.next, kept.unreadable.len()), (vec![1], 2, 0));
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("00000000000000000002.log: Permission denied"), "{error}");
}

/// Who may read it is the lesser question.
#[test]
fn a_group_that_cannot_be_had_costs_only_the_group() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let written = thread::scope(|scope| {
        let there = scope.spawn(|| {
            setfsuid(Uid::from_raw(65534));
            let mut journal = Journal::open(dir.path(), LIMIT_MIN, Some(0), 1, "boot")?;
            journal.append(&Entry::Event(Box::new(event(1, Kind::GuestOops))))
        });
        there.join().unwrap()
    });
    written.unwrap();
    assert_eq!(serials(&Kept::read(dir.path())), [1]);
}

/// A full disk is an error, and leaves no half line behind.
#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), LIMIT_MIN);
    write(&mut journal, &event(1, Kind::GuestOops));
    journal.file = File::options().append(true).open("/dev/full").unwrap();
    let error = journal.append(&Entry::Acted { fault: 1, kind: Kind::GuestOops, serial: None }).unwrap_err();
    assert!(error.to_string().contains(".log: No space left on device"), "{error}");
    let nowhere = dir.path().join("00000000000000000001.log");
    let nowhere = Journal::open(&nowhere, LIMIT_MIN, None, 1, "boot").unwrap_err();
    assert!(nowhere.to_string().contains("00000000000000000001.log: "), "{nowhere}");
}
