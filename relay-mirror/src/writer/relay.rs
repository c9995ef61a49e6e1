// SPDX-License-Identifier: MIT OR Apache-2.0
//! One relay buffer as the guest fills it.

use std::any::Any;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use vesper_ring::wire::listener::{
    Consumed, FINAL, Geometry, Head, NOT_BEGUN, Padding, Positions, RecordHeader, SubBuffer, record_flags,
};
use vesper_ring::wire::{PAGE_SIZE, bytes_of};

/// Rings the bell: the event channel.
pub type Kick = Arc<dyn Fn() + Send + Sync>;

/// What the channel's callback does when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses (`virtrelay_subbuf_start_callback`): what the host has not read stays.
    Refuse,
    /// Goes on over the oldest, whatever the host says.
    Overwrite,
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The buffer is full (`-ENOSPC`). Counted as dropped.
    Full,
    /// It is larger than a sub-buffer (`-EMSGSIZE`). Counted as dropped if it is a record; relay itself tells nobody.
    TooBig,
}

/// The writing end of one buffer: `struct rchan_buf`, and what the frontend knows of it.
pub struct Writer {
    geometry: Geometry,
    positions: NonNull<u8>,
    consumed: NonNull<u8>,
    data: NonNull<u8>,
    _hold: Arc<dyn Any + Send + Sync>,
    when_full: WhenFull,
    kick: Kick,
    /// `rchan_buf.offset`; one more than the sub-buffer has when the buffer is full.
    offset: u32,
    /// `rchan_buf.subbufs_produced`.
    produced: u64,
    /// Sub-buffer that `rchan_buf.data` leads to.
    current: u64,
    head: Head,
    padding: u32,
    taken: u32,
}

// SAFETY: the pointers lead into memory that is held and that any thread may use; this is the only one that writes there.
unsafe impl Send for Writer {}

impl Writer {
    /// A writer of a new buffer whose first sub-buffer has the number `first`.
    ///
    /// # Safety
    ///
    /// `[positions, consumed, data]` begin the memory of a part with this geometry, page-aligned, writable and mapped as long
    /// as `hold` is there; nobody else writes this buffer's positions and data, and nobody makes a reference to them.
    ///
    /// # Panics
    ///
    /// If there is no such buffer.
    pub unsafe fn over(
        geometry: &Geometry,
        buffer: u32,
        first: u64,
        [positions, consumed, data]: [NonNull<u8>; 3],
        hold: Arc<dyn Any + Send + Sync>,
        when_full: WhenFull,
        kick: Kick,
    ) -> Self {
        let at = geometry.positions(buffer).expect("there is such a buffer");
        let bytes = buffer as usize * geometry.pages_per_buffer() as usize * PAGE_SIZE;
        // SAFETY: within the memory, by the caller's promise.
        let (positions, consumed, data) =
            unsafe { (positions.add(at), consumed.add(buffer as usize * size_of::<u64>()), data.add(bytes)) };
        let mut writer = Self {
            geometry: *geometry,
            positions,
            consumed,
            data,
            _hold: hold,
            when_full,
            kick,
            offset: 0,
            produced: first,
            current: first,
            head: Head { produced: first as u32, offset: 0 },
            padding: 0,
            taken: first as u32,
        };
        // What was there before was all consumed; nobody is to find it.
        for number in first.saturating_sub(geometry.subbufs().into())..first {
            let sub = SubBuffer { number: number as u32, bytes: 0 };
            writer.store(geometry.sub(number), sub.word());
        }
        writer.tell_totals();
        writer.set_head(writer.head);
        writer
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: within this buffer's positions and aligned, by the promise of `over`.
        unsafe { AtomicU64::from_ptr(self.positions.as_ptr().add(offset).cast()) }
    }

    fn store(&self, offset: usize, word: u64) {
        self.word(offset).store(word, Ordering::Release);
    }

