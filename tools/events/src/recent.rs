// SPDX-License-Identifier: MIT OR Apache-2.0
//! The newest events, for those who ask: of each fault the newest document, bounded in bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Event;

/// Most bytes that are kept, about.
pub const BYTES_MAX: usize = 4 << 20;

/// The newest events.
#[derive(Debug, Default)]
pub struct Recent {
    events: BTreeMap<u64, Arc<Event>>,
    newest: BTreeMap<u64, u64>,
    bytes: usize,
    /// Documents up to this serial are here no more.
    gone: u64,
    /// The greatest serial that there was.
    last: u64,
}

impl Recent {
    /// Takes a document in; the one before it of the same fault goes.
    pub fn add(&mut self, event: Arc<Event>) {
        self.last = self.last.max(event.serial);
        self.bytes += bytes(&event);
        if let Some(before) = self.newest.insert(event.fault, event.serial)
            && let Some(before) = self.events.remove(&before)
        {
            self.bytes -= bytes(&before);
        }
        self.events.insert(event.serial, event);
        while self.bytes > BYTES_MAX
            && let Some((serial, event)) = self.events.pop_first()
        {
            self.bytes -= bytes(&event);
            self.newest.remove(&event.fault);
            self.gone = serial;
        }
    }

    /// The first document behind a serial.
    pub fn after(&self, serial: u64) -> Option<&Arc<Event>> {
        self.events.range(serial.checked_add(1)?..).next().map(|(_, event)| event)
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.values()
    }

    /// Documents up to this serial are here no more; the journal's files may have them.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// The greatest serial that there was.
    pub fn last(&self) -> u64 {
        self.last
    }
}

fn bytes(event: &Event) -> usize {
    let stack: usize = event.stack.iter().map(|line| line.len() + size_of::<String>()).sum();
    let names: usize =
        [&event.subject, &event.process, &event.service].into_iter().flatten().map(String::len).sum();
    size_of::<Event>() + event.cause.len() + event.guest.name.len() + names + stack + 128
}
