// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Every interleaving and every reordering of a buffer's positions (written by the guest) and its consumed word (written by
//! the host): the bell, the room, and the check of a copy.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vesper-ring --release --test loom_positions`
//!
//! The guest's side is C in the kernel and the host's is `relay-mirror`; this is what both do, step by step, with the words
//! of `wire::listener`. Each order that matters can be left out, and then the model must fail: a lost wake-up is a
//! deadlock, a byte that is overwritten under the reader's hands a concurrent access, a torn copy a wrong sum.
#![cfg(loom)]

// Not loom's: that one cannot be dropped in a model that fails.
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use vesper_ring::wire::listener::{Consumed, Geometry, Head, NOT_BEGUN, SubBuffer};

/// Number of the first sub-buffer: the lower 32 bits wrap at once.
const FIRST: u64 = (1 << 32) - 1;

/// The orders that the protocol asks for.
#[derive(Clone, Copy)]
struct Orders {
    /// Guest: a full fence between the head and the reading of the consumed word.
    guest: bool,
    /// Host: a full fence between the consumed word and the second look at the head.
    host: bool,
    /// Guest: no byte of a sub-buffer is stored before the head that says it has begun.
    begin: bool,
    /// Host: the head is read again after the copy, not before.
    again: bool,
    /// Host: the consumed word is stored after the reading.
    release: bool,
    /// Host: the second look is at the whole head, not only at the count.
    whole: bool,
}

const ALL: Orders = Orders { guest: true, host: true, begin: true, again: true, release: true, whole: true };

/// One buffer and the event channel.
struct Shared {
    geometry: Geometry,
    orders: Orders,
    head: AtomicU64,
    subs: Vec<AtomicU64>,
    consumed: AtomicU64,
    /// Two words for each place, that a reader may find torn.
    words: Vec<[AtomicU64; 2]>,
    /// One for each place, that a reader must never meet the writer at.
    bytes: Vec<UnsafeCell<u64>>,
    pending: Mutex<bool>,
    wake: Condvar,
}

impl Shared {
    #[expect(clippy::arc_with_non_send_sync, reason = "loom runs its threads as one")]
    fn new(subbufs: u32, orders: Orders, word: Consumed) -> Arc<Self> {
        let places = 0..subbufs;
        Arc::new(Self {
            geometry: Geometry::new(64, subbufs, 1).unwrap(),
            orders,
            head: AtomicU64::new(Head { produced: FIRST as u32, offset: 0 }.word()),
            subs: places.clone().map(|_| AtomicU64::new(0)).collect(),
            consumed: AtomicU64::new(word.word()),
            words: places.clone().map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
            bytes: places.map(|_| UnsafeCell::new(0)).collect(),
            pending: Mutex::new(false),
            wake: Condvar::new(),
        })
    }

    fn place(&self, number: u64) -> usize {
        (self.geometry.sub(number) - self.geometry.sub(0)) / 8
    }

    fn full_fence(&self, wanted: bool) {
        if wanted {
            fence(Ordering::SeqCst);
        }
    }

    /// A lock orders more than an event channel does, so it is taken only where a kick was due anyway.
    fn kick(&self) {
        *self.pending.lock().unwrap() = true;
        self.wake.notify_one();
    }

    fn sleep(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.wake.wait(pending).unwrap();
        }
        *pending = false;
    }

    // ---- guest ----

    fn set_head(&self, produced: u64, offset: u32) {
        self.head.store(Head { produced: produced as u32, offset }.word(), Ordering::Release);
    }

    /// The word after a switch, or after publishing an offset.
    fn said(&self) -> Consumed {
        self.full_fence(self.orders.guest);
        // Acquire: what a branch on it stores comes after it, as a control dependency does it in the kernel.
        Consumed::from_word(self.consumed.load(Ordering::Acquire))
    }

    /// Completes sub-buffer `number`; the next has not begun yet.
    fn switch(&self, number: u64) -> Consumed {
        let sub = SubBuffer { number: number as u32, bytes: 8 };
        self.subs[self.place(number)].store(sub.word(), Ordering::Release);
        self.set_head(number + 1, NOT_BEGUN);
        self.said()
    }

    fn begin(&self, number: u64) {
        self.set_head(number, 0);
        self.full_fence(self.orders.begin);
    }

    // ---- host ----

    fn look(&self) -> Head {
        Head::from_word(self.head.load(Ordering::Acquire))
    }

    fn say(&self, word: Consumed) {
        let order = if self.orders.release { Ordering::Release } else { Ordering::Relaxed };
        self.consumed.store(word.word(), order);
    }

    /// Sleeps unless the head is not `seen` any more, and returns it.
    fn wait(&self, consumed: u64, seen: Head) -> Head {
        self.say(Consumed::waking(consumed as u32, seen.produced));
        self.full_fence(self.orders.host);
        let head = self.look();
        let same = if self.orders.whole { head == seen } else { head.produced == seen.produced };
        if !same {
            return head;
        }
        self.sleep();
        self.look()
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Without a bound (as large a LOOM_MAX_PREEMPTIONS) it takes minutes.
    builder.preemption_bound.get_or_insert(4);
    builder.check(body);
}

