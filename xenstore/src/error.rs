// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong at xenstore, with the errno that names it.

use std::time::Duration;

/// An error of a xenstore operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node (or the transaction) does not exist: ENOENT.
    #[error("{path}: no such xenstore node")]
    NoEntry {
        /// Path of the request.
        path: String,
    },
    /// The permissions of the node forbid it: EACCES, or EPERM for a change of owner.
    #[error("{path}: xenstore permission denied")]
    Access {
        /// Path of the request.
        path: String,
    },
    /// It exists already (a watch, a domain): EEXIST.
    #[error("{path}: exists already in xenstore")]
    Exists {
        /// Path of the request.
        path: String,
    },
    /// The transaction conflicts with another change and must be run again: EAGAIN.
    #[error("xenstore transaction conflicts with another change")]
    Again,
    /// A quota of xenstored (nodes, watches, transactions, size of a node) is used up: ENOSPC.
    #[error("{path}: xenstore quota exceeded")]
    Quota {
        /// Path of the request.
        path: String,
    },
    /// The request does not fit one message; nothing was sent: E2BIG.
    #[error("{path}: xenstore request of {len} bytes is above the limit of {max}")]
    TooBig {
        /// Path of the request.
        path: String,
        /// Payload of the request in bytes.
        len: usize,
        /// Largest payload of this transport in bytes.
        max: usize,
    },
    /// The path or an argument is not one that xenstore accepts: EINVAL.
    #[error("{path:?}: not valid for xenstore")]
    Invalid {
        /// The path as it was given.
        path: String,
    },
    /// The node exists but its value is not of the expected form: EINVAL.
    #[error("{path}: value \"{value}\" is not {want}")]
    Value {
        /// Path of the node.
        path: String,
        /// The value, escaped to ASCII and cut to 64 bytes.
        value: String,
        /// What was expected.
        want: String,
    },
    /// xenstored refused with an error that has no variant of its own.
    #[error("{path}: xenstored refused: {}", nix::errno::Errno::from_raw(*errno).desc())]
    Refused {
        /// Path of the request.
        path: String,
        /// The error as an errno of Linux.
        errno: i32,
    },
    /// The connection is gone for ever: ENOTCONN.
    #[error("not connected to xenstored: {why}")]
    Disconnected {
        /// What ended the connection.
        why: String,
    },
    /// xenstored did not answer in time; the outcome is unknown: ETIMEDOUT.
    #[error("{path}: xenstored did not answer within {limit:?}")]
    Timeout {
        /// Path of the request.
        path: String,
        /// The time limit.
        limit: Duration,
    },
    /// A system call failed.
    #[error("{what}: {}", nix::errno::Errno::from_raw(*errno).desc())]
    Io {
        /// What was tried.
        what: String,
        /// The error as an errno of Linux.
        errno: i32,
    },
}

impl Error {
    /// The errno that names this error best (positive).
    pub fn errno(&self) -> i32 {
        match self {
            Error::NoEntry { .. } => libc::ENOENT,
            Error::Access { .. } => libc::EACCES,
            Error::Exists { .. } => libc::EEXIST,
            Error::Again => libc::EAGAIN,
            Error::Quota { .. } => libc::ENOSPC,
            Error::TooBig { .. } => libc::E2BIG,
            Error::Invalid { .. } | Error::Value { .. } => libc::EINVAL,
            Error::Disconnected { .. } => libc::ENOTCONN,
            Error::Timeout { .. } => libc::ETIMEDOUT,
            Error::Refused { errno, .. } | Error::Io { errno, .. } => *errno,
        }
    }

    /// The error for an errno that the store answered to a request about `path`.
    pub(crate) fn from_errno(errno: i32, path: &str) -> Error {
        let path = path.to_owned();
        match errno {
            libc::ENOENT => Error::NoEntry { path },
            libc::EACCES | libc::EPERM => Error::Access { path },
            libc::EEXIST => Error::Exists { path },
            libc::EAGAIN => Error::Again,
            libc::ENOSPC => Error::Quota { path },
            libc::EINVAL => Error::Invalid { path },
            errno => Error::Refused { path, errno },
        }
    }

    /// The error of a failed system call.
    pub(crate) fn io(what: impl Into<String>, errno: nix::errno::Errno) -> Error {
        Error::Io { what: what.into(), errno: errno as i32 }
    }

    /// A value of the wrong form, made safe to print.
    pub(crate) fn value(path: &str, value: &[u8], want: impl Into<String>) -> Error {
        let shown = &value[..value.len().min(64)];
        Error::Value { path: path.to_owned(), value: shown.escape_ascii().to_string(), want: want.into() }
    }
}
