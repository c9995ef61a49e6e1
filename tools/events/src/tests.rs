// SPDX-License-Identifier: MIT OR Apache-2.0
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use vesper_api::GuestRef;
use vesper_stream::frame::Clock;
use vesper_stream::{Header, Moment, Schema};

use super::*;

mod judged;
mod standing;

const SECOND: u64 = 1_000_000_000;

pub(crate) fn who(domid: u16, boot: Option<char>) -> Who {
    let guest = GuestRef {
        domid,
        name: format!("web{domid}"),
        uuid: format!("0000000{domid}-0000-0000-0000-000000000000"),
    };
    Who::new(guest, boot.map(|digit| digit.to_string().repeat(32)))
}

pub(crate) fn source(seq: u64) -> Source {
    Source { channel: "c".into(), export: 1, cpu: Some(0), seq, last_words: false }
}

/// What a record said at that second.
pub(crate) fn record(kind: Kind, subject: &str, at: u64) -> Report {
    let report = Report::seen(kind, format!("{kind} {subject}"), Moment { nanos: at * SECOND });
    let subject = (!subject.is_empty()).then(|| subject.to_owned());
    Report { subject, error_ns: Some(7), source: Some(source(at)), ..report }
}

pub(crate) fn ended(end: End, at: u64) -> Report {
    Report::ended(end, Moment { nanos: at * SECOND })
}

pub(crate) fn book() -> Book {
    Book::new(&Kept::nothing(), 0)
}

/// Fault, kind, whether hooks are due.
type Seen = (u64, Kind, bool);

/// Reports one after the other, the time of each being now; what was told.
fn tell(book: &mut Book, reports: impl IntoIterator<Item = Report>) -> Vec<Seen> {
    for report in reports {
        let now = report.time.nanos;
        book.report(&who(1, Some('a')), report, now);
    }
    book.told().iter().map(|told| (told.event.fault, told.event.event, told.act)).collect()
}

#[test]
fn one_fault_is_one_event() {
    use Kind::*;
    let panic = || record(GuestPanic, "", 100);
    let table: &[(&str, Vec<Report>, &[Seen])] = &[
        (
            "last words, the record, a crashed domain",
            vec![panic(), panic(), ended(End::Crashed, 101)],
            &[(1, GuestPanic, true), (1, GuestPanic, false)],
        ),
        (
            "a crash that is explained later",
            vec![ended(End::Crashed, 100), panic()],
            &[(1, GuestCrashed, true), (1, GuestPanic, true)],
        ),
        (
            "an oops that the guest dies of",
            vec![record(GuestOops, "", 98), panic(), ended(End::Crashed, 101)],
            &[(1, GuestOops, true), (1, GuestPanic, true), (1, GuestPanic, false)],
        ),
        (
            "last words of it, read before it",
            vec![panic(), record(GuestOops, "", 99)],
            &[(1, GuestPanic, true)],
        ),
        (
            "oopses that it lives on after",
            vec![record(GuestOops, "", 10), record(GuestOops, "", 11), ended(End::PoweredOff, 12)],
            &[(1, GuestOops, true), (2, GuestOops, true), (3, GuestGone, true)],
        ),
        (
            "hung, then its watchdog expires",
            vec![Report::seen(GuestHung, "vCPU 0", Moment { nanos: 5 }), ended(End::Watchdog, 60)],
            &[(1, GuestHung, true), (1, GuestHung, false)],
        ),
        (
            "a victim of the OOM killer is a killed process, too",
            vec![
                record(ProcessKilled, "pid=7", 50),
                record(GuestOom, "pid=7", 50),
                record(ProcessKilled, "pid=7", 51),
            ],
            &[(1, ProcessKilled, true), (1, GuestOom, true)],
        ),
        (
            "other processes are other faults",
            vec![
                record(ProcessKilled, "pid=7", 50),
                record(ProcessKilled, "pid=8", 50),
                record(ProcessKilled, "pid=7", 56),
            ],
            &[(1, ProcessKilled, true), (2, ProcessKilled, true), (3, ProcessKilled, true)],
        ),
        (
            "a disk that fails again and again",
            vec![
                record(BlockError, "device=a", 1),
                record(BlockError, "device=a", 60),
                record(BlockError, "device=b", 60),
            ],
            &[(1, BlockError, true), (2, BlockError, true)],
        ),
        (
            "a stuck process is not one that was killed",
            vec![record(ProcessStuck, "pid=7", 50), record(ProcessKilled, "pid=7", 51)],
            &[(1, ProcessStuck, true), (2, ProcessKilled, true)],
        ),
    ];
    for (what, reports, wanted) in table {
        assert_eq!(tell(&mut book(), reports.clone()), *wanted, "{what}");
    }
}

