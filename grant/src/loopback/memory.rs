// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory: one memory file, mapped whole for the guest and page by page for the host.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::{Access, PAGE_SIZE};

/// Pages a guest can have: 1 GiB of address space, used only as far as it is touched.
const MAX_PAGES: usize = 1 << 18;

/// The memory of one guest.
pub(super) struct Memory {
    file: File,
    start: NonNull<u8>,
    free: Mutex<FreePages>,
}

#[derive(Default)]
struct FreePages {
    returned: BTreeSet<usize>,
    never_used: usize,
}

impl FreePages {
    /// Takes `count` pages with consecutive numbers: the first.
    fn take(&mut self, count: usize) -> usize {
        let (mut first, mut found) = (0, 0);
        for &number in &self.returned {
            (first, found) =
                if found > 0 && number == first + found { (first, found + 1) } else { (number, 1) };
            if found == count {
                self.returned.retain(|number| !(first..first + count).contains(number));
                return first;
            }
        }
        assert!(self.never_used + count <= MAX_PAGES, "a loopback guest has {MAX_PAGES} pages");
        self.never_used += count;
        self.never_used - count
    }
}

// SAFETY: `start` is the address of a mapping that belongs to the process and lives as long as the value.
unsafe impl Send for Memory {}
// SAFETY: as above; all else in it is `Sync`.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new() -> Self {
        let file = File::from(memfd_create("loopback guest", MFdFlags::MFD_CLOEXEC).expect("memfd_create"));
        let len = MAX_PAGES * PAGE_SIZE;
        file.set_len(len as u64).expect("a sparse memory file of 1 GiB");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED, "1 GiB of address space for a guest");
        let start = NonNull::new(start.cast()).expect("mmap without MAP_FIXED never maps address 0");
        Self { file, start, free: Mutex::default() }
    }

    /// Takes zeroed pages that lie one behind the other.
    pub(super) fn alloc(self: &Arc<Self>, count: usize) -> Vec<Arc<Page>> {
        let first = self.free.lock().unwrap_or_else(PoisonError::into_inner).take(count);
        let page = |number| {
            let page = Arc::new(Page { memory: Arc::clone(self), number });
            page.write(0, &[0; PAGE_SIZE]);
            page
        };
        (first..first + count).map(page).collect()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; pages hold the memory, so none is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), MAX_PAGES * PAGE_SIZE) };
    }
}

/// One page of a guest. The guest, its grant and each mapping hold it, so it is reused only when all are done.
pub(super) struct Page {
    memory: Arc<Memory>,
    number: usize,
}

impl Page {
    fn offset(&self) -> u64 {
        (self.number * PAGE_SIZE) as u64
    }

    /// Reads through the kernel, as a grant copy does: no access of ours that could race with the guest's.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= PAGE_SIZE, "a read stays in its page");
        self.memory
            .file
            .read_exact_at(into, self.offset() + offset as u64)
            .expect("the file has all its pages");
    }

    /// Writes through the kernel.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE, "a write stays in its page");
        self.memory
            .file
            .write_all_at(bytes, self.offset() + offset as u64)
            .expect("the file has all its pages");
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.memory.free.lock().unwrap_or_else(PoisonError::into_inner).returned.insert(self.number);
    }
}

/// A whole page of a guest's own memory, zeroed when allocated. Clones are the same page.
///
/// It is reused only after every clone is dropped, its grant has ended and no mapping is left.
#[derive(Clone)]
pub struct GuestPage(pub(super) Arc<Page>);

impl GuestPage {
    /// The page in the guest's own address space: valid for [`PAGE_SIZE`] bytes while a clone of this lives. The host may
    /// change the bytes at any moment, so access must be volatile or atomic.
    pub fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: the page's number is below MAX_PAGES, so this stays inside the mapping.
        unsafe { self.0.memory.start.add(self.0.number * PAGE_SIZE) }
    }

    /// Copies bytes out of the page.
    ///
    /// # Panics
    /// If they reach beyond the page.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        self.0.read(offset, into);
    }

    /// Copies bytes into the page.
    ///
    /// # Panics
    /// If they reach beyond the page.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.0.write(offset, bytes);
    }
}

/// Maps pages one after another for the host.
///
/// # Errors
/// What `mmap` said; nothing stays mapped.
pub(super) fn map_pages(pages: &[Arc<Page>], access: Access) -> std::io::Result<NonNull<u8>> {
    let len = pages.len() * PAGE_SIZE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: reserves addresses of the kernel's choice; touches no memory of ours.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    let protection = match access {
        Access::ReadOnly => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    for (at, page) in pages.iter().enumerate() {
        let (fd, offset) = (page.memory.file.as_raw_fd(), page.offset() as libc::off_t);
        // SAFETY: replaces one page inside the range reserved above, which nobody else knows.
        let mapped = unsafe {
            let place = start.byte_add(at * PAGE_SIZE);
            libc::mmap(place, PAGE_SIZE, protection, libc::MAP_SHARED | libc::MAP_FIXED, fd, offset)
        };
        if mapped == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            // SAFETY: the range reserved above, not handed out.
            unsafe { libc::munmap(start, len) };
            return Err(error);
        }
    }
    Ok(NonNull::new(start.cast()).expect("mmap without MAP_FIXED never maps address 0"))
}
