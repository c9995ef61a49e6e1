// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loader's ring to a guest, and the Action layer's [`Link`] over it.

use std::time::{Duration, Instant};

use nix::sys::epoll::Epoll;
use vesper_action::{
    Answer, Ask, CommandId, CommandResult, FillError, Link, LoadedModule, Loader, LogLimit, ModuleName,
    Violation,
};
use vesper_grant::{Counters, Devices, DomId, GrantRef, PAGE_SIZE};
use vesper_ring::wire::loader::{Directory, Loaded, Request, Response};
use vesper_ring::wire::{self, Name};
use vesper_ring::wire::{Asked, Fetch, LogPage, Report};

use crate::Error;
use crate::line::{ConnectError, Ends, Line, violation};

/// What one turn of serving a guest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Requests taken.
    pub(crate) requests: u32,
    /// The budget is used up and there may be more.
    pub(crate) more: bool,
}

/// The loader's ring to a guest.
pub(crate) struct LoaderLine {
    line: Line<Request, Response>,
    /// The request that waits for its answer; the loader refuses a second one.
    outstanding: Option<Outstanding>,
    log_limit: LogLimit,
}

/// The request that waits for its answer.
struct Outstanding {
    id: u32,
    window: Option<Fetch>,
}

impl LoaderLine {
    /// Takes up the ring that the frontend published.
    pub(crate) fn connect(
        devices: Box<dyn Devices>,
        guest: DomId,
        ends: Ends,
        epoll: &Epoll,
    ) -> Result<Self, ConnectError> {
        let line = Line::connect(devices, guest, ends, epoll, guest.0.into())?;
        line.kick().map_err(Error::from)?;
        Ok(Self { line, outstanding: None, log_limit: LogLimit::default() })
    }

    /// Gives everything back.
    pub(crate) fn close(self, epoll: &Epoll) {
        self.line.close(epoll);
    }

    /// The ring.
    pub(crate) fn line(&mut self) -> &mut Line<Request, Response> {
        &mut self.line
    }

    /// What is in use and was done.
    pub(crate) fn counters(&self) -> Counters {
        self.line.counters()
    }

    /// When [`Line::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.line.next_deadline()
    }

    /// Takes requests and has them answered, at most `budget`.
    pub(crate) fn serve(
        &mut self,
        loader: &mut Loader,
        budget: u32,
        now: Instant,
    ) -> Result<Turn, Violation> {
        let mut requests = 0;
        loop {
            while requests < budget {
                let Some(request) = self.line.take()? else { break };
                requests += 1;
                self.handle(&request, loader, now)?;
            }
            if requests == budget {
                return Ok(Turn { requests, more: true });
            }
            if !self.line.final_check()? {
                return Ok(Turn { requests, more: false });
            }
        }
    }

    /// One request: checked as a copy, then told to the loader, which answers through [`Link`].
    fn handle(&mut self, request: &Request, loader: &mut Loader, now: Instant) -> Result<(), Violation> {
        let asked = request.check().map_err(violation)?;
        let mut outstanding = Outstanding { id: request.id, window: None };
        let ask = match asked {
            Asked::Dummy(None) => Ask::Idle { result: None },
            Asked::Dummy(Some(result)) => {
                let log = result.log.map(|page| self.read_log(page, now)).unwrap_or_default();
                Ask::Idle {
                    result: Some(CommandResult {
                        command: to_action(result.command),
                        status: result.status,
                        took: Duration::from_nanos(result.nanos),
                        log,
                        log_truncated: result.log.is_some_and(|page| page.truncated),
                    }),
                }
            }
            Asked::Fetch(fetch) => {
                outstanding.window = Some(fetch);
                Ask::Fetch { command: to_action(fetch.command), offset: fetch.offset, bytes: fetch.bytes }
            }
            Asked::Report(report) => Ask::Report { modules: self.read_report(report)?, more: report.more },
            Asked::Prepared { command, status } => Ask::Prepared { command: to_action(command), status },
        };
        self.outstanding = Some(outstanding);
        loader.asked(ask, self, now)
    }

    /// The text of a log page. One that cannot be read costs the text, not the result.
    fn read_log(&mut self, page: LogPage, now: Instant) -> Vec<u8> {
        let mut text = vec![0; page.bytes as usize];
        match self.line.devices().copy_from_guest(GrantRef(page.gref), 0, &mut text) {
            Ok(()) => text,
            Err(error) => {
                let guest = self.line.guest();
                self.log_limit.warn(now, || format!("domain {guest}: its log page cannot be read: {error}"));
                Vec::new()
            }
        }
    }

    /// The entries of a report, read once. Without them nothing that follows can be trusted.
    fn read_report(&mut self, report: Report) -> Result<Vec<LoadedModule>, Violation> {
        if report.entries == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; report.entries as usize * size_of::<Loaded>()];
        self.line
            .devices()
            .copy_from_guest(GrantRef(report.gref), 0, &mut bytes)
            .map_err(|error| Violation(format!("its report cannot be read: {error}")))?;
        Loaded::list(&bytes)
            .map(|entry| {
                let (command, name) = entry.check().map_err(violation)?;
                Ok(LoadedModule {
                    name: ModuleName::new(name.as_str()).map_err(violation)?,
                    command: to_action(command),
                })
            })
            .collect()
    }
}

