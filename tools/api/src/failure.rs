// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, and the exit status that says so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Errno, GuestRef};

/// Kinds of error. Each has one exit status: see [`ErrorKind::exit_status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest's kernel was asked and said no: `errno` and `log` say why.
    Refused,
    /// The guest still executes an earlier command whose time limit has passed: EBUSY.
    Busy,
    /// The request is not one: malformed, unknown, or with a wrong value.
    BadRequest,
    /// The file cannot be a module for this guest. Nothing was sent.
    BadImage,
    /// More than one guest has this name. Nothing was done.
    AmbiguousGuest,
    /// Modules loaded through VESPER are still in, so the guest was not detached.
    ModulesLoaded,
    /// Too many commands or connections wait. Nothing was sent.
    QueueFull,
    /// No domain has this number, name or UUID.
    NoSuchGuest,
    /// The guest shares no channel of this name.
    NoSuchChannel,
    /// The guest has no connected device: `vesper attach` makes one.
    NotAttached,
    /// The guest was destroyed, shut down or rebooted meanwhile, or its number belongs to another guest now.
    GuestGone,
    /// The daemon is not reachable. Only clients make this one.
    DaemonUnreachable,
    /// The daemon, the device or the connection went away midway. What the guest did is not known.
    OutcomeUnknown,
    /// The connection to the guest was lost before it had the whole command. Nothing of it was kept.
    Interrupted,
    /// The daemon itself failed, for example because xenstore did not answer.
    Internal,
    /// The time limit passed. A late result is taken in when it comes.
    TimedOut,
    /// The time limit passed and no frontend has answered: the module vesper_front is not loaded in the guest.
    NoFrontend,
    /// The caller has not the right to this, or the module is none that may be loaded. Nothing was done.
    NotPermitted,
    /// The device was stopped because the guest broke the protocol.
    DeviceStopped,
    /// A kind that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// Every kind, in the order of the exit statuses.
    pub const ALL: [Self; 20] = [
        Self::Refused,
        Self::Busy,
        Self::BadRequest,
        Self::BadImage,
        Self::AmbiguousGuest,
        Self::ModulesLoaded,
        Self::QueueFull,
        Self::NoSuchGuest,
        Self::NoSuchChannel,
        Self::NotAttached,
        Self::GuestGone,
        Self::DaemonUnreachable,
        Self::OutcomeUnknown,
        Self::Interrupted,
        Self::Internal,
        Self::Unknown,
        Self::TimedOut,
        Self::NoFrontend,
        Self::NotPermitted,
        Self::DeviceStopped,
    ];

    /// Exit status of a command that failed so; 0 is success.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Refused | Self::Busy => 1,
            Self::BadRequest
            | Self::BadImage
            | Self::AmbiguousGuest
            | Self::ModulesLoaded
            | Self::QueueFull => 2,
            Self::NoSuchGuest | Self::NoSuchChannel | Self::NotAttached | Self::GuestGone => 3,
            Self::DaemonUnreachable
            | Self::OutcomeUnknown
            | Self::Interrupted
            | Self::Internal
            | Self::Unknown => 4,
            Self::TimedOut | Self::NoFrontend => 5,
            Self::NotPermitted => 6,
            Self::DeviceStopped => 7,
        }
    }
}

/// Lines of a guest's kernel log that were printed while a command ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The lines, oldest first, as the guest wrote them (with U+FFFD for what is not UTF-8).
    pub lines: Vec<String>,
    /// More was printed; these are the last lines.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Log {
    /// True when nothing was printed.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// An error as a reply carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: ErrorKind,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The guest it was about, where one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Box<GuestRef>>,
    /// The error number of the guest's kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<Box<Errno>>,
    /// What the guest's kernel printed meanwhile.
    #[serde(default, skip_serializing_if = "Log::is_empty")]
    pub log: Log,
    /// Where in a configuration something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
}

impl Failure {
    /// An error with a message and nothing else.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (message, log) = (message.into(), Log::default());
        Self { kind, message, remedy: None, guest: None, errno: None, log, place: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the guest it was about.
    #[must_use]
    pub fn guest(mut self, guest: GuestRef) -> Self {
        self.guest = Some(Box::new(guest));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
