// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's side of the loader: each thing it may ask, checked, and answered.

use std::time::Instant;

use super::{Current, Loader, Phase, given_up};
use crate::modules::MODULES_MAX;
use crate::{
    Answer, Ask, Command, CommandId, CommandResult, Failure, FillError, Link, LoadedModule, Outcome,
    Violation,
};

/// Largest error number of Linux (`MAX_ERRNO` of `include/linux/err.h`).
const ERRNO_MAX: i32 = 4095;
/// Bad address: the window could not be written.
const EFAULT: i32 = 14;

impl Loader {
    /// Takes in what the guest asks: answers it through `link`, or parks it until there is work.
    ///
    /// # Errors
    /// [`Violation`] if the guest broke the protocol. The device is to be stopped, and [`Loader::abandon`] called.
    pub fn asked(&mut self, ask: Ask, link: &mut dyn Link, now: Instant) -> Result<(), Violation> {
        if self.parked {
            return Err(Violation("a second request while one is waiting for its answer".into()));
        }
        // A deadline that has passed must not be missed because the guest was faster than the clock's caller.
        self.tick(now);
        match ask {
            Ask::Report { modules, more } => self.reported(modules, more, link, now),
            Ask::Idle { result } => {
                self.opened = true;
                self.idle(result, now)?;
                self.parked = true;
                self.pump(link, now)
            }
            Ask::Fetch { command, offset, bytes } => self.fetch(command, offset, bytes, link, now),
            Ask::Prepared { command, status } => self.prepared(command, status, link),
        }
    }

    /// Tells the guest of the next command (paper: A3, C3). The command is current before the answer is sent, so that it has
    /// an outcome even if the link turns out to be broken.
    pub(super) fn offer(&mut self, current: Current, link: &mut dyn Link) -> Result<(), Violation> {
        self.parked = false;
        self.knowledge.sent(current.sent());
        let id = current.id;
        let current = self.current.insert(current);
        link.answer(match &current.command {
            Command::Load { name, image, args } => Answer::Load {
                command: id,
                name,
                image_bytes: image.len() as u64,
                // Checked when it was submitted.
                args_bytes: args.len() as u32,
            },
            Command::Unload { name } => Answer::Unload { command: id, name },
        })
    }

    /// REPORT: the guest's list replaces ours, for it is the one that was there.
    fn reported(
        &mut self,
        modules: Vec<LoadedModule>,
        more: bool,
        link: &mut dyn Link,
        now: Instant,
    ) -> Result<(), Violation> {
        if let Some(current) = self.current.as_ref().filter(|current| current.owed()) {
            return Err(Violation(format!("a report while it owes the result of command {}", current.id)));
        }
        if self.opened {
            return Err(Violation("a report after it asked for work: reports open a connection".into()));
        }
        if self.report.len() + modules.len() > MODULES_MAX {
            return Err(Violation(format!("a report of more than {MODULES_MAX} modules")));
        }
        if let Some(module) = modules.iter().find(|module| self.run.never_issued(module.command)) {
            let LoadedModule { name, command } = module;
            return Err(Violation(format!(
                "{name} reported as loaded by command {command}, which never was"
            )));
        }
        self.report.extend(modules);
        if !more {
            self.knowledge.modules = std::mem::take(&mut self.report);
            let Self { log_limit, label, knowledge, .. } = self;
            log_limit.line(log::Level::Info, now, || {
                format!("{label}: {} modules loaded through VESPER", knowledge.modules.len())
            });
        }
        link.answer(Answer::Done)
    }

    /// DUMMY: takes in the result, if there is one, and settles what was under way.
    fn idle(&mut self, result: Option<CommandResult>, now: Instant) -> Result<(), Violation> {
        if let Some(result) = result {
            let id = result.command;
            if !(-ERRNO_MAX..=0).contains(&result.status) {
                return Err(Violation(format!(
                    "result {} of command {id} is no error number",
                    result.status
                )));
            }
            if self.run.never_issued(id) || self.queue.iter().any(|queued| queued.id == id) {
                return Err(Violation(format!("a result of command {id}, which was never sent")));
            }
            match self.current.take() {
                Some(current) if current.id == id => return self.complete(current, result, now),
                current => self.current = current,
            }
            self.refuse_if_owed()?;
            self.late(&result, now);
        } else {
            self.refuse_if_owed()?;
        }
        self.settle();
        Ok(())
    }

    /// The result of the current command (paper: 4.1.1, steps 7 and 8).
    fn complete(&mut self, current: Current, result: CommandResult, now: Instant) -> Result<(), Violation> {
        let load = matches!(current.command, Command::Load { .. });
        if result.status == 0 && current.phase != Phase::Running {
            let what = if load { "without having fetched the whole image" } else { "without its first step" };
            let id = current.id;
            self.current = Some(current);
            return Err(Violation(format!("command {id} reported as done {what}")));
        }
        if current.told {
            self.late(&result, now);
            return Ok(());
        }
        self.last_result = Some(result.command);
        self.knowledge.result(result.command, result.status);
        self.finish(
            current.id,
            Outcome {
                result: match result.status {
                    0 => Ok(()),
                    status => Err(Failure::Refused { errno: -status }),
                },
                took: result.took,
                log: String::from_utf8_lossy(&result.log).into_owned(),
                log_truncated: result.log_truncated,
            },
        );
        Ok(())
    }