impl Link for LoaderLine {
    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Violation> {
        let Some(outstanding) = self.outstanding.take() else {
            return Err(Violation("an answer with no request".into()));
        };
        let response = to_wire(answer)?.response(outstanding.id);
        self.line.answer(&response)
    }

    fn fill(&mut self, head: &[u8], tail: &[u8]) -> Result<(), FillError> {
        let Some(window) = self.outstanding.as_ref().and_then(|outstanding| outstanding.window) else {
            return Err(Violation("a window to fill where none was offered".into()).into());
        };
        let mut directory = [0; PAGE_SIZE];
        self.line
            .devices()
            .copy_from_guest(GrantRef(window.directory), 0, &mut directory)
            .map_err(|error| FillError::Page(error.to_string()))?;
        let pages: Vec<GrantRef> =
            Directory::grants(&directory, window.pages).map_err(violation)?.map(GrantRef).collect();
        let filled = match (head, tail) {
            (bytes, []) | ([], bytes) => self.line.devices().copy_to_guest(&pages, bytes),
            (head, tail) => self.line.devices().copy_to_guest(&pages, &[head, tail].concat()),
        };
        filled.map_err(|error| FillError::Page(error.to_string()))
    }
}

fn to_action(id: wire::CommandId) -> CommandId {
    CommandId { run: id.run, seq: id.seq }
}

fn to_wire(answer: Answer<'_>) -> Result<wire::Answer, Violation> {
    let id = |command: CommandId| wire::CommandId { run: command.run, seq: command.seq };
    // A `ModuleName` keeps to a rule that is no wider than that of the wire, so this does not fail.
    let name = |name: &ModuleName| Name::new(name.as_str()).map_err(violation);
    Ok(match answer {
        Answer::Done => wire::Answer::Done,
        Answer::Load { command, name: module, image_bytes, args_bytes } => {
            wire::Answer::Load { command: id(command), name: name(module)?, image_bytes, args_bytes }
        }
        Answer::Unload { command, name: module } => {
            wire::Answer::Unload { command: id(command), name: name(module)? }
        }
        Answer::Filled { command, status } => wire::Answer::Filled { command: id(command), status },
        Answer::Proceed { command } => wire::Answer::Proceed { command: id(command) },
        Answer::Cancelled { command } => wire::Answer::Cancelled { command: id(command) },
    })
}

const _: () = {
    assert!(vesper_action::ARGS_MAX <= wire::loader::ARGS_BYTES as usize);
    assert!(vesper_action::IMAGE_MAX as u64 <= wire::loader::IMAGE_BYTES);
    assert!(vesper_action::NAME_MAX < wire::NAME_BYTES);
};