/// The guest switches twice and kicks when that is wanted; the host sleeps until it has seen both.
fn bell(orders: Orders) {
    model(move || {
        // The host has looked away: what it waits for has long been.
        let shared = Shared::new(4, orders, Consumed { consumed: FIRST as u32, wake: FIRST as u32 });
        let guest = shared.clone();
        let guest = thread::spawn(move || {
            for number in FIRST..FIRST + 2 {
                if guest.switch(number).wakes((number + 1) as u32) {
                    guest.kick();
                }
                guest.begin(number + 1);
            }
        });
        let mut head = shared.look();
        while head.produced != (FIRST + 2) as u32 {
            head = shared.wait(FIRST, head);
        }
        guest.join().unwrap();
    });
}

#[test]
fn no_switch_is_slept_over() {
    bell(ALL);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_guests_fence_a_switch_is_slept_over() {
    bell(Orders { guest: false, ..ALL });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_hosts_fence_a_switch_is_slept_over() {
    bell(Orders { host: false, ..ALL });
}

/// The guest publishes an offset without a switch, after a quiet time, while the host begins to listen.
fn idle(orders: Orders) {
    model(move || {
        let shared = Shared::new(4, orders, Consumed::quiet(FIRST as u32, FIRST as u32));
        let guest = shared.clone();
        let guest = thread::spawn(move || {
            guest.set_head(FIRST, 8);
            if guest.said().wakes_idle(FIRST as u32) {
                guest.kick();
            }
        });
        let mut head = shared.look();
        while head.offset == 0 {
            head = shared.wait(FIRST, head);
        }
        guest.join().unwrap();
    });
}

#[test]
fn no_idle_bytes_are_slept_over() {
    idle(ALL);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_host_that_looks_at_the_count_alone_sleeps_over_idle_bytes() {
    idle(Orders { whole: false, ..ALL });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_guests_fence_idle_bytes_are_slept_over() {
    idle(Orders { guest: false, ..ALL });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_hosts_fence_idle_bytes_are_slept_over() {
    idle(Orders { host: false, ..ALL });
}

/// A channel that does not overwrite, with one place for two sub-buffers: the guest goes on when the host says that it
/// needs the first no more, without being told, and never writes into what the host still reads.
fn room(orders: Orders) {
    model(move || {
        let shared = Shared::new(1, orders, Consumed { consumed: FIRST as u32, wake: FIRST as u32 });
        let guest = shared.clone();
        let guest = thread::spawn(move || {
            let mut taken = FIRST as u32;
            for number in FIRST..FIRST + 2 {
                // SAFETY: a plain integer; loom fails the model when the other thread is at it.
                guest.bytes[guest.place(number)].with_mut(|bytes| unsafe { *bytes = number });
                let produced = (number + 1) as u32;
                let mut said = guest.switch(number);
                if said.wakes(produced) {
                    guest.kick();
                }
                if number == FIRST + 1 {
                    return;
                }
                loop {
                    taken = said.taken(taken, produced);
                    if produced.wrapping_sub(taken) < guest.geometry.subbufs() {
                        break;
                    }
                    thread::yield_now(); // it drops what it would write, and asks again at the next write
                    said = guest.said();
                }
                guest.begin(number + 1);
            }
        });
        let mut head = shared.look();
        for number in FIRST..FIRST + 2 {
            while head.produced == number as u32 {
                head = shared.wait(number, head);
            }
            assert!(head.holds(number as u32, &shared.geometry));
            let sub = SubBuffer::from_word(shared.subs[shared.place(number)].load(Ordering::Acquire));
            assert_eq!(sub.and_then(|sub| sub.bytes_of(number as u32, &shared.geometry)), Some(8));
            // SAFETY: as above.
            let bytes = shared.bytes[shared.place(number)].with(|bytes| unsafe { *bytes });
            assert_eq!(bytes, number);
            shared.say(Consumed::waking((number + 1) as u32, head.produced));
            head = shared.look();
        }
        guest.join().unwrap();
    });
}

#[test]
fn what_is_being_read_is_not_overwritten() {
    room(ALL);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_release_of_the_consumed_word_it_is() {
    room(Orders { release: false, ..ALL });
}

/// A channel that overwrites, with one place: the host copies, and reads the head again. What it then takes for whole is.
fn copy(orders: Orders) {
    model(move || {
        let shared = Shared::new(1, orders, Consumed::quiet(FIRST as u32, FIRST as u32));
        let guest = shared.clone();
        let guest = thread::spawn(move || {
            for number in FIRST..FIRST + 2 {
                for word in &guest.words[guest.place(number)] {
                    word.store(number, Ordering::Relaxed);
                }
                guest.switch(number);
                guest.begin(number + 1);
            }
        });
        let mut head = shared.look();
        let number = FIRST + u64::from(head.produced.wrapping_sub(FIRST as u32));
        if let Some(number) = number.checked_sub(1).filter(|&number| number >= FIRST) {
            let words =
                shared.words[shared.place(number)].each_ref().map(|word| word.load(Ordering::Relaxed));
            if orders.again {
                fence(Ordering::Acquire);
                head = shared.look();
            }
            if head.holds(number as u32, &shared.geometry) {
                assert_eq!(words, [number; 2], "a torn copy");
            }
        }
        guest.join().unwrap();
    });
}

#[test]
fn a_copy_that_is_taken_for_whole_is() {
    copy(ALL);
}

#[test]
#[should_panic(expected = "a torn copy")]
fn without_looking_again_it_is_not() {
    copy(Orders { again: false, ..ALL });
}

#[test]
#[should_panic(expected = "a torn copy")]
fn without_the_order_of_the_begin_it_is_not() {
    copy(Orders { begin: false, ..ALL });
}
