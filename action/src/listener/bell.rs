// SPDX-License-Identifier: MIT OR Apache-2.0
//! What readers ring when they see something that no kick of the guest's will tell of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// The bell of one guest. Readers are given what is there as soon as they look, and with that they change what the
/// guest is to kick for; so whoever waits for a kick is also told of what others saw.
pub(super) struct Bell {
    rung: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// `wake` sees to it that a turn is taken.
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(false), wake: Box::new(wake) })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// A turn is taken now: who rings until it is [silenced](Self::silence) need not see to one.
    pub(super) fn muffle(&self) {
        self.rung.store(true, Ordering::Release);
    }

    /// It is heard; true if it had been rung.
    pub(super) fn silence(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}
