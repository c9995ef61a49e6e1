// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events on disk, and what was done about them: `DIR/SERIAL.log`, each with the serial that it begins with.
//!
//! A line is written behind the last one and never changed. A file that is large enough is followed by another; when all
//! of them are more than the limit, the oldest goes. A line that cannot be read is passed over and counted: of a daemon
//! that died while it wrote, it is the last one.

mod files;
mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use files::Files;
use serde::{Deserialize, Serialize};

use crate::event::is_worse;
use crate::{Event, Kind};

/// Least bytes of all files: some of each must fit.
pub const LIMIT_MIN: u64 = 1 << 20;
/// Files that the limit is divided into.
const FILES: u64 = 8;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line of a file: what must be known although earlier files are gone.
    Begin {
        /// The next serial.
        next: u64,
        /// Records that were looked at.
        places: Vec<Place>,
    },
    /// An event is told.
    Event(Box<Event>),
    /// A hook has run.
    Hook {
        /// For which fault.
        fault: u64,
        /// Its file's name.
        hook: String,
        /// How it ended, for people.
        outcome: String,
    },
    /// All that was to be done has been.
    Acted {
        /// About which fault.
        fault: u64,
        /// As an event of this kind.
        kind: Kind,
    },
    /// What a later version writes.
    #[serde(other)]
    Unknown,
}

/// The record of a buffer that was looked at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The guest's domain.
    pub domid: u16,
    /// The guest.
    pub uuid: String,
    /// Its boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The channel.
    pub export: u32,
    /// The buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u16>,
    /// The record's sequence number.
    pub seq: u64,
}

/// What was done about a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Hooks that have run.
    pub hooks: BTreeSet<String>,
    /// All was done for an event of these kinds.
    pub kinds: BTreeSet<Kind>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of each fault the newest document, oldest first.
    pub events: Vec<Event>,
    /// What was done, by fault.
    pub acted: BTreeMap<u64, Acted>,
    /// Records that were looked at, when the next serial was [`Kept::places_at`].
    pub places: Vec<Place>,
    /// See [`Kept::places`].
    pub places_at: u64,
    /// The next serial.
    pub next: u64,
    /// Lines that could not be read.
    pub damaged: u64,
}

impl Kept {
    /// Nothing: no journal can be had.
    pub fn nothing() -> Self {
        Self { next: 1, ..Self::default() }
    }

    /// Events about which not all was done, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| {
            self.acted.get(&event.fault).is_none_or(|acted| !acted.kinds.contains(&event.event))
        })
    }

    fn take(&mut self, entry: Entry, newest: &mut BTreeMap<u64, Event>) {
        match entry {
            Entry::Begin { next, places } => {
                self.next = self.next.max(next);
                (self.places, self.places_at) = (places, next);
            }
            Entry::Event(event) => {
                self.next = self.next.max(event.serial + 1);
                let (fault, kind, failed) = (event.fault, event.event, event.failed);
                if let Some(before) = newest.insert(fault, *event)
                    && is_worse(failed, before.failed)
                    && let Some(acted) = self.acted.get_mut(&fault)
                {
                    // What was done was for less.
                    acted.kinds.remove(&kind);
                }
            }
            Entry::Hook { fault, hook, .. } => {
                self.acted.entry(fault).or_default().hooks.insert(hook);
            }
            Entry::Acted { fault, kind } => {
                self.acted.entry(fault).or_default().kinds.insert(kind);
            }
            Entry::Unknown => {}
        }
    }
}

/// The files, open for writing.
#[derive(Debug)]
pub struct Journal {
    files: Files,
    limit: u64,
    file: File,
    path: PathBuf,
    /// Bytes of whole lines in it.
    bytes: u64,
    unsynced: bool,
}

impl Journal {
    /// Opens the files in a directory, which is made if it is missing, and reads them. Members of `group` may read them.
    ///
    /// # Errors
    /// Of the file system, with the path.
    pub fn open(dir: &Path, limit: u64, group: Option<u32>) -> io::Result<(Self, Kept)> {
        let mut files = Files::open(dir, group)?;
        let (mut kept, mut newest) = (Kept::nothing(), BTreeMap::new());
        for (path, _) in files.all() {
            let read = line::read(path, |entry| kept.take(entry, &mut newest))?;
            kept.damaged += read.damaged;
        }
        kept.events = newest.into_values().collect();
        kept.events.sort_by_key(|event| event.serial);
        let faults: BTreeSet<u64> = kept.events.iter().map(|event| event.fault).collect();
        kept.acted.retain(|fault, _| faults.contains(fault));
        let (path, file, bytes) = files.last()?;
        let mut journal = Self { files, limit, file, path, bytes, unsynced: false };
        if bytes == 0 {
            journal.append(&Entry::Begin { next: kept.next, places: Vec::new() })?;
        }
        Ok((journal, kept))
    }

    /// Adds a line. It is safe only after [`Journal::sync`].
    ///
    /// # Errors
    /// Of the file system, with the path; nothing of the line is left in the file then.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = line::of(entry);
        if let Err(error) = self.file.write_all(&line) {
            // If that fails too, a line that cannot be read is passed over.
            let _ = self.file.set_len(self.bytes);
            return Err(files::named(&self.path, &error));
        }
        self.bytes += line.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Sees to it that all lines are on disk.
    ///
    /// # Errors
    /// Of the file system, with the path.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.file.sync_data().map_err(|error| files::named(&self.path, &error))?;
        }
        Ok(())
    }

    /// Whether it is time for [`Journal::begin`].
    pub fn is_long(&self) -> bool {
        self.bytes >= self.limit / FILES
    }

    /// Goes on in a new file, and removes the oldest ones until there are no more bytes than the limit.
    ///
    /// # Errors
    /// Of the file system, with the path; the old file is gone on with then.
    pub fn begin(&mut self, next: u64, places: Vec<Place>) -> io::Result<()> {
        self.sync()?;
        let (path, file) = self.files.begin(next, self.bytes)?;
        (self.path, self.file, self.bytes) = (path, file, 0);
        self.append(&Entry::Begin { next, places })?;
        self.files.make_room(self.limit - self.limit / FILES)
    }
}
