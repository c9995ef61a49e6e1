// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Action part: the loader's state machine (paper, 4.1.1).
//!
//! ```text
//!            REPORT…            LOAD                 all data there
//! Off ──▶ Reporting ──▶ Parked ─────▶ Fetching ──────────────┐
//!                        ▲  ▲ │ UNLOAD        ▲ │ FILLED      ▼
//!                        │  │ └────▶ Preparing └─┘         Working (nothing asked)
//!              CANCELLED,│  │            │ PROCEED            ▲
//!              refused   └──┼────────────┤────────────────────┘
//!                           └────────────┴── the loader thread is done: DUMMY with its result
//! ```
//!
//! Work of the loader thread goes on in every state: after a reconnect it may be Off, Reporting or Working.

use vesper_ring::wire::loader::REPORT_ENTRIES;
use vesper_ring::wire::{Answer, BadMessage, CommandId, Name};

use crate::modules::Modules;
use crate::traits::{Errno, Fault, Kernel, Link, Log, Outcome};

/// Name of the frontend's own module, which is neither loaded nor unloaded through itself.
const SELF: &str = "vesper_front";

/// What was asked last.
#[derive(Clone, Copy, Debug)]
enum State {
    /// No connection.
    Off,
    /// The part of the list from that index.
    Reporting(Reporting),
    /// For work.
    Parked,
    /// For data.
    Fetching(Fetching),
    /// Whether to go on with an unload.
    Preparing { command: CommandId, name: Name, status: i32 },
    /// Nothing: the loader thread works.
    Working,
}

/// A list that is on its way.
#[derive(Clone, Copy, Debug)]
struct Reporting {
    from: usize,
    /// What the open question says: whether another part follows.
    more: bool,
    /// The list has changed since its first part was sent.
    changed: bool,
}

/// A load whose data is on its way.
#[derive(Clone, Copy, Debug)]
struct Fetching {
    command: CommandId,
    name: Name,
    /// Bytes of image and arguments.
    total: u64,
    /// Bytes that are there.
    done: u64,
    /// Bytes that the open question is for.
    asked: u32,
}

/// What the loader thread does.
#[derive(Clone, Copy, Debug)]
struct Work {
    command: CommandId,
    name: Name,
    load: bool,
}

/// The loader's state machine.
#[derive(Debug)]
pub struct Action<'t> {
    state: State,
    modules: Modules<'t>,
    work: Option<Work>,
    /// To be told with the next DUMMY, until one that carried it was answered.
    outcome: Option<Outcome>,
    /// Whether the loader thread worked for `outcome`, so that its log belongs to it.
    has_log: bool,
}

impl<'t> Action<'t> {
    /// Without a connection and with nothing loaded.
    pub fn new(modules: Modules<'t>) -> Self {
        Self { state: State::Off, modules, work: None, outcome: None, has_log: false }
    }

