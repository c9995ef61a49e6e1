// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's relay channels, last words and heartbeat: what probe modules find in its kernel (`vesper/relay.h`).

mod channel;
mod exports;
mod memory;
mod part;
mod pulse;
mod words;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use nix::time::ClockId;
use vesper_grant::Port;
use vesper_grant::loopback::{GuestPage, LoopGuest};

use super::grants::Grants;
use super::kernel::FakeKernel;
use crate::traits::Errno;

pub use channel::{ChannelSpec, RelayChannel};
use exports::Exports;
pub(super) use exports::{Handle, Task};
use pulse::Heart;
pub(super) use pulse::Pulse;
use words::LastWords;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EMSGSIZE: i32 = 90;

/// How long starting and ending an export wait for the host.
const PATIENCE: Duration = Duration::from_secs(1);

/// The relay side of one guest's kernel. Clones are the same one.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

/// What the threads of the guest share.
pub(super) struct Shared {
    guest: LoopGuest,
    kernel: FakeKernel,
    exports: Mutex<Exports>,
    /// An offer was answered, an export has ended, or the connection.
    changed: Condvar,
    /// The listener's port; 0: none.
    bell: AtomicU32,
    clock_offset: AtomicI64,
    words: LastWords,
    heart: Heart,
}

impl Shared {
    /// What the core talks about, and what stands behind it.
    fn exports(&self) -> MutexGuard<'_, Exports> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings the event channel, from any context.
    fn kick(&self) {
        match self.bell.load(Ordering::Relaxed) {
            0 => {}
            port => self.guest.notify(Port(port)),
        }
    }

    /// Wakes the communication thread.
    fn wake(&self) {
        self.kernel.0.wake();
    }

    /// What the host said of an export; 0 when it says nothing within a second, or the connection ends.
    fn wait_for_status(&self, slot: u32, number: u32) -> i32 {
        let silent = |all: &mut Exports| all.get(slot, number).is_some_and(|export| export.status.is_none());
        let wait = self.changed.wait_timeout_while(self.exports(), PATIENCE, silent);
        let (mut all, _) = wait.unwrap_or_else(PoisonError::into_inner);
        all.get(slot, number).and_then(|export| export.status).unwrap_or(0)
    }

    /// Whether an export ends within a second.
    fn wait_for_end(&self, slot: u32, number: u32) -> bool {
        let there = |all: &mut Exports| all.get(slot, number).is_some();
        let wait = self.changed.wait_timeout_while(self.exports(), PATIENCE, there);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn clock(&self) -> u64 {
        let now = ClockId::CLOCK_MONOTONIC.now().expect("a clock that every kernel has");
        let now = Duration::from(now).as_nanos() as u64;
        now.saturating_add_signed(self.clock_offset.load(Ordering::Relaxed))
    }
}

/// What the frontend's thread does with it.
impl Shared {
    pub(super) fn new(guest: &LoopGuest, kernel: FakeKernel) -> Arc<Self> {
        Arc::new(Self {
            guest: guest.clone(),
            kernel,
            exports: Mutex::new(Exports::new(Grants::new(guest.clone()))),
            changed: Condvar::new(),
            bell: AtomicU32::new(0),
            clock_offset: AtomicI64::new(0),
            words: LastWords::new(guest),
            heart: Heart::new(guest),
        })
    }

    /// Heartbeat, then the places for last words: what the host may read as long as it is connected.
    pub(super) fn pages(&self) -> impl Iterator<Item = &GuestPage> {
        self.heart.page().chain(self.words.pages())
    }

    pub(super) fn guest(&self) -> &LoopGuest {
        &self.guest
    }

    pub(super) fn with_grants<T>(&self, act: impl FnOnce(&mut Grants) -> T) -> T {
        act(&mut self.exports().grants)
    }

    pub(super) fn set_quota(&self, pages: u32, exports: u32) {
        let mut all = self.exports();
        (all.quota_pages, all.quota_exports) = (pages, exports);
    }

    pub(super) fn set_bell(&self, port: Option<Port>) {
        self.bell.store(port.map_or(0, |port| port.0), Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        self.heart.connected(self.clock());
        self.exports().connected = true;
    }

    pub(super) fn released(&self) {
        self.exports().release();
        self.changed.notify_all();
    }

    pub(super) fn next_task(&self) -> Option<Task> {
        self.exports().next_task()
    }

    pub(super) fn forget(&self) {
        self.exports().forget();
        self.changed.notify_all();
    }
}

impl Relay {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Opens a channel and exports it (`vesper_export_start`). With a connected host it waits for the answer, a second at
    /// most; without one the channel is announced when it comes.
    ///
    /// # Errors
    ///
    /// `EINVAL` (the sizes), `EEXIST` (the name), `ENOSPC` (the host's quota), or what the host said.
    pub fn export(&self, spec: &ChannelSpec) -> Result<RelayChannel, Errno> {
        RelayChannel::start(&self.0, spec)
    }

    /// Leaves a record in a place for last words (`vesper_last_words`), in the name of a channel or of none.
    ///
    /// # Errors
    ///
    /// `ENOSPC` (all places are taken: counted), `EMSGSIZE`.
    pub fn last_words(
        &self,
        channel: Option<&RelayChannel>,
        event: u16,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let name = channel.map(RelayChannel::name);
        let place = self.0.words.write(name, event, self.0.clock(), payload);
        if let Err(ref e) = place
            && e.status() == -ENOSPC
        {
            self.0.heart.lost();
        }
        self.0.kick();
        place
    }

    /// The guest's clock, in nanoseconds.
    pub fn clock(&self) -> u64 {
        self.0.clock()
    }

    /// Sets the guest's clock to the machine's monotonic one and that many nanoseconds. 0 at first.
    pub fn set_clock_offset(&self, nanos: i64) {
        self.0.clock_offset.store(nanos, Ordering::Relaxed);
    }

    /// Time from one heartbeat to the next; 500 ms at first.
    pub fn set_heartbeat(&self, period: Duration) {
        self.0.heart.set_period(period);
    }

    /// A vCPU takes no interrupt any more, or does again: no heartbeat, and nothing that it wrote is shown.
    pub fn set_hung(&self, cpu: u16, hung: bool) {
        self.0.heart.set_hung(cpu, hung);
    }

    /// A vCPU comes or goes; 0 and 1 are there at first. Channels get the buffer of one that comes by
    /// [`RelayChannel::add_cpu`].
    pub fn set_online(&self, cpu: u16, online: bool) {
        self.0.heart.set_online(cpu, online);
        if !online {
            self.0.show_idle(&[cpu]);
        }
    }

    /// Names of the exports that the host has, may have or is to have, in the order of their slots.
    pub fn exports(&self) -> Vec<std::string::String> {
        use std::string::ToString;
        self.0.exports().live().map(|export| export.channel.name.to_string()).collect()
    }
}
