// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Responses of the loader ring as values that can only be right: [`Answer`] is what [`Response::check`] lets through.

use super::loader::{
    ARGS_BYTES, CANCELLED, DONE, DUMMY, FETCH, FILLED, IMAGE_BYTES, LOAD, PREPARED, PROCEED, REPORT, Request,
    Response, UNLOAD,
};
use super::request::{check_command, check_status, check_unused};
use super::{BadMessage, CommandId, NAME_BYTES, Name};

/// A response that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`LOAD`] to a DUMMY: load a module.
    Load {
        /// The new command.
        command: CommandId,
        /// The module's name.
        name: Name,
        /// Bytes of the image, 1 to [`IMAGE_BYTES`].
        image_bytes: u64,
        /// Bytes of the arguments, which follow the image; at most [`ARGS_BYTES`].
        args_bytes: u32,
    },
    /// [`UNLOAD`] to a DUMMY: unload a module.
    Unload {
        /// The new command.
        command: CommandId,
        /// The module's name.
        name: Name,
    },
    /// [`FILLED`] to a FETCH: the window is filled (0), or could not be (−errno).
    Filled {
        /// The command of the FETCH.
        command: CommandId,
        /// 0 or −errno.
        status: i32,
    },
    /// [`CANCELLED`] to a FETCH or PREPARED: nothing comes of the command any more.
    Cancelled {
        /// The command of the request.
        command: CommandId,
    },
    /// [`DONE`] to a REPORT.
    Done,
    /// [`PROCEED`] to a PREPARED: now unload.
    Proceed {
        /// The command of the PREPARED.
        command: CommandId,
    },
}

impl Response {
    /// Checks a response that was copied out of the ring, against the one request that is outstanding.
    ///
    /// # Errors
    ///
    /// [`BadMessage`]: the peer does not keep to the protocol. Fields that the opcode does not use must be 0.
    pub fn check(&self, to: &Request) -> Result<Answer, BadMessage> {
        if self.id != to.id {
            return Err(BadMessage::Id { got: self.id, asked: to.id });
        }
        if self.flags != 0 {
            return Err(BadMessage::Flags(self.flags));
        }
        match (self.op, to.op) {
            (LOAD, DUMMY) | (UNLOAD, DUMMY) => self.check_order(),
            (FILLED, FETCH) | (CANCELLED, FETCH | PREPARED) | (PROCEED, PREPARED) => {
                if self.command() != to.command() {
                    return Err(BadMessage::OtherCommand(self.command()));
                }
                self.check_step()
            }
            (DONE, REPORT) => {
                check_unused(&[
                    ("run", self.run != 0),
                    ("seq", self.seq != 0),
                    ("status", self.status != 0),
                ])?;
                self.check_no_order()?;
                Ok(Answer::Done)
            }
            (LOAD | UNLOAD | FILLED | CANCELLED | DONE | PROCEED, request) => {
                Err(BadMessage::NoAnswer { response: self.op, request })
            }
            (other, _) => Err(BadMessage::Opcode(other)),
        }
    }

    fn of(op: u16, id: u32, command: CommandId) -> Self {
        Self { op, id, run: command.run, seq: command.seq, ..Self::default() }
    }

    /// LOAD and UNLOAD: a new command.
    fn check_order(&self) -> Result<Answer, BadMessage> {
        check_command(self.command())?;
        check_unused(&[("status", self.status != 0)])?;
        let name = Name::from_wire(&self.name)?;
        let command = self.command();
        if self.op == UNLOAD {
            check_unused(&[("image_bytes", self.image_bytes != 0), ("args_bytes", self.args_bytes != 0)])?;
            return Ok(Answer::Unload { command, name });
        }
        if self.image_bytes == 0 || self.image_bytes > IMAGE_BYTES {
            return Err(BadMessage::Bytes { bytes: self.image_bytes, limit: IMAGE_BYTES });
        }
        if self.args_bytes > ARGS_BYTES {
            return Err(BadMessage::Bytes { bytes: self.args_bytes.into(), limit: ARGS_BYTES.into() });
        }
        let (image_bytes, args_bytes) = (self.image_bytes, self.args_bytes);
        Ok(Answer::Load { command, name, image_bytes, args_bytes })
    }

    /// FILLED, CANCELLED and PROCEED: one step of the command under way.
    fn check_step(&self) -> Result<Answer, BadMessage> {
        self.check_no_order()?;
        let command = self.command();
        if self.op == FILLED {
            check_status(self.status)?;
            return Ok(Answer::Filled { command, status: self.status });
        }
        check_unused(&[("status", self.status != 0)])?;
        Ok(if self.op == CANCELLED { Answer::Cancelled { command } } else { Answer::Proceed { command } })
    }

    fn check_no_order(&self) -> Result<(), BadMessage> {
        check_unused(&[
            ("image_bytes", self.image_bytes != 0),
            ("args_bytes", self.args_bytes != 0),
            ("name", self.name != [0; NAME_BYTES]),
        ])
    }
}

impl Answer {
    /// The response as it goes onto the ring, to the request with that id.
    pub fn response(&self, id: u32) -> Response {
        match *self {
            Self::Load { command, name, image_bytes, args_bytes } => {
                Response { image_bytes, args_bytes, name: *name.as_wire(), ..Response::of(LOAD, id, command) }
            }
            Self::Unload { command, name } => {
                Response { name: *name.as_wire(), ..Response::of(UNLOAD, id, command) }
            }
            Self::Filled { command, status } => Response { status, ..Response::of(FILLED, id, command) },
            Self::Cancelled { command } => Response::of(CANCELLED, id, command),
            Self::Done => Response { op: DONE, id, ..Response::default() },
            Self::Proceed { command } => Response::of(PROCEED, id, command),
        }
    }
}
