// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal; or, where it cannot be written, a complaint about that now and then. Events go out all the same.

use std::io;
use std::time::Instant;

use vesper_action::LogLimit;
use vesper_events::journal::{Journal, Kept};
use vesper_events::{Book, Entry};

use super::Place;

pub(super) struct Keeper {
    place: Place,
    journal: Option<Journal>,
    limit: LogLimit,
    /// The last line could not be written.
    failing: bool,
}

impl Keeper {
    /// Reads the journal, and opens it. What was kept is not lost where nothing can be added to it.
    pub(super) fn open(place: &Place) -> (Self, Kept) {
        let kept = Kept::read(&place.dir);
        if kept.damaged > 0 {
            log::warn!("{} lines of the journal of events cannot be read and are left out", kept.damaged);
        }
        for error in &kept.unreadable {
            log::error!("some of the journal of events cannot be read and is left out: {error}");
        }
        let (journal, limit) = (None, LogLimit::default());
        let mut keeper = Self { place: place.clone(), journal, limit, failing: false };
        let opened = open(place, kept.next).map(|journal| keeper.journal = Some(journal));
        keeper.say(opened);
        (keeper, kept)
    }

    /// Writes lines.
    pub(super) fn write(&mut self, entries: &[Entry], book: &Book) {
        if !entries.is_empty() {
            let written = self.add(entries, book);
            self.say(written);
        }
    }

    fn add(&mut self, entries: &[Entry], book: &Book) -> io::Result<()> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            // There may be one by now. Nor is done again what was told, and looked at, without it.
            none => {
                let (next, places) = book.kept();
                let journal = none.insert(open(&self.place, next)?);
                journal.begin(next, places)?;
                journal
            }
        };
        entries.iter().try_for_each(|entry| journal.append(entry))?;
        if journal.is_long() {
            let (next, places) = book.kept();
            journal.begin(next, places)?;
        }
        Ok(())
    }

    /// Sees to it that they are on disk.
    pub(super) fn sync(&mut self) {
        if let Some(journal) = &mut self.journal {
            let synced = journal.sync();
            self.say(synced);
        }
    }

    fn say(&mut self, written: io::Result<()>) {
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
    }
}

fn open(place: &Place, next: u64) -> io::Result<Journal> {
    Journal::open(&place.dir, place.limit, place.group, next)
}
