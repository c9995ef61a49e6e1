// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The listener as C functions, and the kernel as the C part of the module offers it (`kmod/vesper_front.h`).
//!
//! The rules are those of [`crate::ffi`]; the listener has a state of its own, made by [`vesper_listener_init`].

use core::ffi::{CStr, c_char, c_int};
use core::mem::{align_of, offset_of, size_of};
use core::ptr::NonNull;

use super::{Kernel, Listener, Offer, Pages};
use crate::ffi::{EINVAL, errno, progress, status};
use crate::traits::{Errno, Fault};

mod c {
    use core::ffi::c_int;

    use super::Offer;

    unsafe extern "C" {
        pub safe fn vesper_listener_kick();
        pub fn vesper_export_open(slot: u32, offer: *mut Offer) -> c_int;
        pub safe fn vesper_export_answered(slot: u32, status: i32);
        pub safe fn vesper_export_ended(slot: u32);
        pub safe fn vesper_clock() -> u64;
    }
}

// `struct vesper_offer`.
const _: () = {
    assert!(offset_of!(Offer, export) == 0 && offset_of!(Offer, gref) == 4);
    assert!(offset_of!(Offer, directory) == 8 && offset_of!(Offer, grants) == 12);
    assert!(offset_of!(Offer, flags) == 16 && size_of::<Offer>() == 20);
};

/// The kernel, through the C part.
#[derive(Debug)]
struct Module;

type Core = Listener<Module, Module>;

impl Pages for Module {
    fn kick(&mut self) {
        c::vesper_listener_kick();
    }

    fn open(&mut self, slot: u32) -> Result<Offer, Errno> {
        let mut offer = Offer::default();
        // SAFETY: writes one offer to a valid place.
        errno(unsafe { c::vesper_export_open(slot, &raw mut offer) })?;
        Ok(offer)
    }
}

impl Kernel for Module {
    fn clock(&mut self) -> u64 {
        c::vesper_clock()
    }

    fn answered(&mut self, slot: u32, status: i32) {
        c::vesper_export_answered(slot, status);
    }

    fn ended(&mut self, slot: u32) {
        c::vesper_export_ended(slot);
    }
}

/// Bytes of the listener's state.
#[unsafe(no_mangle)]
pub extern "C" fn vesper_listener_size() -> usize {
    const { assert!(align_of::<Core>() <= 8) }
    size_of::<Core>()
}

/// Makes the listener.
///
/// # Safety
///
/// `core` has [`vesper_listener_size`] bytes, aligned to 8, and stays until the module's exit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_init(core: *mut u8) {
    // SAFETY: the caller's promise; nothing else refers to it.
    unsafe { core.cast::<Core>().write(Listener::new(Module, Module)) }
}

/// [`Listener::attach`]; 0 or −EINVAL.
///
/// # Safety
///
/// `core` as for every function here; `ring` as for [`Listener::attach`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_attach(core: *mut u8, ring: *mut u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    let core = unsafe { of(core) };
    let Some(ring) = NonNull::new(ring) else { return -EINVAL };
    // SAFETY: the caller's promise.
    match unsafe { core.attach(ring, bytes) } {
        Ok(()) => 0,
        Err(_) => -EINVAL,
    }
}

/// [`Listener::start`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_start(core: *mut u8) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { of(core) }.start().map(|()| 0))
}

/// [`Listener::detach`].
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_detach(core: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { of(core) }.detach();
}

/// [`Listener::run`]; 0: no answer, 1: took all, 2: call again, −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_run(core: *mut u8) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { of(core) }.run().map(progress))
}

/// [`Listener::export`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_export(core: *mut u8, slot: u32) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { of(core) }.export(slot).map(|()| 0))
}

/// [`Listener::unexport`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_unexport(core: *mut u8, slot: u32, export: u32) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { of(core) }.unexport(slot, export).map(|()| 0))
}

/// [`Listener::time`]; 0 or −EPROTO.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_time(core: *mut u8) -> c_int {
    // SAFETY: the caller's promise.
    status(unsafe { of(core) }.time().map(|()| 0))
}

/// Why the device stands still, in words that live for ever.
///
/// # Safety
///
/// `core` as for every function here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vesper_listener_reason(core: *const u8) -> *const c_char {
    // SAFETY: the caller's promise.
    let core = unsafe { &*core.cast::<Core>() };
    let reason: &CStr = core.fault().map_or(c"no fault", Fault::reason);
    reason.as_ptr()
}

/// # Safety
///
/// `core` is what [`vesper_listener_init`] made, and nobody else uses it during the call.
unsafe fn of<'a>(core: *mut u8) -> &'a mut Core {
    // SAFETY: the caller's promise.
    unsafe { &mut *core.cast::<Core>() }
}
