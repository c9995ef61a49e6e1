// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 with its real devices.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Once};

use super::evtchn::Evtchn;
use super::{DomainControl, gntdev, grant_copy, xl};
use crate::counters::Tally;
use crate::{Access, Counters, Devices, DomId, DomainState, Error, GrantRef, Host, Mapping, Port, VcpuState};

const GNTDEV: &str = "/dev/xen/gntdev";

/// This dom0.
pub struct XenHost {
    /// `None`: this Xen's interface is not known, `xl` is asked instead.
    control: Option<DomainControl>,
}

impl XenHost {
    /// Opens privcmd and probes which interface this Xen speaks. If none that is known, domain state comes from
    /// `xl list`, and a warning says so once.
    ///
    /// # Errors
    /// [`Error::Open`] outside of dom0; [`Error::Device`] if Xen refuses to answer.
    pub fn new() -> Result<Self, Error> {
        static WARNED: Once = Once::new();
        match DomainControl::probe() {
            Ok(control) => Ok(Self { control: Some(control) }),
            Err(error @ Error::UnknownInterface { .. }) => {
                WARNED.call_once(|| {
                    log::warn!("{error}; domain state is taken from `xl list`, which is slower")
                });
                Ok(Self { control: None })
            }
            Err(error) => Err(error),
        }
    }
}

impl Host for XenHost {
    fn open(&self, guest: DomId) -> Result<Box<dyn Devices>, Error> {
        let tally = Arc::new(Tally::default());
        let gntdev = OpenOptions::new()
            .read(true)
            .write(true)
            .open(GNTDEV)
            .map_err(|source| Error::Open { path: GNTDEV.into(), source })?;
        let evtchn = Evtchn::open(guest, Arc::clone(&tally))?;
        Ok(Box::new(XenDevices { guest, gntdev: Arc::new(gntdev), evtchn, tally }))
    }

    fn domain(&self, id: DomId) -> Result<Option<DomainState>, Error> {
        match &self.control {
            Some(control) => control.domain(id),
            None => Ok(xl::domains()?.into_iter().find(|domain| domain.id == id)),
        }
    }

    fn domains(&self) -> Result<Vec<DomainState>, Error> {
        self.control.as_ref().map_or_else(xl::domains, DomainControl::domains)
    }

    fn vcpus(&self, id: DomId) -> Result<Vec<VcpuState>, Error> {
        self.control.as_ref().map_or_else(|| xl::vcpus(id), |control| control.vcpus(id))
    }
}

struct XenDevices {
    guest: DomId,
    /// Shared with the mappings, which give their index back through it.
    gntdev: Arc<File>,
    evtchn: Evtchn,
    tally: Arc<Tally>,
}

impl Devices for XenDevices {
    fn map(&self, refs: &[GrantRef], access: Access) -> Result<Mapping, Error> {
        gntdev::map(&self.gntdev, &self.tally, self.guest, refs, access)
    }

    fn copy_from_guest(&self, src: GrantRef, offset: u16, dst: &mut [u8]) -> Result<(), Error> {
        grant_copy::from_guest(&self.gntdev, &self.tally, self.guest, src, offset, dst)
    }

    fn copy_to_guest(&self, pages: &[GrantRef], bytes: &[u8]) -> Result<(), Error> {
        grant_copy::to_guest(&self.gntdev, &self.tally, self.guest, pages, bytes)
    }

    fn bind(&self, remote: Port) -> Result<Port, Error> {
        self.evtchn.bind(remote)
    }

    fn unbind(&self, local: Port) -> Result<(), Error> {
        self.evtchn.unbind(local)
    }

    fn notify(&self, local: Port) -> Result<(), Error> {
        self.evtchn.notify(local)
    }

    fn pending(&self) -> Result<Vec<Port>, Error> {
        self.evtchn.pending()
    }

    fn unmask(&self, local: Port) -> Result<(), Error> {
        self.evtchn.unmask(local)
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.evtchn.as_fd()
    }

    fn counters(&self) -> Counters {
        self.tally.snapshot()
    }
}
