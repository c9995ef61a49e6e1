// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A ring with at most one open question on it: what the Communication parts of loader and listener have in common.

use core::ptr::NonNull;

use vesper_ring::wire::Wire;
use vesper_ring::{BadMemory, FrontRing};

use crate::traits::Fault;

/// The frontend's end of one ring.
#[derive(Debug)]
pub struct Line<Req, Rsp> {
    ring: Option<FrontRing<Req, Rsp>>,
    /// The question that is open.
    open: Option<Req>,
    next_id: u32,
    /// Fail-stop: the first fault, until the next [`attach`](Self::attach).
    fault: Option<Fault>,
}

impl<Req: Wire, Rsp: Wire> Line<Req, Rsp> {
    /// Without a ring.
    pub fn new() -> Self {
        Self { ring: None, open: None, next_id: 1, fault: None }
    }

    /// Makes an empty ring in the page and forgets all of an earlier connection.
    ///
    /// # Errors
    ///
    /// [`BadMemory`]: too small or misaligned.
    ///
    /// # Safety
    ///
    /// `page..page + bytes` stays mapped until [`detach`](Self::detach), and only this and the host use it.
    pub unsafe fn attach(&mut self, page: NonNull<u8>, bytes: usize) -> Result<(), BadMemory> {
        self.detach();
        // SAFETY: the caller's promise; the ring is dropped by `detach`.
        self.ring = Some(unsafe { FrontRing::init(page, bytes) }?);
        self.fault = None;
        Ok(())
    }

    /// Lets go of the ring page.
    pub fn detach(&mut self) {
        self.ring = None;
        self.open = None;
    }

    /// Why the device stands still, if it does.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// From here on nothing is said nor heard until the next [`attach`](Self::attach).
    pub fn stop(&mut self, fault: Fault) -> Fault {
        self.detach();
        *self.fault.get_or_insert(fault)
    }

    /// A response, if one has come, and the question that was open: it is to be checked against that. When none has, the
    /// host will notify of it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: an impossible index.
    pub fn take(&mut self) -> Result<Option<(Rsp, Req)>, Fault> {
        let Some(ring) = &mut self.ring else { return self.fault.map_or(Ok(None), Err) };
        loop {
            if let Some(response) = ring.take()? {
                let open = self.open.take().ok_or(Fault::Own)?;
                return Ok(Some((response, open)));
            }
            if !ring.final_check()? {
                return Ok(None);
            }
        }
    }

    /// Asks what `question` makes of the request's id. True: notify the host.
    ///
    /// # Errors
    ///
    /// [`Fault`]: no ring, or a question is open already.
    #[must_use = "a host that waits for a notification waits for ever without it"]
    pub fn ask(&mut self, question: impl FnOnce(u32) -> Req) -> Result<bool, Fault> {
        let (Some(ring), None) = (&mut self.ring, &self.open) else { return Err(Fault::Own) };
        let request = question(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        ring.push(&request)?;
        self.open = Some(request);
        Ok(ring.publish())
    }
}

impl<Req: Wire, Rsp: Wire> Default for Line<Req, Rsp> {
    fn default() -> Self {
        Self::new()
    }
}
