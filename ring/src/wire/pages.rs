// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What the guest puts into pages of its own, checked on a private copy of the page.

use super::loader::{Directory, Loaded};
use super::request::{WINDOW_PAGES, check_command};
use super::{BadMessage, CommandId, Name, PAGE_SIZE, from_bytes};

impl Directory {
    /// The first `pages` grants of a directory page. Entries behind them are not looked at: a frontend may use a
    /// directory again, and its last part is shorter.
    ///
    /// # Errors
    ///
    /// [`BadMessage`] when `pages` is no window, the directory has a successor or a grant is 0.
    pub fn grants(
        page: &[u8; PAGE_SIZE],
        pages: u32,
    ) -> Result<impl Iterator<Item = u32> + Clone, BadMessage> {
        if pages == 0 || pages > WINDOW_PAGES {
            return Err(BadMessage::Pages(pages));
        }
        let mut words = page.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
        match words.next() {
            Some(0) => {}
            next => return Err(BadMessage::LongDirectory(next.unwrap_or(0))),
        }
        let grants = words.take(pages as usize);
        if grants.clone().any(|gref| gref == 0) { Err(BadMessage::Grant(0)) } else { Ok(grants) }
    }
}

impl Loaded {
    /// Checks one entry of a REPORT.
    ///
    /// # Errors
    ///
    /// [`BadMessage`] when the command or the name is none.
    pub fn check(&self) -> Result<(CommandId, Name), BadMessage> {
        let command = CommandId { run: self.run, seq: self.seq };
        check_command(command)?;
        Ok((command, Name::from_wire(&self.name)?))
    }

    /// The entries of a REPORT, of which `bytes` is a private copy; each is to be [checked](Self::check). A rest that
    /// is no whole entry is not looked at.
    pub fn list(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(size_of::<Self>()).filter_map(from_bytes)
    }
}
