// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thread that closes what clients have a say in.
//!
//! close(2) of the last descriptor of a file may take as long as whoever made it likes: a TCP socket with `SO_LINGER`
//! waits for its peer, a file of FUSE for its server. A socket's close also closes the descriptors that were passed through
//! it and never received. None of that may happen in the loop.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::{io, thread};

/// The thread, as others see it. It ends when the last of these and of the [`Foreign`] are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Closer(mpsc::Sender<OwnedFd>);

impl Closer {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, descriptors) = mpsc::channel::<OwnedFd>();
        thread::Builder::new().name("closer".into()).spawn(move || descriptors.into_iter().for_each(drop))?;
        Ok(Self(sender))
    }
}

/// A descriptor that a client has a say in. When this is dropped the thread closes it.
#[derive(Debug)]
pub(crate) struct Foreign<T: Into<OwnedFd>> {
    /// There until it is dropped.
    inner: Option<T>,
    closer: Closer,
}

impl<T: Into<OwnedFd>> Foreign<T> {
    pub(crate) fn new(inner: T, closer: &Closer) -> Self {
        Self { inner: Some(inner), closer: closer.clone() }
    }

    /// The same descriptor as another type.
    pub(crate) fn map<U: Into<OwnedFd>>(mut self, as_other: impl FnOnce(T) -> U) -> Foreign<U> {
        Foreign { inner: self.inner.take().map(as_other), closer: self.closer.clone() }
    }
}

impl<T: Into<OwnedFd>> Deref for Foreign<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Into<OwnedFd>> Drop for Foreign<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            // The thread ends only after every sender; should it be gone all the same, the descriptor is closed right here.
            let _ = self.closer.0.send(inner.into());
        }
    }
}
