// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain state straight from Xen: `XEN_DOMCTL_getdomaininfo`, `XEN_DOMCTL_getvcpuinfo` and
//! `XEN_SYSCTL_getdomaininfolist`.
//!
//! These interfaces carry a version and change between releases. The list is a sysctl, but the layout of its entries
//! belongs to the *domctl* version, and Xen 4.17 and 4.20 have the same sysctl version. So the domctl version is probed
//! first, and nothing is asked of a Xen whose version is not known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::abi::{
    DOMCTL_GETDOMAININFO, DOMCTL_GETVCPUINFO, DOMINF_BLOCKED, DOMINF_DYING, DOMINF_HVM_GUEST, DOMINF_PAUSED,
    DOMINF_RUNNING, DOMINF_SHUTDOWN, DOMINF_SHUTDOWN_SHIFT, DomainInfo, DomainInfoList, Domctl, DomctlUnion,
    HYPERVISOR_DOMCTL, HYPERVISOR_SYSCTL, SYSCTL_GETDOMAININFOLIST, SYSCTL_VERSION, Sysctl, SysctlUnion,
    VcpuInfo,
};
use super::hypercall::{LockedMemory, Privcmd};
use crate::{DomId, DomainState, Error, PAGE_SIZE, ShutdownReason, VcpuState};

/// The domctl versions whose layout is [`DomainInfo`]: Xen 4.17 and 4.20. On another architecture than x86 the entries
/// have another length, so none is known there.
const KNOWN_DOMCTL: &[u32] = if cfg!(target_arch = "x86_64") { &[0x15, 0x17] } else { &[] };

/// One page for the operation, eight for the list: 292 domains a call.
const MEMORY_PAGES: usize = 9;

/// Most vCPUs of a guest (`HVM_MAX_VCPUS` and `MAX_VIRT_CPUS` of Xen are at most this): a bound for a number of Xen's.
const MAX_VCPUS: u32 = 8192;

/// The first domid that is no domain (`DOMID_FIRST_RESERVED`).
const FIRST_RESERVED: u16 = 0x7ff0;

/// A way to ask this Xen for the state of domains.
pub struct DomainControl {
    privcmd: Privcmd,
    version: u32,
    memory: Mutex<LockedMemory>,
}

impl DomainControl {
    /// Opens privcmd and finds out which version of the interface this Xen speaks.
    ///
    /// # Errors
    /// [`Error::Open`] outside of dom0; [`Error::UnknownInterface`] if the version is none of the known.
    pub fn probe() -> Result<Self, Error> {
        let mut control =
            Self { privcmd: Privcmd::open()?, version: 0, memory: LockedMemory::new(MEMORY_PAGES)?.into() };
        control.version = find_version("domctl", KNOWN_DOMCTL, |version| {
            control.getdomaininfo(&mut control.memory(), version, DomId(0)).map(drop)
        })?;
        // The same for the sysctl, so that a mismatch shows now and not at the first use.
        find_version("sysctl", &[SYSCTL_VERSION], |_| control.list_from(&mut control.memory(), 0).map(drop))?;
        Ok(control)
    }

