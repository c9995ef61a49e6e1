// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's kernel whose loads and unloads do what a test says.

use std::borrow::ToOwned;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::string::String;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::{NAME_BYTES, Name};

use crate::traits::{Errno, Kernel, Log};

const ENOENT: i32 = 2;
const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;

pub(super) const NO_MODULE: Loaded = Loaded { run: 0, seq: 0, name: [0; NAME_BYTES] };

/// What the kernel does with one load or unload.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reaction {
    status: i32,
    delay: Duration,
    log: String,
    truncated: bool,
    held: bool,
}

impl Reaction {
    /// It works.
    pub fn works() -> Self {
        Self { status: 0, delay: Duration::ZERO, log: String::new(), truncated: false, held: false }
    }

    /// It is refused with that (positive) errno.
    pub fn refuses(errno: i32) -> Self {
        Self { status: -errno, ..Self::works() }
    }

    /// It takes that long.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// It goes on until [`FakeKernel::let_go`].
    pub fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// The kernel logs that text meanwhile.
    pub fn logging(self, log: &str) -> Self {
        Self { log: log.to_owned(), ..self }
    }

    /// And more before it, which is missing.
    pub fn truncated(self) -> Self {
        Self { truncated: true, ..self }
    }
}

/// A load or unload that reached the loader thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A load.
    Load {
        /// Name from the command.
        name: String,
        /// The image as it arrived.
        image: Vec<u8>,
        /// The arguments as they arrived.
        args: Vec<u8>,
    },
    /// An unload.
    Unload {
        /// Name from the command.
        name: String,
    },
}

/// The kernel of one guest. Clones are the same kernel. Without instructions every load works, one of a module that is
/// in gives `EEXIST`, and an unload of one that is not `ENOENT`.
#[derive(Clone, Debug)]
pub struct FakeKernel(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Locked while the frontend listens, so that it has stopped when it is told to.
    deaf: Mutex<bool>,
    /// Wakes the frontend's thread.
    pub(super) wake: EventFd,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Stop,
    Unload,
    Resume,
}

#[derive(Debug)]
struct State {
    reactions: VecDeque<Reaction>,
    work: Vec<Work>,
    modules: BTreeSet<String>,
    busy: BTreeMap<String, i32>,
    memory: u64,
    image: Option<Image>,
    running: bool,
    released: u64,
    log: Vec<u8>,
    log_truncated: bool,
    orders: VecDeque<Order>,
    results: VecDeque<(i32, u64)>,
}

#[derive(Debug)]
struct Image {
    image_bytes: usize,
    args_bytes: usize,
    bytes: Vec<u8>,
}

pub(super) fn errno(number: i32) -> Errno {
    Errno::from_status(-number).unwrap_or(Errno::IO)
}

