// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The frontend as C functions, and the kernel as the C part of the module offers it (`kmod/vesper_front.h`).
//!
//! Every function that takes `core` wants what [`vesper_core_init`] made of it, and that one thread at a time calls
//! (a mutex of the C part). The C functions that the core calls run within such a call.

use core::ffi::{CStr, c_char, c_int};
use core::mem::{align_of, size_of};
use core::ptr::NonNull;

use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::{Name, PROTOCOL_VERSION};

use crate::frontend::{Frontend, Progress};
use crate::modules::{Modules, TABLE_ENTRIES};
use crate::traits::{Errno, Fault, Kernel, Log, Pages};

mod c {
    use core::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub safe fn vesper_kick();
        pub fn vesper_window_open(pages: u32, directory: *mut u32) -> c_int;
        pub safe fn vesper_window_append(bytes: u32) -> c_int;
        pub safe fn vesper_window_close();
        pub fn vesper_text_write(text: *const u8, bytes: u32, gref: *mut u32) -> c_int;
        pub safe fn vesper_image_begin(image_bytes: u64, args_bytes: u32) -> c_int;
        pub safe fn vesper_image_drop();
        pub fn vesper_load_start(name: *const c_char) -> c_int;
        pub fn vesper_unload_start(name: *const c_char) -> c_int;
        pub fn vesper_unload_check(name: *const c_char) -> c_int;
        pub fn vesper_module_present(name: *const c_char) -> bool;
        pub fn vesper_log_read(text: *mut *const u8, truncated: *mut bool) -> u32;
    }
}

/// The kernel, through the C part.
#[derive(Debug)]
struct Module;

type Core = Frontend<'static, Module, Module>;

pub(crate) const EINVAL: c_int = 22;
const EPROTO: c_int = 71;

pub(crate) fn errno(status: c_int) -> Result<(), Errno> {
    Errno::from_status(status).map_or(Ok(()), Err)
}

/// A name is closed with a zero on the wire already.
fn c_name(name: &Name) -> *const c_char {
    name.as_wire().as_ptr().cast()
}

impl Pages for Module {
    fn kick(&mut self) {
        c::vesper_kick();
    }

    fn window_open(&mut self, pages: u32) -> Result<u32, Errno> {
        let mut directory = 0;
        // SAFETY: writes one u32 to a valid place.
        errno(unsafe { c::vesper_window_open(pages, &raw mut directory) })?;
        Ok(directory)
    }

    fn window_append(&mut self, bytes: u32) -> Result<(), Errno> {
        errno(c::vesper_window_append(bytes))
    }

    fn window_close(&mut self) {
        c::vesper_window_close();
    }

    fn text(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        let mut gref = 0;
        // SAFETY: reads that many bytes (it refuses more than a page) and writes one u32 to a valid place.
        errno(unsafe { c::vesper_text_write(bytes.as_ptr(), bytes.len() as u32, &raw mut gref) })?;
        Ok(gref)
    }
}

impl Kernel for Module {
    fn image_begin(&mut self, image_bytes: u64, args_bytes: u32) -> Result<(), Errno> {
        errno(c::vesper_image_begin(image_bytes, args_bytes))
    }

    fn image_drop(&mut self) {
        c::vesper_image_drop();
    }

    fn load_start(&mut self, name: &Name) -> Result<(), Errno> {
        // SAFETY: a C string that is copied during the call.
        errno(unsafe { c::vesper_load_start(c_name(name)) })
    }

    fn unload_start(&mut self, name: &Name) -> Result<(), Errno> {
        // SAFETY: as above.
        errno(unsafe { c::vesper_unload_start(c_name(name)) })
    }

    fn unload_check(&mut self, name: &Name) -> Result<(), Errno> {
        // SAFETY: a C string that is read during the call.
        errno(unsafe { c::vesper_unload_check(c_name(name)) })
    }

    fn present(&mut self, name: &Name) -> bool {
        // SAFETY: as above.
        unsafe { c::vesper_module_present(c_name(name)) }
    }

    fn log(&mut self) -> Log<'_> {
        let mut text = NonNull::<u8>::dangling().as_ptr().cast_const();
        let mut truncated = false;
        // SAFETY: writes to two valid places. What it points to is a static buffer that only the loader thread
        // writes, and the core asks for the log only between two pieces of work.
        let text = unsafe {
            let bytes = c::vesper_log_read(&raw mut text, &raw mut truncated);
            core::slice::from_raw_parts(text, bytes as usize)
        };
        Log { text, truncated }
    }
}

/// Highest protocol version that the core speaks.
#[unsafe(no_mangle)]
pub extern "C" fn vesper_core_protocol() -> u32 {
    PROTOCOL_VERSION
}

/// Bytes of the core and, behind it, the table of modules.
#[unsafe(no_mangle)]
pub extern "C" fn vesper_core_size() -> usize {
    const { assert!(align_of::<Core>() <= 8 && size_of::<Core>().is_multiple_of(align_of::<Loaded>())) }
    size_of::<Core>() + TABLE_ENTRIES * size_of::<Loaded>()
}

/// Makes the core.
///
/// # Safety
///
/// `core` has [`vesper_core_size`] bytes, all of them zero, aligned to 8, and stays until the module's exit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_init(core: *mut u8) {
    // SAFETY: the table lies behind the core, in the caller's memory, aligned (checked in `vesper_core_size`);
    // zeroes are valid entries; nothing else refers to it.
    unsafe {
        let table = core.add(size_of::<Core>()).cast::<Loaded>();
        let table = core::slice::from_raw_parts_mut(table, TABLE_ENTRIES);
        core.cast::<Core>().write(Frontend::new(Module, Module, Modules::new(table)));
    }
}

/// [`Frontend::attach`]; 0 or −EINVAL.
///
/// # Safety
///
/// `core` as for every function here; `ring` as for [`Frontend::attach`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_attach(core: *mut u8, ring: *mut u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core.cast::<Core>() };
    let Some(ring) = NonNull::new(ring) else { return -EINVAL };
    // SAFETY: the caller's promise.
    match unsafe { core.attach(ring, bytes) } {
        Ok(()) => 0,
        Err(_) => -EINVAL,
    }
}

/// [`Frontend::start`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_start(core: *mut u8) -> c_int {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core.cast::<Core>() };
    status(core.start().map(|()| 0))
}

/// [`Frontend::detach`].
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_detach(core: *mut u8) {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core.cast::<Core>() };
    core.detach();
}

/// [`Frontend::run`]; 0: no answer, 1: took all, 2: call again, −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_run(core: *mut u8) -> c_int {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core.cast::<Core>() };
    status(core.run().map(progress))
}

/// [`Frontend::finished`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_finished(core: *mut u8, status_: i32, nanos: u64) -> c_int {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core.cast::<Core>() };
    status(core.finished(status_, nanos).map(|()| 0))
}

/// Why the device stands still, in words that live for ever.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_core_reason(core: *const u8) -> *const c_char {
    // SAFETY: the caller's promise.
    let core = unsafe { &*core.cast::<Core>() };
    let reason: &CStr = core.fault().map_or(c"no fault", Fault::reason);
    reason.as_ptr()
}

pub(crate) fn status(result: Result<c_int, Fault>) -> c_int {
    result.unwrap_or(-EPROTO)
}

pub(crate) fn progress(progress: Progress) -> c_int {
    match progress {
        Progress::Nothing => 0,
        Progress::Done => 1,
        Progress::More => 2,
    }
}
