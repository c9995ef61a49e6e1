// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's ring to a guest, the pages of heartbeat and last words beside it, and the Action layer's [`Link`]
//! over them.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::sys::epoll::Epoll;
use vesper_action::listener::{
    Answer, Ask, Beats, ExportName, GuestStamps, Link, Listener, Mapped, Offer, Refusal, SLOTS, Words,
};
use vesper_action::{LogLimit, Violation};
use vesper_grant::{Access, Counters, Devices, DomId, GrantRef, Mapping, PAGE_SIZE};
use vesper_ring::wire::from_bytes;
use vesper_ring::wire::listener::{
    self, Asked, Descriptor, EXPORT, Export, Heartbeat, RECORD_OFFSET, Request, Response, WordsHeader,
    words_state,
};

use crate::Error;
use crate::guest::Context;
use crate::line::{ConnectError, Ends, Line, violation};
use crate::loader::Turn;
use crate::sharing;

/// What a frontend publishes of its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) ends: Ends,
    pub(crate) heartbeat: GrantRef,
    pub(crate) words: Vec<GrantRef>,
}

/// The listener's ring to a guest.
pub(crate) struct ListenerLine {
    line: Line<Request, Response>,
    ends: Ends,
    /// The page of heartbeat, then those of last words; they must outlive the guest, so they are mapped.
    pages: Mapping,
    /// What was announced and is mapped, in the order in which it came.
    shared: Vec<Export>,
    log_limit: LogLimit,
}

/// The mark of a guest's listener in the epoll; the loader's is the domain number alone.
pub(crate) const MARK: u64 = 1 << 16;

/// The host's clock (`CLOCK_MONOTONIC`), nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    // Neither is ever negative there.
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

impl ListenerLine {
    /// Takes up the ring that the frontend published, and maps its pages.
    pub(crate) fn connect(
        devices: Box<dyn Devices>,
        guest: DomId,
        published: &Published,
        epoll: &Epoll,
    ) -> Result<Self, ConnectError> {
        let grants: Vec<GrantRef> =
            [published.heartbeat].into_iter().chain(published.words.clone()).collect();
        let pages = devices.map(&grants, Access::ReadOnly).map_err(|error| {
            ConnectError::Guest(format!("its pages of heartbeat and last words cannot be mapped: {error}"))
        })?;
        let line = Line::connect(devices, guest, published.ends, epoll, MARK | u64::from(guest.0))?;
        line.kick().map_err(Error::from)?;
        Ok(Self { line, ends: published.ends, pages, shared: Vec::new(), log_limit: LogLimit::default() })
    }

    /// Gives everything back. What the guest shares is the [`Listener`]'s to give back before.
    pub(crate) fn close(self, epoll: &Epoll) {
        self.line.close(epoll);
    }

    /// The ring.
    pub(crate) fn line(&mut self) -> &mut Line<Request, Response> {
        &mut self.line
    }

    /// The guest.
    pub(crate) fn guest(&self) -> DomId {
        self.line.guest()
    }

    /// What the frontend published of the ring.
    pub(crate) fn ends(&self) -> Ends {
        self.ends
    }

    /// What is in use and was done.
    pub(crate) fn counters(&self) -> Counters {
        self.line.counters()
    }

    /// What is mapped, for a daemon that comes after this one.
    pub(crate) fn shared(&self) -> &[Export] {
        &self.shared
    }

    /// Takes requests and has them answered, at most `budget`. An export ends the turn: it may be 16 MiB to map.
    pub(crate) fn serve(
        &mut self,
        listener: &mut Listener,
        note: &mut dyn FnMut(&[Export]),
        budget: u32,
        context: &Context<'_>,
    ) -> Result<Turn, Violation> {
        let mut requests = 0;
        loop {
            while requests < budget {
                let Some(request) = self.line.take()? else { break };
                requests += 1;
                self.handle(&request, listener, note, context)?;
                if request.op == EXPORT {
                    return Ok(Turn { requests, more: true });
                }
            }
            if requests == budget {
                return Ok(Turn { requests, more: true });
            }
            if !self.line.final_check()? {
                return Ok(Turn { requests, more: false });
            }
        }
    }

    /// One request: checked as a copy, then told to the listener, which answers through [`Link`].
    fn handle(
        &mut self,
        request: &Request,
        listener: &mut Listener,
        note: &mut dyn FnMut(&[Export]),
        context: &Context<'_>,
    ) -> Result<(), Violation> {
        let got_ns = now_ns();
        let asked = request.check().map_err(violation)?;
        let mut open = Open { line: self, note, id: request.id, asked, descriptor: None };
        let ask = match asked {
            Asked::Time { sent, prev_sent, prev_got } => {
                let before = (prev_got != 0).then_some(GuestStamps { sent: prev_sent, got: prev_got });
                Ask::Time { sent_ns: sent, got_ns, before }
            }
            Asked::Unexport { export } => Ask::Unexport { number: export },
            // A predecessor had it, and died before the answer.
            Asked::Export(export) if open.line.shared.contains(&export) => {
                return open.answer(Answer::Done { status: 0 }).map(drop);
            }
            Asked::Export(export) => match open.read(&export) {
                Ok(offer) if export.part => Ask::Part { number: export.export, offer },
                Ok(offer) => Ask::Export { number: export.export, offer },
                Err(refusal) => {
                    let guest = open.line.line.guest();
                    open.line.log_limit.warn(context.now, || {
                        format!("domain {guest}: export {} is not taken: {refusal}", export.export)
                    });
                    return open.answer(Answer::Done { status: refusal.status() }).map(drop);
                }
            },
        };
        listener.asked(ask, &mut open, context.now)
    }

