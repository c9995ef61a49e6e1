// SPDX-License-Identifier: MIT OR Apache-2.0
//! The crate `xenstore-rs` 0.8.0 behind [`Basic`].
//!
//! **Licence.** `xenstore-rs` is GPL-3.0-only. This file is not, but a program that is built with the feature
//! `xenstore-rs` links it and may be given away under the GPL 3.0 only. So the feature is off by default and
//! nothing that ships turns it on.
//!
//! **Why only [`Basic`].** Read in the source of 0.8.0:
//!
//! * transactions: the trait `XsTransaction` exists and nothing implements it; every message carries
//!   transaction 0;
//! * permissions, mkdir, domain state: absent;
//! * watches: only in the tokio client, where a `read` hangs for ever behind more than about eight undrained
//!   events; the blocking client used here has none, so there is no wake descriptor either;
//! * directories of more than 4096 bytes: refused with E2BIG;
//! * values are text: other bytes cannot be written, reading them is an error, and one NUL at the end is lost;
//! * no time limit: a daemon that does not answer blocks the caller for ever.
//!
//! The daemon needs all of these; [`Client`](crate::Client) has them.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use xenstore_rs::Xs;
use xenstore_rs::unix::XsUnix;

use crate::wire::{ERRORS, PAYLOAD_MAX};
use crate::{Basic, Error};

/// A connection of `xenstore-rs`; the [module](self) says what it cannot do.
pub struct XenstoreRs(Mutex<XsUnix>);

impl XenstoreRs {
    /// Connects as `xenstore-rs` does: `XENSTORED_PATH` or `/run/xenstored/socket`, else `/dev/xen/xenbus`.
    pub fn connect() -> Result<XenstoreRs, Error> {
        XsUnix::new().map(|inner| XenstoreRs(Mutex::new(inner))).map_err(|error| Error::Io {
            what: "xenstore-rs: connecting to xenstored".into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }

    fn call<T>(&self, path: &str, request: impl FnOnce(&XsUnix) -> io::Result<T>) -> Result<T, Error> {
        // xenstore-rs puts the path into its message as it is: a NUL would make two words of it.
        if path.contains('\0') {
            return Err(Error::Invalid { path: path.to_owned() });
        }
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        request(&inner).map_err(|error| translate(path, &error))
    }
}

impl Basic for XenstoreRs {
    fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.call(path, |inner| inner.read(path)).map(|value| value.into_string().into_bytes())
    }

    fn put(&self, path: &str, value: &[u8]) -> Result<(), Error> {
        let len = path.len() + 1 + value.len();
        if len > PAYLOAD_MAX {
            return Err(Error::TooBig { path: path.to_owned(), len, max: PAYLOAD_MAX });
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| Error::value(path, value, "UTF-8 text, all that xenstore-rs can write"))?;
        self.call(path, |inner| inner.write(path, text))
    }

    fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let names = self.call(path, |inner| inner.directory(path))?;
        Ok(names.into_iter().map(|name| name.into_string()).collect())
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        self.call(path, |inner| inner.rm(path))
    }
}

/// `xenstore-rs` folds the errors of xenstored into fewer kinds, but leaves the name in the message.
fn translate(path: &str, error: &io::Error) -> Error {
    let text = error.to_string();
    if let Some(name) = text.strip_prefix("XS interface error ") {
        let known = ERRORS.iter().find(|(known, _)| *known == name);
        return Error::from_errno(known.map_or(libc::EIO, |&(_, errno)| errno), path);
    }
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            Error::Disconnected { why: format!("xenstore-rs: {text}") }
        }
        kind => {
            let other = if kind == ErrorKind::InvalidData { libc::EILSEQ } else { libc::EIO };
            let errno = error.raw_os_error().unwrap_or(other);
            Error::Io { what: format!("{path}: xenstore-rs: {text}"), errno }
        }
    }
}
