// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life cycle of the device, as `kmod/vesper_comm.c` and the kernel's xenbus do it together.

use std::format;
use std::os::fd::OwnedFd;
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use vesper_grant::loopback::LoopGuest;
use vesper_grant::{Access, PAGE_SIZE};
use vesper_ring::wire::PROTOCOL_VERSION;
use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::xenbus::{
    BOOT_ID, FRONTEND_VERSION, KERNEL_RELEASE, LOADER_EVENT_CHANNEL, LOADER_RING_PAGE_ORDER, LOADER_RING_REF,
    State, VERMAGIC, VERSION,
};
use vesper_xenstore::{
    Error, Store, Tx, Watch, read_opt, read_string, read_u32_or, transaction, write_existing,
};

use super::grants::Granted;
use super::kernel::{FakeKernel, ThreadKernel};
use super::listening::Listening;
use super::pages::LoopPages;
use super::relay::Shared;
use crate::frontend::{Frontend, Progress};
use crate::modules::Modules;
use crate::traits::Fault;

/// Where the devices of this class are, from the guest's own directory.
pub(super) const DEVICES: &str = "device/vesper";
const DEVICE: &str = "device/vesper/0";

/// What the loopback says of its kernel.
const RELEASE: &str = "6.1.0-loopback";
const LOOP_VERMAGIC: &str = "6.1.0-loopback SMP preempt mod_unload modversions ";

/// The driver and its device, if there is one.
pub(super) struct Device<'t> {
    pub(super) store: Arc<dyn Store>,
    pub(super) kernel: FakeKernel,
    core: Frontend<'t, LoopPages, ThreadKernel>,
    pub(super) listening: Listening,
    watch: Watch,
    backend: Option<Backend>,
    own: State,
    ring: Option<Granted>,
    started: bool,
    restart: bool,
    /// Whether the directory was looked at since the module was loaded.
    looked: bool,
    boot_id: String,
}

/// The other end of the bound device.
struct Backend {
    path: String,
    watch: Watch,
}

impl<'t> Device<'t> {
    pub(super) fn new(
        guest: LoopGuest,
        store: Arc<dyn Store>,
        watch: Watch,
        kernel: FakeKernel,
        relay: Arc<Shared>,
        table: &'t mut [Loaded],
    ) -> Self {
        let boot_id =
            format!("{:032x}", u128::from(guest.id().0) << 64 | std::ptr::from_ref(table).addr() as u128);
        let pages = LoopPages::new(guest, kernel.clone());
        let core = Frontend::new(pages, ThreadKernel::new(kernel.clone()), Modules::new(table));
        Self {
            store,
            kernel,
            core,
            listening: Listening::new(relay),
            watch,
            backend: None,
            own: State::Unknown,
            ring: None,
            started: false,
            restart: false,
            looked: false,
            boot_id,
        }
    }

    /// What to wait for besides nodes; an event that comes before both ends are connected waits itself, and a destroyed
    /// domain has none to come.
    pub(super) fn event_fds(&mut self) -> Vec<OwnedFd> {
        let pages = self.core.pages();
        let hears = self.started && pages.guest().is_alive();
        let own = pages.port.filter(|_| hears).map(|port| pages.guest().event_fd(port));
        own.into_iter().chain(self.listening.event_fd()).collect()
    }

    /// Whether the host sent an event since the last call.
    pub(super) fn take_event(&mut self, time: Duration) -> bool {
        let pages = self.core.pages();
        self.started && pages.port.is_some_and(|port| pages.guest().wait(port, time))
    }

    pub(super) fn owes_grants(&mut self) -> bool {
        self.core.pages().grants.owes() || self.listening.owes()
    }

    pub(super) fn settle_grants(&mut self) {
        self.core.pages().grants.settle();
        self.listening.settle();
    }

    /// Takes the answers that are there.
    pub(super) fn run(&mut self) {
        loop {
            match self.core.run() {
                Ok(Progress::More) => {}
                Ok(_) => return,
                Err(fault) => return self.stop(&fault),
            }
        }
    }

    /// The listener's part of the same.
    pub(super) fn listen(&mut self) {
        if let Err(fault) = self.listening.run() {
            self.stop(&fault);
        }
    }

    pub(super) fn finished(&mut self, status: i32, nanos: u64) {
        if let Err(fault) = self.core.finished(status, nanos)
            && self.started
        {
            self.stop(&fault);
        }
    }

    /// Looks at the nodes whose watches fired.
    pub(super) fn look(&mut self) {
        let nodes = self.watch.take_dirty();
        if nodes && read_state(&*self.store, DEVICE) == State::Unknown {
            if self.backend.take().is_some() {
                self.release();
            }
            return;
        }
        if self.backend.is_none() && nodes {
            self.probe();
        }
        if let Some(backend) = &self.backend
            && backend.watch.take_dirty()
        {
            let state = read_state(&*self.store, &backend.path);
            self.backend_changed(state);
        }
    }

    /// `rmmod vesper_front`. The host still maps the ring page here; it lets go when it sees the state.
    pub(super) fn unload(&mut self) {
        self.release();
        self.core.pages().grants.leave_to_kernel();
        self.listening.unload();
        self.switch(State::Closed);
    }

    /// After suspend or migration.
    pub(super) fn resume(&mut self) {
        self.release();
        self.backend = None;
        self.own = State::Initialising;
        self.bind();
    }

