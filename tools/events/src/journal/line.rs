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
    let mut taken = Taken::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // No line is longer than what a file may have, at least.
        let count = file.by_ref().take(LIMIT_MIN).read_until(b'\n', &mut line);
        if count.map_err(|error| named(path, &error))? == 0 {
            return Ok(taken);
        }
        match line.strip_suffix(b"\n") {
            Some(whole) => {
                taken.whole += line.len() as u64;
                match entry(whole) {
                    Some(entry) => take(entry),
                    None => taken.damaged += 1,
                }
            }
            None => taken.damaged += 1,
        }
    }
}
