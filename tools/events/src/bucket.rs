// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of something there may be: so many at once, and so many in a time.

/// Tokens, one for each thing that may be.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    room: u64,
    /// Time in which a token comes, nanoseconds.
    every_ns: u64,
    tokens: u64,
    /// Until when tokens have been counted.
    at_ns: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(room: u64, every_ns: u64) -> Self {
        Self { room, every_ns, tokens: room, at_ns: 0 }
    }

    /// Takes a token; false: there is none.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        // A clock that was set back begins anew.
        let passed = now_ns.checked_sub(self.at_ns).unwrap_or_else(|| {
            self.at_ns = now_ns;
            0
        });
        let came = passed / self.every_ns;
        self.tokens = self.tokens.saturating_add(came).min(self.room);
        // What is left of the time counts for the next one, unless there was no room.
        self.at_ns = if self.tokens == self.room { now_ns } else { self.at_ns + came * self.every_ns };
        let there = self.tokens > 0;
        self.tokens -= u64::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_one_in_each_period() {
        let mut bucket = Bucket::new(3, 10);
        let taken = |bucket: &mut Bucket, now| (0..5).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 1000), 3);
        assert_eq!(taken(&mut bucket, 1009), 0);
        assert_eq!(taken(&mut bucket, 1010), 1);
        assert_eq!(taken(&mut bucket, 1029), 1);
        assert_eq!(taken(&mut bucket, 1030), 1);
        assert_eq!(taken(&mut bucket, 5000), 3);
        // The clock was set back.
        assert_eq!(taken(&mut bucket, 100), 0);
        assert_eq!(taken(&mut bucket, 110), 1);
    }
}
