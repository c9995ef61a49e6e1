// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The directory pages of an export, one after the other.

use super::{BadExport, Export};
use crate::wire::PAGE_SIZE;
use crate::wire::loader::DIRECTORY_GRANTS;

/// Walks along the [directory](crate::wire::loader::Directory) pages of an EXPORT: which one to read, and what it lists.
///
/// It ends when all grants are listed, so it is never longer than the request says, whatever the pages say.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Grants that are not listed yet.
    left: u32,
    /// Grant of the page that goes on.
    next: u32,
}

impl Chain {
    /// At the first page.
    pub fn new(export: &Export) -> Self {
        Self { left: export.grants, next: export.directory }
    }

    /// Grant of the page that is to be copied now; `None` when all grants are listed.
    pub fn page(&self) -> Option<u32> {
        if self.left == 0 { None } else { Some(self.next) }
    }

    /// What a private copy of [that page](Self::page) lists: 1 to 1,023 grants. Entries behind the last are not looked
    /// at. After an error there is no further page.
    ///
    /// # Errors
    ///
    /// [`BadExport`] when a grant is 0, or the chain goes on or ends where it should not.
    pub fn list(&mut self, page: &[u8; PAGE_SIZE]) -> Result<impl Iterator<Item = u32> + Clone, BadExport> {
        let here = self.left.min(DIRECTORY_GRANTS as u32);
        let left = self.left.wrapping_sub(here);
        self.left = 0;
        let mut words = page.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
        let next = words.next().unwrap_or(0);
        match (left, next) {
            (0, 0) => {}
            (0, _) => return Err(BadExport::LongDirectory(next)),
            (_, 0) => return Err(BadExport::ShortDirectory),
            _ => {}
        }
        let grants = words.take(here as usize);
        if grants.clone().any(|gref| gref == 0) {
            return Err(BadExport::NoGrant);
        }
        (self.left, self.next) = (left, next);
        Ok(grants)
    }
}
