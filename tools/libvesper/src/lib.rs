// SPDX-License-Identifier: MIT OR Apache-2.0
//! VESPER's user API for C programs (paper, figure 4): `include/vesper.h` says what each function does.
//!
//! | module | subject |
//! |---|---|
//! | [`module`] | `virt_insmod`, `virt_rmmod`, `virt_is_alive` |
//! | [`relay`] | `virt_relay_open`, `next`, `fd`, `close` |
//! | [`errno`] | the daemon's errors as error numbers |
//!
//! Nothing here unwinds into its C caller: the profile aborts on a panic, and none is known.

pub mod errno;
pub mod module;
pub mod relay;

use std::ffi::{CStr, c_char};

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
