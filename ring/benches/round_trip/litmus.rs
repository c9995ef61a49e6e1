// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Two threads play ping-pong over a ring and sleep unless notified: a lost wake-up would stop them for ever.
//!
//! A turn waits for its notification by spinning on a word of its own, with a limit far above any scheduling delay, so
//! that a lost wake-up is told and the machine is not kept.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vesper_ring::wire::loader::{Request, Response};

use super::{Back, Front};

const PATIENCE: Duration = Duration::from_secs(20);

/// An event channel with one listener.
#[derive(Default)]
struct Channel {
    pending: AtomicBool,
    kicks: AtomicU64,
}

impl Channel {
    fn notify(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        self.pending.store(true, Ordering::Release);
    }

    fn wait(&self, who: &str, round: u64) {
        let mut since = None;
        for spin in 0u64.. {
            if self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
            if spin % 64 == 63 {
                std::thread::yield_now();
                assert!(
                    since.get_or_insert_with(Instant::now).elapsed() < PATIENCE,
                    "lost wake-up: the {who} end slept for {PATIENCE:?} in round {round}"
                );
            }
        }
    }
}

pub fn run(page: NonNull<u8>, rounds: u64) {
    // SAFETY: a page that lives for ever.
    let mut front = unsafe { Front::init(page, 4096) }.expect("a page");
    // SAFETY: as above.
    let mut back = unsafe { Back::attach(page, 4096) }.expect("an empty ring");
    let (to_back, to_front) = (Channel::default(), Channel::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                let request = loop {
                    if let Some(request) = back.take().expect("an honest peer") {
                        break request;
                    }
                    if !back.final_check().expect("an honest peer") {
                        to_back.wait("back", round);
                    }
                };
                assert_eq!(request.offset, round);
                back.push(&Response { run: round, ..Response::default() }).expect("it was asked");
                if back.publish() {
                    to_front.notify();
                }
            }
        });
        for round in 0..rounds {
            front.push(&Request { offset: round, ..Request::default() }).expect("one at a time");
            if front.publish() {
                to_back.notify();
            }
            let response = loop {
                if let Some(response) = front.take().expect("an honest peer") {
                    break response;
                }
                if !front.final_check().expect("an honest peer") {
                    to_front.wait("front", round);
                }
            };
            assert_eq!(response.run, round);
        }
    });
    let kicks = to_back.kicks.load(Ordering::Relaxed) + to_front.kicks.load(Ordering::Relaxed);
    println!(
        "{rounds} round trips, {kicks} notifications, {} suppressed, no lost wake-up, {:.1} s",
        2 * rounds - kicks,
        began.elapsed().as_secs_f64()
    );
}
