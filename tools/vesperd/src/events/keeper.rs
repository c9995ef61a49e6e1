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
        let opened = keeper.try_open(kept.next, |journal| if is_new { journal.booted() } else { Ok(()) });
        keeper.say(opened);
        (keeper, kept)
    }

    /// Opens it and writes what must come first. Without that it is not open: what came next would be of another boot.
    fn try_open(&mut self, next: u64, first: impl FnOnce(&mut Journal) -> io::Result<()>) -> io::Result<()> {
        let Place { dir, limit, group, .. } = &self.place;
        let mut journal = Journal::open(dir, *limit, *group, next, &self.boot_id)?;
        first(&mut journal)?;
        self.journal = Some(journal);
        Ok(())
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
            self.try_open(next, |journal| journal.begin(next, places))?;
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
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    const FILE: &str = "00000000000000000001.log";

    /// A journal in a file in memory, which stands for a full disk when it is sealed.
    fn place(dir: &Path) -> (Place, OwnedFd) {
        let file = memfd_create("journal", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        symlink(format!("/proc/self/fd/{}", file.as_raw_fd()), dir.join(FILE)).unwrap();
        let hooks = crate::hooks::Rules { dir: dir.into(), limit: Duration::ZERO, at_once: 1 };
        let (limit, rules) = (vesper_events::journal::LIMIT_MIN, Arc::default());
        (Place { dir: dir.into(), limit, group: None, hooks, rules }, file)
    }

    fn seal(file: &OwnedFd) {
        fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
    }

    fn ran() -> [Entry; 1] {
        [Entry::Hook { fault: 1, hook: "10-x".into(), outcome: "done".into() }]
    }

    #[test]
    fn which_boot_it_is_comes_first_however_late() {
        let dir = tempfile::tempdir().unwrap();
        let (place, full) = place(dir.path());
        seal(&full);
        let (mut keeper, kept) = Keeper::open(&place);
        assert!(keeper.failing);
        let book = Book::new(&kept, 0);
        keeper.write(&ran(), &book);
        // There is room again.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        keeper.write(&ran(), &book);
        assert!(!keeper.failing);
        assert_eq!(Kept::read(dir.path()).boot_id, Some(keeper.boot_id));
    }

    #[test]
    fn what_is_not_written_is_not_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let (place, full) = place(dir.path());
        let (mut keeper, kept) = Keeper::open(&place);
        assert!(!keeper.failing);
        seal(&full);
        keeper.write(&ran(), &Book::new(&kept, 0));
        assert!(keeper.failing);
        keeper.sync();
        assert!(keeper.failing, "nothing is on disk");
    }
}
