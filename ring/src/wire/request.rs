// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Requests of the loader ring as values that can only be right: [`Asked`] is what [`Request::check`] lets through.
//!
//! Checked here is what one message shows by itself. What needs memory of earlier messages (a command that was never
//! issued, an offset behind the end of the image) is the backend's to check.

use super::loader::{DUMMY, FETCH, Loaded, PREPARED, REPORT, REPORT_ENTRIES, Request, WINDOW_BYTES, flags};
use super::{BadMessage, CommandId, PAGE_SIZE};

/// Most pages of a window.
pub const WINDOW_PAGES: u32 = WINDOW_BYTES / PAGE_SIZE as u32;

/// A request that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// [`DUMMY`]: "give me work", with the result of the last command if there was one.
    Dummy(Option<CommandResult>),
    /// [`FETCH`]: "fill my window".
    Fetch(Fetch),
    /// [`REPORT`]: modules that are in.
    Report(Report),
    /// [`PREPARED`]: first step of an unload, 0 or −errno.
    Prepared {
        /// The command that this belongs to.
        command: CommandId,
        /// 0 or −errno.
        status: i32,
    },
}

/// What a command came to in the guest's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// The command.
    pub command: CommandId,
    /// 0 or −errno.
    pub status: i32,
    /// How long it took in the guest's kernel, in nanoseconds.
    pub nanos: u64,
    /// What the kernel logged meanwhile, if anything.
    pub log: Option<LogPage>,
}

/// A page of kernel log that the guest grants for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Grant of the page, not 0.
    pub gref: u32,
    /// Bytes of text, 1 to 4096, from the start of the page.
    pub bytes: u32,
    /// Whether earlier lines did not fit.
    pub truncated: bool,
}

/// A window to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The command whose data is wanted.
    pub command: CommandId,
    /// Grant of the [`Directory`](super::loader::Directory) page, not 0.
    pub directory: u32,
    /// Pages of the window, 1 to [`WINDOW_PAGES`].
    pub pages: u32,
    /// Bytes wanted, 1 to `pages` × 4096.
    pub bytes: u32,
    /// Offset in the command's data.
    pub offset: u64,
}

/// A part of the list of modules that are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Grant of the page with the entries; 0 when there is none.
    pub gref: u32,
    /// Entries in the page, at most [`REPORT_ENTRIES`].
    pub entries: u32,
    /// Whether another REPORT follows; only after a full page.
    pub more: bool,
}

/// 0 and the range of the kernel's error numbers (`MAX_ERRNO`, `include/linux/err.h`).
pub(super) fn check_status(status: i32) -> Result<(), BadMessage> {
    if (-4095..=0).contains(&status) { Ok(()) } else { Err(BadMessage::Status(status)) }
}

pub(super) fn check_command(command: CommandId) -> Result<(), BadMessage> {
    if command.run != 0 && command.seq != 0 { Ok(()) } else { Err(BadMessage::NoCommand(command)) }
}

