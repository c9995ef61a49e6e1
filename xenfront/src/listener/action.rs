// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Action part: the listener's state machine, which is a table of exports and the order of its questions.
//!
//! | slot | `export` | `unexport` | EXPORT asked | answered 0 | −errno | connection ends |
//! |---|---|---|---|---|---|---|
//! | Free | New | | | | | |
//! | New | | Free, ended | Announcing | | | |
//! | Announcing | there is more | Leaving | | Shared | Refused; a part: Shared | New |
//! | Shared | there is more | Leaving | with more: Announcing a part | | | New |
//! | Refused | New | Free, ended | | | | New |
//! | Leaving | | | | UNEXPORT: Free, ended | the same | Free, ended |
//!
//! An export that is to leave while its EXPORT is open waits for the answer: if the host has it then, UNEXPORT follows,
//! else it has ended.
//!
//! Order of the questions: one TIME, so that nothing is read that cannot be dated; what is to be taken back, so that its
//! pages and its name are free; what is to be shared; then the other exchanges of TIME. While there is nothing to be dated no
//! TIME is asked, so that an idle guest wakes nobody; the first export after that begins as a connection does.

use super::traits::{Kernel, Link, Stamps};
use crate::traits::Fault;

/// Exports that there can be at a time, those that are being taken back included.
pub const SLOTS: usize = 64;

/// Exchanges of TIME that a connection begins with, and its first export after it had none: the best of several has the
/// smallest error.
const QUICK: u8 = 8;

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Export {
    /// Nothing.
    Free,
    /// To be announced.
    New,
    /// The question is open; `more`: there is more to announce after it.
    Announcing { more: bool },
    /// The host has it; `more`: not all of it.
    Shared { more: bool },
    /// The host does not have it and is not asked again in this connection.
    Refused,
    /// To be taken back, the export of that number.
    Leaving(u32),
}

/// What was asked last and is not answered.
#[derive(Clone, Copy, Debug)]
enum Open {
    Time { sent: u64 },
    Export { slot: usize, part: bool },
    Unexport { slot: usize },
}

/// What the host answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an EXPORT or UNEXPORT: 0 or −errno.
    Done(i32),
    /// To a TIME. What time it is matters to the host alone.
    Time,
}

/// The listener's state machine.
#[derive(Debug)]
pub struct Action {
    connected: bool,
    open: Option<Open>,
    slots: [Export; SLOTS],
    /// Exchanges of TIME that are still to come by themselves; [`QUICK`]: the first is.
    quick: u8,
    /// Another one is wanted.
    told: bool,
    /// The exchange before, of this connection.
    before: Stamps,
}

impl Action {
    /// Without a connection and with no export.
    pub fn new() -> Self {
        Self {
            connected: false,
            open: None,
            slots: [Export::Free; SLOTS],
            quick: 0,
            told: false,
            before: Stamps::default(),
        }
    }

