// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Wire messages: what the two ends say to each other over a ring.
//!
//! All integers are little endian, all fields naturally aligned, no struct has padding, and every bit pattern is a
//! valid value: checking is a step of its own, after the copy.
//!
//! [`loader`] has the layout of the loader's messages; [`Request::check`](loader::Request::check) and
//! [`Response::check`](loader::Response::check) turn a copy into an [`Asked`] or an [`Answer`], which in turn make
//! messages that pass the check. [`listener`] has the same for the listener, with its own `Asked` and `Answer`.
//! `docs/protocol.md` says what each side does with a message that does not pass.

mod bad;
pub mod listener;
pub mod loader;
mod name;
mod pages;
mod request;
mod response;
pub mod xenbus;

pub use bad::BadMessage;
pub use name::{BadName, Name};
pub use request::{Asked, CommandResult, Fetch, LogPage, Report, WINDOW_PAGES};
pub use response::Answer;

use core::mem::{MaybeUninit, size_of};

/// Bytes of a page of the guest, of a grant and of a ring page.
pub const PAGE_SIZE: usize = 4096;

/// Bytes of a module's or an export's name on the wire, the closing zero included: `MODULE_NAME_LEN` of the Linux kernel
/// on 64-bit machines (`include/linux/moduleparam.h`).
pub const NAME_BYTES: usize = 56;

/// Highest protocol version that this code speaks. Both ends publish theirs in xenstore and take the smaller.
///
/// `--cfg vesper_next_protocol` makes an end that is one version ahead and says the same: only for tests of what two
/// ends make of their versions.
pub const PROTOCOL_VERSION: u32 = if cfg!(vesper_next_protocol) { 2 } else { 1 };

/// Which command a message belongs to: the daemon's run and a number within it.
///
/// The pair is what makes a result attributable: a daemon that was restarted has another `run`, so that a result
/// for its predecessor is never mistaken for one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommandId {
    /// Random number of the daemon's run, never 0.
    pub run: u64,
    /// Counts the commands of that run, from 1. 0 means "no command".
    pub seq: u64,
}

/// A plain struct of integers that may be copied to and from shared memory word by word.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding, every bit pattern is valid, its alignment is at most 8 and its size is a
/// multiple of 8.
pub unsafe trait Wire: Copy + 'static {}

/// The bytes of a message, for a page that is written as bytes.
pub fn bytes_of<T: Wire>(message: &T) -> &[u8] {
    // SAFETY: a message has no padding (`Wire`), so every byte is initialised; lifetime and size are the reference's.
    unsafe { core::slice::from_raw_parts((&raw const *message).cast(), size_of::<T>()) }
}

/// The message in `bytes`, a private copy; `None` when the length is not the message's.
pub fn from_bytes<T: Wire>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    let mut message = MaybeUninit::<T>::uninit();
    // SAFETY: both are `size_of::<T>()` bytes and do not overlap; every bit pattern is a valid message (`Wire`).
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), message.as_mut_ptr().cast(), bytes.len());
        Some(message.assume_init())
    }
}
