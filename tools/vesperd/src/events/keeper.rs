// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal; or, where it cannot be written, a complaint about that now and then. Events go out all the same.

use std::time::Instant;
use std::{fs, io};

use vesper_action::LogLimit;
use vesper_events::journal::{Journal, Kept};
use vesper_events::{Book, Entry};

use super::Place;

pub(super) struct Keeper {
    place: Place,
    boot_id: String,
    journal: Option<Journal>,
    limit: LogLimit,
    /// The last line could not be written.
    failing: bool,
}

impl Keeper {
    /// Reads the journal, and opens it. What was kept is not lost where nothing can be added to it.
    pub(super) fn open(place: &Place) -> (Self, Kept) {
        let mut kept = Kept::read(&place.dir);
        // There always is one.
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        let is_new = kept.booted(&boot_id);
        if kept.damaged > 0 {
            log::warn!("{} lines of the journal of events cannot be read and are left out", kept.damaged);
        }
        for error in &kept.unreadable {
            log::error!("some of the journal of events cannot be read and is left out: {error}");
        }
        let (journal, limit) = (None, LogLimit::default());
        let mut keeper = Self { place: place.clone(), boot_id, journal, limit, failing: false };
        let opened = keeper.try_open(kept.next).and_then(|journal| match is_new {
            true => journal.booted(),
            false => Ok(()),
        });
        keeper.say(opened);
        (keeper, kept)
    }

    fn try_open(&mut self, next: u64) -> io::Result<&mut Journal> {
        let Self { place: Place { dir, limit, group, .. }, boot_id, journal, .. } = self;
        Ok(journal.insert(Journal::open(dir, *limit, *group, next, boot_id)?))
    }

    /// Writes lines.
    pub(super) fn write(&mut self, entries: &[Entry], book: &Book) {
        if !entries.is_empty() {
            let written = self.add(entries, book);
            self.say(written);
        }
    }

    fn add(&mut self, entries: &[Entry], book: &Book) -> io::Result<()> {
        if self.journal.is_none() {
            // There may be one by now. Nor is done again what was told, and looked at, without it.
            let (next, places) = book.kept();
            self.try_open(next)?.begin(next, places)?;
        }
        let journal = self.journal.as_mut().expect("it is there, or has just been opened");
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