pub(super) fn check_unused(fields: &[(&'static str, bool)]) -> Result<(), BadMessage> {
    match fields.iter().find(|(_, used)| *used) {
        Some((field, _)) => Err(BadMessage::Unused(field)),
        None => Ok(()),
    }
}

impl Request {
    /// Checks a request that was copied out of the ring.
    ///
    /// # Errors
    ///
    /// [`BadMessage`]: the peer does not keep to the protocol. Fields that the opcode does not use must be 0.
    pub fn check(&self) -> Result<Asked, BadMessage> {
        check_unused(&[("reserved", self.reserved != 0)])?;
        match self.op {
            DUMMY => self.check_dummy(),
            FETCH => self.check_fetch(),
            REPORT => self.check_report(),
            PREPARED => self.check_prepared(),
            other => Err(BadMessage::Opcode(other)),
        }
    }

    fn of(op: u16, id: u32, command: CommandId) -> Self {
        Self { op, id, run: command.run, seq: command.seq, ..Self::default() }
    }

    fn check_dummy(&self) -> Result<Asked, BadMessage> {
        check_unused(&[("pages", self.pages != 0), ("offset", self.offset != 0)])?;
        if self.flags & flags::RESULT == 0 {
            self.check_flags(0)?;
            self.check_no_command()?;
            check_unused(&[
                ("status", self.status != 0),
                ("gref", self.gref != 0),
                ("bytes", self.bytes != 0),
                ("nanos", self.nanos != 0),
            ])?;
            return Ok(Asked::Dummy(None));
        }
        self.check_flags(flags::RESULT | flags::LOG | flags::LOG_TRUNCATED)?;
        check_command(self.command())?;
        check_status(self.status)?;
        let truncated = self.flags & flags::LOG_TRUNCATED != 0;
        let log = if self.flags & flags::LOG != 0 {
            check_range(self.bytes, PAGE_SIZE as u32)?;
            self.check_grant()?;
            Some(LogPage { gref: self.gref, bytes: self.bytes, truncated })
        } else if truncated {
            return Err(BadMessage::Flags(self.flags));
        } else {
            check_unused(&[("gref", self.gref != 0), ("bytes", self.bytes != 0)])?;
            None
        };
        let (command, status, nanos) = (self.command(), self.status, self.nanos);
        Ok(Asked::Dummy(Some(CommandResult { command, status, nanos, log })))
    }

    fn check_fetch(&self) -> Result<Asked, BadMessage> {
        self.check_flags(0)?;
        check_command(self.command())?;
        check_unused(&[("status", self.status != 0), ("nanos", self.nanos != 0)])?;
        self.check_grant()?;
        if self.pages == 0 || self.pages > WINDOW_PAGES {
            return Err(BadMessage::Pages(self.pages));
        }
        check_range(self.bytes, self.pages.wrapping_mul(PAGE_SIZE as u32))?;
        let command = self.command();
        let (directory, pages, bytes, offset) = (self.gref, self.pages, self.bytes, self.offset);
        Ok(Asked::Fetch(Fetch { command, directory, pages, bytes, offset }))
    }

    fn check_report(&self) -> Result<Asked, BadMessage> {
        const ENTRY: u32 = size_of::<Loaded>() as u32;
        const FULL: u32 = REPORT_ENTRIES as u32;
        self.check_flags(flags::MORE)?;
        self.check_no_command()?;
        check_unused(&[
            ("status", self.status != 0),
            ("pages", self.pages != 0),
            ("offset", self.offset != 0),
            ("nanos", self.nanos != 0),
        ])?;
        let entries = self.bytes / ENTRY;
        if !self.bytes.is_multiple_of(ENTRY) || entries > FULL {
            return Err(BadMessage::Bytes { bytes: self.bytes.into(), limit: (FULL * ENTRY).into() });
        }
        if (entries == 0) != (self.gref == 0) {
            return Err(BadMessage::Grant(self.gref));
        }
        let more = self.flags & flags::MORE != 0;
        if more && entries != FULL {
            return Err(BadMessage::Flags(self.flags));
        }
        Ok(Asked::Report(Report { gref: self.gref, entries, more }))
    }

    fn check_prepared(&self) -> Result<Asked, BadMessage> {
        self.check_flags(0)?;
        check_command(self.command())?;
        check_status(self.status)?;
        check_unused(&[
            ("gref", self.gref != 0),
            ("pages", self.pages != 0),
            ("bytes", self.bytes != 0),
            ("offset", self.offset != 0),
            ("nanos", self.nanos != 0),
        ])?;
        Ok(Asked::Prepared { command: self.command(), status: self.status })
    }

    fn check_flags(&self, allowed: u16) -> Result<(), BadMessage> {
        if self.flags & !allowed == 0 { Ok(()) } else { Err(BadMessage::Flags(self.flags)) }
    }

    fn check_no_command(&self) -> Result<(), BadMessage> {
        check_unused(&[("run", self.run != 0), ("seq", self.seq != 0)])
    }

    fn check_grant(&self) -> Result<(), BadMessage> {
        if self.gref != 0 { Ok(()) } else { Err(BadMessage::Grant(0)) }
    }
}

fn check_range(bytes: u32, limit: u32) -> Result<(), BadMessage> {
    if bytes != 0 && bytes <= limit {
        Ok(())
    } else {
        Err(BadMessage::Bytes { bytes: bytes.into(), limit: limit.into() })
    }
}

impl Asked {
    /// The request as it goes onto the ring, under an id of the frontend's choice.
    pub fn request(&self, id: u32) -> Request {
        match *self {
            Self::Dummy(None) => Request { op: DUMMY, id, ..Request::default() },
            Self::Dummy(Some(CommandResult { command, status, nanos, log })) => {
                let result =
                    Request { flags: flags::RESULT, status, nanos, ..Request::of(DUMMY, id, command) };
                match log {
                    None => result,
                    Some(LogPage { gref, bytes, truncated }) => {
                        let truncated = if truncated { flags::LOG_TRUNCATED } else { 0 };
                        Request { flags: flags::RESULT | flags::LOG | truncated, gref, bytes, ..result }
                    }
                }
            }
            Self::Fetch(Fetch { command, directory, pages, bytes, offset }) => {
                Request { gref: directory, pages, bytes, offset, ..Request::of(FETCH, id, command) }
            }
            Self::Report(Report { gref, entries, more }) => Request {
                op: REPORT,
                id,
                flags: if more { flags::MORE } else { 0 },
                gref: if entries == 0 { 0 } else { gref },
                bytes: entries.wrapping_mul(size_of::<Loaded>() as u32),
                ..Request::default()
            },
            Self::Prepared { command, status } => Request { status, ..Request::of(PREPARED, id, command) },
        }
    }
}
