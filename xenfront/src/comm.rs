// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Communication part of the loader: its questions as messages, and the check of each answer.

use core::ptr::NonNull;

use vesper_ring::BadMemory;
use vesper_ring::wire::loader::{Loaded, Request, Response, WINDOW_BYTES};
use vesper_ring::wire::{Answer, Asked, CommandId, CommandResult, Fetch, LogPage, PAGE_SIZE, Report};

use crate::line::Line;
use crate::traits::{Errno, Fault, Link, Log, Outcome, Pages};

/// The frontend's end of the loader ring.
#[derive(Debug)]
pub struct Comm<P> {
    pages: P,
    line: Line<Request, Response>,
    /// A window is open.
    window: bool,
}

impl<P: Pages> Comm<P> {
    /// Without a connection.
    pub fn new(pages: P) -> Self {
        Self { pages, line: Line::new(), window: false }
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
        self.end_fetch();
        // SAFETY: the caller's promise.
        unsafe { self.line.attach(page, bytes) }
    }

    /// Lets go of the ring page and of what the host was given to fill.
    pub fn detach(&mut self) {
        self.line.detach();
        self.end_fetch();
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
        match self.line.take()? {
            Some((response, open)) => Ok(Some(response.check(&open)?)),
            None => Ok(None),
        }
    }

    fn ask(&mut self, question: &Asked) -> Result<(), Fault> {
        if self.line.ask(|id| question.request(id))? {
            self.pages.kick();
        }
        Ok(())
    }
}

impl<P: Pages> Link for Comm<P> {
    fn report(&mut self, entries: &[Loaded], more: bool) -> Result<(), Fault> {
        let report = if entries.is_empty() {
            Report { gref: 0, entries: 0, more: false }
        } else {
            let gref = self.pages.text(list_bytes(entries)).map_err(|_| Fault::Own)?;
            Report { gref, entries: entries.len() as u32, more }
        };
        self.ask(&Asked::Report(report))
    }

    fn idle(&mut self, outcome: Option<&Outcome>, log: Option<Log<'_>>) -> Result<(), Fault> {
        let Some(&Outcome { command, status, nanos }) = outcome else {
            return self.ask(&Asked::Dummy(None));
        };
        // A log that cannot be shown is left out: the result matters more.
        let log = log.and_then(|log| {
            let text = log.text.get(..PAGE_SIZE).unwrap_or(log.text);
            let gref = self.pages.text(text).ok()?;
            Some(LogPage { gref, bytes: text.len() as u32, truncated: log.truncated })
        });
        self.ask(&Asked::Dummy(Some(CommandResult { command, status, nanos, log })))
    }

    fn fetch(&mut self, command: CommandId, offset: u64, left: u64) -> Result<Result<u32, Errno>, Fault> {
        let bytes = left.min(WINDOW_BYTES.into()) as u32;
        let pages = bytes.div_ceil(PAGE_SIZE as u32);
        let directory = match self.pages.window_open(pages) {
            Ok(directory) => directory,
            Err(e) => return Ok(Err(e)),
        };
        self.window = true;
        self.ask(&Asked::Fetch(Fetch { command, directory, pages, bytes, offset }))?;
        Ok(Ok(bytes))
    }

    fn prepared(&mut self, command: CommandId, status: i32) -> Result<(), Fault> {
        self.ask(&Asked::Prepared { command, status })
    }

    fn take(&mut self, bytes: u32) -> Result<(), Errno> {
        let taken = self.pages.window_append(bytes);
        self.end_fetch();
        taken
    }

    fn end_fetch(&mut self) {
        if core::mem::take(&mut self.window) {
            self.pages.window_close();
        }
    }
}

/// The entries as they stand in the text page.
fn list_bytes(entries: &[Loaded]) -> &[u8] {
    // SAFETY: `Loaded` is `Wire`: no padding, so every byte is initialised; same memory, same lifetime.
    unsafe { core::slice::from_raw_parts(entries.as_ptr().cast(), size_of_val(entries)) }
}
