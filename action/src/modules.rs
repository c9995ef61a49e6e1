// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host knows of a guest's modules, and of the commands that it was sent.

use std::collections::VecDeque;

use crate::{CommandId, ModuleName};

/// Most modules that a guest may report; beyond it the guest is lying or broken.
pub const MODULES_MAX: usize = 1024;
/// Commands that are remembered so that a late result can be understood.
const SENT_MAX: usize = 64;

/// A module in a guest that was loaded through VESPER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModule {
    /// Its name.
    pub name: ModuleName,
    /// The command that loaded it, maybe of an earlier run.
    pub command: CommandId,
}

/// A command that a guest was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCommand {
    /// Which one.
    pub id: CommandId,
    /// A load; otherwise an unload.
    pub load: bool,
    /// The module it is about.
    pub name: ModuleName,
}

/// What must outlive the daemon so that its successor understands what the guest then says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The modules that are in.
    pub modules: Vec<LoadedModule>,
    /// The command that the guest's kernel works on, if it does for a while already.
    pub current: Option<SentCommand>,
    /// The command whose result was taken in last.
    pub last_result: Option<CommandId>,
}

/// The list of modules and the recent commands of one guest.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) modules: Vec<LoadedModule>,
    sent: VecDeque<SentCommand>,
}

impl Knowledge {
    /// Remembers that a command was sent.
    pub(crate) fn sent(&mut self, command: SentCommand) {
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(command);
    }

    /// Takes in a result, in time or late. Returns the command if it is known.
    pub(crate) fn result(&mut self, id: CommandId, status: i32) -> Option<SentCommand> {
        let command = self.sent.iter().find(|sent| sent.id == id)?.clone();
        const ENOENT: i32 = 2;
        match (command.load, status) {
            (true, 0) => {
                self.modules.retain(|module| module.name != command.name);
                self.modules.push(LoadedModule { name: command.name.clone(), command: id });
            }
            // An unload of a module that is not there: the guest took it out itself.
            (false, 0) => self.modules.retain(|module| module.name != command.name),
            (false, status) if status == -ENOENT => {
                self.modules.retain(|module| module.name != command.name);
            }
            _ => {}
        }
        Some(command)
    }
}
