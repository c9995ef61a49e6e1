// SPDX-License-Identifier: MIT OR Apache-2.0
//! Places for last words, as `kmod/vesper_words.c`.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU32, Ordering};

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_ring::wire::bytes_of;
use vesper_ring::wire::listener::{
    ExportName, RECORD_OFFSET, RecordHeader, WORDS, WordsHeader, record_flags, words_state,
};

use super::memory::Run;
use super::{EMSGSIZE, ENOSPC};
use crate::loopback::kernel::errno;
use crate::traits::Errno;

/// The places; as long as the frontend's module is loaded, a place that was taken is never free again.
pub(super) struct LastWords(Run);

impl LastWords {
    pub(super) fn new(guest: &LoopGuest) -> Self {
        Self(Run::new(guest, WORDS))
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = &GuestPage> {
        self.0.pages().iter()
    }

    fn state(&self, place: usize) -> &AtomicU32 {
        let page = self.0.pages()[place].as_ptr();
        // SAFETY: within the page, which the borrow keeps, and aligned; shared with the host, which is what an atomic is for.
        unsafe { AtomicU32::from_ptr(page.as_ptr().add(offset_of!(WordsHeader, state)).cast()) }
    }

    pub(super) fn write(
        &self,
        name: Option<ExportName>,
        event: u16,
        time: u64,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let bytes = (size_of::<RecordHeader>() + payload.len()).next_multiple_of(8);
        if bytes > WordsHeader::RECORD_BYTES {
            return Err(errno(EMSGSIZE));
        }
        let (free, writing) = (words_state::FREE, words_state::WRITING);
        let claim = |place: &usize| {
            self.state(*place).compare_exchange(free, writing, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let place = (0..WORDS).find(claim).ok_or(errno(ENOSPC))?;
        let page = &self.0.pages()[place];
        let header =
            RecordHeader { bytes: bytes as u32, event, flags: record_flags::FATAL, time, seq: place as u64 };
        page.write(RECORD_OFFSET, bytes_of(&header));
        page.write(RECORD_OFFSET + size_of::<RecordHeader>(), payload);
        page.write(offset_of!(WordsHeader, bytes), &header.bytes.to_le_bytes());
        if let Some(name) = name {
            page.write(offset_of!(WordsHeader, name), name.as_wire());
        }
        self.state(place).store(words_state::DONE, Ordering::Release);
        Ok(())
    }
}
