// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks and atomics: those of std, or, in the models, loom's.

use std::ptr::NonNull;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, fence},
};

/// The word of the shared memory at `start` plus `offset` bytes.
///
/// # Safety
///
/// It is there, aligned, as long as the reference is used; whoever else uses it uses it as an atomic.
#[cfg(not(loom))]
pub(crate) unsafe fn shared_word<'a>(start: NonNull<u8>, offset: usize) -> &'a AtomicU64 {
    // SAFETY: by the caller's promise.
    unsafe { AtomicU64::from_ptr(start.add(offset).as_ptr().cast()) }
}

/// The same in a model, where the memory is an array of loom's atomics, one for each word.
///
/// # Safety
///
/// It is there.
#[cfg(loom)]
pub(crate) unsafe fn shared_word<'a>(start: NonNull<u8>, offset: usize) -> &'a AtomicU64 {
    // SAFETY: by the caller's promise.
    unsafe { start.cast::<AtomicU64>().add(offset / size_of::<u64>()).as_ref() }
}
