// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Communication part of the listener: its questions as messages, and the check of each answer.

use core::ptr::NonNull;

use vesper_ring::BadMemory;
use vesper_ring::wire::listener::{self, Asked, Export, PART, Request, Response};

use super::action::Answer;
use super::traits::{Link, Offer, Pages, Stamps};
use crate::line::Line;
use crate::traits::{Errno, Fault};

/// The frontend's end of the listener ring.
#[derive(Debug)]
pub struct Comm<P> {
    pages: P,
    line: Line<Request, Response>,
}

impl<P: Pages> Comm<P> {
    /// Without a connection.
    pub fn new(pages: P) -> Self {
        Self { pages, line: Line::new() }
    }

    /// What it was made with.
    pub fn pages(&mut self) -> &mut P {
        &mut self.pages
    }

    /// Makes an empty ring in the page and forgets all of an earlier connection.
    ///
    /// # Errors
    ///
    /// [`BadMemory`]: too small or misaligned.
    ///
    /// # Safety
    ///
    /// As for [`Line::attach`].
    pub unsafe fn attach(&mut self, page: NonNull<u8>, bytes: usize) -> Result<(), BadMemory> {
        // SAFETY: the caller's promise.
        unsafe { self.line.attach(page, bytes) }
    }

    /// Lets go of the ring page.
    pub fn detach(&mut self) {
        self.line.detach();
    }

    /// Why the device stands still, if it does.
    pub fn fault(&self) -> Option<&Fault> {
        self.line.fault()
    }

    /// From here on nothing is said nor heard until the next [`attach`](Self::attach).
    pub fn stop(&mut self, fault: Fault) -> Fault {
        self.line.stop(fault)
    }

    /// The answer to the open question, if it has come. When not, the host will notify of it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: an impossible index or a response that is no answer.
    pub fn poll(&mut self) -> Result<Option<Answer>, Fault> {
        let Some((response, open)) = self.line.take()? else { return Ok(None) };
        Ok(Some(match response.check(&open)? {
            listener::Answer::Done { status } => Answer::Done(status),
            listener::Answer::TimeIs { .. } => Answer::Time,
        }))
    }

    fn ask(&mut self, question: &Asked) -> Result<(), Fault> {
        if self.line.ask(|id| question.request(id))? {
            self.pages.kick();
        }
        Ok(())
    }
}

impl<P: Pages> Link for Comm<P> {
    fn export(&mut self, slot: u32, part: bool) -> Result<Result<(), Errno>, Fault> {
        let Offer { export, gref, directory, grants, flags } = match self.pages.open(slot) {
            Ok(offer) => offer,
            Err(e) => return Ok(Err(e)),
        };
        let asked = Asked::Export(Export { export, gref, directory, grants, part });
        // A slip of the kernel's part must not look like an attack, which costs the whole connection.
        if flags != if part { PART.into() } else { 0 } || asked.request(0).check() != Ok(asked) {
            return Ok(Err(Errno::IO));
        }
        self.ask(&asked).map(Ok)
    }

    fn unexport(&mut self, number: u32) -> Result<(), Fault> {
        self.ask(&Asked::Unexport { export: number })
    }

    fn time(&mut self, sent: u64, before: Stamps) -> Result<(), Fault> {
        self.ask(&Asked::Time { sent, prev_sent: before.sent, prev_got: before.got })
    }
}
