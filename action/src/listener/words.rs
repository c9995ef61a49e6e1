// SPDX-License-Identifier: MIT OR Apache-2.0
//! Last words: the few records that a guest writes outside of any channel when it ends, so that a full channel, an
//! absent reader or a dead CPU cannot swallow them.

use std::fmt;

use super::{ExportName, Happening, Listener};

/// Places that a guest has for them.
pub const SLOTS: u32 = 8;

/// One record that a guest wrote when it ended.
#[derive(Clone, PartialEq, Eq)]
pub struct Words {
    /// Its place, below [`SLOTS`].
    pub slot: u32,
    /// The channel that it belongs to; `None` if it names none.
    pub name: Option<ExportName>,
    /// The record, with its header. **Guest bytes.**
    pub record: Vec<u8>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last words {} of {:?}, {} bytes", self.slot, self.name, self.record.len())
    }
}

/// The places that were read, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard(u8);

impl Heard {
    /// The places whose bit is set in `bits`.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// One bit for each place.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether this place was read. A place beyond the last counts as read.
    pub fn has(self, slot: u32) -> bool {
        slot >= SLOTS || self.0 >> slot & 1 != 0
    }

    pub(super) fn add(&mut self, slot: u32) {
        self.0 |= 1_u8.checked_shl(slot).unwrap_or(0);
    }
}

impl Listener {
    /// Whether the place of last words has yet to be read.
    pub fn wants_words(&self, slot: u32) -> bool {
        !self.heard.has(slot)
    }

    /// A place of last words is written, once and for all; `None`: with something that is no record.
    pub fn heard_words(&mut self, slot: u32, words: Option<Words>) {
        self.heard.add(slot);
        match words {
            Some(words) => {
                self.words.push(words.clone());
                self.happened.push_back(Happening::LastWords(words));
            }
            None => self.noted.add(slot),
        }
    }

    /// What came of the last words in this place is safe: a successor need not hear them again.
    pub fn words_noted(&mut self, slot: u32) {
        self.noted.add(slot);
    }

    /// The last words that were heard since this boot.
    pub fn words(&self) -> &[Words] {
        &self.words
    }
}
