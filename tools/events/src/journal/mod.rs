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
    /// A file begins with a line of these for each guest: they must be known although earlier files are gone.
    Places(Places),
    /// All of the places were written.
    Begin {
        /// The next serial.
        next: u64,
        /// Where an earlier version had the places.
        places: Vec<Place>,
    },
    /// dom0 has been booted, or a file begins: what comes next is of this boot.
    Booted {
        /// As the kernel has it in `/proc/sys/kernel/random/boot_id`.
        boot_id: String,
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
        /// As it was known when this document was told; unless an earlier version wrote the line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
    },
    /// What a later version writes.
    #[serde(other)]
    Unknown,
}

/// The records of a guest that were looked at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The guest's domain.
    pub domid: u16,
    /// The guest.
    pub uuid: String,
    /// Its boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Of each buffer: the channel, the buffer's CPU, the record's sequence number.
    pub read: Vec<(u32, Option<u16>, u64)>,
}

/// The same of one buffer, as an earlier version wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    domid: u16,
    uuid: String,
    boot_id: Option<String>,
    export: u32,
    cpu: Option<u16>,
    seq: u64,
}

impl From<Place> for Places {
    fn from(Place { domid, uuid, boot_id, export, cpu, seq }: Place) -> Self {
        Self { domid, uuid, boot_id, read: vec![(export, cpu, seq)] }
    }
}

/// What was done about a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Hooks that have run.
    pub hooks: BTreeSet<String>,
    /// All was done for an event of these kinds.
    pub kinds: BTreeSet<Kind>,
    /// The document since which it is as bad as it is now: what is done for an earlier one is done for less.
    pub worse_at: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of each fault the newest document, oldest first.
    pub events: Vec<Event>,
    /// What was done, by fault.
    pub acted: BTreeMap<u64, Acted>,
    /// Records that were looked at, when the next serial was [`Kept::places_at`].
    pub places: Vec<Places>,
    /// See [`Kept::places`].
    pub places_at: u64,
    /// The next serial.
    pub next: u64,
    /// Of dom0, when the last line was written, if that is known.
    pub boot_id: Option<String>,
    /// Events before this serial are of an earlier boot of dom0.
    pub booted_at: u64,
    /// Lines that could not be read.
    pub damaged: u64,
    /// Files that could not be read to their end, and why.
    pub unreadable: Vec<String>,
}

impl Kept {
    /// Nothing: there is no journal.
    pub fn nothing() -> Self {
        Self { next: 1, ..Self::default() }
    }