    /// The bus takes new devices in state 1; a module that is loaded again finds its old device in any.
    fn probe(&mut self) {
        let fresh = read_state(&*self.store, DEVICE) == State::Initialising;
        if std::mem::replace(&mut self.looked, true) && !fresh {
            return;
        }
        self.switch(State::Initialising);
        self.bind();
    }

    fn bind(&mut self) {
        let Ok(path) = read_string(&*self.store, Tx::NONE, &format!("{DEVICE}/backend")) else { return };
        let Ok(watch) = self.store.watch(&format!("{path}/state")) else { return };
        self.backend = Some(Backend { path, watch });
    }

    fn backend_changed(&mut self, state: State) {
        match (state, self.own) {
            (State::InitWait, State::Initialised) => {}
            (State::InitWait, _) => self.connect(),
            (State::Initialised | State::Connected, State::Initialised) => self.start(),
            (State::Initialised | State::Connected, State::Initialising) => {
                self.restart = true;
                self.switch(State::Closed);
            }
            (State::Closing, State::Initialising) => {}
            (State::Closing, _) => self.disconnect(),
            (State::Closed, own) => {
                if own != State::Closed && own != State::Initialising {
                    self.disconnect();
                }
                if std::mem::take(&mut self.restart) {
                    self.switch(State::Initialising);
                }
            }
            _ => {}
        }
    }

    fn connect(&mut self) {
        let Some(backend) = self.backend.as_ref().map(|backend| backend.path.clone()) else { return };
        let version = format!("{backend}/{VERSION}");
        let Ok(version) = read_u32_or(&*self.store, Tx::NONE, &version, 0..=u32::MAX, 0) else { return };
        if version == 0 {
            return;
        }
        self.release();
        self.restart = false;
        let ring = self.core.pages().grants.grant(Access::ReadWrite);
        // SAFETY: the page lives until `release`, which detaches first; the host has the only other access.
        let attached = unsafe { self.core.attach(ring.page.as_ptr(), PAGE_SIZE) };
        attached.expect("a page holds a ring");
        let gref = ring.gref.0;
        self.ring = Some(ring);
        let pages = self.core.pages();
        let port = pages.guest().alloc_unbound();
        pages.port = Some(port);
        let nodes = [
            (LOADER_RING_PAGE_ORDER, "0".to_string()),
            (&format!("{LOADER_RING_REF}0"), gref.to_string()),
            (LOADER_EVENT_CHANNEL, port.0.to_string()),
            (VERSION, version.min(PROTOCOL_VERSION).to_string()),
            (KERNEL_RELEASE, RELEASE.to_string()),
            (VERMAGIC, LOOP_VERMAGIC.to_string()),
            (BOOT_ID, self.boot_id.clone()),
            (FRONTEND_VERSION, env!("CARGO_PKG_VERSION").to_string()),
        ];
        let nodes = nodes.map(|(name, value)| (name.to_string(), Some(value)));
        let listener = self.listening.open(&*self.store, &backend);
        match self.publish(nodes.into_iter().chain(listener).collect()) {
            Ok(()) => self.switch(State::Initialised),
            Err(_) => self.switch(State::Closing),
        }
    }

    /// All nodes in one transaction; those without a value are removed.
    fn publish(&self, nodes: Vec<(String, Option<String>)>) -> Result<(), Error> {
        let nodes: Vec<_> =
            nodes.iter().map(|(name, value)| (format!("{DEVICE}/{name}"), value.as_ref())).collect();
        transaction(&*self.store, |tx| {
            nodes.iter().try_for_each(|(path, value)| match value {
                Some(value) => self.store.write(tx, path, value.as_bytes()),
                None if read_opt(&*self.store, tx, path)?.is_some() => self.store.remove(tx, path),
                None => Ok(()),
            })
        })
    }

    fn start(&mut self) {
        self.listening.connected();
        self.switch(State::Connected);
        self.started = true;
        if let Err(fault) = self.core.start().and_then(|()| self.listening.start()) {
            self.stop(&fault);
        }
    }

    fn disconnect(&mut self) {
        if self.own != State::Closed {
            self.switch(State::Closing);
        }
        self.release();
        self.switch(State::Closed);
    }

    /// The host broke the protocol.
    fn stop(&mut self, _fault: &Fault) {
        self.started = false;
        self.listening.stop();
        self.switch(State::Closing);
    }

    /// Gives back all that a connection has.
    fn release(&mut self) {
        self.started = false;
        self.listening.release();
        self.core.detach();
        let pages = self.core.pages();
        if let Some(port) = pages.port.take() {
            pages.guest().close(port);
        }
        pages.end_all();
        if let Some(ring) = self.ring.take() {
            pages.grants.end(ring);
        }
    }

    fn switch(&mut self, state: State) {
        self.own = state;
        let number = (state as u32).to_string();
        // A node that is gone, a store that is gone: there is nobody to tell.
        let _ = write_existing(&*self.store, Tx::NONE, &format!("{DEVICE}/state"), number.as_bytes());
    }
}

fn read_state(store: &dyn Store, device: &str) -> State {
    let state = read_u32_or(store, Tx::NONE, &format!("{device}/state"), 0..=u32::MAX, 0);
    State::from_number(state.unwrap_or(0))
}
