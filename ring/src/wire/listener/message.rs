// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Opcodes and layout of the listener ring's messages.

use core::mem::{offset_of, size_of};

use crate::wire::Wire;

/// Request: "read this": an export, or a part that is added to one.
pub const EXPORT: u16 = 16;
/// Request: "let go of this export".
pub const UNEXPORT: u16 = 18;
/// Request: "what time is it?".
pub const TIME: u16 = 19;

/// Response to [`EXPORT`] and [`UNEXPORT`]: done (status 0), or not (−errno).
///
/// Responses have numbers that no request has: one is written over its request, word by word, and a daemon that is
/// killed meanwhile must not leave there what its successor takes for another request.
pub const DONE: u16 = 20;
/// Response to [`TIME`].
pub const TIME_IS: u16 = 21;

/// Bit of [`Request::flags`] of an EXPORT: adds buffers, of CPUs that came later, to an export that is there.
pub const PART: u16 = 1;

/// What the frontend asks. Fields that an opcode does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Request {
    /// One of [`EXPORT`], [`UNEXPORT`], [`TIME`]. 17 is reserved.
    pub op: u16,
    /// EXPORT: [`PART`] or 0.
    pub flags: u16,
    /// Chosen by the frontend, echoed in the response.
    pub id: u32,
    /// EXPORT, UNEXPORT: number of the export, from 1; not used again while the frontend's module is loaded, and the
    /// same again after a reconnect.
    pub export: u32,
    /// EXPORT: grant of the [`ExportInfo`](super::ExportInfo) page.
    pub gref: u32,
    /// EXPORT: grant of the first [directory](crate::wire::loader::Directory) page.
    pub directory: u32,
    /// EXPORT: grants that the directory lists, at most [`GRANTS`](super::GRANTS).
    pub grants: u32,
    /// TIME: guest's clock when this was sent, in nanoseconds.
    pub sent: u64,
    /// TIME: guest's clock when the TIME before was sent; 0 when this is the connection's first.
    pub prev_sent: u64,
    /// TIME: guest's clock when the answer to the TIME before was there; 0 when this is the connection's first.
    pub prev_got: u64,
    /// 0.
    pub reserved: [u64; 2],
}

/// What the backend answers. Fields that an opcode does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Response {
    /// One of [`DONE`], [`TIME_IS`].
    pub op: u16,
    /// 0.
    pub flags: u16,
    /// [`Request::id`] of the request that this answers.
    pub id: u32,
    /// DONE: 0 or −errno.
    pub status: i32,
    /// 0.
    pub reserved: u32,
    /// TIME_IS: host's clock (`CLOCK_MONOTONIC`) when the request was taken, in nanoseconds.
    pub got: u64,
    /// TIME_IS: host's clock when this was sent.
    pub sent: u64,
}

// SAFETY: repr(C), only integers, no padding (sizes and offsets asserted below), size a multiple of 8.
unsafe impl Wire for Request {}
// SAFETY: as above.
unsafe impl Wire for Response {}

const _: () = {
    assert!(size_of::<Request>() == 64);
    assert!(offset_of!(Request, flags) == 2);
    assert!(offset_of!(Request, id) == 4);
    assert!(offset_of!(Request, export) == 8);
    assert!(offset_of!(Request, gref) == 12);
    assert!(offset_of!(Request, directory) == 16);
    assert!(offset_of!(Request, grants) == 20);
    assert!(offset_of!(Request, sent) == 24);
    assert!(offset_of!(Request, prev_sent) == 32);
    assert!(offset_of!(Request, prev_got) == 40);
    assert!(offset_of!(Request, reserved) == 48);
    assert!(size_of::<Response>() == 32);
    assert!(offset_of!(Response, flags) == 2);
    assert!(offset_of!(Response, id) == 4);
    assert!(offset_of!(Response, status) == 8);
    assert!(offset_of!(Response, reserved) == 12);
    assert!(offset_of!(Response, got) == 16);
    assert!(offset_of!(Response, sent) == 24);
};