impl FakeKernel {
    /// A kernel with no modules.
    ///
    /// # Panics
    ///
    /// When the process has no descriptors left.
    #[expect(clippy::new_without_default, reason = "a kernel is booted, not defaulted")]
    pub fn new() -> Self {
        let state = State {
            reactions: VecDeque::new(),
            work: Vec::new(),
            modules: BTreeSet::new(),
            busy: BTreeMap::new(),
            memory: 1 << 30,
            image: None,
            running: false,
            released: 0,
            log: Vec::new(),
            log_truncated: false,
            orders: VecDeque::new(),
            results: VecDeque::new(),
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).expect("a descriptor more");
        let deaf = Mutex::new(false);
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), deaf, wake }))
    }

    /// What becomes of the next piece of work that has no reaction yet.
    pub fn next(&self, reaction: Reaction) {
        self.0.lock().reactions.push_back(reaction);
    }

    /// Ends the work that is [`held`](Reaction::held) now, or the next that will be.
    pub fn let_go(&self) {
        self.0.lock().released += 1;
        self.0.changed.notify_all();
    }

    /// Unloads of that module fail in the first step with that (positive) errno; 0: no more.
    pub fn set_busy(&self, name: &str, errno: i32) {
        self.0.lock().busy.insert(name.to_owned(), errno);
    }

    /// Bytes of the largest image that there is memory for.
    pub fn set_memory(&self, bytes: u64) {
        self.0.lock().memory = bytes;
    }

    /// A guest that reads nothing and says nothing, for as long as this is set.
    pub fn set_deaf(&self, deaf: bool) {
        *self.0.deaf() = deaf;
        self.0.wake();
    }

    /// All loads and unloads that reached the loader thread.
    pub fn work(&self) -> Vec<Work> {
        self.0.lock().work.clone()
    }

    /// The modules that are in.
    pub fn modules(&self) -> Vec<String> {
        self.0.lock().modules.iter().cloned().collect()
    }

    /// The guest's own user space removes a module.
    pub fn remove_module(&self, name: &str) {
        self.0.lock().modules.remove(name);
    }

    pub(super) fn append(&self, bytes: &[u8]) -> Result<(), Errno> {
        match &mut self.0.lock().image {
            Some(image) if image.bytes.len() + bytes.len() <= image.image_bytes + image.args_bytes => {
                image.bytes.extend_from_slice(bytes);
                Ok(())
            }
            _ => Err(Errno::IO),
        }
    }

    fn start(&self, work: Work) -> Result<(), Errno> {
        let mut state = self.0.lock();
        if state.running {
            return Err(errno(EBUSY));
        }
        state.running = true;
        let reaction = state.reactions.pop_front().unwrap_or_else(Reaction::works);
        state.work.push(work.clone());
        drop(state);
        let shared = Arc::clone(&self.0);
        thread::spawn(move || shared.perform(&work, &reaction));
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        let _ = self.wake.write(1); // EAGAIN: it is awake already
    }

    pub(super) fn order(&self, order: Order) {
        self.lock().orders.push_back(order);
        self.wake();
    }

    pub(super) fn next_order(&self) -> Option<Order> {
        self.lock().orders.pop_front()
    }

    pub(super) fn next_result(&self) -> Option<(i32, u64)> {
        self.lock().results.pop_front()
    }

    pub(super) fn deaf(&self) -> MutexGuard<'_, bool> {
        self.deaf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loader thread, for one piece of work.
    fn perform(&self, work: &Work, reaction: &Reaction) {
        let start = Instant::now();
        thread::sleep(reaction.delay);
        let mut state = self.lock();
        if reaction.held {
            state = self
                .changed
                .wait_while(state, |state| state.released == 0)
                .unwrap_or_else(PoisonError::into_inner);
            state.released -= 1;
        }
        let status = match work {
            _ if reaction.status != 0 => reaction.status,
            Work::Load { name, .. } if state.modules.insert(name.clone()) => 0,
            Work::Load { .. } => -EEXIST,
            Work::Unload { name } if state.modules.remove(name) => 0,
            Work::Unload { .. } => -ENOENT,
        };
        state.log = reaction.log.clone().into_bytes();
        state.log_truncated = reaction.truncated;
        state.running = false;
        state.results.push_back((status, start.elapsed().as_nanos() as u64));
        drop(state);
        self.wake();
    }
}

/// A copy of the log for the length of a call: the trait wants a reference, a mutex cannot give one.
pub(super) struct ThreadKernel {
    kernel: FakeKernel,
    log: Vec<u8>,
}

impl ThreadKernel {
    pub(super) fn new(kernel: FakeKernel) -> Self {
        Self { kernel, log: Vec::new() }
    }
}

impl Kernel for ThreadKernel {
    fn image_begin(&mut self, image_bytes: u64, args_bytes: u32) -> Result<(), Errno> {
        let mut state = self.kernel.0.lock();
        if image_bytes > state.memory {
            return Err(errno(ENOMEM));
        }
        if state.image.is_some() {
            return Err(errno(EBUSY));
        }
        let (image_bytes, args_bytes) = (image_bytes as usize, args_bytes as usize);
        state.image = Some(Image { image_bytes, args_bytes, bytes: Vec::new() });
        Ok(())
    }

    fn image_drop(&mut self) {
        self.kernel.0.lock().image = None;
    }

    fn load_start(&mut self, name: &Name) -> Result<(), Errno> {
        let image = self.kernel.0.lock().image.take().ok_or(Errno::IO)?;
        if image.bytes.len() != image.image_bytes + image.args_bytes {
            return Err(Errno::IO);
        }
        let mut bytes = image.bytes;
        let args = bytes.split_off(image.image_bytes);
        self.kernel.start(Work::Load { name: name.as_str().to_owned(), image: bytes, args })
    }

    fn unload_start(&mut self, name: &Name) -> Result<(), Errno> {
        self.kernel.start(Work::Unload { name: name.as_str().to_owned() })
    }

    fn unload_check(&mut self, name: &Name) -> Result<(), Errno> {
        let state = self.kernel.0.lock();
        match state.busy.get(name.as_str()) {
            Some(&number) if number != 0 => Err(errno(number)),
            _ if state.modules.contains(name.as_str()) => Ok(()),
            _ => Err(errno(ENOENT)),
        }
    }

    fn present(&mut self, name: &Name) -> bool {
        self.kernel.0.lock().modules.contains(name.as_str())
    }

    fn log(&mut self) -> Log<'_> {
        let state = self.kernel.0.lock();
        self.log.clone_from(&state.log);
        Log { text: &self.log, truncated: state.log_truncated }
    }
}
