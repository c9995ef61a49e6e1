// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probe loader of one guest: a queue of commands and the one that the guest works on.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the host's side: submit, time, connection, end |
//! | `asked.rs` | the guest's side: what it asks and what it is answered |
//! | `current.rs` | how far the current command is |

mod asked;
mod current;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use current::{Current, Phase};

use crate::modules::Knowledge;
use crate::{
    Command, CommandId, Failure, Finished, Link, LoadedModule, LogLimit, Memory, Outcome, Run, Violation,
};

/// The probe loader of one guest (paper, section 4.1). See the crate's documentation for what it promises.
#[derive(Debug)]
pub struct Loader {
    label: String,
    run: Arc<Run>,
    queue_max: usize,
    queue: VecDeque<Queued>,
    current: Option<Current>,
    /// The guest's idle request is here, waiting for work.
    parked: bool,
    knowledge: Knowledge,
    /// The parts of a report that have come so far.
    report: Vec<LoadedModule>,
    finished: VecDeque<Finished>,
    /// The command whose result was taken in last.
    last_result: Option<CommandId>,
    /// The guest has asked for work on this connection, so its reports are over.
    opened: bool,
    /// The guest did something that is not known here; see [`Loader::wants_report`].
    wants_report: bool,
    counters: Counters,
    log_limit: LogLimit,
}

/// Most bytes of an image that the loader takes, whatever the way to the guest.
pub const IMAGE_MAX: usize = 1 << 30;
/// Most bytes of a module's arguments.
pub const ARGS_MAX: usize = 64 << 10;

/// A command that waits.
#[derive(Debug)]
struct Queued {
    id: CommandId,
    command: Command,
    deadline: Instant,
}

/// What one guest's loader did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands accepted.
    pub commands: u64,
    /// Commands that ended well.
    pub succeeded: u64,
    /// Commands that did not.
    pub errors: u64,
    /// Results of another run, or that came after their command's outcome.
    pub late_results: u64,
    /// Bytes put into windows.
    pub bytes: u64,
}

/// Where one guest's loader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Commands that wait.
    pub queue_length: usize,
    /// The command that the guest works on.
    pub current: Option<CommandId>,
    /// Since when.
    pub busy_since: Option<Instant>,
}

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many commands wait as may.
    #[error("{0} commands wait already, no more are taken")]
    QueueFull(usize),
    /// The guest is still at a command whose deadline has passed.
    #[error("the guest's module loader is still busy with command {command}, whose deadline has passed")]
    Busy {
        /// When it was given that command.
        since: Instant,
        /// That command.
        command: CommandId,
    },
    /// An image that is empty or longer than [`IMAGE_MAX`].
    #[error("an image of {0} bytes; it can have 1 to {IMAGE_MAX}")]
    ImageSize(usize),
    /// Arguments longer than [`ARGS_MAX`].
    #[error("{0} bytes of arguments; there can be {ARGS_MAX}")]
    ArgumentsTooLong(usize),
}

