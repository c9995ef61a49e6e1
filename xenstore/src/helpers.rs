// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed reads, repeated transactions and the xenbus rule of writing, over any [`Store`].

use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::Duration;

use crate::{Error, Store, Tx};

/// How often [`transaction()`] runs its body before it gives up. The pauses between double from 1 ms to 32 ms,
/// about 100 ms in all: a guest that writes without pause may starve a transaction over its own nodes
/// (XSA-206), but never holds its backend up for longer than this.
pub const TRANSACTION_TRIES: u32 = 8;

/// The value of a node, or `None` if it does not exist.
pub fn read_opt(store: &dyn Store, tx: Tx, path: &str) -> Result<Option<Vec<u8>>, Error> {
    match store.read(tx, path) {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoEntry { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value of a node as text. [`Error::Value`] if it is not UTF-8. It may hold control characters.
pub fn read_string(store: &dyn Store, tx: Tx, path: &str) -> Result<String, Error> {
    let value = store.read(tx, path)?;
    String::from_utf8(value).map_err(|error| Error::value(path, error.as_bytes(), "UTF-8 text"))
}

/// The value of a node as a decimal number within `range`. Digits only: no sign, no space, nothing after.
pub fn read_u32(store: &dyn Store, tx: Tx, path: &str, range: RangeInclusive<u32>) -> Result<u32, Error> {
    parse_u32(path, &store.read(tx, path)?, &range)
}

/// Like [`read_u32`], with `absent` for a node that does not exist (features: absent means 0).
pub fn read_u32_or(
    store: &dyn Store,
    tx: Tx,
    path: &str,
    range: RangeInclusive<u32>,
    absent: u32,
) -> Result<u32, Error> {
    match read_opt(store, tx, path)? {
        Some(value) => parse_u32(path, &value, &range),
        None => Ok(absent),
    }
}

fn parse_u32(path: &str, value: &[u8], range: &RangeInclusive<u32>) -> Result<u32, Error> {
    let wrong = || Error::value(path, value, format!("a number from {} to {}", range.start(), range.end()));
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(wrong)
}

/// Runs `body` in a transaction and commits it, again from the start when it conflicts with another change, at
/// most [`TRANSACTION_TRIES`] times; then [`Error::Again`]. Any other error of `body` aborts the transaction.
pub fn transaction<T>(store: &dyn Store, mut body: impl FnMut(Tx) -> Result<T, Error>) -> Result<T, Error> {
    let mut pause = Duration::from_millis(1);
    for attempt in 1..=TRANSACTION_TRIES {
        let tx = store.begin()?;
        let outcome = match body(tx) {
            Ok(value) => store.end(tx, true).map(|()| value),
            Err(error) => {
                // The body's error is the one to report; an abort that fails as well adds nothing.
                let _ = store.end(tx, false);
                Err(error)
            }
        };
        match outcome {
            Err(Error::Again) if attempt < TRANSACTION_TRIES => {
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(32));
            }
            outcome => return outcome,
        }
    }
    Err(Error::Again)
}

/// What [`write_existing`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// The node had another value and has the new one now.
    Changed,
    /// The node had this value already; nothing was written and no watch fires.
    Same,
    /// The node does not exist; it was not created.
    Gone,
}

/// Writes a node only if it still exists and only if the value differs, as `__xenbus_switch_state` of Linux
/// does: a removed device is not brought back, and no watch fires for nothing. With [`Tx::NONE`] it makes a
/// transaction of its own, because the look and the write must be one step.
pub fn write_existing(store: &dyn Store, tx: Tx, path: &str, value: &[u8]) -> Result<Written, Error> {
    if tx == Tx::NONE {
        return transaction(store, |tx| write_existing(store, tx, path, value));
    }
    match read_opt(store, tx, path)? {
        None => Ok(Written::Gone),
        Some(old) if old == value => Ok(Written::Same),
        Some(_) => store.write(tx, path, value).map(|()| Written::Changed),
    }
}
