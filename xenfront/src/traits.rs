// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What the parts want of each other and of the kernel.

use core::ffi::CStr;
use core::fmt;

use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::{BadMessage, CommandId, Name};
use vesper_ring::{Poison, PushError};

/// An error number of Linux, positive (`include/uapi/asm-generic/errno.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(1);
    /// Input/output error.
    pub const IO: Self = Self(5);
    /// No space left: the table of modules is full.
    pub const NOSPC: Self = Self(28);

    /// The error of a negative return value of the kernel; `None` for 0 and more. What is below −4095 is no error
    /// number (`MAX_ERRNO`, `include/linux/err.h`) and becomes [`Errno::IO`].
    pub fn from_status(status: i32) -> Option<Self> {
        match status {
            0.. => None,
            -4095..=-1 => Some(Self(status.wrapping_neg())),
            _ => Some(Self::IO),
        }
    }

    /// As a status on the wire: −errno.
    pub fn status(self) -> i32 {
        self.0.wrapping_neg()
    }
}

/// Why the device stands still until it is connected anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The ring's indexes cannot be.
    Ring(Poison),
    /// A response that does not answer the open question.
    Message(BadMessage),
    /// There is no ring, or a question is open already: a mistake of this side.
    Own,
}

impl Fault {
    /// In words for the kernel's log, without formatting.
    pub fn reason(&self) -> &'static CStr {
        match self {
            Self::Ring(Poison::ResponseUnasked { .. }) => c"a response that nobody asked for",
            Self::Ring(_) => c"impossible ring index",
            Self::Message(BadMessage::Opcode(_)) => c"response with an unknown opcode",
            Self::Message(BadMessage::Flags(_)) => c"response with unknown flags",
            Self::Message(BadMessage::Unused(_)) => c"response with an unused field that is not 0",
            Self::Message(BadMessage::NoCommand(_)) => c"order without a command's number",
            Self::Message(BadMessage::Status(_)) => c"response with an impossible status",
            Self::Message(BadMessage::Bytes { .. }) => c"order with an impossible size",
            Self::Message(BadMessage::Id { .. }) => c"response with another id than the request",
            Self::Message(BadMessage::NoAnswer { .. }) => {
                c"response of a kind that does not answer the request"
            }
            Self::Message(BadMessage::OtherCommand(_)) => c"response for another command than the request",
            Self::Message(BadMessage::Name(_)) => c"order with a name that no module has",
            Self::Message(_) => c"malformed response",
            Self::Own => c"the frontend lost count of its questions",
        }
    }
}

impl From<Poison> for Fault {
    fn from(e: Poison) -> Self {
        Self::Ring(e)
    }
}

impl From<BadMessage> for Fault {
    fn from(e: BadMessage) -> Self {
        Self::Message(e)
    }
}

impl From<PushError> for Fault {
    fn from(e: PushError) -> Self {
        match e {
            PushError::Poison(e) => Self::Ring(e),
            PushError::Full => Self::Own,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(e) => e.fmt(f),
            Self::Message(e) => e.fmt(f),
            Self::Own => f.write_str("the frontend lost count of its questions"),
        }
    }
}

impl core::error::Error for Fault {}

/// What the Action part asks of the host, however it is carried there.
///
/// Each of the four questions may be asked when none is open; [`Answer`](vesper_ring::wire::Answer) is what comes back.
pub trait Link {
    /// "These modules are in." At most [`REPORT_ENTRIES`](vesper_ring::wire::loader::REPORT_ENTRIES); `more`: another
    /// part follows.
    fn report(&mut self, entries: &[Loaded], more: bool) -> Result<(), Fault>;
    /// "Give me work", with what became of the last.
    fn idle(&mut self, outcome: Option<&Outcome>, log: Option<Log<'_>>) -> Result<(), Fault>;
    /// "Give me more of the data, from `offset`; `left` bytes are missing." Says how many were asked for, at least 1,
    /// or why nothing could be asked.
    fn fetch(&mut self, command: CommandId, offset: u64, left: u64) -> Result<Result<u32, Errno>, Fault>;
    /// "The first step of the unload is done", or why not: 0 or −errno.
    fn prepared(&mut self, command: CommandId, status: i32) -> Result<(), Fault>;

    /// Appends the `bytes` bytes that a [`fetch`](Self::fetch) brought to the image.
    fn take(&mut self, bytes: u32) -> Result<(), Errno>;
    /// No more data of this command: takes from the host what it was given to fill.
    fn end_fetch(&mut self);
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The command.
    pub command: CommandId,
    /// 0 or −errno.
    pub status: i32,
    /// Nanoseconds that the kernel worked on it; 0 when it was refused before.
    pub nanos: u64,
}

/// Kernel log lines of the last piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    /// The lines, at most a page of them.
    pub text: &'a [u8],
    /// Whether lines before these are missing.
    pub truncated: bool,
}

/// What the Communication part wants of the kernel.
pub trait Pages {
    /// Notifies the host.
    fn kick(&mut self);
    /// Lets the host write `pages` (1 to 256) zeroed pages: the grant of their directory.
    fn window_open(&mut self, pages: u32) -> Result<u32, Errno>;
    /// Ends the grants of the pages that hold the first `bytes` bytes of the window, and appends these to the image that
    /// the Action part keeps.
    fn window_append(&mut self, bytes: u32) -> Result<(), Errno>;
    /// Ends what [`window_open`](Self::window_open) began.
    fn window_close(&mut self);
    /// Replaces the text (at most a page) that the host may read: its grant.
    fn text(&mut self, bytes: &[u8]) -> Result<u32, Errno>;
}

/// What the Action part wants of the kernel. None of it waits for a load.
pub trait Kernel {
    /// Room for an image and its arguments, private to the guest.
    fn image_begin(&mut self, image_bytes: u64, args_bytes: u32) -> Result<(), Errno>;
    /// Gives the room back.
    fn image_drop(&mut self);
    /// Has the loader thread load the image; it gives the room back. On success
    /// [`Frontend::finished`](crate::Frontend::finished) follows.
    fn load_start(&mut self, name: &Name) -> Result<(), Errno>;
    /// Has the loader thread unload the module; as above.
    fn unload_start(&mut self, name: &Name) -> Result<(), Errno>;
    /// Whether the module could be unloaded now.
    fn unload_check(&mut self, name: &Name) -> Result<(), Errno>;
    /// Whether a module of that name is in.
    fn present(&mut self, name: &Name) -> bool;
    /// What the kernel logged during the last work of the loader thread.
    fn log(&mut self) -> Log<'_>;
}
