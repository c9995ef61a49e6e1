// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real frontend core as a guest of this process: feature `loopback`, for the tests of the host's side.
//!
//! [`LoopFrontend`] is what the C part of the kernel module is, over [`LoopGuest`] and a xenstore: the same life cycle
//! (`device`), pages that are really granted (`pages`). In place of the guest's kernel there is a [`FakeKernel`], whose
//! loads do what a test says.

mod device;
mod grants;
mod kernel;
mod listening;
mod pages;
mod relay;

use std::boxed::Box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::vec::Vec;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_grant::loopback::LoopGuest;
use vesper_xenstore::Store;

use device::Device;
pub use kernel::{FakeKernel, Reaction, Work};
use kernel::{Order, Shared};
use relay::Pulse;
pub use relay::{ChannelSpec, Relay, RelayChannel};

/// A guest with the frontend module loaded. Dropping it is a guest whose kernel stopped: nothing is said any more and
/// nothing given back.
#[must_use = "a frontend that is dropped stands still"]
pub struct LoopFrontend {
    kernel: FakeKernel,
    relay: Relay,
    pulse: Option<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl LoopFrontend {
    /// Loads the frontend module in `guest`. `store` is the guest's own connection (relative paths are its own).
    ///
    /// # Panics
    ///
    /// If the watch of the device's directory is refused.
    pub fn start(guest: LoopGuest, store: impl Store + 'static, kernel: FakeKernel) -> Self {
        let store: Arc<dyn Store> = Arc::new(store);
        let watch = store.watch(device::DEVICES).expect("a guest may watch its own directory");
        let shared = relay::Shared::new(&guest, kernel.clone());
        let relay = Relay::new(Arc::clone(&shared));
        let pulse = Pulse::start(Arc::clone(&shared));
        let for_thread = kernel.clone();
        let thread = thread::spawn(move || {
            let mut table = Box::new([kernel::NO_MODULE; crate::modules::TABLE_ENTRIES]);
            let device = Device::new(guest, store, watch, for_thread, shared, &mut table[..]);
            live(device);
        });
        Self { kernel, relay, pulse: Some(pulse), thread: Some(thread) }
    }

    /// The kernel that it was started with.
    pub fn kernel(&self) -> &FakeKernel {
        &self.kernel
    }

    /// The guest's relay channels, last words and heartbeat, as the frontend's module offers them to others.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Suspended and resumed, as after a migration: every grant and port is gone, the nodes are as the toolstack made
    /// them.
    pub fn resume(&self) {
        self.kernel.0.order(Order::Resume);
    }

    /// `rmmod vesper_front`: everything is given back, the state is Closed. A page that the host still maps is given back
    /// when it no longer does. Returns when the module is out.
    pub fn unload(mut self) {
        self.end(Order::Unload);
    }

    fn end(&mut self, order: Order) {
        // An order that no thread takes would be the next one's, if the kernel gets another frontend.
        let Some(thread) = self.thread.take() else { return };
        self.pulse = None;
        self.kernel.0.order(order);
        if thread.join().is_err() && !thread::panicking() {
            panic!("the frontend's thread panicked");
        }
    }
}

impl Drop for LoopFrontend {
    fn drop(&mut self) {
        self.end(Order::Stop);
    }
}

/// The frontend's thread. Returns when told to.
fn live(mut device: Device<'_>) {
    let shared: Arc<Shared> = Arc::clone(&device.kernel.0);
    loop {
        let mut wait_for: Vec<BorrowedFd<'_>> = Vec::new();
        let store = Arc::clone(&device.store);
        wait_for.push(store.wake_fd());
        wait_for.push(shared.wake.as_fd());
        let deaf = *shared.deaf();
        let events: Vec<OwnedFd> = if deaf { Vec::new() } else { device.event_fds() };
        wait_for.extend(events.iter().map(AsFd::as_fd));
        let mut fds: Vec<_> = wait_for.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Grants that the host still held are tried again, as the kernel does it.
        let retry = device.owes_grants().then_some(grants::RETRY);
        let pause = device.listening.pause().filter(|_| !deaf);
        let timeout = retry.into_iter().chain(pause).min();
        // Rounded up, or the last millisecond would be spent spinning.
        let timeout = timeout.map(|time| PollTimeout::try_from(time + Duration::from_micros(999)));
        let timeout = timeout.and_then(Result::ok).unwrap_or(PollTimeout::NONE);
        let _ = poll(&mut fds, timeout); // EINTR: look around, nothing lost

        store.drain_wake();
        let _ = shared.wake.read(); // EAGAIN: nothing was written
        while let Some(order) = shared.next_order() {
            match order {
                Order::Stop => return,
                Order::Unload => return device.unload(),
                Order::Resume => device.resume(),
            }
        }
        device.settle_grants();
        device.look();
        while let Some((status, nanos)) = shared.next_result() {
            device.finished(status, nanos);
        }
        let deaf = shared.deaf();
        if *deaf {
            continue;
        }
        if device.take_event(Duration::ZERO) {
            device.run();
        }
        device.listen();
    }
}
