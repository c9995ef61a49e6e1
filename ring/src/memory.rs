// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The shared memory of a ring, and the only accesses that the ring code makes to it.
//!
//! [`Pages`] is the real thing, by raw pointer. Tests put a memory that counts, one that lies and one of loom's atomics
//! behind the same trait, so that it is the real ring code that they run.

use core::mem::{MaybeUninit, size_of};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::wire::Wire;

/// Bytes before the first entry: the four indexes and the padding (`struct __name##_sring`, `public/io/ring.h`).
pub const HEADER_BYTES: usize = 64;

/// The four shared indexes; the value is the byte offset (`struct __name##_sring`, `public/io/ring.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Index {
    /// `req_prod`: requests that the front end has published. Written by the front end.
    RequestProducer = 0,
    /// `req_event`: the request at which the back end wants to be notified. Written by the back end.
    RequestEvent = 4,
    /// `rsp_prod`: responses that the back end has published. Written by the back end.
    ResponseProducer = 8,
    /// `rsp_event`: the response at which the front end wants to be notified. Written by the front end.
    ResponseEvent = 12,
}

/// What an entry is copied by: any bit pattern is a value, one value is one load or store of the machine.
///
/// # Safety
///
/// Plain integers or vectors of them: no padding, every bit pattern valid, size and alignment 8 or 16.
pub unsafe trait Word: Copy + 'static {}

// SAFETY: an integer of 8 bytes.
unsafe impl Word for u64 {}

/// The widest word of this target. Kernel objects are built without SSE and get 8 bytes.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub type Wide = core::arch::x86_64::__m128i;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
// SAFETY: a vector of 16 bytes of integers.
unsafe impl Word for Wide {}
/// The widest word of this target.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
pub type Wide = u64;

/// Memory that the peer writes at any time, as the ring code sees it.
///
/// # Safety
///
/// `bytes()` never changes, and every offset up to it may be read and written for as long as the value lives.
pub unsafe trait Memory {
    /// Bytes of the memory, the header included.
    fn bytes(&self) -> usize;
    /// Reads an index; what the peer wrote before it published that value is seen by later reads.
    fn acquire(&self, index: Index) -> u32;
    /// Reads an index, with no ordering.
    fn load(&self, index: Index) -> u32;
    /// Writes an index after all writes that come before it in the program.
    fn release(&self, index: Index, value: u32);
    /// Writes an index, with no ordering.
    fn store(&self, index: Index, value: u32);
    /// Full fence (`xen_mb`): no earlier store is passed by a later load.
    fn fence(&self);
    /// Reads one word, exactly once.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of the word's size and the word lies within [`bytes`](Self::bytes).
    unsafe fn read<W: Word>(&self, offset: usize) -> W;
    /// Writes one word.
    ///
    /// # Safety
    ///
    /// As for [`read`](Self::read).
    unsafe fn write<W: Word>(&self, offset: usize, word: W);
}

/// One page, or several contiguous ones, shared with another domain.
#[derive(Debug)]
pub struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages are reached by atomics and volatile accesses only, through no thread's own state; `Pages::new`
// makes its caller promise that they stay where they are.
unsafe impl Send for Pages {}

impl Pages {
    /// The memory at `base`.
    ///
    /// # Safety
    ///
    /// `base..base + bytes` is mapped, readable and writable, and stays so for the life of the value. This side
    /// reaches it through nothing else (no reference, no other ring end of the same kind).
    pub unsafe fn new(base: NonNull<u8>, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// Whether `base` is aligned as the header and the words need it.
    pub(crate) fn is_aligned(&self) -> bool {
        self.base.addr().get().is_multiple_of(HEADER_BYTES)
    }

    #[inline(always)]
    fn index(&self, index: Index) -> &AtomicU32 {
        // SAFETY: within the memory (a ring refuses memory without room for the header) and aligned; shared with a
        // peer, which is what an atomic is for. The reference does not leave this file.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(index as usize).cast()) }
    }
}

// SAFETY: by the promise of `Pages::new`.
unsafe impl Memory for Pages {
    #[inline(always)]
    fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn acquire(&self, index: Index) -> u32 {
        self.index(index).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn load(&self, index: Index) -> u32 {
        self.index(index).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn release(&self, index: Index, value: u32) {
        self.index(index).store(value, Ordering::Release);
    }

    #[inline(always)]
    fn store(&self, index: Index, value: u32) {
        self.index(index).store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    unsafe fn read<W: Word>(&self, offset: usize) -> W {
        // SAFETY: in range and aligned by the caller's promise; volatile, so that it is one load and no second.
        unsafe { self.base.as_ptr().add(offset).cast::<W>().read_volatile() }
    }

    #[inline(always)]
    unsafe fn write<W: Word>(&self, offset: usize, word: W) {
        // SAFETY: as for `read`.
        unsafe { self.base.as_ptr().add(offset).cast::<W>().write_volatile(word) }
    }
}

/// Copies a message out of the memory: every word of it is read once.
///
/// # Safety
///
/// `offset` is a multiple of 16 and `offset + size_of::<T>()` is at most `memory.bytes()`.
#[inline(always)]
pub(crate) unsafe fn copy_out<T: Wire, M: Memory>(memory: &M, offset: usize) -> T {
    let mut copy = MaybeUninit::<T>::uninit();
    let to = copy.as_mut_ptr().cast::<u8>();
    let mut done = 0;
    while done + size_of::<Wide>() <= size_of::<T>() {
        // SAFETY: the word lies in both the message and the memory; the memory's offset is aligned.
        unsafe { to.add(done).cast::<Wide>().write_unaligned(memory.read::<Wide>(offset + done)) };
        done += size_of::<Wide>();
    }
    while done < size_of::<T>() {
        // SAFETY: as above: a message's size is a multiple of 8 (`Wire`).
        unsafe { to.add(done).cast::<u64>().write_unaligned(memory.read::<u64>(offset + done)) };
        done += size_of::<u64>();
    }
    // SAFETY: all bytes were written, and every bit pattern is a valid value (`Wire`).
    unsafe { copy.assume_init() }
}

/// Copies a message into the memory.
///
/// # Safety
///
/// As for [`copy_out`].
#[inline(always)]
pub(crate) unsafe fn copy_in<T: Wire, M: Memory>(memory: &M, offset: usize, message: &T) {
    let from = (&raw const *message).cast::<u8>();
    let mut done = 0;
    while done + size_of::<Wide>() <= size_of::<T>() {
        // SAFETY: the word lies in both the message and the memory, and a message has no padding (`Wire`).
        unsafe { memory.write(offset + done, from.add(done).cast::<Wide>().read_unaligned()) };
        done += size_of::<Wide>();
    }
    while done < size_of::<T>() {
        // SAFETY: as above.
        unsafe { memory.write(offset + done, from.add(done).cast::<u64>().read_unaligned()) };
        done += size_of::<u64>();
    }
}
