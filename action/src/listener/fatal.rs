// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding the records that report the end of a guest, in passing: of each record the header is read and the rest
//! skipped.
//!
//! Such a record has its flag set, or is of an event that the channel's schema marks with `!`. Only channels with such
//! an event are looked through.

use std::collections::BTreeMap;

use vesper_ring::wire::listener::RecordHeader;
use vesper_ring::wire::{bytes_of, from_bytes};

/// Most bytes of a record that are kept.
const KEPT: usize = 64 << 10;

/// A record that reports the end of the guest. Everything in it is the guest's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FatalRecord {
    /// The CPU that wrote it; `None` in a channel that all CPUs share.
    pub cpu: Option<u16>,
    /// Number of the event in the schema.
    pub event: u16,
    /// Its name there, if it has one that marks it as fatal.
    pub name: Option<String>,
    /// The guest's clock, nanoseconds.
    pub time_ns: u64,
    /// The record with its header, cut at 64 KiB.
    pub record: Vec<u8>,
}

/// The events of a schema that report the end of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FatalEvents(BTreeMap<u16, String>);

impl FatalEvents {
    /// Looks at the first word of each line that is no comment.
    pub(super) fn of(schema: &str) -> Self {
        let lines = schema.lines().filter(|line| !line.starts_with('#'));
        let named = (1..=u16::MAX).zip(lines).filter_map(|(number, line)| {
            let name = line.split_ascii_whitespace().next()?.strip_suffix('!')?;
            is_name(name).then(|| (number, name.to_owned()))
        });
        Self(named.collect())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `[a-z][a-z0-9_]{0,31}`.
fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What a walk over some bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes that need not be looked at again.
    pub(super) bytes: usize,
    /// Records whose header was read.
    pub(super) records: u32,
}

/// Walks over `len` bytes that begin with a record, at most `budget` records, and hands over those that report the end.
/// `word` reads 8 bytes at an offset, out of memory that the guest may be writing; the caller finds out afterwards
/// whether they were good, and drops what was found if not.
///
/// Bytes that are no record end the walk: what follows them cannot be told apart, so they are passed over.
pub(super) fn walk(
    len: usize,
    events: &FatalEvents,
    budget: u32,
    mut word: impl FnMut(usize) -> Option<u64>,
    mut found: impl FnMut(FatalRecord),
) -> Walked {
    let (mut at, mut records) = (0, 0);
    while records < budget && at < len {
        let mut copy = |from: usize, bytes: usize| -> Option<Vec<u8>> {
            let words: Option<Vec<u64>> = (from..from + bytes).step_by(8).map(&mut word).collect();
            Some(words?.into_iter().flat_map(u64::to_le_bytes).collect())
        };
        let header = copy(at, size_of::<RecordHeader>()).and_then(|bytes| from_bytes::<RecordHeader>(&bytes));
        let Some(header) = header.filter(|header| header.fits(len - at)) else {
            return Walked { bytes: len, records };
        };
        let name = events.0.get(&header.event);
        if (header.fatal() || name.is_some())
            && let Some(mut record) = copy(at, (header.bytes as usize).min(KEPT))
        {
            // What is told is what was looked at, even if the guest changed it in between.
            record[..size_of::<RecordHeader>()].copy_from_slice(bytes_of(&header));
            found(FatalRecord {
                cpu: None,
                event: header.event,
                name: name.cloned(),
                time_ns: header.time,
                record,
            });
        }
        at += header.bytes as usize;
        records += 1;
    }
    Walked { bytes: at, records }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCHEMA: &str = "# what\nsignal pid:u32\npanic! cpu:u32\nBad! x:u8\noops! cpu:u32\n";

    fn record(event: u16, flags: u16, time: u64, payload: usize) -> Vec<u8> {
        let mut out = ((24 + payload) as u32).to_le_bytes().to_vec();
        out.extend(event.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(time.to_le_bytes());
        out.extend(7u64.to_le_bytes());
        out.resize(24 + payload, 0xee);
        out
    }

    fn walk_all(bytes: &[u8], budget: u32) -> (Walked, Vec<FatalRecord>) {
        let mut found = Vec::new();
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().unwrap()));
        (walk(bytes.len(), &FatalEvents::of(SCHEMA), budget, word, |record| found.push(record)), found)
    }

    #[test]
    fn events_are_numbered_by_line_without_comments() {
        let events = FatalEvents::of(SCHEMA);
        assert_eq!(
            events.0.iter().map(|(n, name)| (*n, name.as_str())).collect::<Vec<_>>(),
            [(2, "panic"), (4, "oops")]
        );
        assert!(FatalEvents::of("signal pid:u32\n").is_empty() && FatalEvents::of("").is_empty());
        assert!(FatalEvents::of(&format!("{}! a:u8", "x".repeat(33))).is_empty());
    }

    #[test]
    fn fatal_ones_are_found_and_the_others_passed() {
        let bytes =
            [record(1, 0, 1, 40), record(2, 0, 2, 16), record(1, 2, 3, 8), record(9, 5, 4, 0)].concat();
        let (walked, found) = walk_all(&bytes, 100);
        assert_eq!(walked, Walked { bytes: bytes.len(), records: 4 });
        let told: Vec<_> =
            found.iter().map(|r| (r.event, r.name.as_deref(), r.time_ns, r.record.len())).collect();
        assert_eq!(told, [(2, Some("panic"), 2, 40), (1, None, 3, 32)]);
        // The budget ends it between two records.
        let (walked, found) = walk_all(&bytes, 1);
        assert_eq!((walked, found.len()), (Walked { bytes: 64, records: 1 }, 0));
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        for bad in [0, 16, 25, 40, 1 << 20, u32::MAX] {
            let mut bytes = [record(2, 0, 1, 8), record(2, 0, 2, 8)].concat();
            bytes[32..36].copy_from_slice(&bad.to_le_bytes());
            let (walked, found) = walk_all(&bytes, 100);
            assert_eq!((walked, found.len()), (Walked { bytes: 64, records: 1 }, 1), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_over(bytes in prop::collection::vec(any::<u8>(), 0..4096), budget in 0u32..20) {
            let (walked, _) = walk_all(&bytes, budget);
            prop_assert!(walked.bytes <= bytes.len() && walked.records <= budget);
            prop_assert!(budget == 0 || walked.bytes > 0 || bytes.is_empty());
        }
    }
}
