// SPDX-License-Identifier: MIT OR Apache-2.0
//! What vesperd and its clients say to each other over `/run/vesper/vesperd.sock`.
//!
//! * One JSON document a line: a [`Request`] in, a [`Reply`] out, one at a time for each connection.
//! * A module image travels beside its `insmod` line as a file descriptor (`SCM_RIGHTS`), never as a path.
//! * An error has a [`ErrorKind`], and each kind has one exit status, the same for every command of VESPER.
//! * Text that a guest wrote (names, log lines) is passed on as it is; who shows it to a terminal calls [`printable`].
//!
//! | module | subject |
//! |---|---|
//! | [`request`] | what can be asked |
//! | [`right`] | what a client may do |
//! | [`reply`] | what is answered |
//! | [`alive`] | whether a guest is alive |
//! | [`channel`] | what guests share to be read |
//! | [`guest`] | a guest as `list` and `status` show it |
//! | [`local`] | what the command does without the daemon |
//! | [`failure`] | error kinds and exit statuses |
//! | [`errno`] | error numbers of a guest's kernel, by name and meaning |
//! | [`text`] | guest text made harmless for a terminal |
//!
//! `docs/api.md` shows every document by example.

pub mod alive;
pub mod channel;
pub mod errno;
pub mod failure;
pub mod guest;
pub mod line;
pub mod local;
pub mod reply;
pub mod request;
pub mod right;
pub mod text;

pub use alive::{Alive, Because, Fault, ModuleState};
pub use channel::{BufferStatus, ChannelStatus, Channels, GuestChannels, Saved, Since};
pub use errno::Errno;
pub use failure::{ErrorKind, Failure, Log, Place};
pub use guest::{Counters, DeviceStatus, Guest, GuestRef, GuestStatus, InUse, Wanted, WantedState};
pub use line::{LineError, from_line, to_line};
pub use local::{Checked, Probe, Probed, Probes, Recorded};
pub use reply::{Attached, Detached, Done, EventsFollow, Guests, Loaded, Reply, Streaming, Unloaded};
pub use request::Request;
pub use right::Right;
pub use text::printable;

/// Where vesperd listens unless told otherwise.
pub const SOCKET: &str = "/run/vesper/vesperd.sock";
/// The daemon's configuration, unless it is told another one.
pub const CONFIG: &str = "/etc/vesper/vesper.toml";
/// Where probe modules are installed, in a directory for each kernel release.
pub const PROBES: &str = "/usr/lib/vesper/probes";
/// Environment variable that names another socket, for clients.
pub const SOCKET_VARIABLE: &str = "VESPER_SOCKET";
/// Longest request line, the newline included, in bytes. Arguments of 64 KiB fit even when every byte is escaped.
pub const MAX_LINE: usize = 512 << 10;
/// How long a command may take unless its request says otherwise, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
