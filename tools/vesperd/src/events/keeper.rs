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
        // That all that was written is on disk says nothing of what could not be written.
        if let Some(Err(error)) = self.journal.as_mut().map(Journal::sync) {
            self.say(Err(error));
        }
    }

    /// Whether what was written last is on disk.
    pub(super) fn is_safe(&self) -> bool {
        !self.failing
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// A sealed file in memory stands for a full disk.
    #[test]
    fn what_is_not_written_is_not_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let full = memfd_create("journal", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let path = format!("/proc/self/fd/{}", full.as_raw_fd());
        symlink(path, dir.path().join("00000000000000000001.log")).unwrap();
        let hooks = crate::hooks::Rules { dir: dir.path().into(), limit: Duration::ZERO, at_once: 1 };
        let (limit, rules) = (vesper_events::journal::LIMIT_MIN, Arc::default());
        let place = Place { dir: dir.path().into(), limit, group: None, hooks, rules };
        let (mut keeper, kept) = Keeper::open(&place);
        assert!(!keeper.failing);
        fcntl(&full, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
        let ran = Entry::Hook { fault: 1, hook: "10-x".into(), outcome: "done".into() };
        keeper.write(&[ran], &Book::new(&kept, 0));
        assert!(keeper.failing);
        keeper.sync();
        assert!(keeper.failing, "nothing is on disk");
    }
}
