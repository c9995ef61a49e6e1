// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads and polls that wait for a guest, and the thread that answers them.
//!
//! A process that is killed while it reads is held by the kernel until the read is answered, and the library does not
//! hand on that it was interrupted. So once a second it is looked whether a signal waits for the reader, and if so the
//! read is answered EINTR; one that nobody interrupts waits for as long as the guest does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{Errno, PollNotifier, ReplyData};

use crate::files::{File, Read};
use crate::signals;

/// How often it is looked whether a read is interrupted.
const LOOK: Duration = Duration::from_secs(1);

/// What waits.
#[derive(Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reads: Vec<Parked>,
    polls: Vec<(Arc<File>, PollNotifier)>,
    /// A channel moved, or something was added.
    woken: bool,
}

struct Parked {
    file: Arc<File>,
    size: usize,
    /// The thread that reads.
    thread: u32,
    /// When it is looked whether it is interrupted.
    look_at: Instant,
    reply: ReplyData,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.state().woken = true;
        self.changed.notify_one();
    }
}

impl Waiting {
    /// With a thread that lives as long as the process: there is one tree in it.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let waiting = Arc::new(Self::default());
        let thread = waiting.clone();
        thread::Builder::new().name("tree".into()).spawn(move || thread.run())?;
        Ok(waiting)
    }

    /// Answers the read when there is something, or when the thread that reads is interrupted.
    pub(crate) fn read(self: &Arc<Self>, file: Arc<File>, size: usize, thread: u32, reply: ReplyData) {
        self.state().reads.push(Parked { file, size, thread, look_at: Instant::now() + LOOK, reply });
        self.clone().wake();
    }

    /// Tells the kernel when a read would not wait any more.
    pub(crate) fn poll(self: &Arc<Self>, file: Arc<File>, notifier: PollNotifier) {
        self.state().polls.push((file, notifier));
        self.clone().wake();
    }

    /// Forgets a file that was closed.
    pub(crate) fn forget(&self, file: &Arc<File>) {
        self.state().polls.retain(|(polled, _)| !Arc::ptr_eq(polled, file));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut state = self.state();
        loop {
            if !state.woken {
                let next = state.reads.iter().map(|parked| parked.look_at).min();
                state = match next.map(|at| at.saturating_duration_since(Instant::now())) {
                    None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(left) => {
                        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
            state.woken = false;
            let (reads, polls) = (std::mem::take(&mut state.reads), std::mem::take(&mut state.polls));
            // Reading and answering take time, and a channel that moves meanwhile wants the state.
            drop(state);
            let reads: Vec<Parked> = reads.into_iter().filter_map(|parked| parked.attempt(&waker)).collect();
            let polls: Vec<_> =
                polls.into_iter().filter_map(|(file, notifier)| look(file, notifier, &waker)).collect();
            state = self.state();
            state.reads.extend(reads);
            state.polls.extend(polls);
        }
    }
}

impl Parked {
    /// Answers it, or gives it back to wait on.
    fn attempt(self, waker: &Waker) -> Option<Self> {
        let Parked { file, size, thread, mut look_at, reply } = self;
        let seen = generation(&file);
        match file.read(0, size) {
            Read::Bytes(bytes) => reply.data(&bytes),
            Read::Nothing => {
                let now = Instant::now();
                if look_at <= now {
                    if signals::interrupt(thread) {
                        reply.error(Errno::EINTR);
                        return None;
                    }
                    look_at = now + LOOK;
                }
                wake_after(&file, seen, waker);
                return Some(Self { file, size, thread, look_at, reply });
            }
        }
        None
    }
}

/// Notifies the kernel, or gives it back to wait on.
fn look(file: Arc<File>, notifier: PollNotifier, waker: &Waker) -> Option<(Arc<File>, PollNotifier)> {
    let seen = generation(&file);
    if file.is_readable() {
        // The kernel refuses when the file was closed meanwhile.
        let _ = notifier.notify();
        return None;
    }
    wake_after(&file, seen, waker);
    Some((file, notifier))
}

/// Taken before one looks, so that nothing is missed between looking and waiting.
fn generation(file: &File) -> u64 {
    match file {
        File::Info(_) => 0,
        File::Buffer { channel, .. } => channel.generation(),
    }
}

fn wake_after(file: &File, seen: u64, waker: &Waker) {
    if let File::Buffer { channel, .. } = file {
        channel.wake_after(seen, waker);
    }
}
