// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's and Xen's binary interface, as far as it is used here. `tests/abi.rs` compares every number, size and
//! offset with the C headers.
//!
//! Xen's ioctls are `_IOC(_IOC_NONE, type, nr, size)` with a size, which the usual macros do not produce.

use std::ffi::c_void;

/// `_IOC(_IOC_NONE, ty, nr, size)` of `asm-generic/ioctl.h`, as on x86 and Arm.
const fn ioc(ty: u8, nr: u8, size: usize) -> libc::c_ulong {
    ((size as libc::c_ulong) << 16) | ((ty as libc::c_ulong) << 8) | nr as libc::c_ulong
}

// ---- xen/gntdev.h ----

/// `struct ioctl_gntdev_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevGrantRef {
    /// The granting domain.
    pub domid: u32,
    /// The grant reference.
    pub gref: u32,
}

/// `struct ioctl_gntdev_map_grant_ref`: the head of a buffer that goes on with `count` references in all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevMap {
    /// In: number of references.
    pub count: u32,
    /// Zero.
    pub pad: u32,
    /// Out: the offset for `mmap`.
    pub index: u64,
    /// In: the first reference.
    pub refs: [GntdevGrantRef; 1],
}

/// `struct ioctl_gntdev_unmap_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevUnmap {
    /// In: what the map gave.
    pub index: u64,
    /// In: number of pages.
    pub count: u32,
    /// Zero.
    pub pad: u32,
}

/// `struct ioctl_gntdev_unmap_notify`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevUnmapNotify {
    /// In: the map's index plus the byte to clear.
    pub index: u64,
    /// In: [`UNMAP_NOTIFY_CLEAR_BYTE`] and [`UNMAP_NOTIFY_SEND_EVENT`].
    pub action: u32,
    /// In: the local port to send on.
    pub event_channel_port: u32,
}

/// The foreign side of a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CopyForeign {
    /// The grant.
    pub gref: u32,
    /// First byte in the page.
    pub offset: u16,
    /// The granting domain.
    pub domid: u16,
}

/// One side of a copy.
#[repr(C)]
#[derive(Clone, Copy)]
pub union CopySide {
    /// Memory of this process.
    pub virt: *mut c_void,
    /// A granted page.
    pub foreign: CopyForeign,
}

/// `struct gntdev_grant_copy_segment`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CopySegment {
    /// From.
    pub source: CopySide,
    /// To.
    pub dest: CopySide,
    /// Bytes, not beyond the end of the foreign page.
    pub len: u16,
    /// [`GNTCOPY_SOURCE_GREF`] or [`GNTCOPY_DEST_GREF`].
    pub flags: u16,
    /// Out: a `GNTST_*` code.
    pub status: i16,
}

/// `struct ioctl_gntdev_grant_copy`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevGrantCopy {
    /// Number of segments.
    pub count: u32,
    /// The segments.
    pub segments: *mut CopySegment,
}

/// Clear a byte at unmap.
pub const UNMAP_NOTIFY_CLEAR_BYTE: u32 = 1;
/// Send an event at unmap.
pub const UNMAP_NOTIFY_SEND_EVENT: u32 = 2;
/// The source is a grant (`xen/grant_table.h`).
pub const GNTCOPY_SOURCE_GREF: u16 = 1;
/// The destination is a grant (`xen/grant_table.h`).
pub const GNTCOPY_DEST_GREF: u16 = 2;

/// Map grants.
pub const IOCTL_GNTDEV_MAP_GRANT_REF: libc::c_ulong = ioc(b'G', 0, size_of::<GntdevMap>());
/// Give a map's index back.
pub const IOCTL_GNTDEV_UNMAP_GRANT_REF: libc::c_ulong = ioc(b'G', 1, size_of::<GntdevUnmap>());
/// Ask for a notification at unmap.
pub const IOCTL_GNTDEV_SET_UNMAP_NOTIFY: libc::c_ulong = ioc(b'G', 7, size_of::<GntdevUnmapNotify>());
/// Copy without mapping.
pub const IOCTL_GNTDEV_GRANT_COPY: libc::c_ulong = ioc(b'G', 8, size_of::<GntdevGrantCopy>());

// ---- xen/evtchn.h ----

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EvtchnBindInterdomain {
    /// The other domain.
    pub remote_domain: u32,
    /// Its unbound port.
    pub remote_port: u32,
}

/// `struct ioctl_evtchn_unbind` and `struct ioctl_evtchn_notify`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EvtchnPort {
    /// A local port.
    pub port: u32,
}

/// `struct ioctl_evtchn_restrict_domid`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EvtchnRestrictDomid {
    /// The only domain to bind to from now on.
    pub domid: u16,
}

/// Bind to a remote port; returns the local one.
pub const IOCTL_EVTCHN_BIND_INTERDOMAIN: libc::c_ulong = ioc(b'E', 1, size_of::<EvtchnBindInterdomain>());
/// Close a local port.
pub const IOCTL_EVTCHN_UNBIND: libc::c_ulong = ioc(b'E', 3, size_of::<EvtchnPort>());
/// Send an event.
pub const IOCTL_EVTCHN_NOTIFY: libc::c_ulong = ioc(b'E', 4, size_of::<EvtchnPort>());
/// Empty the event buffer and clear its overflow.
pub const IOCTL_EVTCHN_RESET: libc::c_ulong = ioc(b'E', 5, 0);
/// Give up all domains but one.
pub const IOCTL_EVTCHN_RESTRICT_DOMID: libc::c_ulong = ioc(b'E', 6, size_of::<EvtchnRestrictDomid>());

