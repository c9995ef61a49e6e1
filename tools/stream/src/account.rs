// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was lost of one buffer: sequence numbers say how many records, the daemon says why.

use crate::frame::Lost;

/// Something is missing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Records, exactly. `None`: not known yet (the next record will tell), or never (a foreign module's).
    pub records: Option<u64>,
    /// Sub-buffers that were overwritten before they were read.
    pub sub_buffers: u64,
    /// Bytes of them, as far as that is known.
    pub bytes: u64,
    /// Writes that a full buffer refused.
    pub writes: u64,
}

impl Loss {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn and(self, lost: &Lost) -> Self {
        Self {
            records: self.records,
            sub_buffers: self.sub_buffers.saturating_add(lost.sub_buffers),
            bytes: self.bytes.saturating_add(lost.bytes),
            writes: self.writes.saturating_add(lost.writes),
        }
    }
}

/// What the sequence number of a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing is missing before it.
    Next,
    /// This is missing before it.
    After(Loss),
    /// It went back: this one was expected.
    Back(u64),
}

/// The books of one buffer.
///
/// A record that is lost is counted once: by the gap in the sequence numbers. What the daemon says of the same loss is
/// told together with it, or, if no record comes that shows the gap, alone ([`Account::overdue`]).
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The next record's number; `None` before the first one of a stream that begins now.
    next: Option<u64>,
    told: Loss,
    lost: u64,
}

impl Account {
    /// A buffer that is read from its first record on.
    pub fn from_boot() -> Self {
        Self { next: Some(0), ..Self::default() }
    }

    /// A buffer of which what came before the first record that is read is not meant.
    pub fn from_now() -> Self {
        Self::default()
    }

    /// The daemon says that something is missing.
    pub fn lost(&mut self, lost: &Lost) {
        self.told = self.told.and(lost);
    }

    /// A record came.
    pub fn seen(&mut self, seq: u64) -> Seen {
        let expected = self.next.replace(seq.saturating_add(1)).unwrap_or(seq);
        match seq.checked_sub(expected) {
            None => Seen::Back(expected),
            Some(gap) => self.close(gap).map_or(Seen::Next, Seen::After),
        }
    }

    /// No more come; so many numbers were given out.
    pub fn ended(&mut self, records: u64) -> Option<Loss> {
        let gap = self.next.map_or(0, |next| records.saturating_sub(next));
        self.next = Some(records);
        self.close(gap)
    }

    /// What the daemon has told and no record has shown yet.
    pub fn overdue(&mut self) -> Option<Loss> {
        let told = std::mem::take(&mut self.told);
        (!told.is_nothing()).then_some(told)
    }

    /// Records lost in all, so far.
    pub fn lost_records(&self) -> u64 {
        self.lost
    }

    fn close(&mut self, gap: u64) -> Option<Loss> {
        self.lost = self.lost.saturating_add(gap);
        let told = self.overdue();
        if gap == 0 { told } else { Some(Loss { records: Some(gap), ..told.unwrap_or_default() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(writes: u64) -> Lost {
        Lost { export: 1, cpu: None, sub_buffers: 0, bytes: 0, writes }
    }

    #[test]
    fn what_is_missing_is_counted_once_and_exactly() {
        let mut account = Account::from_boot();
        assert_eq!(account.seen(0), Seen::Next);
        account.lost(&refused(2));
        account.lost(&refused(1));
        assert_eq!(account.seen(4), Seen::After(Loss { records: Some(3), writes: 3, ..Loss::default() }));
        assert_eq!(account.seen(5), Seen::Next);
        account.lost(&refused(1));
        assert_eq!(account.overdue(), Some(Loss { writes: 1, ..Loss::default() }));
        assert_eq!(account.overdue(), None);
        assert_eq!(account.seen(7), Seen::After(Loss { records: Some(1), ..Loss::default() }));
        assert_eq!(account.ended(10), Some(Loss { records: Some(2), ..Loss::default() }));
        assert_eq!(account.ended(10), None);
        assert_eq!(account.lost_records(), 6);
    }

    #[test]
    fn what_came_before_now_is_not_lost() {
        let mut account = Account::from_now();
        assert_eq!(account.ended(9), None);
        let mut account = Account::from_now();
        assert_eq!((account.seen(7), account.seen(8)), (Seen::Next, Seen::Next));
        assert_eq!(account.ended(9), None);
        assert!(matches!(Account::from_boot().seen(7), Seen::After(Loss { records: Some(7), .. })));
    }

    #[test]
    fn numbers_that_go_back_or_end_are_no_loss() {
        let mut account = Account::from_boot();
        assert!(matches!(account.seen(u64::MAX), Seen::After(_)));
        assert_eq!(account.seen(3), Seen::Back(u64::MAX));
        assert_eq!(account.seen(4), Seen::Next);
        assert_eq!(account.ended(2), None);
    }
}