#[test]
fn the_best_cause_is_told_with_the_first_time() {
    let mut book = book();
    tell(&mut book, [ended(End::Crashed, 101)]);
    book.report(&who(1, Some('a')), record(Kind::GuestPanic, "", 100), 0);
    let event = book.told().remove(0).event;
    assert_eq!((event.serial, event.fault, event.severity), (2, 1, Severity::Fatal));
    assert_eq!(
        (event.cause.as_str(), event.time.nanos, event.error_ns),
        ("guest-panic ", 100 * SECOND, Some(7))
    );
    assert_eq!(event.end, Some(End::Crashed));
    // And the other way round, where dom0 has nothing better to say.
    let mut book = self::book();
    tell(&mut book, [record(Kind::GuestOops, "", 100)]);
    book.report(&who(1, Some('a')), ended(End::Crashed, 101), 0);
    let event = book.told().remove(0).event;
    assert_eq!((event.cause.as_str(), event.time.nanos), ("the domain crashed; guest-oops ", 100 * SECOND));
}

#[test]
fn a_guest_ends_once_and_another_boot_may_end_again() {
    let mut book = book();
    let ends =
        [record(Kind::GuestPanic, "", 1), record(Kind::GuestPanic, "", 900), ended(End::Destroyed, 901)];
    assert_eq!(tell(&mut book, ends).len(), 2);
    book.report(&who(1, Some('b')), record(Kind::GuestPanic, "", 902), 0);
    assert_eq!(book.told()[0].event.fault, 3);
    book.report(&who(2, Some('a')), record(Kind::GuestPanic, "", 902), 0);
    assert_eq!(book.told()[0].event.fault, 4, "another guest");
}

#[test]
fn a_guest_that_beats_again_may_be_hung_again() {
    let mut book = book();
    let hung = |at: u64| Report::seen(Kind::GuestHung, "vCPU 0", Moment { nanos: at * SECOND });
    tell(&mut book, [hung(1)]);
    book.recovered(&who(1, Some('a')));
    book.recovered(&who(1, Some('a')));
    let told = book.told();
    assert!(told.len() == 1 && told[0].event.recovered && !told[0].act);
    assert_eq!(tell(&mut book, [hung(3)]), [(3, Kind::GuestHung, true)]);
}

#[test]
fn who_sent_the_signal_is_part_of_the_cause() {
    for late in [false, true] {
        let mut book = book();
        let who = who(1, Some('a'));
        let signal = || Report { cause: "by pid=1".into(), ..record(Kind::ProcessKilled, "pid=7", 10) };
        if !late {
            book.explain(&who, signal(), 0);
            book.report(&who, record(Kind::ProcessKilled, "pid=9", 11), 0);
            assert_eq!(book.told()[0].event.cause, "process-killed pid=9", "it is of another one");
        }
        book.report(&who, record(Kind::ProcessKilled, "pid=7", 11), 0);
        if late {
            book.explain(&who, signal(), 0);
            book.tick(10 * SECOND);
        }
        let told = book.told();
        let last = told.last().unwrap();
        assert_eq!((last.event.cause.as_str(), last.act), ("process-killed pid=7; by pid=1", !late));
        book.report(&who, record(Kind::ProcessKilled, "pid=8", 11), 0);
        assert_eq!(book.told()[0].event.cause, "process-killed pid=8");
    }
}

#[test]
fn a_storm_is_told_of_and_counted() {
    let mut book = book();
    let who = who(1, Some('a'));
    let mut told = Vec::new();
    // 10,000 in a second, then silence.
    for number in 0..10_000 {
        let report = Report {
            source: Some(source(number)),
            ..record(Kind::ProcessKilled, &format!("pid={number}"), 10)
        };
        book.report(&who, report, 10 * SECOND + number * 100_000);
        told.append(&mut book.told());
    }
    let of_it = told.len();
    assert!((32..=34).contains(&of_it), "{of_it}");
    // What dom0 sees for itself is told all the same, and its end.
    book.report(&who, Report::seen(Kind::ProbeLost, "c", Moment { nanos: 11 * SECOND }), 11 * SECOND);
    told.append(&mut book.told());
    assert_eq!(told.last().unwrap().event.event, Kind::ProbeLost);
    let counted: u64 = told.iter().map(|told| told.event.suppressed).sum();
    assert_eq!(counted, 10_000 - of_it as u64);
    // One more that is too many, and then nothing: it is told after a while.
    for number in 0..40 {
        book.report(&who, record(Kind::ProcessKilled, &format!("pid={number}"), 50), 50 * SECOND);
    }
    book.told();
    let due = book.tick(50 * SECOND).unwrap();
    assert!(book.told().is_empty());
    book.tick(due);
    let told = book.told();
    assert_eq!((told.len(), told[0].event.event, told[0].event.suppressed), (1, Kind::EventsSuppressed, 8));
    assert_eq!(book.tick(due), None);
}

