// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records as `vesper_record()` lays them out (`vesper/relay.h` of the guest's module): a [`Header`], then the payload,
//! padded with zeros to a multiple of 8.

use vesper_ring::wire::from_bytes;
pub use vesper_ring::wire::listener::RecordHeader as Header;

/// Bytes of a record's header.
pub const HEADER: usize = size_of::<Header>();

/// The header at the beginning of `bytes`, which may be cut behind it; `None` if what is there cannot be one.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let header: Header = from_bytes(bytes.get(..HEADER)?)?;
    (header.fits(usize::MAX) && header.event > 0).then_some(header)
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its header.
    pub header: Header,
    /// What follows it, padding included.
    pub payload: &'a [u8],
}

/// Bytes that are no record. With them ends what can be read of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable(pub usize);

/// The records of one piece of a buffer.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// `bytes` begins with a record.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Undecodable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = header(self.0).and_then(|header| {
            let (record, rest) = self.0.split_at_checked(header.bytes as usize)?;
            self.0 = rest;
            Some(Record { header, payload: &record[HEADER..] })
        });
        Some(record.ok_or_else(|| Undecodable(std::mem::take(&mut self.0).len())))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record as the guest writes it.
    pub(crate) fn record(event: u16, flags: u16, time: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
        let bytes = (HEADER + payload.len()).next_multiple_of(8);
        let mut out = (bytes as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&event.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&time.to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(payload);
        out.resize(bytes, 0);
        out
    }

    #[test]
    fn records_follow_one_another() {
        let bytes = [record(1, 3, 5, 0, b"12345"), record(2, 4, 6, 1, b"")].concat();
        let records: Vec<_> = Records::of(&bytes).map(Result::unwrap).collect();
        assert_eq!(records[0].payload, b"12345\0\0\0");
        assert!(records[0].header.urgent() && records[0].header.fatal() && !records[0].header.truncated());
        assert_eq!((records[1].header.time, records[1].header.seq), (6, 1));
        assert!(records[1].payload.is_empty() && records[1].header.truncated());
    }

    #[test]
    fn what_is_no_record_ends_the_piece() {
        let good = record(1, 0, 5, 0, b"");
        let mut bad: Vec<(&str, Vec<u8>)> = vec![("cut off", good[..23].to_vec()), ("zeros", vec![0; 64])];
        for (what, bytes) in [("too short", 16u32), ("not a multiple", 25), ("longer than what is there", 32)]
        {
            let mut record = good.clone();
            record[..4].copy_from_slice(&bytes.to_le_bytes());
            bad.push((what, record));
        }
        let mut no_event = good.clone();
        no_event[4] = 0;
        bad.push(("no event", no_event));
        for (what, bytes) in bad {
            let piece = [good.clone(), bytes.clone()].concat();
            let mut records = Records::of(&piece);
            assert!(matches!(records.next(), Some(Ok(_))), "{what}");
            assert_eq!(records.next(), Some(Err(Undecodable(bytes.len()))), "{what}");
            assert_eq!(records.next(), None, "{what}");
        }
    }
}
