// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection to a guest: its devices, the mapped ring page, the port; and the [`Link`] over them.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vesper_action::{
    Answer, Ask, CommandId, CommandResult, FillError, Link, LoadedModule, Loader, LogLimit, ModuleName,
    Violation,
};
use vesper_grant::{Access, Counters, Devices, DomId, GrantRef, Mapping, PAGE_SIZE, Port};
use vesper_ring::wire::loader::{Directory, Loaded, Request, Response};
use vesper_ring::wire::{self, Name};
use vesper_ring::wire::{Asked, Fetch, LogPage, Report};
use vesper_ring::{AttachError, BackRing};

use crate::nodes::Published;
use crate::{Error, Limits};

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The guest offered something that cannot be used.
    #[error("{0}")]
    Guest(String),
    /// This side could not do its part.
    #[error(transparent)]
    Host(#[from] Error),
}

/// What one turn of serving a guest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Requests taken.
    pub(crate) requests: u32,
    /// The budget is used up and there may be more.
    pub(crate) more: bool,
}

/// A connection to a guest. Dropping it gives everything back; [`Channel::close`] also tells the epoll.
pub(crate) struct Channel {
    // Order of drop: the ring before its memory, the mapping (whose unmapping notifies through the port) before the
    // devices.
    ring: BackRing<Request, Response>,
    _page: Mapping,
    devices: Box<dyn Devices>,
    guest: DomId,
    port: Port,
    /// The request that waits for its answer; the loader refuses a second one.
    outstanding: Option<Outstanding>,
    kicks: Kicks,
    log_limit: LogLimit,
}

/// The request that waits for its answer.
struct Outstanding {
    id: u32,
    window: Option<Fetch>,
}

/// What is known of the kicks of a guest's event channel.
#[derive(Default)]
struct Kicks {
    /// One was taken and the port is masked since.
    masked: bool,
    /// The event that binding leaves behind has been seen.
    first_seen: bool,
    /// In a row, with nothing behind them.
    spurious: u32,
    /// When to unmask the port that was kicked for nothing.
    unmask_at: Option<Instant>,
}