/// A guest may load its frontend as often as it likes; and dom0 knows it by the same number.
#[test]
fn another_boot_may_not_tell_more() {
    let mut book = book();
    for boot in 0..200 {
        let who = who(1, char::from_digit(boot % 16, 16));
        book.report(&who, record(Kind::GuestPanic, "", 10), 10 * SECOND);
        book.report(&who, record(Kind::GuestOom, "pid=1", 10), 10 * SECOND);
    }
    let mut told = book.told();
    assert_eq!(told.len(), 32 + 8);
    book.is_gone(&who(1, None).guest, 10 * SECOND);
    told.append(&mut book.told());
    assert_eq!(told.iter().map(|told| told.event.suppressed).sum::<u64>(), 400 - 40);
}

#[test]
fn repetitions_are_counted_and_told_now_and_then() {
    let mut book = book();
    let who = who(1, Some('a'));
    for at in 10..14 {
        book.report(&who, record(Kind::BlockError, "device=a", at), at * SECOND);
    }
    assert_eq!(book.told().len(), 1);
    assert_eq!(book.tick(14 * SECOND), Some(16 * SECOND));
    book.tick(16 * SECOND);
    let told = book.told();
    assert_eq!((told[0].event.fault, told[0].event.repeated, told[0].act), (1, 3, false));
    // What is left when the guest goes.
    book.report(&who, record(Kind::BlockError, "device=a", 17), 17 * SECOND);
    book.is_gone(&who.guest, 17 * SECOND);
    assert_eq!(book.told()[0].event.repeated, 4);
}

#[test]
fn where_it_is_saved_is_told_of_its_end() {
    let mut book = book();
    let who = who(1, None);
    book.saved(&who.guest, Path::new("/saved"));
    tell(&mut book, [ended(End::Crashed, 1)]);
    book.is_gone(&who.guest, SECOND);
    book.saved(&who.guest, Path::new("/saved"));
    let told = book.told();
    assert_eq!((told[0].event.saved.as_deref(), told[0].act), (Some(Path::new("/saved")), false));
    // Forgotten after a minute.
    assert_eq!(book.tick(2 * SECOND), Some(61 * SECOND));
    assert_eq!(book.tick(61 * SECOND), None);
    book.saved(&who.guest, Path::new("/saved"));
    assert!(book.told().is_empty());
}

#[test]
fn a_record_is_what_its_schema_says() {
    let schema = "panic! cpu:u32 message:str stack:str\nexit event=process-killed subject=pid pid:u32\nplain a:u8\n\
                  Bad\nsig explains=process-killed pid:u32\nlie event=guest-gone a:u8\nkill! event=guest-oom";
    let meanings = Meanings::of(&Schema::parse(schema));
    let flagged = |event, flags| Header { bytes: 24, event, flags, time: SECOND, seq: 3 };
    let header = |event| flagged(event, 0);
    assert_eq!(
        [1, 2, 3, 4, 5, 6, 7].map(|event| meanings.has(&header(event))),
        [true, true, false, false, true, false, true]
    );
    assert!(meanings.has(&flagged(3, 2)) && !meanings.has(&flagged(4, 2)));
    let no_end = Meanings::of(&Schema::parse("kill event=guest-oom\nplain"));
    assert!(!no_end.has(&flagged(2, 2)), "it knows nothing of an end");
    assert!(Meanings::of(&Schema::parse("a b:u8")).is_empty());
    let clock = Clock { offset_ns: 5, error_ns: 11 };
    let now = Moment { nanos: 77 };
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    let payload = [&1u32.to_le_bytes()[..], &text("no\u{1b}[2J init"), &text("a+0x1\nb\u{7}\n")].concat();
    let (meaning, report) = meanings.read(&header(1), &payload, source(3), Some(&clock), now).unwrap();
    assert_eq!((meaning, report.kind), (Meaning::Raises(Kind::GuestPanic), Kind::GuestPanic));
    assert_eq!(report.cause, "panic cpu=1 message=\"no\\x1b[2J init\"");
    assert_eq!(report.stack, ["a+0x1", "b\\x07"]);
    assert_eq!((report.time.nanos, report.error_ns), (SECOND + 5, Some(11)));
    let (meaning, report) = meanings.read(&header(2), &9u32.to_le_bytes(), source(3), None, now).unwrap();
    assert_eq!((meaning, report.subject.as_deref()), (Meaning::Raises(Kind::ProcessKilled), Some("pid=9")));
    assert_eq!((report.time, report.error_ns), (now, None));
    let (meaning, report) = meanings.read(&header(5), &[], source(3), None, now).unwrap();
    assert_eq!((meaning, report.subject), (Meaning::Explains(Kind::ProcessKilled), None));
    assert_eq!(meanings.read(&header(3), &[], source(3), None, now), None);
    let (meaning, _) = meanings.read(&flagged(3, 2), &[], source(3), None, now).unwrap();
    assert_eq!(meaning, Meaning::Raises(Kind::GuestPanic));
}

