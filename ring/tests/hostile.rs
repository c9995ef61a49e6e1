// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! A second thread rewrites the whole shared memory, indexes and entries, while the end under test works; on a busy
//! machine that thread may hardly run, so the memory is also rewritten between the steps.
//!
//! Twice: over a memory that asserts every offset and counts every read, and over real pages between two pages that
//! nobody may touch.
#![cfg(not(loom))]

mod common;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use common::{Counting, Random, request, response};
use vesper_ring::memory::{HEADER_BYTES, Memory, Pages};
use vesper_ring::wire::loader::{Request, Response};
use vesper_ring::{BackRing, FrontRing};

const STEPS: u64 = if cfg!(miri) { 300 } else { 300_000 };

/// What came of the steps; a test that saw only one kind of thing proves nothing.
#[derive(Debug, Default)]
struct Seen {
    taken: u64,
    none: u64,
    poisoned: u64,
    full: u64,
}

/// Stores near the values that are plausible now (so that work gets through) and far away from them.
fn index_value(random: &mut Random, near: u32) -> u32 {
    match random.below(64) {
        0 => random.next() as u32,
        1 => near.wrapping_add(33),
        2 => near.wrapping_sub(1),
        _ => near.wrapping_add(random.below(3) as u32),
    }
}

fn drive_back<M: Memory>(
    make: impl Fn() -> M,
    near: &AtomicU32,
    scribble: Scribble,
    mut after_take: impl FnMut(bool),
) -> Seen {
    let mut seen = Seen::default();
    let mut random = Random(11);
    let mut ring: Option<BackRing<Request, Response, M>> = None;
    for _ in 0..STEPS {
        if random.below(8) == 0 {
            scribble(&mut random);
        }
        let Some(back) = &mut ring else {
            ring = BackRing::over(make()).ok();
            continue;
        };
        let poison = match random.below(4) {
            0 | 1 => match back.take() {
                Ok(Some(_)) => {
                    seen.taken += 1;
                    near.fetch_add(1, Ordering::Relaxed);
                    after_take(true);
                    None
                }
                Ok(None) => {
                    seen.none += 1;
                    after_take(false);
                    None
                }
                Err(poison) => Some(poison),
            },
            2 => {
                let _ = back.push(&response(random.next()));
                let _ = back.publish();
                None
            }
            _ => back.final_check().err(),
        };
        assert!(back.unanswered() <= 32);
        if let Some(poison) = poison {
            assert_eq!(back.take(), Err(poison), "once stopped, stopped");
            assert_eq!(back.final_check(), Err(poison));
            seen.poisoned += 1;
            after_take(false);
            ring = None;
        }
    }
    seen
}

fn drive_front<M: Memory>(
    make: impl Fn() -> M,
    near: &AtomicU32,
    scribble: Scribble,
    mut after_take: impl FnMut(bool),
) -> Seen {
    let mut seen = Seen::default();
    let mut random = Random(12);
    let mut ring: Option<FrontRing<Request, Response, M>> = None;
    for _ in 0..STEPS {
        if random.below(8) == 0 {
            scribble(&mut random);
        }
        let front = match &mut ring {
            Some(front) => front,
            empty => {
                let start = random.start();
                near.store(start, Ordering::Relaxed);
                empty.insert(FrontRing::over(make(), start).expect("large enough"))
            }
        };
        let poison = match random.below(5) {
            0..=2 => match front.take() {
                Ok(Some(_)) => {
                    seen.taken += 1;
                    near.fetch_add(1, Ordering::Relaxed);
                    after_take(true);
                    None
                }
                Ok(None) => {
                    seen.none += 1;
                    after_take(false);
                    None
                }
                Err(poison) => Some(poison),
            },
            3 => {
                let mut full = false;
                for _ in 0..random.below(8) {
                    full |= front.push(&request(random.next())).is_err();
                }
                seen.full += u64::from(full);
                let _ = front.publish();
                None
            }
            _ => front.final_check().err(),
        };
        assert!(front.outstanding() <= 32 && front.free() <= 32);
        if let Some(poison) = poison {
            assert_eq!(front.take(), Err(poison), "once stopped, stopped");
            seen.poisoned += 1;
            after_take(false);
            ring = None;
        }
    }
    seen
}

fn check(seen: &Seen) {
    if !cfg!(miri) {
        assert!(seen.taken > 100 && seen.none > 100 && seen.poisoned > 100, "{seen:?}");
    }
}

/// Rewrites the memory at random.
type Scribble<'a> = &'a (dyn Fn(&mut Random) + Sync);

