// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Responses of the listener ring as values that can only be right: [`Answer`] is what [`Response::check`] lets through.

use super::{DONE, EXPORT, Request, Response, TIME, TIME_IS, UNEXPORT};
use crate::wire::BadMessage;
use crate::wire::request::{check_status, check_unused};

/// A response that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`DONE`] to an EXPORT or UNEXPORT.
    Done {
        /// 0 or −errno.
        status: i32,
    },
    /// [`TIME_IS`] to a TIME.
    TimeIs {
        /// Host's clock when the request was taken, in nanoseconds.
        got: u64,
        /// Host's clock when this was sent.
        sent: u64,
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
            (DONE, EXPORT | UNEXPORT) => {
                check_status(self.status)?;
                check_unused(&[
                    ("reserved", self.reserved != 0),
                    ("got", self.got != 0),
                    ("sent", self.sent != 0),
                ])?;
                Ok(Answer::Done { status: self.status })
            }
            (TIME_IS, TIME) => {
                check_unused(&[("status", self.status != 0), ("reserved", self.reserved != 0)])?;
                Ok(Answer::TimeIs { got: self.got, sent: self.sent })
            }
            (DONE | TIME_IS, request) => Err(BadMessage::NoAnswer { response: self.op, request }),
            (other, _) => Err(BadMessage::Opcode(other)),
        }
    }
}

impl Answer {
    /// The response as it goes onto the ring, to the request with that id.
    pub fn response(&self, id: u32) -> Response {
        match *self {
            Self::Done { status } => Response { op: DONE, id, status, ..Response::default() },
            Self::TimeIs { got, sent } => Response { op: TIME_IS, id, got, sent, ..Response::default() },
        }
    }
}
