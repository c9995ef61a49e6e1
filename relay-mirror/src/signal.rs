// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits for a channel to move.

use std::sync::PoisonError;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A number that grows with each movement, and those who wait for it.
pub(crate) struct Signal {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    generation: u64,
    /// Threads in [`Signal::wait`]: without any, nobody is notified, which would be a system call.
    waiting: u32,
    wakers: Vec<Waker>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Something has moved.
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        state.generation += 1;
        let wakers = std::mem::take(&mut state.wakers);
        let waited_for = state.waiting > 0;
        drop(state);
        if waited_for {
            self.moved.notify_all();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wait(&self, seen: u64, time: Duration) -> u64 {
        let deadline = Instant::now().checked_add(time);
        let mut state = self.lock();
        state.waiting += 1;
        while state.generation == seen {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => time,
            };
            if left.is_zero() {
                break;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        state.generation
    }

    pub(crate) fn wake_after(&self, seen: u64, waker: &Waker) {
        let mut state = self.lock();
        if state.generation == seen {
            if !state.wakers.iter().any(|known| known.will_wake(waker)) {
                state.wakers.push(waker.clone());
            }
            return;
        }
        drop(state);
        waker.wake_by_ref();
    }
}