    fn set_head(&mut self, head: Head) {
        self.head = head;
        // A compare-and-exchange in the kernel: a full barrier.
        self.word(offset_of!(Positions, head)).swap(head.word(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn tell_totals(&self) {
        self.store(offset_of!(Positions, total), self.produced);
        let padding = Padding { produced: self.produced as u32, bytes: self.padding };
        self.store(offset_of!(Positions, padding), padding.word());
    }

    fn asked(&self) -> Consumed {
        // SAFETY: this buffer's word in the consumed page, by the promise of `over`.
        let word = unsafe { AtomicU64::from_ptr(self.consumed.as_ptr().cast()) };
        Consumed::from_word(word.load(Ordering::Relaxed))
    }

    fn is_full(&self) -> bool {
        self.offset > self.geometry.subbuf_size()
    }

    /// `relay_switch_subbuf`: whether there is room for `length` bytes now.
    fn switch(&mut self, length: u32) -> Result<(), Refused> {
        let size = self.geometry.subbuf_size();
        if length > size {
            return Err(Refused::TooBig);
        }
        let old = (!self.is_full()).then(|| {
            let sub = SubBuffer { number: self.produced as u32, bytes: self.offset };
            self.padding = self.padding.wrapping_add(size - self.offset);
            self.produced += 1;
            sub
        });
        self.offset = 0;
        if !self.subbuf_start(old) {
            self.offset = size + 1;
            return Err(Refused::Full);
        }
        self.current = self.produced;
        Ok(())
    }

    /// The frontend's callback. Whether the next sub-buffer may be begun.
    fn subbuf_start(&mut self, old: Option<SubBuffer>) -> bool {
        if let Some(old) = old {
            self.store(self.geometry.sub(self.produced - 1), old.word());
            self.tell_totals();
            self.set_head(Head { produced: self.produced as u32, offset: NOT_BEGUN });
        }
        fence(Ordering::SeqCst);
        let (asked, produced) = (self.asked(), self.produced as u32);
        self.taken = asked.taken(self.taken, produced);
        let room = self.when_full == WhenFull::Overwrite
            || produced.wrapping_sub(self.taken) < self.geometry.subbufs();
        if room {
            self.set_head(Head { produced, offset: 0 });
        } else {
            self.word(offset_of!(Positions, dropped)).fetch_add(1, Ordering::SeqCst);
        }
        if old.is_some() && self.asked().wakes(produced) {
            (self.kick)();
        }
        room
    }

    fn put(&mut self, bytes: &[u8]) {
        let at = self.geometry.bytes(self.current) + self.offset as usize;
        // SAFETY: within the current sub-buffer: there is room for them. The host may read there meanwhile, and finds out.
        unsafe { self.data.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.offset += bytes.len() as u32;
    }

    /// `relay_write`.
    ///
    /// # Errors
    ///
    /// [`Refused`]; the callback has counted the first, nobody the second.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.offset.saturating_add(length) > self.geometry.subbuf_size() {
            self.switch(length)?;
        }
        self.put(bytes);
        Ok(())
    }

    /// `vesper_record`, at that time of the guest's clock. Returns its sequence number.
    ///
    /// # Errors
    ///
    /// [`Refused`], counted in any case; a sequence number is used up.
    pub fn record(&mut self, event: u16, flags: u16, time: u64, payload: &[u8]) -> Result<u64, Refused> {
        let seq = self.word(offset_of!(Positions, records)).fetch_add(1, Ordering::SeqCst);
        let bytes = (size_of::<RecordHeader>() + payload.len()).next_multiple_of(8);
        let header = RecordHeader { bytes: bytes as u32, event, flags, time, seq };
        let mut record = bytes_of(&header).to_vec();
        record.extend_from_slice(payload);
        record.resize(bytes, 0);
        let written = self.write(&record);
        if written == Err(Refused::TooBig) {
            self.word(offset_of!(Positions, dropped)).fetch_add(1, Ordering::SeqCst);
        }
        if flags & (record_flags::URGENT | record_flags::FATAL) != 0 {
            self.urgent();
        }
        written.map(|()| seq)
    }

    /// Shows the host what was written into the current sub-buffer. True: there was something new.
    fn show(&mut self) -> bool {
        let shown = if self.head.offset == NOT_BEGUN { 0 } else { self.head.offset };
        let more = !self.is_full() && self.current == self.produced && self.offset > shown;
        if more {
            self.set_head(Head { produced: self.produced as u32, offset: self.offset });
        }
        more
    }

    /// What the frontend's timer does every 100 ms.
    pub fn publish(&mut self) {
        if self.show() && self.asked().wakes_idle(self.produced as u32) {
            (self.kick)();
        }
    }

    /// `vesper_relay_urgent`.
    pub fn urgent(&mut self) {
        self.show();
        (self.kick)();
    }

    /// `relay_flush`: ends the current sub-buffer, even an empty one. False: the buffer is full, which the callback has counted
    /// as a refused write.
    pub fn flush(&mut self) -> bool {
        self.switch(0).is_ok()
    }

    /// `relay_export_stop`, up to the message to the host: shows what is there, closes the buffer.
    pub fn finish(&mut self) {
        self.show();
        self.store(offset_of!(Positions, state), FINAL);
    }

    /// Whether the host asked for a kick at the next switch.
    pub fn would_kick(&self) -> bool {
        self.asked().wakes((self.produced as u32).wrapping_add(1))
    }

    /// Sub-buffers completed.
    pub fn produced(&self) -> u64 {
        self.produced
    }
}
