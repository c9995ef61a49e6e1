// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Messages of the loader ring: the dummy-request protocol of the paper (section 4.1.1).
//!
//! The frontend always asks, the backend only answers, and exactly one request is outstanding at any time:
//!
//! ```text
//! frontend                                  backend
//! REPORT (modules loaded so far)      ──▶
//!                                     ◀──   DONE
//! DUMMY  (parked)                     ──▶
//!                                     ◀──   LOAD {name, image bytes, args bytes}
//! FETCH  {grant directory, offset}    ──▶
//!                                     ◀──   FILLED           (repeated until all is there)
//! DUMMY  {result of LOAD, log}        ──▶
//!                                     ◀──   UNLOAD {name}
//! PREPARED {step 1 done}              ──▶
//!                                     ◀──   PROCEED          (the host's view is drained and unmapped)
//! DUMMY  {result of UNLOAD, log}      ──▶
//! ```

use core::mem::{offset_of, size_of};

use super::{CommandId, NAME_BYTES, Wire};

/// Request: "give me work"; carries the result of the last command when [`flags::RESULT`] is set.
pub const DUMMY: u16 = 1;
/// Request: "fill my window with `bytes` bytes of the command's data from `offset`".
pub const FETCH: u16 = 2;
/// Request: a list of modules that were loaded through VESPER and are still in; the first request of a connection.
pub const REPORT: u16 = 3;
/// Request: the first step of an unload is done (status 0) or has failed (−errno).
pub const PREPARED: u16 = 4;

/// Response to [`DUMMY`]: load a module.
pub const LOAD: u16 = 1;
/// Response to [`DUMMY`]: unload a module; the frontend checks it and answers with [`PREPARED`].
pub const UNLOAD: u16 = 2;
/// Response to [`FETCH`]: the bytes are in the window (status 0), or could not be put there (−errno).
pub const FILLED: u16 = 3;
/// Response to [`FETCH`] and [`PREPARED`]: the command is given up, nothing of it is kept.
pub const CANCELLED: u16 = 4;
/// Response to [`REPORT`]: taken.
pub const DONE: u16 = 5;
/// Response to [`PREPARED`]: go on with the second step.
pub const PROCEED: u16 = 6;

/// Bits of [`Request::flags`].
pub mod flags {
    /// DUMMY: `run`, `seq`, `status` and `nanos` are the result of a command.
    pub const RESULT: u16 = 1;
    /// DUMMY: the page `gref` holds `bytes` bytes of the guest's kernel log, printed during the command.
    pub const LOG: u16 = 1 << 1;
    /// DUMMY: more was logged than the page holds; the page has the last lines.
    pub const LOG_TRUNCATED: u16 = 1 << 2;
    /// REPORT: another REPORT follows.
    pub const MORE: u16 = 1 << 3;
}

/// Most bytes of a window, and so of one FETCH.
pub const WINDOW_BYTES: u32 = 1 << 20;
/// Most bytes of an image on the wire: a guest takes a larger number for nonsense. Daemons set their own, smaller limit.
pub const IMAGE_BYTES: u64 = 1 << 30;
/// Most bytes of a module's argument string, the closing zero not included.
pub const ARGS_BYTES: u32 = 64 << 10;

/// What the frontend asks. Fields that an opcode does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Request {
    /// One of [`DUMMY`], [`FETCH`], [`REPORT`], [`PREPARED`].
    pub op: u16,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Chosen by the frontend, echoed in the response.
    pub id: u32,
    /// [`CommandId::run`] of the command that this belongs to; 0 when none.
    pub run: u64,
    /// [`CommandId::seq`] of the command that this belongs to; 0 when none.
    pub seq: u64,
    /// 0 or −errno of the guest's kernel.
    pub status: i32,
    /// DUMMY with LOG, REPORT: grant of the text page. FETCH: grant of the [`Directory`] of the window.
    pub gref: u32,
    /// FETCH: pages of the window, 1 to 256.
    pub pages: u32,
    /// FETCH: bytes wanted, 1 to `pages` × 4096. DUMMY with LOG: bytes of log. REPORT: bytes of [`Loaded`] entries.
    pub bytes: u32,
    /// FETCH: offset in the command's data, which is the image followed by the arguments.
    pub offset: u64,
    /// DUMMY with RESULT: nanoseconds that the command took in the guest's kernel.
    pub nanos: u64,
    /// 0.
    pub reserved: u64,
}

