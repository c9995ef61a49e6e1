// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Every interleaving and every reordering that the memory model allows, over the real ring code.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vesper-ring --release --test loom`
//!
//! A lost wake-up shows as a deadlock: both ends sleep on their event channel. A missing order between an entry and its
//! index shows as a concurrent access to a cell.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use vesper_ring::memory::{HEADER_BYTES, Index, Memory, Word};
use vesper_ring::wire::Wire;
use vesper_ring::{BackRing, FrontRing};

/// A message of one word of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Message(u64, u64);

// SAFETY: two integers of 8 bytes.
unsafe impl Wire for Message {}

fn message(n: u64) -> Message {
    Message(n, !n)
}

type Front = FrontRing<Message, Message, Shared>;
type Back = BackRing<Message, Message, Shared>;

/// Two entries, in loom's atomics and cells.
#[derive(Clone)]
struct Shared(Arc<(Vec<AtomicU32>, Vec<UnsafeCell<u64>>)>);

impl Shared {
    fn new() -> Self {
        let words = (0..4).map(|_| UnsafeCell::new(0)).collect();
        Self(Arc::new(((0..4).map(|_| AtomicU32::new(0)).collect(), words)))
    }

    fn index(&self, index: Index) -> &AtomicU32 {
        &self.0.0[index as usize / 4]
    }
}

// SAFETY: every offset is checked by the vectors.
unsafe impl Memory for Shared {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.0.1.len() * 8
    }

    fn acquire(&self, index: Index) -> u32 {
        self.index(index).load(Ordering::Acquire)
    }

    fn load(&self, index: Index) -> u32 {
        self.index(index).load(Ordering::Relaxed)
    }

    fn release(&self, index: Index, value: u32) {
        self.index(index).store(value, Ordering::Release);
    }

    fn store(&self, index: Index, value: u32) {
        self.index(index).store(value, Ordering::Relaxed);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    unsafe fn read<W: Word>(&self, offset: usize) -> W {
        let mut words = [0u64; 2];
        for (n, word) in words.iter_mut().take(size_of::<W>() / 8).enumerate() {
            // SAFETY: a plain integer; loom fails the model when the other thread is at it.
            *word = self.0.1[(offset - HEADER_BYTES) / 8 + n].with(|cell| unsafe { *cell });
        }
        // SAFETY: a word is at most 16 bytes, and every bit pattern is one.
        unsafe { std::mem::transmute_copy(&words) }
    }

    unsafe fn write<W: Word>(&self, offset: usize, word: W) {
        if offset < HEADER_BYTES {
            return; // the padding of the header, which nobody reads
        }
        let mut words = [0u64; 2];
        // SAFETY: a word is at most 16 bytes, without padding.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const word).cast(), words.as_mut_ptr(), size_of::<W>() / 8)
        };
        for (n, word) in words.iter().take(size_of::<W>() / 8).enumerate() {
            // SAFETY: as for `read`.
            self.0.1[(offset - HEADER_BYTES) / 8 + n].with_mut(|cell| unsafe { *cell = *word });
        }
    }
}

/// An event channel: a pending bit that a notification sets and a wait takes.
///
/// A lock orders more than an event channel does, so it is taken only where a notification was due anyway.
#[derive(Default)]
struct Channel {
    pending: Mutex<bool>,
    wake: Condvar,
}

impl Channel {
    fn notify(&self) {
        *self.pending.lock().unwrap() = true;
        self.wake.notify_one();
    }

    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.wake.wait(pending).unwrap();
        }
        *pending = false;
    }
}

/// Ring and channels of one device.
#[derive(Clone)]
struct Device {
    shared: Shared,
    to_back: Arc<Channel>,
    to_front: Arc<Channel>,
}

impl Device {
    fn new(start: u32) -> (Self, Front) {
        let shared = Shared::new();
        let front = Front::over(shared.clone(), start).unwrap();
        (Self { shared, to_back: Arc::default(), to_front: Arc::default() }, front)
    }

    fn back(&self) -> Back {
        Back::over(self.shared.clone()).unwrap()
    }

    fn send(&self, front: &mut Front, n: u64) {
        front.push(&message(n)).unwrap();
        if front.publish() {
            self.to_back.notify();
        }
    }

    fn answer(&self, back: &mut Back, n: u64) {
        back.push(&message(n)).unwrap();
        if back.publish() {
            self.to_front.notify();
        }
    }

    /// Takes one request, sleeping as a driver does.
    fn next_request(&self, back: &mut Back) -> Message {
        loop {
            if let Some(request) = back.take().unwrap() {
                return request;
            }
            if !back.final_check().unwrap() {
                self.to_back.wait();
            }
        }
    }

    /// Takes one response, sleeping as a driver does.
    fn next_response(&self, front: &mut Front) -> Message {
        loop {
            if let Some(response) = front.take().unwrap() {
                return response;
            }
            if !front.final_check().unwrap() {
                self.to_front.wait();
            }
        }
    }
}

fn model(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(body);
}

#[test]
fn no_request_is_slept_over() {
    model(None, || {
        let (device, mut front) = Device::new(u32::MAX);
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut back = other.back();
            for n in 0..2 {
                assert_eq!(other.next_request(&mut back), message(n));
            }
        });
        for n in 0..2 {
            device.send(&mut front, n);
        }
        back.join().unwrap();
    });
}

