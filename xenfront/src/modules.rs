// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The modules that were loaded through VESPER, in the order of loading. Kept across reconnects, so that a daemon
//! that knows nothing yet is told.

use vesper_ring::wire::loader::{Loaded, REPORT_ENTRIES};
use vesper_ring::wire::{CommandId, Name};

/// Entries that the kernel module's table has.
pub const TABLE_ENTRIES: usize = 128;

/// The list, in memory that its owner provides.
#[derive(Debug)]
pub struct Modules<'t> {
    table: &'t mut [Loaded],
    used: usize,
}

impl<'t> Modules<'t> {
    /// An empty list; what is in `table` is overwritten.
    pub fn new(table: &'t mut [Loaded]) -> Self {
        Self { table, used: 0 }
    }

    /// Whether no further module can be noted.
    pub fn is_full(&self) -> bool {
        self.used >= self.table.len()
    }

    /// Notes a module. One of the same name is replaced: the kernel has at most one. False: the list is full.
    pub fn add(&mut self, command: CommandId, name: &Name) -> bool {
        self.remove(name);
        let Some(entry) = self.table.get_mut(self.used) else { return false };
        *entry = Loaded { run: command.run, seq: command.seq, name: *name.as_wire() };
        self.used = self.used.wrapping_add(1);
        true
    }

    /// Forgets a module.
    pub fn remove(&mut self, name: &Name) {
        self.retain(|entry| !entry.same_module(name));
    }

    /// Forgets the modules for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&Name) -> bool) {
        let mut kept = 0usize;
        for index in 0..self.used {
            let Some(&entry) = self.table.get(index) else { break };
            if Name::from_wire(&entry.name).is_ok_and(|name| keep(&name)) {
                if let Some(to) = self.table.get_mut(kept) {
                    *to = entry;
                }
                kept = kept.wrapping_add(1);
            }
        }
        self.used = kept;
    }

    /// One REPORT's worth of entries from index `from`, and whether more follow.
    pub fn part(&self, from: usize) -> (&[Loaded], bool) {
        let used = self.table.get(..self.used).unwrap_or(&[]);
        let rest = used.get(from..).unwrap_or(&[]);
        match rest.get(..REPORT_ENTRIES) {
            Some(part) => (part, rest.len() > REPORT_ENTRIES),
            None => (rest, false),
        }
    }
}
