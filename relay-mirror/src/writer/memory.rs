// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is mapped more than once, each time at another address.

use std::io::Error;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use vesper_ring::wire::PAGE_SIZE;

use crate::Region;

/// A memory file and the guest's mapping of it.
pub(super) struct MemoryFile {
    file: OwnedFd,
    start: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: an address and a descriptor of the process; what is done through the address is the caller's.
unsafe impl Send for MemoryFile {}
// SAFETY: as above.
unsafe impl Sync for MemoryFile {}

impl MemoryFile {
    pub(super) fn new(len: usize) -> Self {
        let len = NonZeroUsize::new(len).expect("at least a page");
        // SAFETY: a name that ends with a zero.
        let fd = unsafe { libc::memfd_create(c"relay".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "memfd_create: {}", Error::last_os_error());
        // SAFETY: a new descriptor that nobody else has.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an open descriptor.
        let sized = unsafe { libc::ftruncate(fd, len.get() as libc::off_t) };
        assert_eq!(sized, 0, "ftruncate: {}", Error::last_os_error());
        let start = map(&file, len, true);
        Self { file, start, len }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn len(&self) -> NonZeroUsize {
        self.len
    }

    /// Another mapping of it.
    pub(super) fn share(self: &Arc<Self>, writable: bool) -> Share {
        Share { start: map(&self.file, self.len, writable), file: Arc::clone(self) }
    }

    /// Mappings of it beside its own.
    pub(super) fn shared(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        unmap(self.start, self.len);
    }
}

/// Maps the file between two pages that nobody may touch.
fn map(file: &OwnedFd, len: NonZeroUsize, writable: bool) -> NonNull<u8> {
    let (none, anonymous) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: reserves addresses of the kernel's choice; touches no memory of ours.
    let range = unsafe { libc::mmap(ptr::null_mut(), len.get() + 2 * PAGE_SIZE, none, anonymous, -1, 0) };
    assert_ne!(range, libc::MAP_FAILED, "mmap: {}", Error::last_os_error());
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let (flags, fd) = (libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd());
    // SAFETY: replaces pages inside the range reserved above, which nobody else knows.
    let start = unsafe { libc::mmap(range.byte_add(PAGE_SIZE), len.get(), protection, flags, fd, 0) };
    assert_ne!(start, libc::MAP_FAILED, "mmap: {}", Error::last_os_error());
    NonNull::new(start.cast()).expect("mmap below address 0")
}

fn unmap(start: NonNull<u8>, len: NonZeroUsize) {
    // SAFETY: mapped by `map`, and dropped by whoever used it.
    unsafe { libc::munmap(start.as_ptr().byte_sub(PAGE_SIZE).cast(), len.get() + 2 * PAGE_SIZE) };
}

/// The host's mapping.
pub(super) struct Share {
    start: NonNull<u8>,
    file: Arc<MemoryFile>,
}

// SAFETY: an address of the process.
unsafe impl Send for Share {}
// SAFETY: as above.
unsafe impl Sync for Share {}

// SAFETY: mapped in whole pages until it is dropped, that of the consumed page writable; nobody makes a reference to it.
unsafe impl Region for Share {
    fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn len(&self) -> usize {
        self.file.len.get()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        unmap(self.start, self.file.len);
    }
}
