// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real Xen in QEMU's software CPU, built by the project itself.
//!
//! Principles this crate lives by:
//!
//! 1. **Nothing of the host runs inside.** dom0 and the guests are made of packages of a named Debian suite,
//!    unpacked and never configured; the host lends QEMU, a compiler and the kernel headers.
//! 2. **No hardware help.** The CPU is emulated; `/dev/kvm` is never opened. Every machine gives the same lab.
//! 3. **Two lines out of dom0.** The console (boot noise, hypervisor, kernel) goes to a file of the run; a serial
//!    port of its own carries the work, so a script's bytes and exit status are never picked out of noise.
//! 4. **Caches are keyed by what went into them** and live under `target/lab`; deleting that folder is safe.
//! 5. **Nothing outlives the command.** QEMU dies with the process that started it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`host_packages`] | the one list of packages that the host must have, and how they get there |
//! | [`suite`], [`mirror`], [`unpack`] | Xen version → suite and packages; mirrors from the machine's apt; unpacking |
//! | [`kernel`], [`modules`] | guest and dom0 kernels as uncompressed `vmlinux`; sample probe modules |
//! | [`cpio`], [`image`], [`guest`] | archives in the kernel's initramfs format; dom0's image; the guests' image |
//! | [`fresh_guest`] | a Debian guest on a disk, installed from our packages |
//! | [`qemu`], [`session`] | one boot and its two lines; what is asked of a boot and what came of it |
//! | [`two_hosts`] | two machines with a cable between them |
//! | [`scenario`] | scenario files, which of them share a boot, results |
//! | [`tools`] | `vesper` and `vesperd` as static programs |
//! | [`paths`], [`progress`], [`command`], [`digest`] | where things live; what the user sees; host commands; cache keys |

pub mod cluster;
pub mod command;
pub mod cpio;
pub mod digest;
pub mod fresh_guest;
pub mod guest;
pub mod host_packages;
pub mod image;
pub mod kernel;
pub mod mirror;
pub mod modules;
pub mod paths;
pub mod progress;
pub mod qemu;
pub mod scenario;
pub mod session;
pub mod suite;
pub mod tools;
pub mod two_hosts;
pub mod unpack;
