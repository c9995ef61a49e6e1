// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told of a fault: a document with a number, and with what failed as the rules say now.

use std::fmt;
use std::sync::Arc;

use crate::Event;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The event as it is known now.
    pub event: Event,
    /// It is new, known to be of another kind, or more failed with it than had been told: hooks are due.
    pub act: bool,
}

/// The rules of dom0.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Says in an event what it made failed, if anything.
    fn judge(&self, event: &mut Event);
}

/// Gives numbers, and has each document judged.
#[derive(Debug)]
pub(crate) struct Teller {
    /// The next serial number.
    pub(crate) next: u64,
    /// Without it nothing is said of what failed.
    pub(crate) judge: Option<Arc<dyn Judge>>,
}

impl Teller {
    pub(crate) fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn judge(&self, event: &mut Event) {
        if let Some(judge) = &self.judge {
            judge.judge(event);
        }
    }
}
