// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's devices for one guest of the machine.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::EventFd;

use super::events;
use super::machine::Numbers;
use super::memory::{self, Page};
use super::state::Guest;
use crate::counters::Tally;
use crate::mapping::Backing;
use crate::{Access, Counters, Devices, Error, GrantRef, GrantStatus, Mapping, PAGE_SIZE, Port, devices};

pub(super) struct LoopDevices {
    guest: Arc<Guest>,
    numbers: Arc<Numbers>,
    /// This device among those open for the guest.
    number: u64,
    signal: Arc<EventFd>,
    tally: Arc<Tally>,
}

impl LoopDevices {
    pub(super) fn open(guest: Arc<Guest>, numbers: Arc<Numbers>) -> Self {
        let (number, signal) = (numbers.device(), events::signal());
        guest.lock().events.open_queue(number, Arc::clone(&signal));
        Self { guest, numbers, number, signal, tally: Arc::default() }
    }

    fn copy_error(&self, grant: GrantRef, status: GrantStatus) -> Error {
        Error::Copy { guest: self.guest.id, grant, status }
    }
}

impl Drop for LoopDevices {
    fn drop(&mut self) {
        self.guest.lock().events.close_queue(self.number);
    }
}

impl Devices for LoopDevices {
    fn map(&self, refs: &[GrantRef], access: Access) -> Result<Mapping, Error> {
        if refs.is_empty() {
            return Err(Error::Invalid("no page to map".into()));
        }
        let mut state = self.guest.lock();
        // gntdev says only EINVAL, at mmap, whatever Xen said of which page.
        let pages: Result<Vec<_>, _> = refs.iter().map(|gref| state.page(*gref, access)).collect();
        let pages = pages.map_err(|_| Error::os("mmap of grants", self.guest.id, libc::EINVAL))?;
        let start = memory::map_pages(&pages, access).map_err(|source| Error::Device {
            operation: "mmap of grants",
            guest: self.guest.id,
            source,
        })?;
        state.mapped(refs);
        drop(state);
        self.tally.mapped(refs.len());
        let backing = LoopBacking {
            guest: Arc::clone(&self.guest),
            refs: refs.to_vec(),
            pages,
            notify: Mutex::default(),
            tally: Arc::clone(&self.tally),
        };
        Ok(Mapping::new(start, refs.len() * PAGE_SIZE, access, Box::new(backing)))
    }

    fn copy_from_guest(&self, src: GrantRef, offset: u16, dst: &mut [u8]) -> Result<(), Error> {
        let len = devices::check_copy_in(offset, dst.len())?;
        if len == 0 {
            return Ok(());
        }
        let page =
            self.guest.lock().page(src, Access::ReadOnly).map_err(|status| self.copy_error(src, status))?;
        page.read(offset.into(), dst);
        self.tally.copies.fetch_add(1, Relaxed);
        self.tally.bytes_from_guest.fetch_add(len.into(), Relaxed);
        Ok(())
    }

    fn copy_to_guest(&self, pages: &[GrantRef], bytes: &[u8]) -> Result<(), Error> {
        devices::check_copy_out(pages.len(), bytes.len())?;
        for (part, &gref) in bytes.chunks(PAGE_SIZE).zip(pages) {
            let page = self.guest.lock().page(gref, Access::ReadWrite);
            page.map_err(|status| self.copy_error(gref, status))?.write(0, part);
            self.tally.copies.fetch_add(1, Relaxed);
        }
        self.tally.bytes_to_guest.fetch_add(bytes.len() as u64, Relaxed);
        Ok(())
    }

    fn bind(&self, remote: Port) -> Result<Port, Error> {
        let local = self.numbers.port();
        if !self.guest.lock().events.bind(self.number, local, remote) {
            return Err(Error::os("IOCTL_EVTCHN_BIND_INTERDOMAIN", self.guest.id, libc::EINVAL));
        }
        self.tally.bound();
        Ok(local)
    }

    fn unbind(&self, local: Port) -> Result<(), Error> {
        if !self.guest.lock().events.unbind(self.number, local) {
            return Err(Error::NotBound(local));
        }
        self.tally.unbound();
        Ok(())
    }

    fn notify(&self, local: Port) -> Result<(), Error> {
        if !self.guest.lock().events.notify_guest(self.number, local) {
            return Err(Error::NotBound(local));
        }
        self.tally.notifications.fetch_add(1, Relaxed);
        Ok(())
    }

    fn pending(&self) -> Result<Vec<Port>, Error> {
        let taken = self.guest.lock().events.take_pending(self.number);
        self.tally.events.fetch_add(taken.len() as u64, Relaxed);
        Ok(taken)
    }

    fn unmask(&self, local: Port) -> Result<(), Error> {
        if self.guest.lock().events.unmask(self.number, local) { Ok(()) } else { Err(Error::NotBound(local)) }
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }

    fn counters(&self) -> Counters {
        self.tally.snapshot()
    }
}

struct LoopBacking {
    guest: Arc<Guest>,
    refs: Vec<GrantRef>,
    pages: Vec<Arc<Page>>,
    notify: Mutex<UnmapNotify>,
    tally: Arc<Tally>,
}

/// What is to happen at unmap.
#[derive(Clone, Copy, Default)]
struct UnmapNotify {
    clear_byte: Option<usize>,
    event: Option<Port>,
}

impl Backing for LoopBacking {
    fn set_unmap_notify(&self, clear_byte: Option<usize>, event: Option<Port>) -> Result<(), Error> {
        let mut notify = self.notify.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.guest.lock();
        if let Some(port) = event
            && !state.events.hold(port)
        {
            return Err(Error::os("IOCTL_GNTDEV_SET_UNMAP_NOTIFY", self.guest.id, libc::EINVAL));
        }
        if let Some(port) = notify.event {
            state.events.let_go(port);
        }
        *notify = UnmapNotify { clear_byte, event };
        Ok(())
    }

    fn release(&self, start: NonNull<u8>, len: usize) {
        let notify = *self.notify.lock().unwrap_or_else(PoisonError::into_inner);
        // As gntdev: the byte first, then the pages go, then the event, so that the guest finds all done when it looks.
        if let Some(offset) = notify.clear_byte {
            self.pages[offset / PAGE_SIZE].write(offset % PAGE_SIZE, &[0]);
        }
        // SAFETY: `map` made exactly this mapping, and its owner is being dropped, so nobody uses it any more.
        if unsafe { libc::munmap(start.as_ptr().cast(), len) } < 0 {
            self.tally.unmap_failures.fetch_add(1, Relaxed);
            log::error!("munmap of loopback pages: {}", io::Error::last_os_error());
        }
        self.tally.unmapped(self.refs.len());
        let mut state = self.guest.lock();
        state.unmapped(&self.refs);
        if let Some(port) = notify.event {
            state.events.unmapped(port);
        }
    }
}