/// Runs `work` while a thread calls `scribble` over and over.
fn while_scribbling(scribble: Scribble, work: impl FnOnce() -> Seen) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(21);
            while !stop.load(Ordering::Relaxed) {
                scribble(&mut random);
                std::thread::yield_now();
            }
        });
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        match seen {
            Ok(seen) => check(&seen),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

fn scribble_counting(memory: &Counting, near: &AtomicU32, random: &mut Random) {
    for word in memory.header.iter().take(4) {
        word.store(index_value(random, near.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
    for _ in 0..16 {
        let at = random.below(memory.words.len() as u64) as usize;
        memory.words[at].store(random.next(), Ordering::Relaxed);
    }
}

/// After a take of a message: the words of one entry, each once. After anything else: none.
fn count_reads(memory: &Counting, words: usize, taken: bool) {
    let reads = memory.drain_reads();
    if !taken {
        assert_eq!(reads, [], "nothing is read when nothing is taken");
        return;
    }
    let first = reads.first().expect("a message was read").0;
    assert!(first.is_multiple_of(12), "an entry begins at word {first}");
    assert_eq!(reads, (first..first + words).map(|word| (word, 1)).collect::<Vec<_>>(), "each word once");
}

#[test]
fn a_back_end_reads_each_word_once_whatever_the_peer_writes() {
    let (memory, near) = (Counting::new(4096), AtomicU32::new(5));
    let scribble = |random: &mut Random| scribble_counting(&memory, &near, random);
    while_scribbling(&scribble, || {
        drive_back(|| memory.clone(), &near, &scribble, |taken| count_reads(&memory, 8, taken))
    });
}

#[test]
fn a_front_end_reads_each_word_once_whatever_the_peer_writes() {
    let (memory, near) = (Counting::new(4096), AtomicU32::new(0));
    let scribble = |random: &mut Random| scribble_counting(&memory, &near, random);
    while_scribbling(&scribble, || {
        drive_front(|| memory.clone(), &near, &scribble, |taken| count_reads(&memory, 12, taken))
    });
}

/// A ring page with an unmapped page before and behind.
#[cfg(not(miri))]
struct Guarded(NonNull<u8>);

#[cfg(not(miri))]
// SAFETY: only an address.
unsafe impl Sync for Guarded {}

#[cfg(not(miri))]
impl Guarded {
    const BYTES: usize = 4096;

    fn new() -> Self {
        // SAFETY: a new private mapping, of which the middle is then made accessible; checked below.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let all = libc::mmap(std::ptr::null_mut(), Self::BYTES + 8192, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(all, libc::MAP_FAILED);
            let middle = all.cast::<u8>().add(4096);
            assert_eq!(libc::mprotect(middle.cast(), Self::BYTES, libc::PROT_READ | libc::PROT_WRITE), 0);
            Self(NonNull::new(middle).expect("mmap gives no null"))
        }
    }

    fn pages(&self) -> Pages {
        // SAFETY: mapped for ever.
        unsafe { Pages::new(self.0, Self::BYTES) }
    }

    fn scribble(&self, near: &AtomicU32, random: &mut Random) {
        for index in 0..4 {
            let value = index_value(random, near.load(Ordering::Relaxed));
            // SAFETY: within the pages, aligned.
            unsafe { AtomicU32::from_ptr(self.0.as_ptr().add(index * 4).cast()) }
                .store(value, Ordering::Relaxed);
        }
        for _ in 0..64 {
            let at = HEADER_BYTES + random.below(((Self::BYTES - HEADER_BYTES) / 8) as u64) as usize * 8;
            // SAFETY: as above.
            unsafe { AtomicU64::from_ptr(self.0.as_ptr().add(at).cast()) }
                .store(random.next(), Ordering::Relaxed);
        }
    }
}

#[cfg(not(miri))]
#[test]
fn a_back_end_stays_within_its_pages_whatever_the_peer_writes() {
    let (pages, near) = (Guarded::new(), AtomicU32::new(5));
    let scribble = |random: &mut Random| pages.scribble(&near, random);
    while_scribbling(&scribble, || drive_back(|| pages.pages(), &near, &scribble, |_| {}));
}

#[cfg(not(miri))]
#[test]
fn a_front_end_stays_within_its_pages_whatever_the_peer_writes() {
    let (pages, near) = (Guarded::new(), AtomicU32::new(0));
    let scribble = |random: &mut Random| pages.scribble(&near, random);
    while_scribbling(&scribble, || drive_front(|| pages.pages(), &near, &scribble, |_| {}));
}
