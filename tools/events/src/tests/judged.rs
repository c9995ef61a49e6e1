// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rules say failed, and what follows from that here.

use super::*;

/// Rules, as a function.
#[derive(Debug)]
struct By(fn(&Event) -> Option<Failed>);

impl Judge for By {
    fn judge(&self, event: &mut Event) {
        event.failed = (self.0)(event);
    }
}

fn book(rules: fn(&Event) -> Option<Failed>) -> Book {
    let mut book = super::book();
    book.follow(Arc::new(By(rules)));
    book
}

/// Some kinds make the guest failed, some a service.
pub(super) fn by_kind() -> Book {
    book(|event| match event.event {
        Kind::GuestOops | Kind::BlockError => Some(Failed::Guest),
        Kind::ProcessKilled => Some(Failed::Service),
        _ => None,
    })
}

#[test]
fn what_turns_out_to_be_worse_is_acted_on_again_and_else_once() {
    let hung = || Report::seen(Kind::GuestHung, "vCPU 0", Moment { nanos: 5 });
    let crashed = |event: &Event| event.end.filter(|end| *end == End::Watchdog).map(|_| Failed::Guest);
    let acts = |rules, end| -> Vec<(bool, Option<Failed>)> {
        let mut book = book(rules);
        for report in [hung(), ended(end, 60)] {
            book.report(&who(1, None), report, 60 * SECOND);
        }
        book.saved(&who(1, None).guest, Path::new("/saved"));
        book.told().into_iter().map(|told| (told.act, told.event.failed)).collect()
    };
    let guest = Some(Failed::Guest);
    assert_eq!(acts(crashed, End::Watchdog), [(true, None), (true, guest), (false, guest)]);
    assert_eq!(acts(crashed, End::PoweredOff), [(true, None), (false, None), (false, None)]);
    assert_eq!(acts(|_| Some(Failed::Guest), End::Watchdog), [(true, guest), (false, guest), (false, guest)]);
}

/// A service of the guest fails, and then the guest, while somebody in it makes as much else as he can.
#[test]
fn a_storm_of_what_does_not_count_hides_nothing_that_does() {
    let mut book = book(|event| match event.event {
        Kind::ProcessKilled => event.process.as_ref().map(|_| Failed::Service),
        Kind::GuestOops => Some(Failed::Guest),
        _ => None,
    });
    let who = who(1, Some('a'));
    let mut storm = |kind, process: Option<&str>, from| {
        for number in from..from + 1000 {
            let process = process.map(str::to_owned);
            let report = Report { process, ..record(kind, &format!("pid={number}"), 10) };
            book.report(&who, report, 10 * SECOND);
        }
        let told = book.told();
        (told.len(), told[0].event.suppressed)
    };
    assert_eq!(storm(Kind::ProcessKilled, None, 0), (32, 0));
    assert_eq!(storm(Kind::ProcessKilled, Some("www"), 1000), (32, 968), "the service's are told, as many");
    assert_eq!(storm(Kind::GuestOops, None, 0), (32, 968), "the guest's are told, as many");
}