    /// Reads what is in a directory, of which something may be unreadable.
    pub fn read(dir: &Path) -> Self {
        let (mut kept, mut newest) = (Self::nothing(), BTreeMap::new());
        let files = files::all(dir).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                kept.unreadable.push(error.to_string());
            }
            Vec::new()
        });
        for (path, bytes) in &files {
            // Of a daemon that died while it wrote them, they are not all there.
            let mut beginning = Vec::new();
            match line::read(path, |entry| kept.take(entry, &mut newest, &mut beginning)) {
                Ok(read) => kept.damaged += read.damaged,
                Err(error) => {
                    kept.unreadable.push(error.to_string());
                    // No serial that may be in it is given out again; it has fewer of them than bytes.
                    let first = files::first(path).unwrap_or_default();
                    kept.next = kept.next.max(first.saturating_add(bytes + 1));
                }
            }
        }
        kept.events = newest.into_values().collect();
        kept.events.sort_by_key(|event| event.serial);
        let faults: BTreeSet<u64> = kept.events.iter().map(|event| event.fault).collect();
        kept.acted.retain(|fault, _| faults.contains(fault));
        kept
    }

    /// This is dom0's boot. True: it was another one before, or none is known. Who was there then is gone, and who has its number and its UUID
    /// now has not failed: so nothing of before is taken for theirs.
    pub fn booted(&mut self, boot_id: &str) -> bool {
        let before = self.boot_id.replace(boot_id.to_owned());
        if before.as_ref().is_some_and(|before| before != boot_id) {
            self.booted_at = self.next;
            self.places.clear();
        }
        before.as_deref() != Some(boot_id)
    }

    /// Events of this boot of dom0.
    pub fn of_this_boot(&self) -> &[Event] {
        &self.events[self.events.partition_point(|event| event.serial < self.booted_at)..]
    }

    /// Events about which not all was done, oldest first. With those of an earlier boot nothing has failed any more.
    pub fn pending(&self) -> impl Iterator<Item = Event> {
        let is_left = |event: &&Event| {
            self.acted.get(&event.fault).is_none_or(|acted| !acted.kinds.contains(&event.event))
        };
        self.events.iter().filter(is_left).map(|event| match event.serial < self.booted_at {
            true => Event { failed: None, service: None, ..event.clone() },
            false => event.clone(),
        })
    }

    fn take(&mut self, entry: Entry, newest: &mut BTreeMap<u64, Event>, beginning: &mut Vec<Places>) {
        match entry {
            Entry::Places(places) => beginning.push(places),
            Entry::Begin { next, places } => {
                self.next = self.next.max(next);
                beginning.extend(places.into_iter().map(Places::from));
                (self.places, self.places_at) = (std::mem::take(beginning), next);
            }
            Entry::Booted { boot_id } => {
                self.booted(&boot_id);
            }
            Entry::Event(event) => {
                self.next = self.next.max(event.serial + 1);
                let (serial, fault, kind, failed) = (event.serial, event.fault, event.event, event.failed);
                if let Some(before) = newest.insert(fault, *event)
                    && is_worse(failed, before.failed)
                {
                    let acted = self.acted.entry(fault).or_default();
                    acted.kinds.remove(&kind);
                    acted.worse_at = serial;
                }
            }
            // Of an event that could not be written, this may be all that says that its number was given out.
            Entry::Hook { fault, hook, .. } => {
                self.next = self.next.max(fault + 1);
                self.acted.entry(fault).or_default().hooks.insert(hook);
            }
            Entry::Acted { fault, kind, serial } => {
                self.next = self.next.max(fault + 1);
                let acted = self.acted.entry(fault).or_default();
                if serial.is_none_or(|serial| serial >= acted.worse_at) {
                    acted.kinds.insert(kind);
                }
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
    boot_id: String,
    file: File,
    path: PathBuf,
    /// Bytes of whole lines in it.
    bytes: u64,
    /// How many of them are its beginning, however much guests make of that.
    beginning: u64,
    unsynced: bool,
}

impl Journal {
    /// Opens the files in a directory, which is made if it is missing, to go on behind what [`Kept::read`] reads. Members of
    /// `group` may read them.
    ///
    /// # Errors
    /// Of the file system, with the path.
    pub fn open(dir: &Path, limit: u64, group: Option<u32>, next: u64, boot_id: &str) -> io::Result<Self> {
        let mut files = Files::open(dir, group)?;
        let (path, file, bytes) = files.last(next)?;
        let boot_id = boot_id.to_owned();
        Ok(Self { files, limit, boot_id, file, path, bytes, beginning: 0, unsynced: false })
    }

    /// Writes down which boot of dom0 this is.
    ///
    /// # Errors
    /// As of [`Journal::append`].
    pub fn booted(&mut self) -> io::Result<()> {
        self.append(&Entry::Booted { boot_id: self.boot_id.clone() })
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
        self.bytes - self.beginning >= self.limit / FILES
    }

    /// Goes on in a new file, and removes the oldest ones until there are no more bytes than the limit. Without an event
    /// since the last time it is the same file: its name is the next serial.
    ///
    /// # Errors
    /// Of the file system, with the path; what is written next is read all the same.
    pub fn begin(&mut self, next: u64, places: Vec<Places>) -> io::Result<()> {
        self.sync()?;
        if self.path != self.files.path(next) {
            let (path, file) = self.files.begin(next, self.bytes)?;
            (self.path, self.file, self.bytes, self.beginning) = (path, file, 0, 0);
        }
        self.booted()?;
        places.into_iter().try_for_each(|places| self.append(&Entry::Places(places)))?;
        self.append(&Entry::Begin { next, places: Vec::new() })?;
        self.beginning = self.bytes;
        self.files.make_room((self.limit - self.limit / FILES).saturating_sub(self.beginning))
    }
}
