// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of a piece that mean something, copied out; of the others only the header is read.

use vesper_events::Meanings;
use vesper_relay_mirror::{Overwritten, Piece};
use vesper_stream::{Header, record};

/// Most bytes of a record that are looked at: a cause and a stack are in its beginning.
const KEPT: usize = 8 << 10;

/// What a look at a piece came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Records that mean something, with their payload.
    pub(super) records: Vec<(Header, Vec<u8>)>,
    /// Bytes that need not be looked at again.
    pub(super) bytes: usize,
}

/// Looks at the headers of at most `budget` records, which are counted off.
///
/// # Errors
/// [`Overwritten`]: the guest wrote over it meanwhile, and nothing of it counts.
pub(super) fn look(piece: &Piece, meanings: &Meanings, budget: &mut u32) -> Result<Found, Overwritten> {
    piece.inspect(|raw| {
        let mut found = Found::default();
        while *budget > 0 && found.bytes < piece.len() {
            *budget -= 1;
            let at = found.bytes;
            let header = raw.bytes_at::<{ record::HEADER }>(at).and_then(|bytes| record::header(&bytes));
            let Some(header) = header.filter(|header| header.bytes as usize <= piece.len() - at) else {
                // What follows cannot be told apart.
                found.bytes = piece.len();
                break;
            };
            let end = at + header.bytes as usize;
            if meanings.has(&header) {
                let payload = (at + record::HEADER..end.min(at + KEPT)).step_by(8);
                let words = payload.map_while(|at| raw.bytes_at::<8>(at)).flatten();
                found.records.push((header, words.collect()));
            }
            found.bytes = end;
        }
        found
    })
}
