// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/gntdev`: mapping a guest's pages.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::abi::{
    GntdevGrantRef, GntdevMap, GntdevUnmap, GntdevUnmapNotify, IOCTL_GNTDEV_MAP_GRANT_REF,
    IOCTL_GNTDEV_SET_UNMAP_NOTIFY, IOCTL_GNTDEV_UNMAP_GRANT_REF, UNMAP_NOTIFY_CLEAR_BYTE,
    UNMAP_NOTIFY_SEND_EVENT,
};
use crate::counters::Tally;
use crate::mapping::{Backing, Mapping};
use crate::{Access, DomId, Error, GrantRef, PAGE_SIZE, Port};

/// Most grants in one mapping: the default of gntdev's module parameter `limit`.
const MAX_GRANTS_PER_MAP: usize = 65536;

/// Maps `refs` of `guest`; on any failure nothing stays behind in the kernel.
pub(super) fn map(
    gntdev: &Arc<File>,
    tally: &Arc<Tally>,
    guest: DomId,
    refs: &[GrantRef],
    access: Access,
) -> Result<Mapping, Error> {
    if refs.is_empty() || refs.len() > MAX_GRANTS_PER_MAP {
        let pages = refs.len();
        return Err(Error::Invalid(format!("{pages} pages to map at once, not 1 to {MAX_GRANTS_PER_MAP}")));
    }
    // From here on the drop of `slot` gives the index back.
    let slot = Slot::reserve(gntdev, guest, refs)?;
    let len = refs.len() * PAGE_SIZE;
    let protection = match access {
        Access::ReadOnly => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    };
    let offset = libc::off_t::try_from(slot.index).map_err(|_| {
        Error::Invalid(format!("gntdev gave the offset {:#x}, which mmap cannot take", slot.index))
    })?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, gntdev.as_raw_fd(), offset) };
    if start == libc::MAP_FAILED {
        return Err(Error::last_os("mmap of grants", guest));
    }
    let start = NonNull::new(start.cast::<u8>()).expect("mmap without MAP_FIXED never maps address 0");
    tally.mapped(refs.len());
    Ok(Mapping::new(start, len, access, Box::new(GrantBacking { slot, tally: Arc::clone(tally) })))
}

/// An index of gntdev's, held until dropped.
struct Slot {
    gntdev: Arc<File>,
    guest: DomId,
    index: u64,
    count: u32,
}

impl Slot {
    fn reserve(gntdev: &Arc<File>, guest: DomId, refs: &[GrantRef]) -> Result<Self, Error> {
        let count = u32::try_from(refs.len()).expect("checked against MAX_GRANTS_PER_MAP");
        let request = MapRequest::new(guest, refs, count);
        // SAFETY: the request is a whole ioctl_gntdev_map_grant_ref followed by `count` references in one allocation.
        let rc = unsafe { libc::ioctl(gntdev.as_raw_fd(), IOCTL_GNTDEV_MAP_GRANT_REF, request.head) };
        if rc < 0 {
            return Err(Error::last_os("IOCTL_GNTDEV_MAP_GRANT_REF", guest));
        }
        // SAFETY: `head` points to the initialised request, which the kernel is done with.
        let index = unsafe { (*request.head).index };
        Ok(Self { gntdev: Arc::clone(gntdev), guest, index, count })
    }

    fn set_unmap_notify(&self, clear_byte: Option<usize>, event: Option<Port>) -> Result<(), Error> {
        let mut action = 0;
        if clear_byte.is_some() {
            action |= UNMAP_NOTIFY_CLEAR_BYTE;
        }
        if event.is_some() {
            action |= UNMAP_NOTIFY_SEND_EVENT;
        }
        let request = GntdevUnmapNotify {
            index: self.index + clear_byte.unwrap_or(0) as u64,
            action,
            event_channel_port: event.map_or(0, |port| port.0),
        };
        // SAFETY: the request is a whole ioctl_gntdev_unmap_notify; the kernel only reads it.
        let rc = unsafe {
            libc::ioctl(self.gntdev.as_raw_fd(), IOCTL_GNTDEV_SET_UNMAP_NOTIFY, &raw const request)
        };
        if rc < 0 { Err(Error::last_os("IOCTL_GNTDEV_SET_UNMAP_NOTIFY", self.guest)) } else { Ok(()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let request = GntdevUnmap { index: self.index, count: self.count, pad: 0 };
        // SAFETY: the request is a whole ioctl_gntdev_unmap_grant_ref; the kernel only reads it.
        let rc =
            unsafe { libc::ioctl(self.gntdev.as_raw_fd(), IOCTL_GNTDEV_UNMAP_GRANT_REF, &raw const request) };
        if rc < 0 {
            // Nothing more can be done here: the kernel takes it back when the descriptor closes.
            log::error!("{}", Error::last_os("IOCTL_GNTDEV_UNMAP_GRANT_REF", self.guest));
        }
    }
}

struct GrantBacking {
    slot: Slot,
    tally: Arc<Tally>,
}

impl Backing for GrantBacking {
    fn set_unmap_notify(&self, clear_byte: Option<usize>, event: Option<Port>) -> Result<(), Error> {
        self.slot.set_unmap_notify(clear_byte, event)
    }

    fn release(&self, start: NonNull<u8>, len: usize) {
        // SAFETY: `map` made exactly this mapping, and its owner is being dropped, so nobody uses it any more.
        if unsafe { libc::munmap(start.as_ptr().cast(), len) } < 0 {
            self.tally.unmap_failures.fetch_add(1, Relaxed);
            log::error!("{}", Error::last_os("munmap of grants", self.slot.guest));
        }
        self.tally.unmapped(self.slot.count as usize);
        // The slot's own drop follows and gives the index back.
    }
}

/// The variable-length argument of `IOCTL_GNTDEV_MAP_GRANT_REF`, aligned for it.
struct MapRequest {
    head: *mut GntdevMap,
    layout: Layout,
}

impl MapRequest {
    fn new(guest: DomId, refs: &[GrantRef], count: u32) -> Self {
        let bytes = size_of::<GntdevMap>() + (refs.len() - 1) * size_of::<GntdevGrantRef>();
        let layout =
            Layout::from_size_align(bytes, align_of::<GntdevMap>()).expect("at most 65536 references");
        // SAFETY: the layout has a size of at least one GntdevMap.
        let head = unsafe { alloc_zeroed(layout) }.cast::<GntdevMap>();
        if head.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: `head` is valid for a GntdevMap and `count - 1` further references, just allocated and ours alone.
        unsafe {
            (*head).count = count;
            let first = (&raw mut (*head).refs).cast::<GntdevGrantRef>();
            for (at, gref) in refs.iter().enumerate() {
                first.add(at).write(GntdevGrantRef { domid: guest.0.into(), gref: gref.0 });
            }
        }
        Self { head, layout }
    }
}

impl Drop for MapRequest {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.head.cast(), self.layout) }
    }
}
