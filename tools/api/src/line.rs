// SPDX-License-Identifier: MIT OR Apache-2.0
//! One document, one line.

use serde::{Serialize, de::DeserializeOwned};

/// A line that is not the expected document.
#[derive(Debug, thiserror::Error)]
#[error("not a valid document: {0}")]
pub struct LineError(#[from] serde_json::Error);

/// A document as one line, the newline included.
///
/// # Panics
/// Never for the documents of this crate: they hold only strings, numbers, lists and maps with string keys.
pub fn to_line<T: Serialize>(document: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(document).expect("documents of this crate always have a JSON form");
    line.push(b'\n');
    line
}

/// The document of one line.
///
/// # Errors
/// Says what is wrong and in which column.
pub fn from_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    Ok(serde_json::from_slice(line)?)
}
