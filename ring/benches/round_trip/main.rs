// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Round trips over our ring ends, step by step the same as `xen.c` beside it; run by `cargo xtask bench ring`.
//!
//! `round_trip COUNT` counts under callgrind. `round_trip litmus COUNT` is the test on real hardware of what loom proves
//! on paper: two threads that sleep unless they are notified, COUNT round trips, no lost wake-up.

mod litmus;

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use vesper_ring::wire::from_bytes;
use vesper_ring::wire::loader::{Request, Response};
use vesper_ring::{BackRing, FrontRing};

type Front = FrontRing<Request, Response>;
type Back = BackRing<Request, Response>;

/// What the steps return when a peer is ill-behaved or the ring is full, as those of `xen.c` do.
const FAILED: i32 = -1;

/// 1: notify the back end.
#[inline(never)]
fn ask(ring: &mut Front, request: &Request) -> i32 {
    match ring.push(request) {
        Ok(()) => ring.publish().into(),
        Err(_) => FAILED,
    }
}

/// 1: notify the front end.
#[inline(never)]
fn serve(ring: &mut Back, request: &mut Request, response: &Response) -> i32 {
    let mut notify = false;
    loop {
        loop {
            match ring.take() {
                Ok(Some(taken)) => *request = taken,
                Ok(None) => break,
                Err(_) => return FAILED,
            }
            if ring.push(response).is_err() {
                return FAILED;
            }
            notify |= ring.publish();
        }
        match ring.final_check() {
            Ok(true) => {}
            Ok(false) => return notify.into(),
            Err(_) => return FAILED,
        }
    }
}

/// Responses taken.
#[inline(never)]
fn finish(ring: &mut Front, response: &mut Response) -> i32 {
    let mut taken = 0;
    loop {
        loop {
            match ring.take() {
                Ok(Some(answer)) => *response = answer,
                Ok(None) => break,
                Err(_) => return FAILED,
            }
            taken += 1;
        }
        match ring.final_check() {
            Ok(true) => {}
            Ok(false) => return taken,
            Err(_) => return FAILED,
        }
    }
}

/// The function that callgrind counts, callees included.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn round_trips(
    front: &mut Front,
    back: &mut Back,
    messages: &mut [Request; 2],
    answers: &mut [Response; 2],
    count: u64,
) -> u64 {
    let ([message, got], [answer, back_again]) = (messages, answers);
    let mut done = 0;
    while done < count {
        if ask(front, message) != 1 || serve(back, got, answer) != 1 || finish(front, back_again) != 1 {
            std::process::abort();
        }
        done += 1;
    }
    done
}

/// A zeroed page that lives as long as the program.
fn page() -> NonNull<u8> {
    let layout = Layout::from_size_align(4096, 4096).expect("a page");
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = arguments.last().and_then(|argument| argument.parse().ok()).unwrap_or(1);
    if arguments.first().is_some_and(|argument| argument == "litmus") {
        return litmus::run(page(), count);
    }
    let page = page();
    // SAFETY: the page is one, and lives for ever.
    let mut front = unsafe { Front::init(page, 4096) }.expect("a page");
    // SAFETY: as above.
    let mut back = unsafe { Back::attach(page, 4096) }.expect("an empty ring");
    let mut messages = [from_bytes::<Request>(&[0x5a; 64]).expect("its size"); 2];
    let mut answers = [from_bytes::<Response>(&[0xa5; 96]).expect("its size"); 2];
    let done = round_trips(&mut front, &mut back, &mut messages, &mut answers, count);
    black_box((messages, answers));
    println!("{done}");
}
