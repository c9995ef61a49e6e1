// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen knows of a domain's life.

use crate::DomId;

/// Why a domain says it shut down (`SHUTDOWN_*` of `xen/include/public/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// 0: exited normally.
    Poweroff,
    /// 1: wants to start again.
    Reboot,
    /// 2: suspended for save or migration.
    Suspend,
    /// 3: crashed.
    Crash,
    /// 4: its watchdog expired.
    Watchdog,
    /// 5: soft reset, for kexec.
    SoftReset,
    /// A code that this build has no name for.
    Other(u8),
}

impl ShutdownReason {
    /// The reason of a `SHUTDOWN_*` code.
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Poweroff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            other => Self::Other(other),
        }
    }
}

/// One vCPU as Xen sees it at one moment (`struct xen_domctl_getvcpuinfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuState {
    /// Its guest has brought it up and has not taken it down.
    pub online: bool,
    /// It waits for an event.
    pub blocked: bool,
    /// It is on a physical CPU.
    pub running: bool,
    /// CPU time since the domain was built, nanoseconds. From `xl`: tenths of a second.
    pub cpu_time_ns: u64,
}

/// One domain as Xen sees it at one moment (`struct xen_domctl_getdomaininfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// The domain's number.
    pub id: DomId,
    /// Its UUID (`handle`), in the order it is written: first byte first.
    pub uuid: [u8; 16],
    /// A vCPU of it was running.
    pub running: bool,
    /// All its vCPUs wait for an event.
    pub blocked: bool,
    /// Paused by the toolstack.
    pub paused: bool,
    /// Destroyed, but some of its memory is still mapped: a zombie.
    pub dying: bool,
    /// Why it shut down, where it has.
    pub shutdown: Option<ShutdownReason>,
    /// Virtual machine with its own page tables (HVM or PVH), not PV. Unknown from the `xl` table: `None`.
    pub hvm: Option<bool>,
    /// vCPUs that are online.
    pub vcpus_online: u32,
    /// CPU time of all vCPUs since it was built, nanoseconds. From `xl`: tenths of a second, or 0 where not told.
    pub cpu_time_ns: u64,
    /// Pages of 4096 bytes it holds now.
    pub pages: u64,
}
