// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The two parts put together: what the kernel module and the tests drive.

use core::ptr::NonNull;

use vesper_ring::BadMemory;

use crate::action::Action;
use crate::comm::Comm;
use crate::modules::Modules;
use crate::traits::{Fault, Kernel, Pages};

/// Answers that one run takes: a host that answers at once must not keep the thread.
pub(crate) const BUDGET: u32 = 16;

/// What a [`Frontend::run`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was no answer: the event had no cause.
    Nothing,
    /// Took what there was; the host notifies of the next.
    Done,
    /// There may be more: call again.
    More,
}

/// The frontend of one device. Its methods are called by one thread at a time.
#[derive(Debug)]
pub struct Frontend<'t, P, K> {
    comm: Comm<P>,
    action: Action<'t>,
    kernel: K,
}

impl<'t, P: Pages, K: Kernel> Frontend<'t, P, K> {
    /// Without a connection and with nothing loaded.
    pub fn new(pages: P, kernel: K, modules: Modules<'t>) -> Self {
        Self { comm: Comm::new(pages), action: Action::new(modules), kernel }
    }

    /// What it was made with.
    pub fn pages(&mut self) -> &mut P {
        self.comm.pages()
    }

    /// What it was made with.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Makes an empty ring in the page; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`BadMemory`]: too small or misaligned.
    ///
    /// # Safety
    ///
    /// `page..page + bytes` stays mapped until [`detach`](Self::detach), and only this and the host use it.
    pub unsafe fn attach(&mut self, page: NonNull<u8>, bytes: usize) -> Result<(), BadMemory> {
        self.action.disconnected(&mut self.kernel);
        // SAFETY: the caller's promise.
        unsafe { self.comm.attach(page, bytes) }
    }

    /// Both ends are connected: asks the first question.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew.
    pub fn start(&mut self) -> Result<(), Fault> {
        let asked = self.action.connected(&mut self.comm, &mut self.kernel);
        self.guard(asked)
    }

    /// The connection is gone; the ring page is not touched any more.
    pub fn detach(&mut self) {
        self.action.disconnected(&mut self.kernel);
        self.comm.detach();
    }

    /// Takes what the host answered.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew.
    pub fn run(&mut self) -> Result<Progress, Fault> {
        for taken in 0..BUDGET {
            let answer = self.comm.poll();
            let Some(answer) = self.guard(answer)? else {
                return Ok(if taken == 0 { Progress::Nothing } else { Progress::Done });
            };
            let done = self.action.answered(&answer, &mut self.comm, &mut self.kernel);
            self.guard(done)?;
        }
        Ok(Progress::More)
    }

    /// The loader thread is done, with 0 or −errno after that many nanoseconds.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew; the result is told after that.
    pub fn finished(&mut self, status: i32, nanos: u64) -> Result<(), Fault> {
        let told = self.action.finished(status, nanos, &mut self.comm, &mut self.kernel);
        self.guard(told)
    }

    /// Why the device stands still, if it does.
    pub fn fault(&self) -> Option<&Fault> {
        self.comm.fault()
    }

    /// The first fault is the last thing that a connection sees.
    fn guard<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| {
            self.action.disconnected(&mut self.kernel);
            self.comm.stop(fault)
        })
    }
}
