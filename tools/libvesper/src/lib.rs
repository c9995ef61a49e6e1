// SPDX-License-Identifier: MIT OR Apache-2.0
//! VESPER's user API for C programs (paper, figure 4): `include/vesper.h` says what each function does.
//!
//! | module | subject |
//! |---|---|
//! | [`module`] | `virt_insmod`, `virt_rmmod`, `virt_is_alive` |
//! | [`relay`] | `virt_relay_open`, `next`, `fd`, `close` |
//! | [`events`] | `virt_events_open`, `next`, `fd`, `close` |
//! | [`errno`] | the daemon's errors as error numbers |
//!
//! Nothing here unwinds into its C caller: the profile aborts on a panic, and none is known.

pub mod errno;
pub mod events;
pub mod module;
pub mod relay;

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use errno::Negative;

/// A C string as text; `None` for NULL.
///
/// # Safety
///
/// `text` is NULL or a C string that lives for as long as the result is used.
unsafe fn text<'a>(text: *const c_char) -> Option<Result<&'a str, errno::Negative>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    Some(bytes.to_str().map_err(|_| errno::Negative(-libc::EILSEQ)))
}

/// A text for C. One with a zero in it ends there; none that is shown has one.
fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// Waits until there is something to read.
fn wait(stream: &UnixStream, until: Option<Instant>) -> Result<(), Negative> {
    let left = until.map_or(-1, |until| {
        // Rounded up, so that it is not asked again and again for less than a millisecond.
        let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        c_int::try_from(left).unwrap_or(c_int::MAX)
    });
    let mut ready = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, valid for the call.
    match unsafe { libc::poll(&raw mut ready, 1, left) } {
        0 => Err(Negative(-libc::ETIMEDOUT)),
        1.. => Ok(()),
        _ => match std::io::Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => Ok(()),
            error => Err(error.into()),
        },
    }
}
