// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The front end: writes requests, takes responses.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::error::{BadMemory, Poison, PushError};
use crate::layout::{Layout, STOPPED};
use crate::memory::{Index, Memory, Pages, copy_in, copy_out};
use crate::wire::Wire;

/// The front end of a ring (`FRONT_RING_*` of `public/io/ring.h`).
///
/// ```text
/// push … push, publish → notify the peer if it says so
/// on an event: take until None, then final_check; take again if it says "more"; only then unmask and sleep
/// ```
///
/// All indexes that decide anything are private; the shared ones are the peer's claims.
#[derive(Debug)]
pub struct FrontRing<Req, Rsp, M = Pages> {
    memory: M,
    mask: u32,
    /// Entries; 0 once poisoned, so that the checks that must be there anyway also stop a poisoned ring.
    size: u32,
    /// Next request to write.
    req_prod: u32,
    /// Requests published.
    req_published: u32,
    /// Next response to take: an index, or [`STOPPED`] and an index, which no index of the peer equals.
    rsp_cons: u64,
    poison: Option<Poison>,
    messages: PhantomData<fn(Req) -> Rsp>,
}

impl<Req: Wire, Rsp: Wire> FrontRing<Req, Rsp> {
    /// Makes an empty ring in the pages: the one place where a shared header is initialised.
    ///
    /// Only the header is written. The pages must have been zeroed by their owner before they were granted.
    ///
    /// # Errors
    ///
    /// [`BadMemory`] when no entry fits or the address is not a multiple of 64.
    ///
    /// # Safety
    ///
    /// As for [`Pages::new`].
    pub unsafe fn init(page: NonNull<u8>, bytes: usize) -> Result<Self, BadMemory> {
        // SAFETY: the caller's promise.
        let pages = unsafe { Pages::new(page, bytes) };
        if !pages.is_aligned() {
            return Err(BadMemory::Misaligned);
        }
        Self::over(pages, 0)
    }
}

impl<Req: Wire, Rsp: Wire, M: Memory> FrontRing<Req, Rsp, M> {
    /// Makes an empty ring in `memory` whose indexes begin at `start`. Xen's drivers begin at 0; tests begin
    /// anywhere, so that they see the wrap-around.
    ///
    /// # Errors
    ///
    /// [`BadMemory`] when no entry fits.
    pub fn over(memory: M, start: u32) -> Result<Self, BadMemory> {
        let size = Layout::<Req, Rsp>::entries(&memory)?;
        memory.store(Index::RequestProducer, start);
        memory.store(Index::RequestEvent, start.wrapping_add(1));
        memory.store(Index::ResponseProducer, start);
        memory.store(Index::ResponseEvent, start.wrapping_add(1));
        for offset in (16..crate::memory::HEADER_BYTES).step_by(8) {
            // SAFETY: within the header, which `entries` found to be there; a multiple of 8.
            unsafe { memory.write(offset, 0u64) };
        }
        Ok(Self {
            memory,
            mask: size - 1,
            size,
            req_prod: start,
            req_published: start,
            rsp_cons: start.into(),
            poison: None,
            messages: PhantomData,
        })
    }

    /// Writes a request into the next entry; the peer sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] when every entry is in use, [`PushError::Poison`] when the ring is stopped.
    #[inline]
    pub fn push(&mut self, request: &Req) -> Result<(), PushError> {
        if self.req_prod.wrapping_sub(self.next()) >= self.size {
            return Err(self.refuse());
        }
        let offset = Layout::<Req, Rsp>::offset(self.req_prod, self.mask);
        // SAFETY: `offset` is of an entry of this memory, and an entry is at least as large as a request.
        unsafe { copy_in(&self.memory, offset, request) };
        self.req_prod = self.req_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the peer what was pushed. True: notify it (`RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`).
    #[inline]
    #[must_use = "a peer that waits for a notification waits for ever without it"]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.req_published, self.req_prod);
        self.req_published = new;
        self.memory.release(Index::RequestProducer, new);
        // The peer stores its event index and then reads the producer; we store the producer and then read the event
        // index. Only with a full fence on both sides one of the two sees the other (release/acquire is not enough).
        self.memory.fence();
        new.wrapping_sub(self.memory.load(Index::RequestEvent)) < new.wrapping_sub(old)
    }