impl Channel {
    /// Maps, binds and takes up the ring that the frontend published. Kicks the frontend once, because a predecessor
    /// may have died between an answer and its kick.
    pub(crate) fn connect(
        devices: Box<dyn Devices>,
        guest: DomId,
        published: &Published,
        epoll: &Epoll,
    ) -> Result<Self, ConnectError> {
        let page = devices
            .map(&[published.ring], Access::ReadWrite)
            .map_err(|error| ConnectError::Guest(format!("its ring page cannot be mapped: {error}")))?;
        // SAFETY: the mapping is page-aligned, `len` bytes long, and stored beside the ring, which is dropped first.
        // The memory is shared with the guest, which is what the ring is made for.
        let ring = unsafe { BackRing::attach(page.as_ptr(), page.len()) }.map_err(|error| match error {
            AttachError::Poison(poison) => ConnectError::Guest(format!("its ring is unusable: {poison}")),
            AttachError::Memory(memory) => ConnectError::Guest(format!("its ring page is no ring: {memory}")),
        })?;
        let port = devices.bind(published.port).map_err(|error| {
            ConnectError::Guest(format!("its event channel {} cannot be bound: {error}", published.port))
        })?;
        page.set_unmap_notify(None, Some(port)).map_err(Error::from)?;
        epoll
            .add(devices.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, u64::from(guest.0)))
            .map_err(|errno| Error::Os { what: "epoll_ctl for an event channel", source: errno.into() })?;
        let kicks = Kicks::default();
        let channel = Self {
            ring,
            _page: page,
            devices,
            guest,
            port,
            outstanding: None,
            kicks,
            log_limit: LogLimit::default(),
        };
        channel.devices.notify(port).map_err(Error::from)?;
        Ok(channel)
    }

    /// Gives everything back.
    pub(crate) fn close(self, epoll: &Epoll) {
        // A memory file behind the descriptor may live on elsewhere, so epoll is told and not left to find out.
        if let Err(errno) = epoll.delete(self.event_fd()) {
            log::error!("domain {}: its event channel cannot be taken out of epoll: {errno}", self.guest);
        }
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.devices.event_fd()
    }

    /// What is in use and was done.
    pub(crate) fn counters(&self) -> Counters {
        self.devices.counters()
    }

    /// Takes the pending event; true if the guest kicked.
    pub(crate) fn take_kick(&mut self) -> Result<bool, vesper_grant::Error> {
        let kicked = self.devices.pending()?.contains(&self.port);
        self.kicks.masked |= kicked;
        Ok(kicked)
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
                let Some(request) = self.ring.take().map_err(violation)? else { break };
                requests += 1;
                self.handle(&request, loader, now)?;
            }
            if requests == budget {
                return Ok(Turn { requests, more: true });
            }
            if !self.ring.final_check().map_err(violation)? {
                return Ok(Turn { requests, more: false });
            }
        }
    }

    /// Hears the guest again after its kick was served: at once if there was work behind it, later and later if not.
    /// True if the kick was for nothing.
    pub(crate) fn unmask(
        &mut self,
        requests: u32,
        limits: &Limits,
        now: Instant,
    ) -> Result<bool, vesper_grant::Error> {
        if requests > 0 {
            self.kicks.spurious = 0;
        }
        if !self.kicks.masked {
            return Ok(false);
        }
        let spurious = requests == 0 && self.kicks.first_seen;
        self.kicks.first_seen = true;
        if spurious && self.kicks.unmask_at.is_none() {
            self.kicks.spurious = self.kicks.spurious.saturating_add(1);
            let pause = kick_pause(self.kicks.spurious).min(limits.max_kick_pause);
            if pause > Duration::ZERO {
                self.kicks.unmask_at = Some(now + pause);
                return Ok(true);
            }
        } else if requests == 0 && self.kicks.unmask_at.is_some_and(|at| at > now) {
            return Ok(false);
        }
        self.kicks.masked = false;
        self.kicks.unmask_at = None;
        self.devices.unmask(self.port)?;
        Ok(spurious)
    }

    /// Unmasks the port if its pause is over.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), vesper_grant::Error> {
        if self.kicks.unmask_at.is_some_and(|at| at <= now) {
            self.kicks.unmask_at = None;
            self.kicks.masked = false;
            self.devices.unmask(self.port)?;
        }
        Ok(())
    }

    /// When [`Channel::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.kicks.unmask_at
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
        match self.devices.copy_from_guest(GrantRef(page.gref), 0, &mut text) {
            Ok(()) => text,
            Err(error) => {
                let guest = self.guest;
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
        self.devices
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

impl Link for Channel {
    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Violation> {
        let Some(outstanding) = self.outstanding.take() else {
            return Err(Violation("an answer with no request".into()));
        };
        let response = to_wire(answer)?.response(outstanding.id);
        self.ring.push(&response).map_err(violation)?;
        if self.ring.publish() {
            self.devices.notify(self.port).map_err(violation)?;
        }
        Ok(())
    }

    fn fill(&mut self, head: &[u8], tail: &[u8]) -> Result<(), FillError> {
        let Some(window) = self.outstanding.as_ref().and_then(|outstanding| outstanding.window) else {
            return Err(Violation("a window to fill where none was offered".into()).into());
        };
        let mut directory = [0; PAGE_SIZE];
        self.devices
            .copy_from_guest(GrantRef(window.directory), 0, &mut directory)
            .map_err(|error| FillError::Page(error.to_string()))?;
        let pages: Vec<GrantRef> =
            Directory::grants(&directory, window.pages).map_err(violation)?.map(GrantRef).collect();
        let filled = match (head, tail) {
            (bytes, []) | ([], bytes) => self.devices.copy_to_guest(&pages, bytes),
            (head, tail) => self.devices.copy_to_guest(&pages, &[head, tail].concat()),
        };
        filled.map_err(|error| FillError::Page(error.to_string()))
    }
}

/// Pause after the `n`th kick in a row with nothing behind it: none for the first, which an honest guest may send when
/// its request was seen before its kick, then 1 ms, 2 ms, 4 ms and so on (as `lateeoi` of Linux, `events_base.c`).
fn kick_pause(n: u32) -> Duration {
    match n {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(1 << (n - 2).min(20)),
    }
}

fn violation(error: impl ToString) -> Violation {
    Violation(error.to_string())
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
