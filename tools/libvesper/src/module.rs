// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules: load, unload, alive.

use std::ffi::{c_char, c_int, c_long};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vesper_api::{Done, Request};

use crate::errno::{Negative, status};
use crate::text;

/// See `vesper.h`.
///
/// # Safety
///
/// `modname` and `opt` are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_insmod(
    target_guest: c_int,
    modname: *const c_char,
    opt: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let (file, parameters) = unsafe { (text(modname), text(opt)) };
    status(insmod(target_guest, file, parameters))
}

/// See `vesper.h`.
///
/// # Safety
///
/// `modname` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_rmmod(target_guest: c_int, modname: *const c_char, flags: c_long) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { text(modname) };
    status(rmmod(target_guest, name, flags))
}

/// See `vesper.h`.
///
/// # Safety
///
/// `modname` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_is_alive(target_guest: c_int, modname: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let name = unsafe { text(modname) };
    is_alive(target_guest, name).unwrap_or(false)
}

type Text<'a> = Option<Result<&'a str, Negative>>;

fn insmod(guest: c_int, file: Text<'_>, parameters: Text<'_>) -> Result<(), Negative> {
    let path = Path::new(file.ok_or(Negative(-libc::EINVAL))??);
    // A name for messages and, without its endings, the module's.
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(Negative(-libc::EINVAL))?;
    // Not blocking, so that a pipe of that name does not hang its reader; the daemon takes regular files only.
    let image = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let args = parameters.transpose()?.unwrap_or("").split_whitespace().map(String::from).collect();
    let request = Request::Insmod { dom: guest.to_string(), file: name.into(), args, timeout_ms: None };
    let reply = vesper_client::ask(&vesper_client::socket(), &request, Some(&image), None);
    reply.into_result().map(drop).map_err(|failure| (&failure).into())
}

fn rmmod(guest: c_int, name: Text<'_>, flags: c_long) -> Result<(), Negative> {
    if flags & !c_long::from(libc::O_NONBLOCK) != 0 {
        return Err(Negative(-libc::EINVAL));
    }
    let name = name.ok_or(Negative(-libc::EINVAL))??.to_string();
    let request = Request::Rmmod { dom: guest.to_string(), name, timeout_ms: None };
    ask(&request).map(drop)
}

fn is_alive(guest: c_int, name: Text<'_>) -> Result<bool, Negative> {
    let module = name.transpose()?.filter(|name| !name.is_empty()).map(String::from);
    match ask(&Request::Alive { dom: guest.to_string(), module, timeout_ms: None, now: false })? {
        Done::Alive(alive) => Ok(alive.alive),
        _ => Err(Negative(-libc::EPROTO)),
    }
}

fn ask(request: &Request) -> Result<Done, Negative> {
    let reply = vesper_client::ask(&vesper_client::socket(), request, None, None);
    reply.into_result().map_err(|failure| (&failure).into())
}