    /// When [`Line::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.line.next_deadline()
    }

    /// Maps again what a predecessor had mapped.
    pub(crate) fn take_over(
        &mut self,
        exports: &[Export],
        listener: &mut Listener,
        context: &Context<'_>,
    ) -> Result<(), Refusal> {
        for &export in exports {
            let asked = Asked::Export(export);
            let mut open = Open { line: self, note: &mut |_| {}, id: 0, asked, descriptor: None };
            let offer = open.read(&export)?;
            listener.take_over(export.export, export.part, offer, &mut open, context.now)?;
            self.shared.push(export);
        }
        Ok(())
    }

    /// Reads the last words that were written since. True if there were some.
    pub(crate) fn hear(&self, listener: &mut Listener) -> bool {
        let mut heard = false;
        for slot in (0..SLOTS).filter(|slot| listener.wants_words(*slot)).collect::<Vec<_>>() {
            let page = 1 + slot as usize;
            if self.state(page) == words_state::DONE {
                listener.heard_words(slot, words(slot, &self.copy(page)));
                heard = true;
            }
        }
        heard
    }

    /// The heartbeat as it is now.
    pub(crate) fn beats(&self) -> Beats {
        let page: Heartbeat = from_bytes(&self.copy(0)).expect("the heartbeat is a page");
        Beats::new(page.beat.to_vec(), page.period, page.words_lost)
    }

    /// The first word of a page, read before all that it makes valid.
    fn state(&self, page: usize) -> u32 {
        let at = self.page(page).cast::<u32>().as_ptr();
        // SAFETY: the page is mapped as long as `pages` lives, and aligned; the guest may write it at any time, which an atomic
        // access allows.
        u32::from_le(unsafe { AtomicU32::from_ptr(at) }.load(Ordering::Acquire))
    }

    /// A private copy of a page, word by word.
    fn copy(&self, page: usize) -> Vec<u8> {
        let at = self.page(page).cast::<u64>();
        // SAFETY: as in `state`; each word is read once, whatever the guest writes meanwhile.
        let word = |n| unsafe { at.add(n).read_volatile() };
        (0..PAGE_SIZE / 8).flat_map(|n| word(n).to_ne_bytes()).collect()
    }

    fn page(&self, page: usize) -> NonNull<u8> {
        assert!(page < self.pages.pages(), "page {page} of heartbeat and last words");
        // SAFETY: inside the mapping.
        unsafe { self.pages.as_ptr().add(page * PAGE_SIZE) }
    }
}

/// What a page of last words holds; `None`: no record.
fn words(slot: u32, page: &[u8]) -> Option<Words> {
    let header: WordsHeader = from_bytes(&page[..RECORD_OFFSET])?;
    let bytes = header.record_bytes()?;
    let name = header.export().ok().flatten();
    Some(Words {
        slot,
        name: name.and_then(|name| ExportName::new(name.as_str()).ok()),
        record: page[RECORD_OFFSET..RECORD_OFFSET + bytes].to_vec(),
    })
}

/// The request that waits for its answer.
struct Open<'a> {
    line: &'a mut ListenerLine,
    /// Told what is mapped, before the guest is.
    note: &'a mut dyn FnMut(&[Export]),
    id: u32,
    asked: Asked,
    descriptor: Option<Descriptor>,
}

impl Open<'_> {
    fn read(&mut self, export: &Export) -> Result<Offer, Refusal> {
        let descriptor = sharing::describe(self.line.line.devices(), export)?;
        let offer = sharing::offer(&descriptor);
        self.descriptor = Some(descriptor);
        offer
    }
}

impl Link for Open<'_> {
    fn map(&mut self) -> Result<Mapped, Refusal> {
        let (Asked::Export(export), Some(descriptor)) = (&self.asked, &self.descriptor) else {
            return Err(Refusal::Unusable("nothing was offered".into()));
        };
        sharing::map(self.line.line.devices(), export, descriptor)
    }

    fn answer(&mut self, answer: Answer) -> Result<u64, Violation> {
        let response = match answer {
            Answer::Done { status } => {
                let shared = &mut self.line.shared;
                match self.asked {
                    Asked::Export(export) if status == 0 && !shared.contains(&export) => {
                        shared.push(export);
                        (self.note)(shared);
                    }
                    Asked::Unexport { export } if status == 0 => {
                        shared.retain(|known| known.export != export);
                        (self.note)(shared);
                    }
                    _ => {}
                }
                listener::Answer::Done { status }
            }
            Answer::TimeIs { got_ns } => listener::Answer::TimeIs { got: got_ns, sent: now_ns() },
        };
        self.line.line.answer(&response.response(self.id))?;
        Ok(match response {
            listener::Answer::TimeIs { sent, .. } => sent,
            listener::Answer::Done { .. } => 0,
        })
    }
}