/// What the backend answers. Fields that an opcode does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Response {
    /// One of [`LOAD`], [`UNLOAD`], [`FILLED`], [`CANCELLED`], [`DONE`], [`PROCEED`].
    pub op: u16,
    /// 0.
    pub flags: u16,
    /// [`Request::id`] of the request that this answers.
    pub id: u32,
    /// [`CommandId::run`]; 0 for DONE.
    pub run: u64,
    /// [`CommandId::seq`]; 0 for DONE.
    pub seq: u64,
    /// LOAD: bytes of the image.
    pub image_bytes: u64,
    /// LOAD: bytes of the argument string, at most [`ARGS_BYTES`], without a closing zero.
    pub args_bytes: u32,
    /// FILLED: 0 or −errno.
    pub status: i32,
    /// LOAD, UNLOAD: the module's name as the kernel knows it, closed and padded with zeros.
    pub name: [u8; NAME_BYTES],
}

/// One entry of the list that REPORT carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Loaded {
    /// [`CommandId::run`] of the command that loaded it.
    pub run: u64,
    /// [`CommandId::seq`] of the command that loaded it.
    pub seq: u64,
    /// The module's name, closed and padded with zeros.
    pub name: [u8; NAME_BYTES],
}

/// Most entries of one REPORT: what fits in the text page.
pub const REPORT_ENTRIES: usize = super::PAGE_SIZE / size_of::<Loaded>();

/// Grants that one directory page lists, as in `public/io/displif.h` (`xendispl_page_directory`).
pub const DIRECTORY_GRANTS: usize = super::PAGE_SIZE / 4 - 1;

/// Grant directory: the page that lists the grants of a window, or of an export.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Directory {
    /// Grant of the next directory page, 0 when this is the last. A window fits in one; an export may need more.
    pub next: u32,
    /// Grants of the pages, in order.
    pub gref: [u32; DIRECTORY_GRANTS],
}

// SAFETY: repr(C), only integers, no padding (sizes and offsets asserted below), size a multiple of 8.
unsafe impl Wire for Request {}
// SAFETY: as above.
unsafe impl Wire for Response {}
// SAFETY: as above.
unsafe impl Wire for Loaded {}

const _: () = {
    assert!(size_of::<Request>() == 64);
    assert!(offset_of!(Request, id) == 4);
    assert!(offset_of!(Request, run) == 8);
    assert!(offset_of!(Request, seq) == 16);
    assert!(offset_of!(Request, status) == 24);
    assert!(offset_of!(Request, gref) == 28);
    assert!(offset_of!(Request, pages) == 32);
    assert!(offset_of!(Request, bytes) == 36);
    assert!(offset_of!(Request, offset) == 40);
    assert!(offset_of!(Request, nanos) == 48);
    assert!(offset_of!(Request, reserved) == 56);
    assert!(size_of::<Response>() == 96);
    assert!(offset_of!(Response, id) == 4);
    assert!(offset_of!(Response, run) == 8);
    assert!(offset_of!(Response, seq) == 16);
    assert!(offset_of!(Response, image_bytes) == 24);
    assert!(offset_of!(Response, args_bytes) == 32);
    assert!(offset_of!(Response, status) == 36);
    assert!(offset_of!(Response, name) == 40);
    assert!(size_of::<Loaded>() == 72);
    assert!(offset_of!(Loaded, name) == 16);
    assert!(size_of::<Directory>() == super::PAGE_SIZE);
};

impl Default for Response {
    fn default() -> Self {
        Self {
            op: 0,
            flags: 0,
            id: 0,
            run: 0,
            seq: 0,
            image_bytes: 0,
            args_bytes: 0,
            status: 0,
            name: [0; NAME_BYTES],
        }
    }
}

impl Request {
    /// The command that this request belongs to.
    pub fn command(&self) -> CommandId {
        CommandId { run: self.run, seq: self.seq }
    }
}

impl Response {
    /// The command that this response belongs to.
    pub fn command(&self) -> CommandId {
        CommandId { run: self.run, seq: self.seq }
    }
}