    /// There is a new connection: announces every export.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn connected(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        self.disconnected(kernel);
        self.connected = true;
        self.quick = QUICK;
        self.told = false;
        self.before = Stamps::default();
        self.ask(link, kernel)
    }

    /// The connection is gone: the host has nothing any more, so what was to be taken back has ended.
    pub fn disconnected(&mut self, kernel: &mut impl Kernel) {
        self.connected = false;
        self.open = None;
        for (slot, export) in self.slots.iter_mut().enumerate() {
            match export {
                Export::Free | Export::New => {}
                Export::Leaving(_) => {
                    *export = Export::Free;
                    kernel.ended(slot as u32);
                }
                _ => *export = Export::New,
            }
        }
    }

    /// There is an export in the slot, or more of the one that is there. One that the host refused is offered again; one
    /// that is being taken back must have ended first.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn export(&mut self, slot: u32, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        let idle = !self.has_any();
        let Some(export) = self.slots.get_mut(slot as usize) else { return Ok(()) };
        if idle && self.quick == 0 {
            self.quick = QUICK;
        }
        *export = match *export {
            Export::Free | Export::New | Export::Refused => Export::New,
            Export::Announcing { .. } => Export::Announcing { more: true },
            Export::Shared { .. } => Export::Shared { more: true },
            leaving @ Export::Leaving(_) => leaving,
        };
        self.ask(link, kernel)
    }

    /// The export in the slot, announced under that number if it was, is to be taken back. The kernel is told when it has
    /// ended, at once if the host does not have it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn unexport(
        &mut self,
        slot: u32,
        number: u32,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        let Some(export) = self.slots.get_mut(slot as usize) else { return Ok(()) };
        match *export {
            Export::Free | Export::Leaving(_) => {}
            Export::New | Export::Refused => {
                *export = Export::Free;
                kernel.ended(slot);
            }
            // An open EXPORT is answered first.
            Export::Announcing { .. } | Export::Shared { .. } => *export = Export::Leaving(number),
        }
        self.ask(link, kernel)
    }

    /// It is time for another exchange of TIME, if there is anything to be dated. Several before its turn comes are one.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn time(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        self.told |= self.has_any();
        self.ask(link, kernel)
    }

    /// Whether the host has an export, or is to have one.
    fn has_any(&self) -> bool {
        self.slots.iter().any(|export| !matches!(export, Export::Free | Export::Refused))
    }

    /// The open question was answered.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still.
    pub fn answered(
        &mut self,
        answer: Answer,
        link: &mut impl Link,
        kernel: &mut impl Kernel,
    ) -> Result<(), Fault> {
        match (self.open.take(), answer) {
            (Some(Open::Time { sent }), Answer::Time) => self.before = Stamps { sent, got: kernel.clock() },
            (Some(Open::Export { slot, part }), Answer::Done(status)) => {
                self.offered(slot, part, status, kernel);
            }
            // Whatever the status: a host that does not know the export does not have it.
            (Some(Open::Unexport { slot }), Answer::Done(_)) => self.end(slot, kernel),
            // The Communication part compares answer and question, so that only a mistake of this side leads here.
            _ => return Err(Fault::Own),
        }
        self.ask(link, kernel)
    }

    /// What became of an offer.
    fn offered(&mut self, slot: usize, part: bool, status: i32, kernel: &mut impl Kernel) {
        kernel.answered(slot as u32, status);
        let Some(export) = self.slots.get_mut(slot) else { return };
        // Without a part of it, the host still has the rest.
        let has = status == 0 || part;
        match *export {
            Export::Leaving(_) if !has => self.end(slot, kernel),
            Export::Leaving(_) => {}
            Export::Announcing { more } if has => *export = Export::Shared { more },
            _ => *export = Export::Refused,
        }
    }

    fn end(&mut self, slot: usize, kernel: &mut impl Kernel) {
        if let Some(export) = self.slots.get_mut(slot) {
            *export = Export::Free;
            kernel.ended(slot as u32);
        }
    }

    /// Asks what is next, if nothing is open.
    fn ask(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<(), Fault> {
        if !self.connected || self.open.is_some() {
            return Ok(());
        }
        if self.quick < QUICK && self.ask_of_exports(link, kernel)? {
            return Ok(());
        }
        match (self.quick, self.told) {
            (0, false) => return Ok(()),
            (0, true) => {}
            (quick, _) => self.quick = quick.wrapping_sub(1),
        }
        self.told = false;
        let sent = kernel.clock();
        self.open = Some(Open::Time { sent });
        link.time(sent, self.before)
    }

    /// Asks for what is to be done with exports; false: nothing.
    fn ask_of_exports(&mut self, link: &mut impl Link, kernel: &mut impl Kernel) -> Result<bool, Fault> {
        for (slot, export) in self.slots.iter().enumerate() {
            if let Export::Leaving(number) = *export {
                self.open = Some(Open::Unexport { slot });
                link.unexport(number)?;
                return Ok(true);
            }
        }
        for slot in 0..SLOTS {
            let Some(export) = self.slots.get_mut(slot) else { break };
            let part = match *export {
                Export::New => false,
                Export::Shared { more: true } => true,
                _ => continue,
            };
            *export = Export::Announcing { more: false };
            match link.export(slot as u32, part)? {
                Ok(()) => {
                    self.open = Some(Open::Export { slot, part });
                    return Ok(true);
                }
                Err(e) => self.offered(slot, part, e.status(), kernel),
            }
        }
        Ok(false)
    }
}

impl Default for Action {
    fn default() -> Self {
        Self::new()
    }
}