#[test]
fn the_newest_of_each_fault_is_kept_up_to_a_limit() {
    let mut book = book();
    tell(&mut book, []);
    let mut recent = Recent::default();
    book.report(&who(1, None), ended(End::Crashed, 1), 0);
    book.report(&who(1, None), record(Kind::BlockError, "device=a", 1), 0);
    book.report(&who(1, None), record(Kind::GuestPanic, "", 1), 0);
    for told in book.told() {
        recent.add(Arc::new(told.event));
    }
    let serials = |recent: &Recent| recent.all().map(|event| (event.serial, event.fault)).collect::<Vec<_>>();
    assert_eq!(serials(&recent), [(2, 2), (3, 1)]);
    assert_eq!(recent.after(0).map(|event| event.serial), Some(2));
    assert_eq!(recent.after(2).map(|event| event.serial), Some(3));
    assert_eq!((recent.after(3), recent.after(u64::MAX), recent.gone()), (None, None, 0));
    let one = recent.after(0).unwrap().clone();
    for serial in 10..20_000 {
        let event = Event { serial, fault: serial, cause: "x".repeat(500), ..(*one).clone() };
        recent.add(Arc::new(event));
    }
    let kept = recent.all().count();
    assert!((2000..8000).contains(&kept), "{kept}");
    assert_eq!(recent.after(recent.gone()).map(|event| event.serial), Some(recent.gone() + 1));
}

proptest! {
    /// Whatever a guest reports and rules say of it: serials grow, what is told is bounded, and nothing is lost without a count.
    #[test]
    fn any_reports_are_told_or_counted(
        judged in any::<bool>(),
        reports in prop::collection::vec((0usize..6, 0u32..200, 0u64..4), 0..400),
        step in 0u64..SECOND,
    ) {
        let kinds = [Kind::GuestPanic, Kind::GuestOops, Kind::GuestOom, Kind::ProcessKilled, Kind::ProcessStuck, Kind::BlockError];
        let mut book = if judged { judged::by_kind() } else { book() };
        let (mut now, mut last, mut told) = (100 * SECOND, 0, Vec::new());
        for (kind, pid, back) in &reports {
            now += step;
            let report = record(kinds[*kind], &format!("pid={pid}"), (now / SECOND).saturating_sub(*back));
            book.report(&who(1, Some('a')), report, now);
            book.tick(now);
            told.append(&mut book.told());
        }
        book.is_gone(&who(1, Some('a')).guest, now);
        told.append(&mut book.told());
        for told in &told {
            prop_assert!(told.event.serial > last);
            last = told.event.serial;
        }
        let suppressed: u64 = told.iter().map(|told| told.event.suppressed).sum();
        let new = told.iter().filter(|told| told.event.serial == told.event.fault).count() as u64;
        prop_assert!(new + suppressed <= reports.len() as u64 + 1, "{new} {suppressed}");
        let seconds = reports.len() as u64 * step / SECOND;
        let limits = if judged { 3 } else { 1 };
        prop_assert!(new <= limits * (32 + seconds) + 8 + seconds / 5 + 2, "{new} in {seconds} s");
    }
}
