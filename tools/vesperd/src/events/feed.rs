// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events on their way to one client: a document a line. A client that does not read costs what waits for it here, and
//! is told where something is missing when it reads on.

use std::sync::{Arc, Mutex};

use vesper_events::{Event, Missed, Recent};

use super::lock;

/// Bytes that wait for a client, about; a document is shorter.
const WAITING: usize = 64 << 10;
/// Events that are looked at at once.
const BATCH: usize = 64;

/// Whose events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// All guests'.
    All,
    /// Those of the guest with this UUID.
    Uuid(String),
    /// Those of a guest that had this name, and may be gone.
    Named(String),
}

impl Meant {
    /// Whether an event is wanted.
    pub(crate) fn has(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Uuid(uuid) => event.guest.uuid == *uuid,
            Self::Named(name) => event.guest.name == *name || event.guest.uuid.eq_ignore_ascii_case(name),
        }
    }
}

/// One client's.
pub(crate) struct Feed {
    meant: Meant,
    /// Documents up to this serial have been told, or are not wanted.
    told: u64,
    /// Go on when all that was there has been told.
    follow: bool,
}

impl Feed {
    /// Behind a serial.
    pub(crate) fn new(meant: Meant, since: u64, follow: bool) -> Self {
        Self { meant, told: since, follow }
    }

    /// What is to be sent next, at most some 64 KiB; empty: there is nothing now.
    pub(crate) fn next(&mut self, recent: &Mutex<Recent>) -> Vec<u8> {
        let mut lines = Vec::new();
        loop {
            // Made documents of when it is free again: who adds events does not wait for that.
            let (gone, batch) = {
                let recent = lock(recent);
                (recent.gone(), self.batch(&recent))
            };
            if self.told < gone {
                lines.extend_from_slice(&vesper_api::to_line(&Missed { missed: gone }));
                self.told = gone;
            }
            if batch.is_empty() {
                return lines;
            }
            for event in batch {
                if lines.len() >= WAITING {
                    return lines;
                }
                self.told = event.serial;
                if self.meant.has(&event) {
                    lines.extend_from_slice(&vesper_api::to_line(&*event));
                }
            }
        }
    }

    /// Some that are next.
    fn batch(&self, recent: &Recent) -> Vec<Arc<Event>> {
        let mut batch = Vec::new();
        let mut at = self.told;
        while batch.len() < BATCH
            && let Some(event) = recent.after(at)
        {
            at = event.serial;
            batch.push(event.clone());
        }
        batch
    }

    /// Whether nothing more comes once there is nothing.
    pub(crate) fn ends(&self) -> bool {
        !self.follow
    }
}

#[cfg(test)]
mod tests {
    use vesper_api::GuestRef;
    use vesper_events::{Book, Kept, Kind, Report, Who};
    use vesper_stream::Moment;

    use super::*;

    /// Many events of the guests 1 and 2, in turn.
    fn recent(events: u64) -> Recent {
        let (mut book, mut recent) = (Book::new(&Kept::nothing(), 0), Recent::default());
        for number in 0..events {
            let domid = 1 + (number % 2) as u16;
            let guest = GuestRef { domid, name: format!("g{domid}"), uuid: format!("u{domid}") };
            let cause = "x".repeat(500);
            book.report(&Who::new(guest, None), Report::seen(Kind::ProbeLost, cause, Moment { nanos: 0 }), 0);
            book.told().into_iter().for_each(|told| recent.add(Arc::new(told.event)));
        }
        recent
    }

    #[test]
    fn what_is_sent_at_once_is_bounded_and_what_is_missing_is_said() {
        let recent = Mutex::new(recent(20_000));
        let gone = lock(&recent).gone();
        let mut feed = Feed::new(Meant::Uuid("u2".into()), 5, false);
        let (mut lines, mut all) = (feed.next(&recent), Vec::new());
        let missed = format!("{{\"missed\":{}}}\n", gone);
        assert!(gone > 1000 && lines.starts_with(missed.as_bytes()));
        while !lines.is_empty() {
            assert!(lines.len() < WAITING + 4096, "{} bytes wait", lines.len());
            all.append(&mut lines);
            lines = feed.next(&recent);
        }
        let events = all[missed.len()..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let domids: Vec<u16> =
            events.map(|line| vesper_api::from_line::<Event>(line).unwrap().guest.domid).collect();
        let meant = lock(&recent).all().filter(|event| event.guest.domid == 2).count();
        assert!(domids.len() == meant && domids.iter().all(|domid| *domid == 2));
    }
}