    /// A result whose command has had its outcome, or is of another run: no lie, but nobody waits for it any more.
    fn late(&mut self, result: &CommandResult, now: Instant) {
        // After a reconnection the guest tells its last result again, because it cannot know that it was heard; and of a
        // predecessor's connection the last request is read again.
        if self.last_result.replace(result.command) == Some(result.command) {
            return;
        }
        self.counters.late_results += 1;
        let known = self.knowledge.result(result.command, result.status);
        let listed = self.modules().iter().any(|module| module.command == result.command);
        self.wants_report |= known.is_none() && result.status == 0 && !listed;
        let Self { log_limit, label, .. } = self;
        log_limit.warn(now, || {
            let what = known.map_or("unknown here".to_owned(), |sent| {
                format!("{} of {}", if sent.load { "load" } else { "unload" }, sent.name)
            });
            format!("{label}: late result {} of command {} ({what})", result.status, result.command)
        });
    }

    fn refuse_if_owed(&self) -> Result<(), Violation> {
        match self.current.as_ref().filter(|current| current.owed()) {
            Some(current) => {
                Err(Violation(format!("it asks for work while it owes the result of command {}", current.id)))
            }
            None => Ok(()),
        }
    }

    /// The guest asks for work and brings no result of the current command: it was given up, or the connection was
    /// lost in the middle. What the guest reported then says whether it was done.
    fn settle(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.told {
            return;
        }
        let modules = self.modules();
        let done = match (&current.command, current.phase) {
            (_, Phase::GivenUp { errno }) => {
                self.finish(current.id, Outcome::failed(given_up(errno)));
                return;
            }
            (Command::Load { .. }, _) => modules.iter().any(|module| module.command == current.id),
            (Command::Unload { name }, _) => !modules.iter().any(|module| module.name == *name),
        };
        // Before it ran nothing can have been done, whatever the list says.
        let ran = current.phase == Phase::Running;
        let mut outcome = Outcome::failed(Failure::Interrupted { outcome_unknown: ran });
        if ran && done {
            outcome.result = Ok(());
        }
        self.finish(current.id, outcome);
    }

    /// FETCH: fills the window from the command's data.
    fn fetch(
        &mut self,
        id: CommandId,
        offset: u64,
        bytes: u32,
        link: &mut dyn Link,
        now: Instant,
    ) -> Result<(), Violation> {
        let Some(current) = self.current_named(id, "a fetch for")?.filter(|current| !current.told) else {
            self.give_up(id);
            return link.answer(Answer::Cancelled { command: id });
        };
        let total = current.command.data_bytes();
        let Command::Load { image, args, .. } = &current.command else {
            return Err(Violation(format!("a fetch for command {id}, which is an unload")));
        };
        let end = offset.saturating_add(u64::from(bytes));
        if bytes == 0 || end > total {
            return Err(Violation(format!("a fetch of {bytes} bytes at {offset}, of {total}")));
        }
        // Cannot truncate: both are below the length of something in memory.
        let (start, end_index) = (offset as usize, end as usize);
        let image_part = &image[start.min(image.len())..end_index.min(image.len())];
        let args_part = &args[start.saturating_sub(image.len())..end_index.saturating_sub(image.len())];
        if let Err(error) = link.fill(image_part, args_part) {
            let FillError::Page(error) = error else { return Err(Violation(error.to_string())) };
            let Self { log_limit, label, .. } = self;
            log_limit
                .warn(now, || format!("{label}: its window for command {id} cannot be written: {error}"));
            return link.answer(Answer::Filled { command: id, status: -EFAULT });
        }
        if let Phase::Fetching { filled } = &mut current.phase
            && offset <= *filled
        {
            *filled = end.max(*filled);
            if *filled == total {
                current.phase = Phase::Running;
            }
        }
        self.counters.bytes += u64::from(bytes);
        link.answer(Answer::Filled { command: id, status: 0 })
    }

    /// PREPARED: the guest has done the first step of an unload (paper: C4). What the host shows of the module is to be drained and
    /// dropped here (C5); in this version nothing is exported, so the second step may follow at once (C8).
    fn prepared(&mut self, id: CommandId, status: i32, link: &mut dyn Link) -> Result<(), Violation> {
        if !(-ERRNO_MAX..=0).contains(&status) {
            return Err(Violation(format!("status {status} of command {id} is no error number")));
        }
        let Some(current) = self.current_named(id, "a first step of")? else {
            return link.answer(Answer::Cancelled { command: id });
        };
        if current.phase != Phase::Offered {
            return Err(Violation(format!("a first step of command {id}, which has none now")));
        }
        if status == 0 && !current.told {
            current.phase = Phase::Running;
            return link.answer(Answer::Proceed { command: id });
        }
        current.phase = Phase::GivenUp { errno: (status != 0).then_some(-status) };
        link.answer(Answer::Cancelled { command: id })
    }

    /// The current command if it has this id; `None` if there is no such command any more.
    fn current_named(&mut self, id: CommandId, what: &str) -> Result<Option<&mut Current>, Violation> {
        if self.run.never_issued(id) || self.queue.iter().any(|queued| queued.id == id) {
            return Err(Violation(format!("{what} command {id}, which was never sent")));
        }
        if let Some(current) = &self.current
            && current.id != id
            && current.owed()
        {
            return Err(Violation(format!("{what} command {id} while it owes the result of {}", current.id)));
        }
        Ok(self.current.as_mut().filter(|current| current.id == id))
    }

    /// The guest is being told that a command is cancelled.
    fn give_up(&mut self, id: CommandId) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id == id) {
            current.phase = Phase::GivenUp { errno: None };
        }
    }
}