    /// There is a new connection: reports what is loaded.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn connected(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        self.disconnected(kernel);
        self.modules.retain(|name| kernel.present(name));
        self.report(0, false, link)
    }

    /// The connection is gone: an image on its way is dropped, work of the loader thread goes on.
    pub fn disconnected(&mut self, kernel: &mut impl Kernel) {
        if let State::Fetching(_) = self.state {
            kernel.image_drop();
        }
        self.state = State::Off;
    }

    /// The open question was answered.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn answered(
        &mut self,
        answer: &Answer,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        match (self.state, *answer) {
            // What was announced is sent, even if nothing is left for it; then a list that changed, from its beginning.
            (State::Reporting(Reporting { from, more: true, changed }), Answer::Done) => {
                self.report(from.wrapping_add(REPORT_ENTRIES), changed, link)
            }
            (State::Reporting(Reporting { changed: true, .. }), Answer::Done) => self.report(0, false, link),
            (State::Reporting(_), Answer::Done) => self.idle(link, kernel),
            (State::Parked, Answer::Load { command, name, image_bytes, args_bytes }) => {
                self.outcome = None;
                let total = image_bytes.wrapping_add(args_bytes.into());
                let load = Fetching { command, name, total, done: 0, asked: 0 };
                match self.begin(&load, image_bytes, args_bytes, kernel) {
                    Ok(()) => self.fetch(load, link, kernel),
                    Err(e) => self.refused(command, e.status(), link, kernel),
                }
            }
            (State::Parked, Answer::Unload { command, name }) => {
                self.outcome = None;
                let status = match check_unload(&name, kernel) {
                    Ok(()) => 0,
                    Err(e) => e.status(),
                };
                self.state = State::Preparing { command, name, status };
                link.prepared(command, status)
            }
            (State::Fetching(load), Answer::Filled { status: 0, .. }) => self.filled(load, link, kernel),
            (State::Fetching(load), Answer::Filled { status, .. }) => {
                link.end_fetch();
                kernel.image_drop();
                self.refused(load.command, status, link, kernel)
            }
            (State::Fetching(_), Answer::Cancelled { .. }) => {
                link.end_fetch();
                kernel.image_drop();
                self.idle(link, kernel)
            }
            (State::Preparing { command, name, status: 0 }, Answer::Proceed { .. }) => {
                let started = kernel.unload_start(&name);
                self.started(started, Work { command, name, load: false }, link, kernel)
            }
            (State::Preparing { status: 0, .. }, Answer::Cancelled { .. }) => self.idle(link, kernel),
            (State::Preparing { command, status, .. }, Answer::Cancelled { .. } | Answer::Proceed { .. }) => {
                self.refused(command, status, link, kernel)
            }
            // `Response::check` compares answer and question, so that only a mistake of this side leads here.
            _ => Err(Fault::Message(BadMessage::NoAnswer { response: 0, request: 0 })),
        }
    }

    /// The loader thread is done.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still. The result is noted all the same.
    pub fn finished(
        &mut self,
        status: i32,
        nanos: u64,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let status = Errno::from_status(status).map_or(0, Errno::status);
        if status == 0 && work.load {
            self.modules.add(work.command, &work.name);
        } else if status == 0 {
            self.modules.remove(&work.name);
        }
        self.outcome = Some(Outcome { command: work.command, status, nanos });
        self.has_log = true;
        match &mut self.state {
            State::Working => self.idle(link, kernel),
            State::Reporting(reporting) => {
                reporting.changed |= status == 0;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What must hold before any data is asked for.
    fn begin(
        &mut self,
        load: &Fetching,
        image_bytes: u64,
        args_bytes: u32,
        kernel: &mut impl Kernel,
    ) -> Result<(), Errno> {
        if is_self(&load.name) {
            return Err(Errno::PERM);
        }
        if self.modules.is_full() {
            self.modules.retain(|name| kernel.present(name));
            if self.modules.is_full() {
                return Err(Errno::NOSPC);
            }
        }
        kernel.image_begin(image_bytes, args_bytes)
    }

    fn fetch(&mut self, load: Fetching, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        match link.fetch(load.command, load.done, load.total.wrapping_sub(load.done))? {
            Ok(asked) => {
                self.state = State::Fetching(Fetching { asked, ..load });
                Ok(())
            }
            Err(e) => {
                link.end_fetch();
                kernel.image_drop();
                self.refused(load.command, e.status(), link, kernel)
            }
        }
    }

    fn filled(
        &mut self,
        mut load: Fetching,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        if let Err(e) = link.take(load.asked) {
            link.end_fetch();
            kernel.image_drop();
            return self.refused(load.command, e.status(), link, kernel);
        }
        load.done = load.done.wrapping_add(load.asked.into());
        if load.done < load.total {
            return self.fetch(load, link, kernel);
        }
        link.end_fetch();
        let started = kernel.load_start(&load.name);
        if started.is_err() {
            kernel.image_drop();
        }
        self.started(started, Work { command: load.command, name: load.name, load: true }, link, kernel)
    }

    fn started(
        &mut self,
        started: Result<(), Errno>,
        work: Work,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        match started {
            Ok(()) => {
                self.work = Some(work);
                self.state = State::Working;
                Ok(())
            }
            Err(e) => self.refused(work.command, e.status(), link, kernel),
        }
    }

    /// The command ends here, without work of the loader thread.
    fn refused(
        &mut self,
        command: CommandId,
        status: i32,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        self.outcome = Some(Outcome { command, status, nanos: 0 });
        self.has_log = false;
        self.idle(link, kernel)
    }

    /// Asks for work, unless the loader thread has some.
    fn idle(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        if self.work.is_some() {
            self.state = State::Working;
            return Ok(());
        }
        self.state = State::Parked;
        let log = match self.outcome {
            Some(_) if self.has_log => Some(kernel.log()),
            _ => None,
        };
        link.idle(self.outcome.as_ref(), log.filter(|log: &Log<'_>| !log.text.is_empty()))
    }

    fn report(&mut self, from: usize, changed: bool, link: &mut impl Link) -> Result<(), Fault> {
        let (part, more) = self.modules.part(from);
        self.state = State::Reporting(Reporting { from, more, changed });
        link.report(part, more)
    }
}

fn check_unload(name: &Name, kernel: &mut impl Kernel) -> Result<(), Errno> {
    if is_self(name) { Err(Errno::PERM) } else { kernel.unload_check(name) }
}

/// The kernel takes `-` and `_` in a name for the same.
fn is_self(name: &Name) -> bool {
    let fold = |byte| if byte == b'-' { b'_' } else { byte };
    name.as_str().bytes().map(fold).eq(SELF.bytes())
}
