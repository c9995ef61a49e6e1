// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal; or, where it cannot be written, a complaint about that now and then. Events go out all the same.

use std::io;
use std::time::Instant;

use vesper_action::LogLimit;
use vesper_events::journal::{Journal, Kept};
use vesper_events::{Book, Entry};

use super::Place;

pub(super) struct Keeper {
    journal: Option<Journal>,
    limit: LogLimit,
    /// The last line could not be written.
    failing: bool,
}

impl Keeper {
    /// Opens the journal, and reads it.
    pub(super) fn open(place: &Place) -> (Self, Kept) {
        let opened = Journal::open(&place.dir, place.limit, place.group);
        let (journal, kept) = match opened {
            Ok((journal, kept)) => (Some(journal), kept),
            Err(error) => {
                log::error!("there is no journal of events, they do not survive a restart: {error}");
                (None, Kept::nothing())
            }
        };
        if kept.damaged > 0 {
            log::warn!("{} lines of the journal of events cannot be read and are left out", kept.damaged);
        }
        (Self { journal, limit: LogLimit::default(), failing: false }, kept)
    }

    /// Writes lines. False: they are not in the journal, which there is.
    pub(super) fn write(&mut self, entries: &[Entry], book: &Book) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        let mut written = entries.iter().try_for_each(|entry| journal.append(entry));
        if written.is_ok() && journal.is_long() {
            let (next, places) = book.kept();
            written = journal.begin(next, places);
        }
        self.say(written)
    }

    /// Sees to it that they are on disk. False: they are not.
    pub(super) fn sync(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        let synced = journal.sync();
        self.say(synced)
    }

    fn say(&mut self, written: io::Result<()>) -> bool {
        let is_written = written.is_ok();
        match written {
            Ok(()) if std::mem::take(&mut self.failing) => {
                log::info!("the journal of events is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.failing = true;
                self.limit.line(log::Level::Error, Instant::now(), || {
                    format!("events are told without being in the journal: {error}")
                });
            }
        }
        is_written
    }
}