    /// The state of one domain; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Device`] if Xen refuses.
    pub fn domain(&self, id: DomId) -> Result<Option<DomainState>, Error> {
        if id.0 >= FIRST_RESERVED {
            return Ok(None); // Xen answers EINVAL.
        }
        match self.getdomaininfo(&mut self.memory(), self.version, id) {
            // Xen before 4.19 answers for the next higher domain if this one does not exist.
            Ok(info) => Ok((info.domain == id.0).then(|| state(&info))),
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All domains in the order of their numbers.
    ///
    /// # Errors
    /// [`Error::Device`] if Xen refuses.
    pub fn domains(&self) -> Result<Vec<DomainState>, Error> {
        let mut memory = self.memory();
        let mut found: Vec<DomainState> = Vec::new();
        let mut first = 0;
        loop {
            let (part, full) = self.list_from(&mut memory, first)?;
            found.extend(part.iter().map(state));
            match part.last() {
                Some(last) if full && last.domain < FIRST_RESERVED => first = last.domain + 1,
                _ => return Ok(found),
            }
        }
    }

    /// The vCPUs of one domain; empty if there is none.
    ///
    /// # Errors
    /// [`Error::Device`] if Xen refuses.
    pub fn vcpus(&self, id: DomId) -> Result<Vec<VcpuState>, Error> {
        if id.0 >= FIRST_RESERVED {
            return Ok(Vec::new());
        }
        let memory = &mut self.memory();
        let last = match self.getdomaininfo(memory, self.version, id) {
            Ok(info) if info.domain == id.0 => info.max_vcpu_id.min(MAX_VCPUS),
            Ok(_) => return Ok(Vec::new()),
            Err(error) if error.errno() == Some(libc::ESRCH) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for vcpu in 0..=last {
            match self.getvcpuinfo(memory, id, vcpu) {
                Ok(info) => found.push(vcpu_state(&info)),
                // ESRCH: no such vCPU, of a domain that is being built or is gone meanwhile.
                Err(error) if error.errno() == Some(libc::ESRCH) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn getvcpuinfo(&self, memory: &mut LockedMemory, id: DomId, vcpu: u32) -> Result<VcpuInfo, Error> {
        let mut u = DomctlUnion { pad: [0; 128] };
        u.getvcpuinfo = VcpuInfo { vcpu, ..VcpuInfo::default() };
        let (cmd, interface_version) = (DOMCTL_GETVCPUINFO, self.version);
        let at = memory.start().cast::<Domctl>();
        // SAFETY: as in `getdomaininfo`; whatever Xen writes is a valid VcpuInfo.
        unsafe {
            at.write(Domctl { cmd, interface_version, domain: id.0, pad: [0; 3], u });
            self.privcmd.call("XEN_DOMCTL_getvcpuinfo", HYPERVISOR_DOMCTL, at.cast())?;
            Ok((*at).u.getvcpuinfo)
        }
    }

    fn getdomaininfo(&self, memory: &mut LockedMemory, version: u32, id: DomId) -> Result<DomainInfo, Error> {
        let at = memory.start().cast::<Domctl>();
        // SAFETY: the memory is page-aligned, larger than a Domctl and exclusively borrowed; the domctl takes a Domctl
        // there and holds no further address. Whatever Xen writes is a valid DomainInfo: integers only.
        unsafe {
            at.write(Domctl {
                cmd: DOMCTL_GETDOMAININFO,
                interface_version: version,
                domain: id.0,
                pad: [0; 3],
                u: DomctlUnion { pad: [0; 128] },
            });
            self.privcmd.call("XEN_DOMCTL_getdomaininfo", HYPERVISOR_DOMCTL, at.cast())?;
            Ok((*at).u.getdomaininfo)
        }
    }

    /// The domains from `first` on that fit, and whether the memory is full, so that there may be more.
    fn list_from(&self, memory: &mut LockedMemory, first: u16) -> Result<(Vec<DomainInfo>, bool), Error> {
        let room = (memory.len() - PAGE_SIZE) / size_of::<DomainInfo>();
        let at = memory.start().cast::<Sysctl>();
        // SAFETY: the operation lies in the first page and the list in the rest of the memory, page-aligned and
        // exclusively borrowed. Xen writes at most `room` entries, which is how many fit; the count it gives is
        // cut to that, and any bytes are valid entries.
        unsafe {
            let list = memory.start().add(PAGE_SIZE).cast::<DomainInfo>();
            at.write(Sysctl {
                cmd: SYSCTL_GETDOMAININFOLIST,
                interface_version: SYSCTL_VERSION,
                u: SysctlUnion { pad: [0; 128] },
            });
            (*at).u.getdomaininfolist = DomainInfoList {
                first_domain: first,
                max_domains: room as u32,
                buffer: list.expose_provenance() as u64,
                num_domains: 0,
            };
            self.privcmd.call("XEN_SYSCTL_getdomaininfolist", HYPERVISOR_SYSCTL, at.cast())?;
            let count = ((*at).u.getdomaininfolist.num_domains as usize).min(room);
            Ok(((0..count).map(|n| list.add(n).read()).collect(), count == room))
        }
    }

    fn memory(&self) -> MutexGuard<'_, LockedMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first version that `ask` does not answer with EACCES, which is what Xen says to a version it does not speak.
fn find_version(
    interface: &'static str,
    known: &[u32],
    mut ask: impl FnMut(u32) -> Result<(), Error>,
) -> Result<u32, Error> {
    for &version in known {
        match ask(version) {
            Ok(()) => return Ok(version),
            Err(error) if error.errno() == Some(libc::EACCES) => {}
            Err(error) => return Err(error),
        }
    }
    let known = known.iter().map(|version| format!("{version:#x}")).collect::<Vec<_>>().join(", ");
    Err(Error::UnknownInterface { interface, known })
}

fn state(info: &DomainInfo) -> DomainState {
    let flag = |bit| info.flags & bit != 0;
    DomainState {
        id: DomId(info.domain),
        uuid: info.handle,
        running: flag(DOMINF_RUNNING),
        blocked: flag(DOMINF_BLOCKED),
        paused: flag(DOMINF_PAUSED),
        dying: flag(DOMINF_DYING),
        shutdown: flag(DOMINF_SHUTDOWN)
            .then(|| ShutdownReason::from_code((info.flags >> DOMINF_SHUTDOWN_SHIFT & 0xff) as u8)),
        hvm: Some(flag(DOMINF_HVM_GUEST)),
        vcpus_online: info.nr_online_vcpus,
        cpu_time_ns: info.cpu_time,
        pages: info.tot_pages,
    }
}

fn vcpu_state(info: &VcpuInfo) -> VcpuState {
    VcpuState {
        online: info.online != 0,
        blocked: info.blocked != 0,
        running: info.running != 0,
        cpu_time_ns: info.cpu_time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_are_told_apart() {
        let info = VcpuInfo { vcpu: 3, blocked: 1, cpu_time: 7, ..VcpuInfo::default() };
        assert_eq!(
            vcpu_state(&info),
            VcpuState { online: false, blocked: true, running: false, cpu_time_ns: 7 }
        );
        let info = VcpuInfo { online: 1, running: 1, ..VcpuInfo::default() };
        assert!(vcpu_state(&info).online && vcpu_state(&info).running && !vcpu_state(&info).blocked);
    }

    fn answer(errno: i32) -> Result<(), Error> {
        Err(Error::os("XEN_DOMCTL_getdomaininfo", DomId(0), errno))
    }

    #[test]
    fn the_second_version_is_found() {
        let found =
            find_version("domctl", &[0x15, 0x17], |v| if v == 0x17 { Ok(()) } else { answer(libc::EACCES) });
        assert_eq!(found.unwrap(), 0x17);
    }

    #[test]
    fn an_unknown_version_is_said_with_those_tried() {
        let error = find_version("domctl", &[0x15, 0x17], |_| answer(libc::EACCES)).unwrap_err();
        assert!(matches!(error, Error::UnknownInterface { .. }));
        assert!(error.to_string().contains("domctl") && error.to_string().contains("0x15, 0x17"), "{error}");
    }

    #[test]
    fn another_refusal_is_not_taken_for_a_version() {
        let error = find_version("domctl", &[0x15, 0x17], |_| answer(libc::EPERM)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EPERM));
    }

    #[test]
    fn flags_are_told_apart() {
        let blank = DomainInfo {
            domain: 7,
            pad1: 0,
            flags: 0,
            tot_pages: 9,
            max_pages: 0,
            outstanding_pages: 0,
            shr_pages: 0,
            paged_pages: 0,
            shared_info_frame: 0,
            cpu_time: 5,
            nr_online_vcpus: 2,
            max_vcpu_id: 1,
            ssidref: 0,
            handle: [3; 16],
            cpupool: 0,
            gpaddr_bits: 0,
            pad2: [0; 7],
            arch_config: [0; 2],
        };
        let of = |flags| state(&DomainInfo { flags, ..blank });
        assert!(of(1).dying && !of(1).running);
        assert_eq!(of(2).hvm, Some(true));
        assert_eq!(of(4).shutdown, Some(ShutdownReason::Poweroff));
        assert_eq!(of(4 | 3 << 16).shutdown, Some(ShutdownReason::Crash));
        assert_eq!(of(4 | 9 << 16).shutdown, Some(ShutdownReason::Other(9)));
        assert_eq!(of(3 << 16).shutdown, None);
        assert!(of(8).paused && of(16).blocked && of(32).running);
        assert_eq!((of(0).id, of(0).cpu_time_ns, of(0).vcpus_online), (DomId(7), 5, 2));
    }
}
