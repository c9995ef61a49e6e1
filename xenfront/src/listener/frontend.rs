// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The listener's two parts put together: what the kernel module and the tests drive.

use core::ptr::NonNull;

use vesper_ring::BadMemory;

use super::action::Action;
use super::comm::Comm;
use super::traits::{Kernel, Pages};
use crate::frontend::{BUDGET, Progress};
use crate::traits::Fault;

/// The listener of one device. Its methods are called by one thread at a time.
#[derive(Debug)]
pub struct Listener<P, K> {
    comm: Comm<P>,
    action: Action,
    kernel: K,
}

impl<P: Pages, K: Kernel> Listener<P, K> {
    /// Without a connection and with no export.
    pub fn new(pages: P, kernel: K) -> Self {
        Self { comm: Comm::new(pages), action: Action::new(), kernel }
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

    /// The connection is gone; the ring page is not touched any more. Exports that were to be taken back have ended, the
    /// others are announced again at the next start.
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
            let done = self.action.answered(answer, &mut self.comm, &mut self.kernel);
            self.guard(done)?;
        }
        Ok(Progress::More)
    }

    /// There is an export in the slot, or more of the one that is there; see [`Action::export`].
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew; the export is announced after that.
    pub fn export(&mut self, slot: u32) -> Result<(), Fault> {
        let asked = self.action.export(slot, &mut self.comm, &mut self.kernel);
        self.guard(asked)
    }

    /// The export in the slot is to be taken back; see [`Action::unexport`].
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew; the export has ended.
    pub fn unexport(&mut self, slot: u32, number: u32) -> Result<(), Fault> {
        let asked = self.action.unexport(slot, number, &mut self.comm, &mut self.kernel);
        self.guard(asked)
    }

    /// It is time for another exchange of TIME.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the device stands still until it is attached anew.
    pub fn time(&mut self) -> Result<(), Fault> {
        let asked = self.action.time(&mut self.comm, &mut self.kernel);
        self.guard(asked)
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
