// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real mirror under every interleaving and reordering that the memory model allows (up to two preemptions).
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vesper-relay-mirror --release --test loom_channel`
//!
//! A lost wake-up shows as a deadlock: everybody sleeps.
#![cfg(loom)]

use std::mem::offset_of;
use std::ptr::NonNull;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use vesper_relay_mirror::{Channel, Geometry, Next, Overwritten, Reader, Region, Regions, Start};
use vesper_ring::wire::listener::{Consumed, FINAL, Head, NOT_BEGUN, Positions, SubBuffer};

const SIZE: u32 = 8;

/// Shared memory of one buffer: loom's atomics for the words; the data are never changed.
struct Shared {
    positions: Vec<AtomicU64>,
    consumed: Vec<AtomicU64>,
    data: Vec<u8>,
    mapped: AtomicBool,
}

impl Shared {
    fn new(geometry: &Geometry) -> Arc<Self> {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            positions: words(8 + geometry.subbufs() as usize),
            consumed: words(1),
            data: vec![7; geometry.buffer_bytes() as usize],
            mapped: AtomicBool::new(true),
        })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.positions[offset / 8]
    }
}

/// Pages of it, as many as the mirror wants to see.
struct Part(Arc<Shared>, NonNull<u8>);

// SAFETY: an address.
unsafe impl Send for Part {}
// SAFETY: as above.
unsafe impl Sync for Part {}

// SAFETY: the mirror built for loom takes the address for that of an array of atomics; only the one buffer is used.
unsafe impl Region for Part {
    fn start(&self) -> NonNull<u8> {
        self.1
    }

    fn len(&self) -> usize {
        1 << 20
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.mapped.store(false, Ordering::Release);
    }
}

/// The event channel.
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().expect("bell") = true;
        self.ring.notify_all();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().expect("bell");
        while !std::mem::take(&mut *rung) {
            rung = self.ring.wait(rung).expect("bell");
        }
    }
}

/// A guest that fills sub-buffers and asks nobody.
struct Guest {
    geometry: Geometry,
    shared: Arc<Shared>,
    bell: Arc<Bell>,
}

impl Guest {
    /// Completes sub-buffer `number`.
    fn switch(&self, number: u32) {
        let sub = SubBuffer { number, bytes: SIZE };
        self.shared.word(self.geometry.sub(number.into())).store(sub.word(), Ordering::Release);
        let head = Head { produced: number + 1, offset: NOT_BEGUN };
        self.shared.word(offset_of!(Positions, head)).swap(head.word(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let asked = Consumed::from_word(self.shared.consumed[0].load(Ordering::Relaxed));
        self.shared
            .word(offset_of!(Positions, head))
            .swap(Head { offset: 0, ..head }.word(), Ordering::SeqCst);
        if asked.wakes(number + 1) {
            self.bell.ring();
        }
    }

    fn finish(&self) {
        self.shared.word(offset_of!(Positions, state)).store(FINAL, Ordering::Release);
        self.bell.ring();
    }
}

fn stage(subbufs: u32) -> (Guest, std::sync::Arc<Channel>) {
    let geometry = Geometry::new(SIZE, subbufs, 1).expect("a geometry");
    let shared = Shared::new(&geometry);
    let bell = Arc::new(Bell { rung: Mutex::new(false), ring: Condvar::new() });
    let part = |start: *const u8| {
        Box::new(Part(shared.clone(), NonNull::new(start.cast_mut()).expect("memory"))) as Box<dyn Region>
    };
    let regions = Regions {
        positions: part(shared.positions.as_ptr().cast()),
        consumed: part(shared.consumed.as_ptr().cast()),
        data: part(shared.data.as_ptr()),
    };
    let channel = Channel::new(geometry, regions, Duration::from_secs(1)).expect("a channel");
    (Guest { geometry, shared, bell }, channel)
}

/// Reads all there is; true: that was the end.
fn drain(reader: &mut Reader, bytes: &mut usize) -> bool {
    loop {
        match reader.next(0) {
            Next::Data(piece) => {
                *bytes += piece.len();
                reader.advance(&piece, piece.len());
            }
            Next::Lost(lost) => panic!("{lost:?}"),
            Next::Nothing => return false,
            Next::End => return true,
        }
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// The owner sleeps whenever it may; with nothing but the kicks that it asked for it gets both sub-buffers.
#[test]
fn the_owner_sleeps_through_nothing() {
    check(2, || {
        let (guest, channel) = stage(4);
        let mut reader = channel.reader(Start::Now);
        let bell = guest.bell.clone();
        let guest = thread::spawn(move || (0..2).for_each(|number| guest.switch(number)));
        let mut bytes = 0;
        while bytes < 2 * SIZE as usize {
            channel.update();
            drain(&mut reader, &mut bytes);
            if bytes < 2 * SIZE as usize && !channel.arm() {
                bell.wait();
            }
        }
        guest.join().expect("the guest");
    });
}

/// A reader in another thread, which also asks for kicks, and may ask away the one that the owner waits for.
#[test]
fn a_reader_in_another_thread_sleeps_through_nothing() {
    check(2, || {
        let (guest, channel) = stage(4);
        let mut reader = channel.reader(Start::Now);
        let bell = guest.bell.clone();
        let guest = thread::spawn(move || {
            guest.switch(0);
            guest.finish();
        });
        let reading = thread::spawn(move || {
            let mut bytes = 0;
            loop {
                let seen = reader.channel().generation();
                if drain(&mut reader, &mut bytes) {
                    return bytes;
                }
                reader.channel().wait(seen, Duration::from_secs(3600));
            }
        });
        loop {
            if channel.update().ended {
                break;
            }
            if !channel.arm() {
                bell.wait();
            }
        }
        guest.join().expect("the guest");
        assert_eq!(reading.join().expect("the reader"), SIZE as usize);
    });
}

/// Nobody looks at memory that is unmapped, and what was there is read from the copy.
#[test]
fn closing_waits_for_who_is_reading_and_loses_nothing() {
    check(3, || {
        let (guest, channel) = stage(2);
        guest.switch(0);
        let mut reader = channel.reader(Start::Oldest);
        let shared = guest.shared.clone();
        let reading = thread::spawn(move || {
            let mut bytes = 0;
            loop {
                match reader.next(0) {
                    Next::Data(piece) => {
                        let mut copy = [0; SIZE as usize];
                        let looked = piece.inspect(|raw| raw.bytes_at::<1>(0));
                        assert_eq!(looked, Ok(Some([7])));
                        let taken: Result<usize, Overwritten> = piece.copy_to(&mut copy);
                        assert_eq!((taken, copy), (Ok(SIZE as usize), [7; SIZE as usize]));
                        bytes += copy.len();
                        reader.advance(&piece, copy.len());
                    }
                    Next::End => return bytes,
                    Next::Lost(lost) => panic!("{lost:?}"),
                    Next::Nothing => thread::yield_now(),
                }
            }
        });
        channel.close();
        assert!(!shared.mapped.load(Ordering::Acquire), "unmapped when close returns");
        assert_eq!(reading.join().expect("the reader"), SIZE as usize);
    });
}

/// The mapping stays as long as somebody looks.
#[test]
fn what_is_looked_at_is_mapped() {
    check(3, || {
        let (guest, channel) = stage(2);
        guest.switch(0);
        let mut reader = channel.reader(Start::Oldest);
        let shared = guest.shared.clone();
        let Next::Data(piece) = reader.next(0) else { panic!("there is data") };
        let first = piece.inspect(|_| ()).is_ok();
        assert!(first);
        let closing = {
            let channel = channel.clone();
            thread::spawn(move || channel.close())
        };
        let place = shared.data.as_ptr() as usize;
        let looked = piece.inspect(|raw| {
            let in_place = (raw.as_ptr() as usize).wrapping_sub(place) < shared.data.len();
            !in_place || shared.mapped.load(Ordering::Acquire)
        });
        assert_eq!(looked, Ok(true));
        closing.join().expect("close");
    });
}
