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