#[test]
fn no_response_is_slept_over() {
    model(None, || {
        let (device, mut front) = Device::new(u32::MAX);
        for n in 0..2 {
            device.send(&mut front, n);
        }
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut back = other.back();
            for n in 0..2 {
                assert_eq!(back.take().unwrap(), Some(message(n)));
                other.answer(&mut back, n + 10);
            }
        });
        for n in 0..2 {
            assert_eq!(device.next_response(&mut front), message(n + 10));
        }
        back.join().unwrap();
    });
}

#[test]
fn a_round_trip_each_way_twice() {
    model(Some(3), || {
        let (device, mut front) = Device::new(u32::MAX);
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut back = other.back();
            for n in 0..2 {
                assert_eq!(other.next_request(&mut back), message(n));
                other.answer(&mut back, n + 10);
            }
        });
        for n in 0..2 {
            device.send(&mut front, n);
            assert_eq!(device.next_response(&mut front), message(n + 10));
        }
        back.join().unwrap();
    });
}

#[test]
fn a_batch_needs_one_notification() {
    model(None, || {
        let (device, mut front) = Device::new(u32::MAX);
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut back = other.back();
            for n in 0..2 {
                assert_eq!(other.next_request(&mut back), message(n));
            }
        });
        front.push(&message(0)).unwrap();
        front.push(&message(1)).unwrap();
        if front.publish() {
            device.to_back.notify();
        }
        back.join().unwrap();
    });
}

/// The frontend publishes a request and then asks the backend to stop, as a state change in xenstore does. The backend
/// stops whatever it was doing, and a successor finds every published request that has no response.
#[test]
fn a_shutdown_ends_the_back_end_and_loses_nothing() {
    model(Some(3), || {
        let (device, mut front) = Device::new(u32::MAX);
        let closing = Arc::new(AtomicU32::new(0));
        let (other, told) = (device.clone(), closing.clone());
        let back = thread::spawn(move || {
            let mut back = other.back();
            let mut answered = 0;
            loop {
                if let Some(request) = back.take().unwrap() {
                    assert_eq!(request, message(answered));
                    other.answer(&mut back, 10 + answered);
                    answered += 1;
                } else if told.load(Ordering::Acquire) == 1 {
                    return answered;
                } else if !back.final_check().unwrap() {
                    other.to_back.wait();
                }
            }
        });
        device.send(&mut front, 0);
        closing.store(1, Ordering::Release);
        device.to_back.notify();
        let answered = back.join().unwrap();
        let mut successor = device.back();
        match answered {
            0 => assert_eq!(successor.take().unwrap(), Some(message(0))),
            _ => assert_eq!(front.take().unwrap(), Some(message(10))),
        }
        assert_eq!(successor.take().unwrap(), None);
    });
}

/// The daemon dies with a request taken and not answered, and a new one attaches, while the frontend goes on.
#[test]
fn a_restarted_back_end_answers_what_its_predecessor_took() {
    model(Some(3), || {
        let (device, mut front) = Device::new(u32::MAX);
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut first = other.back();
            assert_eq!(other.next_request(&mut first), message(0));
            drop(first);
            let mut second = other.back();
            other.to_front.notify();
            for n in 0..2 {
                assert_eq!(other.next_request(&mut second), message(n));
                other.answer(&mut second, n + 10);
            }
        });
        device.send(&mut front, 0);
        device.send(&mut front, 1);
        for n in 0..2 {
            assert_eq!(device.next_response(&mut front), message(n + 10));
        }
        back.join().unwrap();
    });
}

/// The daemon dies between publishing a response and the notification; the notification after attaching replaces it.
#[test]
fn a_restarted_back_end_wakes_a_front_end_that_was_not_notified() {
    model(None, || {
        let (device, mut front) = Device::new(u32::MAX);
        device.send(&mut front, 0);
        let other = device.clone();
        let back = thread::spawn(move || {
            let mut first = other.back();
            assert_eq!(first.take().unwrap(), Some(message(0)));
            first.push(&message(10)).unwrap();
            let _ = first.publish();
            drop(first);
            let mut second = other.back();
            other.to_front.notify();
            assert_eq!(second.take().unwrap(), None);
        });
        assert_eq!(device.next_response(&mut front), message(10));
        back.join().unwrap();
    });
}

/// Reconnect: the frontend makes the ring anew and publishes the state; the backend attaches when it sees it.
#[test]
fn a_back_end_that_sees_the_new_state_sees_the_new_ring() {
    model(None, || {
        let shared = Shared::new();
        let state = Arc::new(AtomicU32::new(0));
        let (other, seen) = (shared.clone(), state.clone());
        let back = thread::spawn(move || {
            if seen.load(Ordering::Acquire) == 0 {
                return;
            }
            let mut back = Back::over(other).unwrap();
            assert_eq!(back.take().unwrap(), Some(message(5)));
        });
        // What an earlier connection left behind.
        shared.store(Index::RequestProducer, 77);
        shared.store(Index::ResponseProducer, 11);
        let mut front = Front::over(shared, u32::MAX).unwrap();
        front.push(&message(5)).unwrap();
        let _ = front.publish();
        state.store(1, Ordering::Release);
        back.join().unwrap();
    });
}
