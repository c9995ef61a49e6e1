// SPDX-License-Identifier: MIT OR Apache-2.0
use vesper_api::GuestRef;
use vesper_events::{Book, Kept, Report, Who};
use vesper_stream::Moment;

use super::*;
use crate::Config;

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const RULES: &str = r#"
[[rule]]
guests = ["web*", "00112233-4455-6677-8899-AABBCCDDEEFF"]
probes = ["panic", "signal:exit names=nginx"]
[[rule.service]]
name = "www"
process = "nginx"
[[rule.service]]
name = "any"
process = "php*"
failed = ["guest-oops"]

[[rule]]
guests = ["*"]
probes = ["panic:panic", "oom"]
failed = ["guest-panic", "guest-gone", "guest-oops"]
"#;

fn rules() -> std::sync::Arc<Rules> {
    Config::parse("f", RULES).unwrap().rules
}

fn event(name: &str, report: Report) -> Event {
    let guest = GuestRef { domid: 1, name: name.into(), uuid: UUID.replace('0', "1") };
    let mut book = Book::new(&Kept::nothing(), 0);
    book.report(&Who::new(guest, None), report, 0);
    book.told().remove(0).event
}

fn seen(kind: Kind, process: &str) -> Report {
    let process = (!process.is_empty()).then(|| process.to_owned());
    Report { process, ..Report::seen(kind, "why", Moment { nanos: 1 }) }
}

/// `guest`, `service NAME` or nothing.
fn failed(rules: &Rules, mut event: Event) -> String {
    rules.judge(&mut event);
    let parts = [event.failed.map(|failed| failed.name().to_owned()), event.service];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_probes_of_all_rules_go_into_a_guest_once() {
    let rules = rules();
    let probes = |name: &str, uuid: &str| -> Vec<(String, String)> {
        let wanted = rules.probes(name, uuid.parse().unwrap());
        wanted.iter().map(|probe| (probe.text.clone(), probe.rule.clone())).collect()
    };
    let all = [
        ("panic".to_owned(), "f:2".to_owned()),
        ("signal:exit names=nginx".into(), "f:2".into()),
        ("oom".into(), "f:13".into()),
    ];
    let other = UUID.replace('0', "1");
    assert_eq!(probes("web1", &other), all);
    assert_eq!(probes("web1--incoming", &other), all);
    assert_eq!(probes("db", UUID), all);
    assert_eq!(probes("db", &other), [("panic:panic".to_owned(), "f:13".to_owned()), all[2].clone()]);
    let wanted = rules.probes("web1", UUID.parse().unwrap());
    assert_eq!(wanted[1].args, "events=exit names=nginx");
    assert_eq!(Rules::default().probes("web1", UUID.parse().unwrap()), Vec::<&Probe>::new());
}

#[test]
fn without_a_rule_the_end_of_a_guest_is_its_failure() {
    let none = Rules::default();
    let table = [
        (Report::ended(End::Destroyed, Moment { nanos: 1 }), "guest"),
        (Report::ended(End::Crashed, Moment { nanos: 1 }), "guest"),
        (Report::ended(End::Watchdog, Moment { nanos: 1 }), "guest"),
        (Report::ended(End::PoweredOff, Moment { nanos: 1 }), ""),
        (Report::ended(End::Rebooted, Moment { nanos: 1 }), ""),
        (Report::ended(End::Saved, Moment { nanos: 1 }), ""),
        (seen(Kind::GuestPanic, "init"), "guest"),
        (seen(Kind::GuestHung, ""), "guest"),
        (seen(Kind::GuestPaused, ""), ""),
        (seen(Kind::GuestOops, "nginx"), ""),
        (seen(Kind::ProcessKilled, "nginx"), ""),
        (seen(Kind::ProbeLost, ""), ""),
    ];
    for (report, wanted) in table {
        assert_eq!(failed(&none, event("web1", report.clone())), wanted, "{report:?}");
    }
    let beats = Event { recovered: true, ..event("web1", seen(Kind::GuestHung, "")) };
    assert_eq!(failed(&none, beats), "");
}

/// What explains an end best may be what the rules do not count; the end does all the same.
#[test]
fn how_it_ended_counts_beside_what_explains_it() {
    let rules = |failed: &str| {
        let text = format!("[[rule]]\nguests = [\"*\"]\nfailed = [{failed}]");
        Config::parse("f", &text).unwrap().rules
    };
    let table = [
        ("", End::Watchdog, ""),
        ("\"guest-crashed\"", End::Watchdog, "guest"),
        ("\"guest-crashed\"", End::Crashed, "guest"),
        ("\"guest-crashed\"", End::Destroyed, ""),
        ("\"guest-gone\"", End::Destroyed, "guest"),
        ("\"guest-gone\"", End::Crashed, ""),
        ("\"guest-gone\", \"guest-crashed\"", End::PoweredOff, ""),
        ("\"guest-gone\", \"guest-crashed\"", End::Rebooted, ""),
        ("\"guest-gone\", \"guest-crashed\"", End::Saved, ""),
        ("\"guest-gone\", \"guest-crashed\"", End::ShutDown, ""),
    ];
    for (kinds, end, wanted) in table {
        for kind in [Kind::GuestHung, Kind::GuestPanic] {
            let ended = Event { end: Some(end), ..event("web1", seen(kind, "")) };
            assert_eq!(failed(&rules(kinds), ended), wanted, "{kind}, {end:?}, by {kinds}");
        }
    }
}

#[test]
fn rules_say_what_fails() {
    let rules = rules();
    let table = [
        // The first rule says nothing of it, so the second one counts: a hang does not.
        ("web1", seen(Kind::GuestHung, ""), ""),
        ("web1", seen(Kind::GuestPanic, "nginx"), "guest"),
        // The guest goes before its services.
        ("web1", seen(Kind::GuestOops, "php-fpm"), "guest"),
        ("web1", seen(Kind::ProcessKilled, "nginx"), "service www"),
        ("web1", seen(Kind::GuestOom, "nginx"), "service www"),
        ("web1", seen(Kind::ProcessStuck, "nginx"), "service www"),
        ("web1", seen(Kind::ProcessKilled, "nginx2"), ""),
        ("web1", seen(Kind::ProcessKilled, ""), ""),
        ("web1", seen(Kind::ProcessKilled, "php-fpm"), ""),
        ("web1", seen(Kind::BlockError, "nginx"), ""),
        ("db", seen(Kind::ProcessKilled, "nginx"), ""),
        ("db", Report::ended(End::Destroyed, Moment { nanos: 1 }), "guest"),
        ("db", Report::ended(End::Saved, Moment { nanos: 1 }), ""),
    ];
    for (name, report, wanted) in table {
        assert_eq!(failed(&rules, event(name, report.clone())), wanted, "{name}: {report:?}");
    }
    let text = RULES.replace(r#", "guest-oops"]"#, "]");
    let rules = Config::parse("f", &text).unwrap().rules;
    assert_eq!(failed(&rules, event("web1", seen(Kind::GuestOops, "php-fpm"))), "service any");
    let nothing = Config::parse("f", "[[rule]]\nguests = [\"*\"]\nfailed = []").unwrap().rules;
    assert_eq!(failed(&nothing, event("web1", seen(Kind::GuestPanic, ""))), "");
}
