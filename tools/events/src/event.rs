// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event as a document.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vesper_api::GuestRef;
use vesper_stream::Moment;

/// What happened. Each has a name, the same in documents, in `hooks.d` and in schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The guest's kernel gave up.
    GuestPanic,
    /// vCPUs that run do not beat.
    GuestHung,
    /// The domain crashed, and nothing in it said why.
    GuestCrashed,
    /// The domain is there no more; [`End`] says how it went.
    GuestGone,
    /// Somebody paused the guest.
    GuestPaused,
    /// The guest's kernel hit a bug, and may go on.
    GuestOops,
    /// The guest had no memory left, and killed for it.
    GuestOom,
    /// A process of the guest was killed, or ended although it was not to.
    ProcessKilled,
    /// A process or CPU of the guest makes no progress.
    ProcessStuck,
    /// A block device of the guest failed.
    BlockError,
    /// A channel that tells of faults went away, and nobody had asked for it.
    ProbeLost,
    /// More happened than is told: only the number is.
    EventsSuppressed,
    /// A kind that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl Kind {
    /// All of them but [`Kind::Unknown`].
    pub const ALL: [Self; 12] = [
        Self::GuestPanic,
        Self::GuestHung,
        Self::GuestCrashed,
        Self::GuestGone,
        Self::GuestPaused,
        Self::GuestOops,
        Self::GuestOom,
        Self::ProcessKilled,
        Self::ProcessStuck,
        Self::BlockError,
        Self::ProbeLost,
        Self::EventsSuppressed,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GuestPanic => "guest-panic",
            Self::GuestHung => "guest-hung",
            Self::GuestCrashed => "guest-crashed",
            Self::GuestGone => "guest-gone",
            Self::GuestPaused => "guest-paused",
            Self::GuestOops => "guest-oops",
            Self::GuestOom => "guest-oom",
            Self::ProcessKilled => "process-killed",
            Self::ProcessStuck => "process-stuck",
            Self::BlockError => "block-error",
            Self::ProbeLost => "probe-lost",
            Self::EventsSuppressed => "events-suppressed",
            Self::Unknown => "unknown",
        }
    }

    /// The kind that a record of a guest says it is of. A guest has no say in those that dom0 sees for itself.
    pub fn of_guest(name: &str) -> Option<Self> {
        let may_say = [
            Self::GuestPanic,
            Self::GuestOops,
            Self::GuestOom,
            Self::ProcessKilled,
            Self::ProcessStuck,
            Self::BlockError,
        ];
        may_say.into_iter().find(|kind| kind.name() == name)
    }

    /// How bad it is, unless more is known.
    pub fn severity(self) -> Severity {
        match self {
            Self::GuestPanic | Self::GuestHung | Self::GuestCrashed => Severity::Fatal,
            Self::GuestOops | Self::GuestOom | Self::ProcessStuck | Self::BlockError => Severity::Error,
            Self::ProcessKilled | Self::ProbeLost | Self::EventsSuppressed => Severity::Warning,
            Self::GuestGone | Self::GuestPaused | Self::Unknown => Severity::Info,
        }
    }

    /// How well it explains a fault: of two kinds that tell of the same one, the event is of the greater.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::GuestPanic => 5,
            Self::GuestHung => 4,
            Self::GuestCrashed => 3,
            Self::GuestGone | Self::GuestOom => 2,
            _ => 1,
        }
    }

    /// Whether it is the end of a guest, of which there is one.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::GuestPanic | Self::GuestHung | Self::GuestCrashed | Self::GuestGone)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is wrong.
    Info,
    /// Something that may have been meant to be.
    Warning,
    /// Something failed; the guest goes on.
    Error,
    /// The guest is lost.
    Fatal,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a domain ended, as Xen says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum End {
    /// Taken away while it ran.
    Destroyed,
    /// Saved, or migrated to another host.
    Saved,
    /// Crashed.
    Crashed,
    /// Its watchdog ended it.
    Watchdog,
    /// Shut down by itself.
    PoweredOff,
    /// Shut down to start anew.
    Rebooted,
    /// Shut down for another reason.
    ShutDown,
    /// One that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// What an event made failed, as the rules of dom0 say (`docs/config.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Failed {
    /// The guest.
    Guest,
    /// Only a service in it.
    Service,
    /// Something that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl Failed {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Service => "service",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether more failed than before: nothing, then a service, then the guest.
pub(crate) fn is_worse(now: Option<Failed>, before: Option<Failed>) -> bool {
    let much = |failed| match failed {
        None => 0,
        Some(Failed::Service) => 1,
        Some(Failed::Guest | Failed::Unknown) => 2,
    };
    much(now) > much(before)
}

/// The record that told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The channel's name.
    pub channel: String,
    /// Its number.
    pub export: u32,
    /// The buffer; absent in the one of a global channel, and for last words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u16>,
    /// The record's sequence number; of last words, their place.
    pub seq: u64,
    /// They were last words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_words: bool,
}

/// What happened to a guest. All text that the guest may have written is escaped ([`vesper_api::printable`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of this document; later ones have greater ones.
    pub serial: u64,
    /// Number of the fault: the serial of the first document that told of it.
    pub fault: u64,
    /// What happened.
    pub event: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// To whom.
    pub guest: GuestRef,
    /// In which boot, where that is known: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// What it is about, if it is not the whole guest: `pid=1234`, `device=xvda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The process in which it happened, or to which, as the guest's kernel calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What failed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The name that dom0 has for the service that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// When, on dom0's clock.
    pub time: Moment,
    /// How wrong that may be, nanoseconds; absent if it is when dom0 noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ns: Option<u64>,
    /// Why, in one line.
    pub cause: String,
    /// Where in the guest's kernel, a line for each function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// How the domain ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// A guest that was hung beats again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// How often the same happened again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// Events of this guest before this one that are not told, because there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// The record that it was learned from, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where what the guest recorded last is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<PathBuf>,
}

/// What may come between two events: those up to this serial may be missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The serial.
    pub missed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
