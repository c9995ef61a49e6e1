// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a probe module has: a relay channel that it exports and writes.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::vec::Vec;

use vesper_relay_mirror::writer::{Kick, Refused, WhenFull};
use vesper_ring::wire::Name;
use vesper_ring::wire::listener::{Consumed, Descriptor, ExportName, Geometry, NO_CPU};

use super::part::{Buffer, Part};
use super::{EEXIST, EINVAL, EMSGSIZE, ENOENT, ENOSPC, Shared};
use crate::loopback::kernel::errno;
use crate::traits::Errno;

/// A channel that is to be exported.
#[derive(Clone, Debug)]
#[must_use]
pub struct ChannelSpec {
    name: String,
    owner: Option<String>,
    subbuf_size: u32,
    subbufs: u32,
    /// None: global.
    cpus: Vec<u16>,
    schema: String,
    when_full: WhenFull,
}

impl ChannelSpec {
    /// Eight sub-buffers of 4096 bytes for each of CPU 0 and 1, not overwriting, without a schema; its module has the
    /// channel's name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: Some(name.to_owned()),
            subbuf_size: 4096,
            subbufs: 8,
            cpus: std::vec![0, 1],
            schema: String::new(),
            when_full: WhenFull::Refuse,
        }
    }

    /// With these sub-buffers.
    pub fn sizes(self, subbuf_size: u32, subbufs: u32) -> Self {
        Self { subbuf_size, subbufs, ..self }
    }

    /// With a buffer for each of these CPUs, ascending.
    pub fn cpus(self, cpus: &[u16]) -> Self {
        Self { cpus: cpus.to_vec(), ..self }
    }

    /// With one buffer for all CPUs.
    pub fn global(self) -> Self {
        self.cpus(&[])
    }

    /// With that text, which tells what its records mean.
    pub fn schema(self, schema: &str) -> Self {
        Self { schema: schema.to_owned(), ..self }
    }

    /// That goes on over what the host has not read.
    pub fn overwriting(self) -> Self {
        Self { when_full: WhenFull::Overwrite, ..self }
    }

    /// Of a module of that name, or, exported by the kernel itself, of none.
    pub fn owner(self, owner: Option<&str>) -> Self {
        Self { owner: owner.map(ToOwned::to_owned), ..self }
    }

    fn describe(&self, cpus: &[u16], schema: &str) -> Result<Descriptor, Errno> {
        let bad = |_| errno(EINVAL);
        let name = ExportName::new(&self.name).map_err(|_| errno(EINVAL))?;
        let owner = self.owner.as_deref().map(Name::new).transpose().map_err(|_| errno(EINVAL))?;
        let buffers = if cpus.is_empty() { 1 } else { cpus.len() as u32 };
        let geometry = Geometry::new(self.subbuf_size, self.subbufs, buffers).map_err(bad)?;
        let schema_bytes = u32::try_from(schema.len()).map_err(|_| errno(EINVAL))?;
        Descriptor::new(name, owner, geometry, cpus, schema_bytes).map_err(bad)
    }
}

/// A channel, as its export and who writes it know it.
pub(super) struct Channel {
    pub(super) slot: u32,
    pub(super) number: u32,
    pub(super) name: ExportName,
    spec: ChannelSpec,
    kick: Kick,
    /// By CPU, that of a global channel under [`NO_CPU`]. Each is locked as the CPU has its interrupts off.
    buffers: Mutex<BTreeMap<u16, Arc<Mutex<Buffer>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    fn add(&self, cpus: &[u16], part: &Part) {
        let cpus = if cpus.is_empty() { &[NO_CPU] } else { cpus };
        let buffers = part.buffers(self.spec.when_full, &self.kick);
        let new = cpus.iter().zip(buffers).map(|(&cpu, buffer)| (cpu, Arc::new(Mutex::new(buffer))));
        lock(&self.buffers).extend(new);
    }

    fn buffer(&self, cpu: u16) -> Option<Arc<Mutex<Buffer>>> {
        let cpu = if self.spec.cpus.is_empty() { NO_CPU } else { cpu };
        lock(&self.buffers).get(&cpu).map(Arc::clone)
    }

    /// The timer of that CPU; the first CPU's has the global buffer, too.
    pub(super) fn show_idle(&self, cpu: u16, first: bool) {
        if (first || !self.spec.cpus.is_empty())
            && let Some(buffer) = self.buffer(cpu)
            && let Some(writer) = &mut lock(&buffer).writer
        {
            writer.publish();
        }
    }

    /// No record any more, and the last positions.
    fn finish(&self) {
        for buffer in lock(&self.buffers).values() {
            if let Some(mut writer) = lock(buffer).writer.take() {
                writer.finish();
            }
        }
    }
}

/// A relay channel that is exported. Clones are the same one. Dropping them does nothing: the module is still there.
#[derive(Clone)]
pub struct RelayChannel {
    channel: Arc<Channel>,
    shared: Arc<Shared>,
}