// ---- xen/privcmd.h, xen/xen.h ----

/// `struct privcmd_hypercall`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PrivcmdHypercall {
    /// Hypercall number.
    pub op: u64,
    /// Its arguments.
    pub arg: [u64; 5],
}

/// Issue a hypercall.
pub const IOCTL_PRIVCMD_HYPERCALL: libc::c_ulong = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
/// `__HYPERVISOR_sysctl`.
pub const HYPERVISOR_SYSCTL: u64 = 35;
/// `__HYPERVISOR_domctl`.
pub const HYPERVISOR_DOMCTL: u64 = 36;

// ---- xen/domctl.h, xen/sysctl.h: x86, the same layout in Xen 4.17 (domctl 0x15) and 4.20 (domctl 0x17) ----

/// `XEN_DOMCTL_getdomaininfo`.
pub const DOMCTL_GETDOMAININFO: u32 = 5;
/// `XEN_DOMCTL_getvcpuinfo`.
pub const DOMCTL_GETVCPUINFO: u32 = 14;
/// `XEN_SYSCTL_getdomaininfolist`.
pub const SYSCTL_GETDOMAININFOLIST: u32 = 6;
/// `XEN_SYSCTL_INTERFACE_VERSION`, of Xen 4.17 and 4.20 alike.
pub const SYSCTL_VERSION: u32 = 0x15;

/// `XEN_DOMINF_dying`.
pub const DOMINF_DYING: u32 = 1 << 0;
/// `XEN_DOMINF_hvm_guest`.
pub const DOMINF_HVM_GUEST: u32 = 1 << 1;
/// `XEN_DOMINF_shutdown`.
pub const DOMINF_SHUTDOWN: u32 = 1 << 2;
/// `XEN_DOMINF_paused`.
pub const DOMINF_PAUSED: u32 = 1 << 3;
/// `XEN_DOMINF_blocked`.
pub const DOMINF_BLOCKED: u32 = 1 << 4;
/// `XEN_DOMINF_running`.
pub const DOMINF_RUNNING: u32 = 1 << 5;
/// `XEN_DOMINF_shutdownshift`: the reason's place in the flags, 8 bits.
pub const DOMINF_SHUTDOWN_SHIFT: u32 = 16;

/// `struct xen_domctl_getdomaininfo`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct DomainInfo {
    /// The domain.
    pub domain: u16,
    /// Padding.
    pub pad1: u16,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    /// Pages held.
    pub tot_pages: u64,
    /// Most pages it may hold.
    pub max_pages: u64,
    /// Claimed and not yet populated.
    pub outstanding_pages: u64,
    /// Shared pages.
    pub shr_pages: u64,
    /// Paged-out pages.
    pub paged_pages: u64,
    /// Frame of the shared info page.
    pub shared_info_frame: u64,
    /// Nanoseconds of CPU time.
    pub cpu_time: u64,
    /// vCPUs online.
    pub nr_online_vcpus: u32,
    /// Highest vCPU number in use.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// UUID.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
    /// Width of guest physical addresses.
    pub gpaddr_bits: u8,
    /// Padding.
    pub pad2: [u8; 7],
    /// `struct xen_arch_domainconfig` of x86.
    pub arch_config: [u32; 2],
}

/// `struct xen_domctl_getvcpuinfo`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct VcpuInfo {
    /// In: the vCPU.
    pub vcpu: u32,
    /// Out: 1 if it is up.
    pub online: u8,
    /// Out: 1 if it waits for an event.
    pub blocked: u8,
    /// Out: 1 if it is on a CPU.
    pub running: u8,
    /// Out: nanoseconds of CPU time.
    pub cpu_time: u64,
    /// Out: the CPU it is mapped to.
    pub cpu: u32,
}

/// `struct xen_domctl` with the operations used.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Domctl {
    /// Operation.
    pub cmd: u32,
    /// `XEN_DOMCTL_INTERFACE_VERSION`.
    pub interface_version: u32,
    /// In and out: the domain.
    pub domain: u16,
    /// Padding.
    pub pad: [u16; 3],
    /// The union.
    pub u: DomctlUnion,
}

/// The union in `struct xen_domctl`, with the members used.
#[repr(C)]
#[derive(Clone, Copy)]
pub union DomctlUnion {
    /// Answer of [`DOMCTL_GETDOMAININFO`].
    pub getdomaininfo: DomainInfo,
    /// Question and answer of [`DOMCTL_GETVCPUINFO`].
    pub getvcpuinfo: VcpuInfo,
    /// Its full size.
    pub pad: [u8; 128],
}

/// `struct xen_sysctl_getdomaininfolist`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DomainInfoList {
    /// In: lowest domain wanted.
    pub first_domain: u16,
    /// In: room in the buffer.
    pub max_domains: u32,
    /// In: address of the buffer of [`DomainInfo`].
    pub buffer: u64,
    /// Out: number written.
    pub num_domains: u32,
}

/// `struct xen_sysctl` with the one operation used.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sysctl {
    /// Operation.
    pub cmd: u32,
    /// [`SYSCTL_VERSION`].
    pub interface_version: u32,
    /// The union, with the member used.
    pub u: SysctlUnion,
}

/// The union in `struct xen_sysctl`.
#[repr(C)]
#[derive(Clone, Copy)]
pub union SysctlUnion {
    /// [`SYSCTL_GETDOMAININFOLIST`].
    pub getdomaininfolist: DomainInfoList,
    /// Its full size.
    pub pad: [u8; 128],
}
