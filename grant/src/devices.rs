// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two traits that the rest of VESPER sees.

use std::os::fd::BorrowedFd;

use crate::{Access, Counters, DomId, DomainState, Error, GrantRef, Mapping, PAGE_SIZE, Port, VcpuState};

/// The devices as opened for one guest: one grant and one event channel descriptor.
///
/// Dropping it closes every port. A [`Mapping`] may outlive it and keeps what it needs.
pub trait Devices: Send {
    /// Maps pages of the guest one after another into this process.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list or more pages than one call takes; [`Error::Device`] when the kernel refuses,
    /// for example because one of the references is not granted. Nothing stays mapped then.
    fn map(&self, refs: &[GrantRef], access: Access) -> Result<Mapping, Error>;

    /// Copies from one granted page into private memory, with no mapping (`IOCTL_GNTDEV_GRANT_COPY`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if `offset + dst.len()` leaves the page; [`Error::Copy`] with Xen's status.
    fn copy_from_guest(&self, src: GrantRef, offset: u16, dst: &mut [u8]) -> Result<(), Error>;

    /// Fills granted pages with `bytes`, from the first byte of `pages[0]` on, with no mapping.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the bytes do not fit; [`Error::Copy`] with the first page that failed and Xen's status,
    /// in which case any part may have been written.
    fn copy_to_guest(&self, pages: &[GrantRef], bytes: &[u8]) -> Result<(), Error>;

    /// Binds to the guest's unbound port; the local port starts unmasked, and pending: the first event may be spurious.
    ///
    /// # Errors
    /// [`Error::Device`]: no such port, not meant for dom0, or bound already.
    fn bind(&self, remote: Port) -> Result<Port, Error>;

    /// Closes a local port; the guest's end becomes unbound and can be bound again.
    ///
    /// # Errors
    /// [`Error::NotBound`] if the port is not bound here.
    fn unbind(&self, local: Port) -> Result<(), Error>;

    /// Sends an event to the guest.
    ///
    /// # Errors
    /// [`Error::NotBound`] if the port is not bound here.
    fn notify(&self, local: Port) -> Result<(), Error>;

    /// Takes the ports with a pending event, without blocking; each stays masked until [`Devices::unmask`].
    ///
    /// # Errors
    /// [`Error::Device`] when the descriptor cannot be read.
    fn pending(&self) -> Result<Vec<Port>, Error>;

    /// Lets a port that was taken report again. An event that came in between is reported at once.
    ///
    /// # Errors
    /// [`Error::NotBound`] if the port is not bound here.
    fn unmask(&self, local: Port) -> Result<(), Error>;

    /// Readable when [`Devices::pending`] has something to say; for epoll.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// What is in use now and what was done so far.
    fn counters(&self) -> Counters;
}

/// The machine as dom0 sees it.
pub trait Host: Send + Sync {
    /// Opens the devices for one guest; the event channels are restricted to it. A guest that does not exist is
    /// noticed at the first use at the latest. dom0 itself cannot be opened so: Linux restricts to a guest only.
    ///
    /// # Errors
    /// [`Error::Open`] if a device file cannot be opened.
    fn open(&self, guest: DomId) -> Result<Box<dyn Devices>, Error>;

    /// The state of one domain; `None` if it does not exist.
    ///
    /// # Errors
    /// Any error of asking; never for a domain that is merely gone.
    fn domain(&self, id: DomId) -> Result<Option<DomainState>, Error>;

    /// All domains in the order of their numbers, dom0 and dying ones included.
    ///
    /// # Errors
    /// Any error of asking.
    fn domains(&self) -> Result<Vec<DomainState>, Error>;

    /// The vCPUs of one domain in the order of their numbers, those that are offline included; empty if it does not
    /// exist.
    ///
    /// # Errors
    /// Any error of asking; never for a domain that is merely gone.
    fn vcpus(&self, id: DomId) -> Result<Vec<VcpuState>, Error>;
}

/// The length of a copy out of one page, if it stays in the page. Shared by the implementations of [`Devices`].
pub(crate) fn check_copy_in(offset: u16, len: usize) -> Result<u16, Error> {
    match u16::try_from(len) {
        Ok(short) if usize::from(offset) + len <= PAGE_SIZE => Ok(short),
        _ => Err(Error::Invalid(format!("{len} bytes from byte {offset} on leave a page of {PAGE_SIZE}"))),
    }
}

/// Refuses to copy more bytes than the pages hold. Shared by the implementations of [`Devices`].
pub(crate) fn check_copy_out(pages: usize, len: usize) -> Result<(), Error> {
    if len > pages.saturating_mul(PAGE_SIZE) {
        return Err(Error::Invalid(format!("{len} bytes do not fit into {pages} pages")));
    }
    Ok(())
}
