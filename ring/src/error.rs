// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What can be wrong with a ring. [`Poison`] is the peer's doing, everything else is this side's.

use core::fmt;

/// The peer broke the ring's rules.
///
/// It is fail-stop: the ring end that reports it takes and writes nothing any more and answers every later call with
/// the same value. The owner stops that one device (state Closing, then Closed), logs the value once, and starts anew
/// with a ring that the frontend has initialised again; no other device is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// More requests published than the ring has entries (`RING_REQUEST_PROD_OVERFLOW`).
    RequestOverflow {
        /// What the peer published.
        producer: u32,
        /// The oldest request without a response.
        oldest: u32,
    },
    /// The request index went back behind requests that were already taken.
    RequestBackwards {
        /// What the peer published.
        producer: u32,
        /// The next request to take.
        consumer: u32,
    },
    /// More responses published than the ring has entries (`RING_RESPONSE_PROD_OVERFLOW`), or the index went back.
    ResponseOverflow {
        /// What the peer published.
        producer: u32,
        /// The next response to take.
        consumer: u32,
    },
    /// Responses to requests that were never published.
    ResponseUnasked {
        /// What the peer published.
        producer: u32,
        /// What this side has published as requests.
        requests: u32,
    },
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RequestOverflow { producer, oldest } => {
                write!(f, "request index {producer} is more than a ring ahead of {oldest}")
            }
            Self::RequestBackwards { producer, consumer } => {
                write!(f, "request index went back to {producer}, requests before {consumer} are taken")
            }
            Self::ResponseOverflow { producer, consumer } => {
                write!(f, "response index {producer} is more than a ring ahead of {consumer}")
            }
            Self::ResponseUnasked { producer, requests } => {
                write!(f, "response index {producer} is ahead of the requests, {requests}")
            }
        }
    }
}

impl core::error::Error for Poison {}

/// The memory cannot hold a ring: this side's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMemory {
    /// No room for the header and one entry.
    TooSmall {
        /// Bytes of the memory.
        bytes: usize,
    },
    /// The address is not a multiple of 64.
    Misaligned,
}

impl fmt::Display for BadMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSmall { bytes } => write!(f, "{bytes} bytes hold no ring of one entry"),
            Self::Misaligned => f.write_str("the ring's address is not a multiple of 64"),
        }
    }
}

impl core::error::Error for BadMemory {}

/// A back end cannot take up a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The memory cannot hold a ring.
    Memory(BadMemory),
    /// The ring's indexes contradict each other.
    Poison(Poison),
}

impl From<BadMemory> for AttachError {
    fn from(e: BadMemory) -> Self {
        Self::Memory(e)
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(e) => e.fmt(f),
            Self::Poison(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

/// A request was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// Every entry holds a request whose response has not been taken.
    Full,
    /// The ring is stopped.
    Poison(Poison),
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the ring is full"),
            Self::Poison(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for PushError {}

/// A response was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Every request that was taken has its response.
    NothingAsked,
    /// The ring is stopped.
    Poison(Poison),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingAsked => f.write_str("no request is waiting for a response"),
            Self::Poison(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for AnswerError {}
