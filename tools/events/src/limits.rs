// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many events a guest may have. What is of no weight, of which anybody in the guest can make much, does not use up what there
//! is for the rest.

use crate::bucket::Bucket;
use crate::{Event, Failed};

const SECOND: u64 = 1_000_000_000;
/// Events at once, and the time in which there may be one more.
const EACH: (u64, u64) = (32, SECOND);
/// The same of those that say that they are the guest's end.
const ENDS: (u64, u64) = (8, 60 * SECOND);

/// Of one guest.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    ends: Bucket,
    /// With which the guest failed.
    guest: Bucket,
    /// With which a service in it did.
    services: Bucket,
    others: Bucket,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let each = Bucket::new(EACH.0, EACH.1);
        Self { ends: Bucket::new(ENDS.0, ENDS.1), guest: each.clone(), services: each.clone(), others: each }
    }

    /// Counts an event. False: it is one too many.
    pub(crate) fn take(&mut self, event: &Event, now_ns: u64) -> bool {
        let bucket = match event.failed {
            _ if event.event.is_end() => &mut self.ends,
            None => &mut self.others,
            Some(Failed::Service) => &mut self.services,
            Some(Failed::Guest | Failed::Unknown) => &mut self.guest,
        };
        bucket.take(now_ns)
    }
}
