// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/evtchn`: event channels, restricted to one guest.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::abi::{
    EvtchnBindInterdomain, EvtchnPort, EvtchnRestrictDomid, IOCTL_EVTCHN_BIND_INTERDOMAIN,
    IOCTL_EVTCHN_NOTIFY, IOCTL_EVTCHN_RESET, IOCTL_EVTCHN_RESTRICT_DOMID, IOCTL_EVTCHN_UNBIND,
};
use crate::counters::Tally;
use crate::{DomId, Error, Port};

const PATH: &str = "/dev/xen/evtchn";

/// Ports in one read: the device gives a page at most (`evtchn_read`).
const PORTS_PER_READ: usize = 1024;

pub(super) struct Evtchn {
    file: File,
    guest: DomId,
    /// The ports bound here; the device may still name one in its buffer that was unbound since.
    ports: Mutex<BTreeSet<Port>>,
    tally: Arc<Tally>,
}

impl Evtchn {
    pub(super) fn open(guest: DomId, tally: Arc<Tally>) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PATH)
            .map_err(|source| Error::Open { path: PATH.into(), source })?;
        let evtchn = Self { file, guest, ports: Mutex::default(), tally };
        let mut request = EvtchnRestrictDomid { domid: guest.0 };
        evtchn.ioctl("IOCTL_EVTCHN_RESTRICT_DOMID", IOCTL_EVTCHN_RESTRICT_DOMID, &mut request)?;
        Ok(evtchn)
    }

    pub(super) fn bind(&self, remote: Port) -> Result<Port, Error> {
        let mut request = EvtchnBindInterdomain { remote_domain: self.guest.0.into(), remote_port: remote.0 };
        let mut ports = self.ports();
        let local =
            self.ioctl("IOCTL_EVTCHN_BIND_INTERDOMAIN", IOCTL_EVTCHN_BIND_INTERDOMAIN, &mut request)?;
        let local = Port(local.cast_unsigned());
        ports.insert(local);
        self.tally.bound();
        Ok(local)
    }

    pub(super) fn unbind(&self, local: Port) -> Result<(), Error> {
        let mut ports = self.ports();
        if !ports.contains(&local) {
            return Err(Error::NotBound(local));
        }
        self.ioctl("IOCTL_EVTCHN_UNBIND", IOCTL_EVTCHN_UNBIND, &mut EvtchnPort { port: local.0 })?;
        ports.remove(&local);
        self.tally.unbound();
        Ok(())
    }

    pub(super) fn notify(&self, local: Port) -> Result<(), Error> {
        // No look at `ports`: this is the hot path, and the device itself knows (`evtchn_ioctl`, find_evtchn).
        match self.ioctl("IOCTL_EVTCHN_NOTIFY", IOCTL_EVTCHN_NOTIFY, &mut EvtchnPort { port: local.0 }) {
            Err(error) if error.errno() == Some(libc::ENOTCONN) => return Err(Error::NotBound(local)),
            other => other?,
        };
        self.tally.notifications.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(super) fn pending(&self) -> Result<Vec<Port>, Error> {
        let mut taken = Vec::new();
        let mut buffer = [0_u8; PORTS_PER_READ * size_of::<u32>()];
        loop {
            match (&self.file).read(&mut buffer) {
                Ok(bytes) => {
                    let (words, _) = buffer[..bytes].as_chunks::<{ size_of::<u32>() }>();
                    taken.extend(words.iter().map(|word| Port(u32::from_ne_bytes(*word))));
                    if bytes < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EFBIG) => {
                    // The buffer overflowed: events were lost, and which is unknown. Report every port.
                    log::warn!(
                        "the event buffer of domain {} overflowed; every port is looked at",
                        self.guest
                    );
                    self.ioctl("IOCTL_EVTCHN_RESET", IOCTL_EVTCHN_RESET, &mut EvtchnPort { port: 0 })?;
                    taken = self.ports().iter().copied().collect();
                    break;
                }
                Err(source) => {
                    return Err(Error::Device {
                        operation: "read of /dev/xen/evtchn",
                        guest: self.guest,
                        source,
                    });
                }
            }
        }
        if !taken.is_empty() {
            let ports = self.ports();
            taken.retain(|port| ports.contains(port));
            self.tally.events.fetch_add(taken.len() as u64, Relaxed);
        }
        Ok(taken)
    }

    pub(super) fn unmask(&self, local: Port) -> Result<(), Error> {
        if !self.ports().contains(&local) {
            return Err(Error::NotBound(local)); // The device would ignore it silently.
        }
        (&self.file).write_all(&local.0.to_ne_bytes()).map_err(|source| Error::Device {
            operation: "write to /dev/xen/evtchn",
            guest: self.guest,
            source,
        })
    }

    fn ports(&self) -> MutexGuard<'_, BTreeSet<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One ioctl of this device; `T` is what its header says the request points to.
    fn ioctl<T>(&self, name: &'static str, number: libc::c_ulong, argument: &mut T) -> Result<i32, Error> {
        // SAFETY: each caller passes the struct that belongs to the number, exclusively borrowed.
        let rc = unsafe { libc::ioctl(self.file.as_raw_fd(), number, std::ptr::from_mut(argument)) };
        if rc < 0 { Err(Error::last_os(name, self.guest)) } else { Ok(rc) }
    }
}

impl AsFd for Evtchn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
