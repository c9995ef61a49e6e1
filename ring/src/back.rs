// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The back end: takes requests, writes responses.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::error::{AnswerError, AttachError, BadMemory, Poison};
use crate::layout::{Layout, STOPPED};
use crate::memory::{Index, Memory, Pages, copy_in, copy_out};
use crate::wire::Wire;

/// The back end of a ring (`BACK_RING_*` of `public/io/ring.h`).
///
/// ```text
/// on an event: take and push until None, publish → notify if it says so, then final_check; again if it says "more";
///              only then unmask and sleep
/// ```
///
/// A response is written over the oldest request that has none yet, so requests must have been copied out (they are:
/// [`take`](Self::take)) and a response that was pushed should be published at once: what a back end that dies between
/// the two leaves behind is described in `docs/protocol.md`, "Restart of the daemon".
#[derive(Debug)]
pub struct BackRing<Req, Rsp, M = Pages> {
    memory: M,
    mask: u32,
    /// Entries; 0 once poisoned, so that the checks that must be there anyway also stop a poisoned ring.
    size: u32,
    /// Next request to take: an index, or [`STOPPED`] and an index, which no index of the peer equals.
    req_cons: u64,
    /// Next response to write.
    rsp_prod: u32,
    /// Responses published.
    rsp_published: u32,
    poison: Option<Poison>,
    messages: PhantomData<fn(Rsp) -> Req>,
}

impl<Req: Wire, Rsp: Wire> BackRing<Req, Rsp> {
    /// Takes up the ring in the pages, new or in use: begins at its published response index, so that requests
    /// without a response are taken (again). Writes nothing.
    ///
    /// The caller notifies the peer once after attaching: a predecessor may have died between publishing and notifying.
    ///
    /// # Errors
    ///
    /// [`AttachError::Memory`] when no entry fits or the address is not a multiple of 64, [`AttachError::Poison`] when
    /// the indexes contradict each other.
    ///
    /// # Safety
    ///
    /// As for [`Pages::new`].
    pub unsafe fn attach(page: NonNull<u8>, bytes: usize) -> Result<Self, AttachError> {
        // SAFETY: the caller's promise.
        let pages = unsafe { Pages::new(page, bytes) };
        if !pages.is_aligned() {
            return Err(BadMemory::Misaligned.into());
        }
        Self::over(pages)
    }
}

impl<Req: Wire, Rsp: Wire, M: Memory> BackRing<Req, Rsp, M> {
    /// Takes up the ring in `memory`, as [`attach`](BackRing::attach) does.
    ///
    /// # Errors
    ///
    /// As for [`attach`](BackRing::attach).
    pub fn over(memory: M) -> Result<Self, AttachError> {
        let size = Layout::<Req, Rsp>::entries(&memory)?;
        let start = memory.acquire(Index::ResponseProducer);
        let mut ring = Self {
            memory,
            mask: size - 1,
            size,
            req_cons: start.into(),
            rsp_prod: start,
            rsp_published: start,
            poison: None,
            messages: PhantomData,
        };
        match ring.look() {
            Ok(_) => Ok(ring),
            Err(poison) => Err(AttachError::Poison(poison)),
        }
    }

    /// Copies the next request out, or says that there is none.
    ///
    /// # Errors
    ///
    /// [`Poison`] when the peer's index is impossible; the ring is stopped from then on.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Req>, Poison> {
        if !self.look()? {
            return Ok(None);
        }
        let offset = Layout::<Req, Rsp>::offset(self.next(), self.mask);
        // SAFETY: `offset` is of an entry of this memory, and an entry is at least as large as a request.
        let request = unsafe { copy_out(&self.memory, offset) };
        self.req_cons = self.next().wrapping_add(1).into();
        Ok(Some(request))
    }

    /// Writes a response into the entry of the oldest request that has none; the peer sees it after
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`AnswerError::NothingAsked`] when every taken request has its response, [`AnswerError::Poison`] when the ring is
    /// stopped.
    #[inline]
    pub fn push(&mut self, response: &Rsp) -> Result<(), AnswerError> {
        if self.rsp_prod == self.next() {
            return Err(self.refuse());
        }
        let offset = Layout::<Req, Rsp>::offset(self.rsp_prod, self.mask);
        // SAFETY: `offset` is of an entry of this memory, and an entry is at least as large as a response.
        unsafe { copy_in(&self.memory, offset, response) };
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the peer what was pushed. True: notify it (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`).
    #[inline]
    #[must_use = "a peer that waits for a notification waits for ever without it"]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.rsp_published, self.rsp_prod);
        self.rsp_published = new;
        self.memory.release(Index::ResponseProducer, new);
        // Store, full fence, load: see `FrontRing::publish`.
        self.memory.fence();
        new.wrapping_sub(self.memory.load(Index::ResponseEvent)) < new.wrapping_sub(old)
    }

    /// Before sleeping: asks to be notified of the next request, and looks once more. True: there is one, take it and
    /// do not sleep (`RING_FINAL_CHECK_FOR_REQUESTS`).
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take).
    #[inline]
    pub fn final_check(&mut self) -> Result<bool, Poison> {
        if self.look()? {
            return Ok(true);
        }
        self.memory.store(Index::RequestEvent, self.next().wrapping_add(1));
        self.memory.fence(); // the other half of the pair in the peer's `publish`
        self.look()
    }

    /// Reads the peer's index and checks it: true when there is something to take.
    #[inline(always)]
    fn look(&mut self) -> Result<bool, Poison> {
        let producer = self.memory.acquire(Index::RequestProducer);
        if u64::from(producer) == self.req_cons {
            return Ok(false);
        }
        // At least one, for a stopped end comes here with none; not more than fit beside the requests that were taken
        // and not answered (RING_REQUEST_PROD_OVERFLOW and RING_REQUEST_CONS_OVERFLOW at once).
        let room = self.size.wrapping_sub(self.next().wrapping_sub(self.rsp_prod));
        if producer.wrapping_sub(self.next()).wrapping_sub(1) >= room {
            self.stop(producer);
            return Err(self.why());
        }
        Ok(true)
    }

    /// Index of the next request.
    #[inline(always)]
    fn next(&self) -> u32 {
        self.req_cons as u32
    }

    /// Stops the ring: nothing waits for a response any more, and there is no room for requests.
    #[cold]
    #[inline(never)]
    fn stop(&mut self, producer: u32) {
        if self.poison.is_some() {
            return;
        }
        let poison = if producer.wrapping_sub(self.rsp_prod) > self.size {
            Poison::RequestOverflow { producer, oldest: self.rsp_prod }
        } else {
            Poison::RequestBackwards { producer, consumer: self.next() }
        };
        self.poison = Some(poison);
        self.size = 0;
        self.rsp_prod = self.rsp_published;
        self.req_cons = STOPPED | u64::from(self.rsp_published);
    }

    /// What [`stop`](Self::stop) wrote down. Apart from it, so that no result passes through memory where all is well.
    #[inline]
    fn why(&self) -> Poison {
        self.poison.unwrap_or(Poison::RequestOverflow { producer: 0, oldest: 0 })
    }

    #[cold]
    fn refuse(&self) -> AnswerError {
        match self.poison {
            Some(poison) => AnswerError::Poison(poison),
            None => AnswerError::NothingAsked,
        }
    }

    /// Entries of the ring.
    pub fn entries(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Requests taken that have no response yet; 0 when poisoned.
    pub fn unanswered(&self) -> u32 {
        self.next().wrapping_sub(self.rsp_prod)
    }

    /// Why the ring is stopped, if it is.
    pub fn poison(&self) -> Option<Poison> {
        self.poison
    }
}
