// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls through `/dev/xen/privcmd`, with memory that cannot move or vanish while Xen uses it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use super::abi::{IOCTL_PRIVCMD_HYPERCALL, PrivcmdHypercall};
use crate::{DomId, Error, PAGE_SIZE};

const PRIVCMD: &str = "/dev/xen/privcmd";
const HYPERCALL_MEMORY: &str = "/dev/xen/hypercall";

/// `/dev/xen/privcmd`, open.
pub(super) struct Privcmd(File);

impl Privcmd {
    pub(super) fn open() -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).open(PRIVCMD);
        file.map(Self).map_err(|source| Error::Open { path: PRIVCMD.into(), source })
    }

    /// A hypercall with one argument: the address of a structure.
    ///
    /// # Safety
    /// `argument` must point into a [`LockedMemory`] to the structure that the operation takes, and so must every
    /// address inside it.
    pub(super) unsafe fn call(&self, name: &'static str, op: u64, argument: *mut u8) -> Result<(), Error> {
        let request = PrivcmdHypercall { op, arg: [argument.expose_provenance() as u64, 0, 0, 0, 0] };
        // SAFETY: the request is a whole privcmd_hypercall; what Xen writes to is the caller's duty.
        let rc = unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL_PRIVCMD_HYPERCALL, &raw const request) };
        if rc < 0 { Err(Error::last_os(name, DomId(0))) } else { Ok(()) }
    }
}

/// Zeroed, page-locked memory of this process.
///
/// From `/dev/xen/hypercall` where the kernel has it (4.18 and later): such pages are never migrated. `mlock` alone
/// keeps a page resident, but the kernel may still move it in the middle of a hypercall.
pub(super) struct LockedMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory of the process, owned by this value alone.
unsafe impl Send for LockedMemory {}

impl LockedMemory {
    pub(super) fn new(pages: usize) -> Result<Self, Error> {
        let len = pages * PAGE_SIZE;
        match OpenOptions::new().read(true).write(true).open(HYPERCALL_MEMORY) {
            Ok(device) => Self::map(len, libc::MAP_SHARED, device.as_raw_fd()),
            Err(_) => {
                let memory = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
                // SAFETY: `memory` is a mapping of `len` bytes of ours. Not copied at fork, or a page that Xen writes to
                // could become the child's.
                let failed = unsafe {
                    libc::mlock(memory.start.as_ptr().cast(), len) < 0
                        || libc::madvise(memory.start.as_ptr().cast(), len, libc::MADV_DONTFORK) < 0
                };
                if failed {
                    Err(Error::last_os("locking memory for hypercalls", DomId(0)))
                } else {
                    Ok(memory)
                }
            }
        }
    }

    fn map(len: usize, flags: i32, fd: i32) -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os("mmap of memory for hypercalls", DomId(0)));
        }
        let start = NonNull::new(start.cast()).expect("mmap without MAP_FIXED never maps address 0");
        Ok(Self { start, len })
    }

    /// The first byte, page-aligned.
    pub(super) fn start(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length; the owner is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_is_zeroed_writable_and_locked() {
        let mut memory = LockedMemory::new(3).unwrap();
        assert_eq!(memory.len(), 3 * PAGE_SIZE);
        let last = memory.len() - 1;
        // SAFETY: the last byte of the mapping, which no one else knows.
        unsafe {
            assert_eq!(memory.start().add(last).read(), 0);
            memory.start().add(last).write(7);
            assert_eq!(memory.start().add(last).read(), 7);
        }
    }
}