impl Loader {
    /// A loader with an empty queue that takes up to `queue_max` waiting commands; `label` names the guest in the log.
    pub fn new(run: Arc<Run>, queue_max: usize, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            run,
            queue_max,
            queue: VecDeque::new(),
            current: None,
            parked: false,
            knowledge: Knowledge::default(),
            report: Vec::new(),
            finished: VecDeque::new(),
            last_result: None,
            opened: false,
            wants_report: false,
            counters: Counters::default(),
            log_limit: LogLimit::default(),
        }
    }

    /// Accepts a command, which will have an outcome by `now + timeout` at the latest. Call [`Loader::pump`] after it
    /// if the guest is connected.
    ///
    /// # Errors
    /// [`SubmitError`]; then there will be no outcome.
    pub fn submit(
        &mut self,
        command: Command,
        timeout: Duration,
        now: Instant,
    ) -> Result<CommandId, SubmitError> {
        if let Command::Load { image, args, .. } = &command {
            if image.is_empty() || image.len() > IMAGE_MAX {
                return Err(SubmitError::ImageSize(image.len()));
            }
            if args.len() > ARGS_MAX {
                return Err(SubmitError::ArgumentsTooLong(args.len()));
            }
        }
        if let Some(current) = self.current.as_ref().filter(|current| current.told || current.deadline <= now)
        {
            return Err(SubmitError::Busy { since: current.since, command: current.id });
        }
        if self.queue.len() >= self.queue_max {
            return Err(SubmitError::QueueFull(self.queue.len()));
        }
        let id = self.run.issue();
        log::info!("{}: command {id}: {command:?} accepted", self.label);
        self.counters.commands += 1;
        self.queue.push_back(Queued { id, command, deadline: now + timeout });
        Ok(id)
    }

    /// Answers the parked idle request with the next command, if there are both.
    ///
    /// # Errors
    /// [`Violation`] from the link.
    pub fn pump(&mut self, link: &mut dyn Link, now: Instant) -> Result<(), Violation> {
        while self.parked && self.current.is_none() && !self.wants_report {
            let Some(next) = self.queue.pop_front() else { break };
            if next.deadline <= now {
                self.finish(next.id, Outcome::failed(Failure::TimedOut { sent: false }));
                continue;
            }
            self.offer(Current::new(next.id, next.command, next.deadline, now), link)?;
        }
        Ok(())
    }

    /// Lets time pass: delivers the outcome of commands whose deadline has come.
    pub fn tick(&mut self, now: Instant) {
        let (expired, waiting) =
            self.queue.drain(..).partition::<VecDeque<_>, _>(|queued| queued.deadline <= now);
        self.queue = waiting;
        for queued in expired {
            self.finish(queued.id, Outcome::failed(Failure::TimedOut { sent: false }));
        }
        let Some(current) = self.current.as_mut() else { return };
        current.noted |= current.note_at().is_some_and(|at| at <= now);
        if current.told || current.deadline > now {
            return;
        }
        current.told = true;
        let (id, since) = (current.id, current.since);
        // The image is of no use any more: a fetch is answered CANCELLED from now on.
        if let Command::Load { image, args, .. } = &mut current.command {
            (*image, *args) = (Arc::default(), Arc::default());
        }
        self.finish(id, Outcome::failed(Failure::TimedOut { sent: true }));
        self.fail_queue(&Failure::Busy { since, command: id });
    }

    /// When [`Loader::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let current = self.current.iter().filter(|current| !current.told).map(|current| current.deadline);
        let note = self.current.iter().filter_map(Current::note_at);
        self.queue.iter().map(|queued| queued.deadline).chain(current).chain(note).min()
    }

    /// The connection is lost and will come again (the guest was resumed, or connects anew). Commands that wait go
    /// on waiting. An interrupted transfer is over; a command that the guest's kernel works on may still bring its
    /// result with the next connection.
    pub fn disconnected(&mut self) {
        self.end_of_connection();
        let Some(mut current) = self.current.take() else { return };
        match current.phase {
            Phase::Fetching { .. } if !current.told => {
                self.finish(current.id, Outcome::failed(Failure::Interrupted { outcome_unknown: false }));
            }
            Phase::Fetching { .. } => {}
            Phase::GivenUp { errno } if !current.told => {
                self.finish(current.id, Outcome::failed(given_up(errno)));
            }
            Phase::GivenUp { .. } => {}
            Phase::Offered | Phase::Running => {
                current.interrupted = true;
                self.current = Some(current);
            }
        }
    }

    /// It is over: every command that has no outcome yet gets this one, and the guest is not waited for.
    pub fn abandon(&mut self, failure: &Failure) {
        self.end_of_connection();
        if let Some(current) = self.current.take()
            && !current.told
        {
            self.finish(current.id, Outcome::failed(failure.clone()));
        }
        self.fail_queue(failure);
    }

    /// Whether the guest told of the success of a command that is not known here (it was restored from a save, or came
    /// from another host, with that command under way), so that its modules are no longer known. Commands wait until
    /// the connection is ended, with [`Loader::disconnected`], for a new one that begins with a report.
    pub fn wants_report(&self) -> bool {
        self.wants_report
    }

    fn end_of_connection(&mut self) {
        (self.parked, self.opened, self.wants_report) = (false, false, false);
        self.report.clear();
    }

    /// Takes the next outcome that has not been fetched.
    pub fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// The modules loaded through VESPER that are in, as far as is known.
    pub fn modules(&self) -> &[LoadedModule] {
        &self.knowledge.modules
    }

    /// What a successor must know.
    pub fn memory(&self) -> Memory {
        let noted = self.current.as_ref().filter(|current| current.noted);
        Memory {
            modules: self.knowledge.modules.clone(),
            current: noted.map(Current::sent),
            last_result: self.last_result,
        }
    }

    /// Takes over what a predecessor knew.
    pub fn remember(&mut self, memory: Memory) {
        self.knowledge.modules = memory.modules;
        self.last_result = memory.last_result;
        if let Some(command) = memory.current {
            self.knowledge.sent(command);
        }
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        Status {
            queue_length: self.queue.len(),
            current: self.current.as_ref().map(|current| current.id),
            busy_since: self.current.as_ref().map(|current| current.since),
        }
    }

    /// What it did.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn fail_queue(&mut self, failure: &Failure) {
        while let Some(queued) = self.queue.pop_front() {
            self.finish(queued.id, Outcome::failed(failure.clone()));
        }
    }

    /// Delivers the one outcome of a command.
    fn finish(&mut self, id: CommandId, outcome: Outcome) {
        match &outcome.result {
            Ok(()) => {
                self.counters.succeeded += 1;
                log::info!("{}: command {id} done in {:?}", self.label, outcome.took);
            }
            Err(failure) => {
                self.counters.errors += 1;
                log::info!("{}: command {id} failed: {failure}", self.label);
            }
        }
        self.finished.push_back(Finished { id, outcome });
    }
}

/// The outcome of a command that was given up without a result.
fn given_up(errno: Option<i32>) -> Failure {
    errno.map_or(Failure::Cancelled, |errno| Failure::Refused { errno })
}
