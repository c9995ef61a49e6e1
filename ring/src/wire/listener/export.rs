// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The page that describes an export. [`ExportInfo::check`] makes a [`Descriptor`](super::Descriptor) of a copy of it.

use core::mem::{offset_of, size_of};

use super::BUFFERS;
use crate::wire::{NAME_BYTES, PAGE_SIZE, Wire};

/// Bit of [`ExportInfo::flags`]: the channel has one buffer for all CPUs.
pub const GLOBAL: u32 = 1;
/// [`ExportInfo::cpu`] of a global buffer.
pub const NO_CPU: u16 = u16::MAX;

/// What an export consists of, at the begin of the descriptor page. The rest of the page is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExportInfo {
    /// Its name, closed and padded with zeros: see [`ExportName`](super::ExportName).
    pub name: [u8; NAME_BYTES],
    /// Name of the module that exported it, closed and padded with zeros; may be empty.
    pub owner: [u8; NAME_BYTES],
    /// Bytes of a sub-buffer.
    pub subbuf_size: u32,
    /// Sub-buffers of a buffer, 1 to [`SUBBUFS`](super::SUBBUFS).
    pub subbufs: u32,
    /// Buffers, 1 to [`BUFFERS`].
    pub buffers: u32,
    /// [`GLOBAL`] or 0.
    pub flags: u32,
    /// Pages of each buffer: `subbuf_size` × `subbufs` bytes, rounded up.
    pub pages_per_buffer: u32,
    /// Pages of the [positions](super::Positions).
    pub positions_pages: u32,
    /// Pages of the schema.
    pub schema_pages: u32,
    /// Bytes of the schema, at most [`SCHEMA_BYTES`](super::SCHEMA_BYTES); 0: the channel holds bytes that nobody explains.
    pub schema_bytes: u32,
    /// 0.
    pub reserved: u64,
    /// CPU of each buffer, ascending; [`NO_CPU`] for a global one. 0 behind the last buffer.
    pub cpu: [u16; BUFFERS as usize],
}

// SAFETY: repr(C), only integers, no padding (sizes and offsets asserted below), size a multiple of 8.
unsafe impl Wire for ExportInfo {}

const _: () = {
    assert!(size_of::<ExportInfo>() == 1176 && size_of::<ExportInfo>() <= PAGE_SIZE);
    assert!(offset_of!(ExportInfo, owner) == 56);
    assert!(offset_of!(ExportInfo, subbuf_size) == 112);
    assert!(offset_of!(ExportInfo, subbufs) == 116);
    assert!(offset_of!(ExportInfo, buffers) == 120);
    assert!(offset_of!(ExportInfo, flags) == 124);
    assert!(offset_of!(ExportInfo, pages_per_buffer) == 128);
    assert!(offset_of!(ExportInfo, positions_pages) == 132);
    assert!(offset_of!(ExportInfo, schema_pages) == 136);
    assert!(offset_of!(ExportInfo, schema_bytes) == 140);
    assert!(offset_of!(ExportInfo, reserved) == 144);
    assert!(offset_of!(ExportInfo, cpu) == 152);
};
