// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line: the CRC-32 of the document in 8 hexadecimal digits, a blank, the document, a newline.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::files::named;
use super::{Entry, LIMIT_MIN};

/// Digits of the checksum, and the blank.
const PREFIX: usize = 9;

/// An entry as a line.
pub(super) fn of(entry: &Entry) -> Vec<u8> {
    let document = vesper_api::to_line(entry);
    let sum = crc32fast::hash(&document[..document.len() - 1]);
    let mut line = format!("{sum:08x} ").into_bytes();
    line.extend_from_slice(&document);
    line
}

/// The entry of a line, without its newline.
pub(super) fn entry(line: &[u8]) -> Option<Entry> {
    let (prefix, document) = line.split_at_checked(PREFIX)?;
    let digits = std::str::from_utf8(prefix).ok()?.strip_suffix(' ')?;
    let is_whole = u32::from_str_radix(digits, 16).ok()? == crc32fast::hash(document);
    is_whole.then(|| vesper_api::from_line(document).ok()).flatten()
}

/// How much of a file was good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Lines that are none.
    pub(super) damaged: u64,
    /// Bytes up to the end of the last line that ends.
    pub(super) whole: u64,
}

/// Reads a file, line by line.
///
/// # Errors
/// Of the file system.
pub(super) fn read(path: &Path, mut take: impl FnMut(Entry)) -> io::Result<Taken> {
    let mut file = BufReader::new(File::open(path).map_err(|error| named(path, &error))?);
    let (mut taken, mut line) = (Taken::default(), Vec::new());
    // Bytes up to here, and whether they end within a line.
    let (mut at, mut within) = (0, false);
    loop {
        line.clear();
        // No line is longer than what a file may have, at least; of one that is, this is a piece.
        let count = file.by_ref().take(LIMIT_MIN).read_until(b'\n', &mut line);
        let count = count.map_err(|error| named(path, &error))?;
        if count == 0 {
            taken.damaged += u64::from(within);
            return Ok(taken);
        }
        at += count as u64;
        let Some(whole) = line.strip_suffix(b"\n") else {
            within = true;
            continue;
        };
        taken.whole = at;
        let is_rest = std::mem::take(&mut within);
        match entry(whole) {
            Some(entry) if !is_rest => take(entry),
            _ => taken.damaged += 1,
        }
    }
}