impl RelayChannel {
    pub(super) fn start(shared: &Arc<Shared>, spec: &ChannelSpec) -> Result<Self, Errno> {
        let info = spec.describe(&spec.cpus, &spec.schema)?;
        let (name, pages) = (info.name(), info.geometry().data_pages());
        let bell: Weak<Shared> = Arc::downgrade(shared);
        let kick: Kick = Arc::new(move || bell.upgrade().iter().for_each(|shared| shared.kick()));
        let mut exports = shared.exports();
        let (slot, number) = exports.reserve(&name, pages)?;
        let buffers = Mutex::default();
        let channel = Arc::new(Channel { slot, number, name, spec: spec.clone(), kick, buffers });
        let part = Part::new(&shared.guest, info, &spec.schema);
        channel.add(&spec.cpus, &part);
        exports.add(Arc::clone(&channel), part);
        let waits = exports.connected;
        drop(exports);
        shared.wake();
        let this = Self { channel, shared: Arc::clone(shared) };
        let status = if waits { shared.wait_for_status(slot, number) } else { 0 };
        match Errno::from_status(status) {
            None => Ok(this),
            Some(e) => {
                this.stop();
                Err(e)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> ExportName {
        self.channel.name
    }

    /// Number of its export.
    pub fn number(&self) -> u32 {
        self.channel.number
    }

    fn with<T>(&self, cpu: u16, act: impl FnOnce(&mut Buffer) -> T) -> Result<T, Errno> {
        let buffer = self.channel.buffer(cpu).ok_or(errno(ENOENT))?;
        let mut buffer = lock(&buffer);
        Ok(act(&mut buffer))
    }

    /// Writes bytes on that CPU (`relay_write`).
    ///
    /// # Errors
    ///
    /// `ENOSPC` (full, counted), `EMSGSIZE` (larger than a sub-buffer, counted nowhere), `ENOENT` (no such buffer, or it
    /// has been stopped).
    pub fn write(&self, cpu: u16, bytes: &[u8]) -> Result<(), Errno> {
        self.with(cpu, |buffer| match &mut buffer.writer {
            Some(writer) => writer.write(bytes).map_err(refused),
            None => Err(errno(ENOENT)),
        })?
    }

    /// Writes a record on that CPU (`vesper_record`), with the flags of
    /// [`record_flags`](vesper_ring::wire::listener::record_flags). Its sequence number.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and `EMSGSIZE`, both counted; `ENOENT`.
    pub fn record(&self, cpu: u16, event: u16, flags: u16, payload: &[u8]) -> Result<u64, Errno> {
        let time = self.shared.clock();
        self.with(cpu, |buffer| match &mut buffer.writer {
            Some(writer) => writer.record(event, flags, time, payload).map_err(refused),
            None => Err(errno(ENOENT)),
        })?
    }

    /// Shows the host all that was written on that CPU, and tells it so (`vesper_relay_urgent`).
    pub fn urgent(&self, cpu: u16) {
        // Without a buffer there is nothing to show.
        let _ = self.with(cpu, |buffer| buffer.writer.as_mut().map(|writer| writer.urgent()));
    }

    /// A CPU comes, and with it another buffer: the export gets a part more.
    ///
    /// # Errors
    ///
    /// `EEXIST` (it has one), `EINVAL` (global), `ENOSPC` (the host's quota), `ENOENT` (it has been stopped).
    pub fn add_cpu(&self, cpu: u16) -> Result<(), Errno> {
        let (channel, shared) = (&self.channel, &self.shared);
        if channel.spec.cpus.is_empty() {
            return Err(errno(EINVAL));
        }
        let info = channel.spec.describe(&[cpu], "")?;
        let mut exports = shared.exports();
        if channel.buffer(cpu).is_some() {
            return Err(errno(EEXIST));
        }
        exports.check_quota(info.geometry().data_pages(), 0)?;
        let part = Part::new(&shared.guest, info, "");
        channel.add(&[cpu], &part);
        let added = exports.add_part(channel.slot, channel.number, part);
        drop(exports);
        shared.wake();
        if added { Ok(()) } else { Err(errno(ENOENT)) }
    }

    /// Ends the export (`relay_export_stop`): nothing is written any more, the host takes what it has not read. Whether the
    /// host has let go; it is waited for a second at most.
    pub fn stop(&self) -> bool {
        self.close();
        self.shared.wait_for_end(self.channel.slot, self.channel.number)
    }

    /// Ends the export without waiting, as for a module that forgot to.
    pub fn close(&self) {
        let (slot, number) = (self.channel.slot, self.channel.number);
        if self.shared.exports().leave(slot, number) {
            self.channel.finish();
            self.shared.exports().unexport(slot, number);
            self.shared.wake();
        }
    }

    /// What the host says of that CPU's buffer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn consumed(&self, cpu: u16) -> Consumed {
        let word = self.with(cpu, |buffer| buffer.consumed().load(std::sync::atomic::Ordering::Acquire));
        Consumed::from_word(word.expect("that CPU has a buffer"))
    }

    /// Overwrites a word of that CPU's positions, for a guest that lies: the byte's offset in
    /// [`Positions`](vesper_ring::wire::listener::Positions) and the words behind.
    ///
    /// # Panics
    ///
    /// If there is no such buffer or word.
    pub fn lie(&self, cpu: u16, offset: usize, word: u64) {
        let told = self
            .with(cpu, |buffer| buffer.position(offset).store(word, std::sync::atomic::Ordering::Release));
        told.expect("that CPU has a buffer");
    }
}

fn refused(refused: Refused) -> Errno {
    match refused {
        Refused::Full => errno(ENOSPC),
        Refused::TooBig => errno(EMSGSIZE),
    }
}

impl std::fmt::Debug for RelayChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RelayChannel").field(&self.channel.name.to_string()).finish()
    }
}
