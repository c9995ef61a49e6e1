// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has happened to a guest and still counts: for whoever wants an answer at once, as a cluster manager's monitor does.

use std::time::Duration;

use vesper_api::Fault;
use vesper_events::{Event, Kind, Severity};
use vesper_stream::Moment;

use super::Desk;
use super::order::Order;

/// How long a fault that the guest outlived says that more may come.
const COUNTS_FOR: Duration = Duration::from_secs(600);

impl Desk {
    /// The faults of the guest that count now, in the order in which they were told last. It is known by its number and UUID, so a
    /// guest that was started anew begins without.
    pub(super) fn faults(&self, order: &Order, now: Moment) -> Vec<Fault> {
        let boot = self.backend.guest(order.domid).and_then(|info| info.boot_id);
        let of_boot = |event: &&Event| boot.is_none() || event.boot_id.is_none() || event.boot_id == boot;
        let standing = self.events.standing();
        let faults = standing.of(&order.guest).iter().filter(of_boot);
        faults.filter(|event| counts(event, now)).map(fault).collect()
    }
}

/// What failed stays so until it is started anew, a kernel that hit a bug is not trusted until its next boot, and all else is forgotten
/// after a while.
fn counts(event: &Event, now: Moment) -> bool {
    match (event.severity, event.event) {
        _ if event.recovered => false,
        _ if event.failed.is_some() => true,
        (Severity::Fatal, _) => true,
        (Severity::Error, Kind::GuestOops) => true,
        (Severity::Error, _) => now.nanos.saturating_sub(event.time.nanos) < COUNTS_FOR.as_nanos() as u64,
        _ => false,
    }
}

fn fault(event: &Event) -> Fault {
    Fault {
        fault: event.fault,
        event: event.event.name().into(),
        severity: event.severity.name().into(),
        failed: event.failed.map(|failed| failed.name().into()),
        service: event.service.clone(),
        cause: event.cause.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_depends_on_what_it_was_and_when() {
        let line = |kind: &str, severity: &str, more: &str| {
            let text = format!(
                r#"{{"serial":1,"fault":1,"event":"{kind}","severity":"{severity}","guest":{{"domid":1,"name":"","uuid":""}},"time":"2026-03-01T12:00:00.000000000Z","cause":""{more}}}"#
            );
            vesper_api::from_line::<Event>(text.as_bytes()).expect(&text)
        };
        let then = line("guest-oops", "error", "").time;
        let after = |seconds: u64| Moment { nanos: then.nanos + seconds * 1_000_000_000 };
        let table = [
            ("guest-panic", "fatal", "", true, true),
            ("guest-hung", "fatal", "", true, true),
            ("guest-hung", "fatal", r#","recovered":true"#, false, false),
            ("guest-gone", "fatal", "", true, true),
            ("guest-gone", "info", "", false, false),
            ("guest-paused", "info", "", false, false),
            ("guest-oops", "error", "", true, true),
            ("block-error", "error", "", true, false),
            ("guest-oom", "error", "", true, false),
            ("process-killed", "warning", "", false, false),
            ("process-killed", "warning", r#","failed":"service","service":"web""#, true, true),
            ("guest-hung", "fatal", r#","failed":"guest","recovered":true"#, false, false),
        ];
        for (kind, severity, more, soon, late) in table {
            let event = line(kind, severity, more);
            assert_eq!((counts(&event, after(599)), counts(&event, after(601))), (soon, late), "{kind}");
        }
    }
}