    /// Copies the next response out, or says that there is none.
    ///
    /// # Errors
    ///
    /// [`Poison`] when the peer's index is impossible; the ring is stopped from then on.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Rsp>, Poison> {
        if !self.look()? {
            return Ok(None);
        }
        let offset = Layout::<Req, Rsp>::offset(self.next(), self.mask);
        // SAFETY: `offset` is of an entry of this memory, and an entry is at least as large as a response.
        let response = unsafe { copy_out(&self.memory, offset) };
        self.rsp_cons = self.next().wrapping_add(1).into();
        Ok(Some(response))
    }

    /// Before sleeping: asks to be notified of the next response, and looks once more. True: there is one, take it
    /// and do not sleep (`RING_FINAL_CHECK_FOR_RESPONSES`).
    ///
    /// # Errors
    ///
    /// As for [`take`](Self::take).
    #[inline]
    pub fn final_check(&mut self) -> Result<bool, Poison> {
        if self.look()? {
            return Ok(true);
        }
        self.memory.store(Index::ResponseEvent, self.next().wrapping_add(1));
        self.memory.fence(); // the other half of the pair in the peer's `publish`
        self.look()
    }

    /// Reads the peer's index and checks it: true when there is something to take.
    #[inline(always)]
    fn look(&mut self) -> Result<bool, Poison> {
        let producer = self.memory.acquire(Index::ResponseProducer);
        if u64::from(producer) == self.rsp_cons {
            return Ok(false);
        }
        // At least one, for a stopped end comes here with none; not more than was asked, and so not more than fit
        // (RING_RESPONSE_PROD_OVERFLOW).
        let outstanding = self.req_published.wrapping_sub(self.next());
        if producer.wrapping_sub(self.next()).wrapping_sub(1) >= outstanding {
            self.stop(producer);
            return Err(self.why());
        }
        Ok(true)
    }

    /// Index of the next response.
    #[inline(always)]
    fn next(&self) -> u32 {
        self.rsp_cons as u32
    }

    /// Stops the ring: nothing is outstanding any more, and no entry is free.
    #[cold]
    #[inline(never)]
    fn stop(&mut self, producer: u32) {
        if self.poison.is_some() {
            return;
        }
        let poison = if producer.wrapping_sub(self.next()) > self.size {
            Poison::ResponseOverflow { producer, consumer: self.next() }
        } else {
            Poison::ResponseUnasked { producer, requests: self.req_published }
        };
        self.poison = Some(poison);
        self.size = 0;
        self.req_prod = self.req_published;
        self.rsp_cons = STOPPED | u64::from(self.req_published);
    }

    /// What [`stop`](Self::stop) wrote down. Apart from it, so that no result passes through memory where all is well.
    #[inline]
    fn why(&self) -> Poison {
        self.poison.unwrap_or(Poison::ResponseOverflow { producer: 0, consumer: 0 })
    }

    #[cold]
    fn refuse(&self) -> PushError {
        match self.poison {
            Some(poison) => PushError::Poison(poison),
            None => PushError::Full,
        }
    }

    /// Entries of the ring.
    pub fn entries(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Requests that can be pushed now (`RING_FREE_REQUESTS`); 0 when poisoned.
    pub fn free(&self) -> u32 {
        self.size.wrapping_sub(self.req_prod.wrapping_sub(self.next()))
    }

    /// Requests pushed whose response has not been taken; 0 when poisoned.
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.next())
    }

    /// Why the ring is stopped, if it is.
    pub fn poison(&self) -> Option<Poison> {
        self.poison
    }
}
