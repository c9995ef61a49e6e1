// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loader against a link that records, every path, and in any order.

mod any_order;
mod paths;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::{Answer, Ask, CommandResult, FillError, ModuleName};

/// What the link was told, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Load(CommandId, u64, u32),
    Unload(CommandId),
    Filled(CommandId, i32),
    Proceed(CommandId),
    Cancelled(CommandId),
}

/// A link that records.
#[derive(Default)]
struct Fake {
    told: Vec<Told>,
    window: Vec<u8>,
    broken_window: bool,
    broken: bool,
}

impl Link for Fake {
    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Violation> {
        if self.broken {
            return Err(Violation("broken link".into()));
        }
        self.told.push(match answer {
            Answer::Done => Told::Done,
            Answer::Load { command, image_bytes, args_bytes, .. } => {
                Told::Load(command, image_bytes, args_bytes)
            }
            Answer::Unload { command, .. } => Told::Unload(command),
            Answer::Filled { command, status } => Told::Filled(command, status),
            Answer::Proceed { command } => Told::Proceed(command),
            Answer::Cancelled { command } => Told::Cancelled(command),
        });
        Ok(())
    }

    fn fill(&mut self, head: &[u8], tail: &[u8]) -> Result<(), FillError> {
        if self.broken_window {
            return Err(FillError::Page("no such grant".into()));
        }
        self.window = [head, tail].concat();
        Ok(())
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// A loader, its link and its clock.
struct Bench {
    loader: Loader,
    link: Fake,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            loader: Loader::new(Run::with_nonce(7), 4, "guest"),
            link: Fake::default(),
            now: Instant::now(),
        }
    }

    fn submit(&mut self, command: Command) -> CommandId {
        let id = self.loader.submit(command, TIMEOUT, self.now).unwrap();
        self.loader.pump(&mut self.link, self.now).unwrap();
        id
    }

    fn ask(&mut self, ask: Ask) -> Result<Option<Told>, Violation> {
        self.link.told.clear();
        self.loader.asked(ask, &mut self.link, self.now)?;
        Ok(self.link.told.pop())
    }

    fn idle(&mut self) -> Option<Told> {
        self.ask(Ask::Idle { result: None }).unwrap()
    }

    fn result(&mut self, id: CommandId, status: i32) -> Result<Option<Told>, Violation> {
        self.ask(Ask::Idle { result: Some(result(id, status)) })
    }

    fn fetch(&mut self, id: CommandId, offset: u64, bytes: u32) -> Result<Option<Told>, Violation> {
        self.ask(Ask::Fetch { command: id, offset, bytes })
    }

    fn prepared(&mut self, id: CommandId, status: i32) -> Result<Option<Told>, Violation> {
        self.ask(Ask::Prepared { command: id, status })
    }

    /// Lets the time limit of everything submitted so far pass.
    fn expire(&mut self) {
        self.now += TIMEOUT;
        self.loader.tick(self.now);
    }

    fn outcome(&mut self) -> (CommandId, Result<(), Failure>) {
        let finished = self.loader.finished().expect("an outcome");
        (finished.id, finished.outcome.result)
    }

    fn names(&self) -> Vec<&str> {
        self.loader.modules().iter().map(|module| module.name.as_str()).collect()
    }
}

fn result(command: CommandId, status: i32) -> CommandResult {
    CommandResult {
        command,
        status,
        took: Duration::from_millis(3),
        log: b"hello".to_vec(),
        log_truncated: false,
    }
}

fn name(name: &str) -> ModuleName {
    ModuleName::new(name).unwrap()
}

fn load(module: &str) -> Command {
    Command::Load { name: name(module), image: Arc::from(*b"0123456789"), args: Arc::from(*b"a=1") }
}

fn unload(module: &str) -> Command {
    Command::Unload { name: name(module) }
}
