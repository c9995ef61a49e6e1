// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown of a stream: one item, one line.

use std::sync::Arc;

use crate::frame::{Clock, Cpu, EndReason, Export, Gone, Guest};
use crate::schema::Event;
use crate::{Header, Loss, Moment, Schema};

/// A channel, and what its records mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// What the stream says of it.
    pub export: Export,
    /// What its records are made of; a foreign module's channel has none.
    pub schema: Option<Schema>,
}

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Of which guest.
    pub guest: Arc<Guest>,
    /// Of which channel, where it is of one.
    pub channel: Option<Arc<Channel>>,
    /// Of which buffer of it.
    pub cpu: Cpu,
    /// When, on the guest's clock.
    pub time: Option<u64>,
    /// How that clock is translated.
    pub clock: Option<Clock>,
    /// Where it belongs among others: like `time`, but never going back within one buffer. `None`: where it stands.
    pub order: Option<u64>,
    /// It is the first thing of what one buffer held: everything older of all others has been sent before.
    pub first: bool,
    /// What it is.
    pub what: What,
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A channel is there.
    Started,
    /// A record.
    Record {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: Vec<u8>,
        /// It is a last word.
        last_words: bool,
    },
    /// What a foreign module wrote.
    Raw(Vec<u8>),
    /// Something is missing before what comes next of this buffer.
    Lost(Loss),
    /// A sequence number went back.
    Disorder {
        /// The number that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// So many bytes cannot be read.
    Undecodable(u64),
    /// Nothing more comes of this channel.
    Ended {
        /// Why.
        reason: EndReason,
        /// Records of it that were lost in all.
        lost: u64,
    },
    /// Nothing more comes at all.
    Gone(Gone),
}

impl Item {
    /// When, on dom0's clock.
    pub fn moment(&self) -> Option<Moment> {
        Moment::of(self.time?, self.clock.as_ref()?)
    }

    /// The event of a record, if its channel has a schema that knows it.
    pub fn event(&self) -> Option<&Event> {
        match &self.what {
            What::Record { header, .. } => self.channel.as_ref()?.schema.as_ref()?.event(header.event),
            _ => None,
        }
    }

    /// Bytes that it holds, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let more = match &self.what {
            What::Record { payload, .. } | What::Raw(payload) => payload.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }
}
