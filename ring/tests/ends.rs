// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Both ends against each other, and against an oracle that counts in 64 bits and so never wraps.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use common::{Counting, Random, Region, request, response};
use proptest::prelude::*;
use vesper_ring::memory::{Index, Memory};
use vesper_ring::wire::loader::{Request, Response};
use vesper_ring::{AnswerError, AttachError, BackRing, BadMemory, FrontRing, Poison, PushError};

type Front<M> = FrontRing<Request, Response, M>;
type Back<M> = BackRing<Request, Response, M>;

fn pair(start: u32) -> (Counting, Front<Counting>, Back<Counting>) {
    let memory = Counting::new(4096);
    let front = Front::over(memory.clone(), start).unwrap();
    let back = Back::over(memory.clone()).unwrap();
    (memory, front, back)
}

fn header(memory: &Counting) -> Vec<u32> {
    memory.header.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

#[test]
fn a_page_has_32_entries_and_a_second_page_doubles_them() {
    for (pages, entries) in [(1, 32), (2, 64), (4, 128), (16, 512)] {
        let region = Region::new(pages);
        // SAFETY: the region outlives the ring.
        let front = unsafe { FrontRing::<Request, Response>::init(region.base(), region.bytes()) }.unwrap();
        assert_eq!((front.entries(), front.free(), front.outstanding()), (entries, entries, 0));
        // SAFETY: as above.
        let back = unsafe { BackRing::<Request, Response>::attach(region.base(), region.bytes()) }.unwrap();
        assert_eq!((back.entries(), back.unanswered()), (entries, 0));
    }
}

#[test]
fn memory_that_holds_no_ring_is_refused() {
    let region = Region::new(1);
    for bytes in [0, 1, 63, 64, 159] {
        // SAFETY: within the region, which outlives the ring.
        let front = unsafe { FrontRing::<Request, Response>::init(region.base(), bytes) };
        assert_eq!(front.err(), Some(BadMemory::TooSmall { bytes }));
        // SAFETY: as above.
        let back = unsafe { BackRing::<Request, Response>::attach(region.base(), bytes) };
        assert_eq!(back.err(), Some(AttachError::Memory(BadMemory::TooSmall { bytes })));
    }
    // SAFETY: the address is within the region, and 64 + 96 bytes follow it.
    let base = unsafe { region.base().add(8) };
    // SAFETY: as above.
    let front = unsafe { FrontRing::<Request, Response>::init(base, 160) };
    assert_eq!(front.err(), Some(BadMemory::Misaligned));
    // SAFETY: as above.
    let front = unsafe { FrontRing::<Request, Response>::init(region.base(), 160) };
    assert_eq!(front.unwrap().entries(), 1);
}

#[test]
fn the_header_is_initialised_by_the_front_end_and_untouched_by_the_back_end() {
    let region = Region::new(1);
    // SAFETY: within the region, and nobody else is there.
    unsafe { region.base().write_bytes(0xa5, 4096) };
    let _front = Front::over(region.pages(), 0).unwrap();
    let page = region.snapshot();
    assert_eq!(&page[..16], &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(page[16..64].iter().all(|&byte| byte == 0));
    assert!(page[64..].iter().all(|&byte| byte == 0xa5));
    let _back = Back::over(region.pages()).unwrap();
    assert_eq!(region.snapshot(), page);
}

#[test]
fn a_restarted_back_end_sees_the_unanswered_requests_again() {
    let (memory, mut front, mut back) = pair(u32::MAX - 1);
    for n in 0..5 {
        front.push(&request(n)).unwrap();
    }
    assert!(front.publish());
    for n in 0..3 {
        assert_eq!(back.take().unwrap(), Some(request(n)));
    }
    back.push(&response(0)).unwrap();
    assert!(back.publish());
    drop(back);
    let mut back = Back::over(memory).unwrap();
    for n in 1..5 {
        assert_eq!(back.take().unwrap(), Some(request(n)));
        back.push(&response(n)).unwrap();
    }
    assert!(!back.final_check().unwrap());
    let _ = back.publish();
    for n in 0..5 {
        assert_eq!(front.take().unwrap(), Some(response(n)));
    }
    assert_eq!(front.take().unwrap(), None);
}

#[test]
fn each_word_of_an_entry_is_read_once_and_an_index_once_a_look() {
    let (memory, mut front, mut back) = pair(7);
    front.push(&request(1)).unwrap();
    let _ = front.publish();
    memory.drain_reads();
    memory.header_reads.store(0, Ordering::Relaxed);
    back.take().unwrap().unwrap();
    let slot = 7 * 12;
    assert_eq!(memory.drain_reads(), (slot..slot + 8).map(|word| (word, 1)).collect::<Vec<_>>());
    assert_eq!(memory.header_reads.load(Ordering::Relaxed), 1);
    back.push(&response(1)).unwrap();
    let _ = back.publish();
    assert_eq!(memory.drain_reads(), []);
    front.take().unwrap().unwrap();
    assert_eq!(memory.drain_reads(), (slot..slot + 12).map(|word| (word, 1)).collect::<Vec<_>>());
}

#[test]
fn impossible_request_indexes_stop_the_back_end_for_good() {
    for start in [0, 5, u32::MAX, u32::MAX - 20] {
        for (ahead, why) in [(33, "over"), (1 << 31, "over"), (u32::MAX, "over"), (1, "back"), (0, "back")] {
            let (memory, mut front, mut back) = pair(start);
            for n in 0..2 {
                front.push(&request(n)).unwrap();
            }
            let _ = front.publish();
            assert_eq!(back.take().unwrap(), Some(request(0)));
            assert_eq!(back.take().unwrap(), Some(request(1)));
            let producer = start.wrapping_add(ahead);
            memory.store(Index::RequestProducer, producer);
            let poison = match why {
                "over" => Poison::RequestOverflow { producer, oldest: start },
                _ => Poison::RequestBackwards { producer, consumer: start.wrapping_add(2) },
            };
            assert_eq!(back.take(), Err(poison));
            // A peer that repairs its index afterwards gets nothing for it.
            for repaired in 0..4 {
                memory.store(Index::RequestProducer, start.wrapping_add(repaired));
                assert_eq!(back.take(), Err(poison));
                assert_eq!(back.final_check(), Err(poison));
            }
            let before = header(&memory);
            assert_eq!(back.final_check(), Err(poison));
            assert_eq!(back.push(&response(0)), Err(AnswerError::Poison(poison)));
            assert!(!back.publish());
            assert_eq!((back.unanswered(), back.poison()), (0, Some(poison)));
            let after = header(&memory);
            assert_eq!(before, after, "a stopped ring end writes nothing");
        }
    }
}

#[test]
fn impossible_response_indexes_stop_the_front_end_for_good() {
    for start in [0, 5, u32::MAX, u32::MAX - 20] {
        for ahead in [3, 32, 33, 1 << 31, u32::MAX] {
            let (memory, mut front, _back) = pair(start);
            for n in 0..2 {
                front.push(&request(n)).unwrap();
            }
            let _ = front.publish();
            front.push(&request(2)).unwrap(); // pushed, not published: nobody can have answered it
            let producer = start.wrapping_add(ahead);
            memory.store(Index::ResponseProducer, producer);
            let poison = if ahead > 32 {
                Poison::ResponseOverflow { producer, consumer: start }
            } else {
                Poison::ResponseUnasked { producer, requests: start.wrapping_add(2) }
            };
            assert_eq!(front.take(), Err(poison));
            for repaired in 0..4 {
                memory.store(Index::ResponseProducer, start.wrapping_add(repaired));
                assert_eq!(front.take(), Err(poison));
                assert_eq!(front.final_check(), Err(poison));
            }
            assert_eq!(front.push(&request(3)), Err(PushError::Poison(poison)));
            assert!(!front.publish());
            assert_eq!((front.free(), front.outstanding(), front.poison()), (0, 0, Some(poison)));
        }
    }
}

#[test]
fn a_back_end_does_not_attach_to_contradicting_indexes() {
    for ahead in [33, 1 << 31, u32::MAX] {
        let memory = Counting::new(4096);
        drop(Front::over(memory.clone(), 9).unwrap());
        memory.store(Index::RequestProducer, 9u32.wrapping_add(ahead));
        let poison = Poison::RequestOverflow { producer: 9u32.wrapping_add(ahead), oldest: 9 };
        assert_eq!(Back::over(memory).err(), Some(AttachError::Poison(poison)));
    }
}

#[test]
fn a_response_that_nobody_asked_for_is_not_written() {
    let (memory, mut front, mut back) = pair(0);
    assert_eq!(back.push(&response(0)), Err(AnswerError::NothingAsked));
    front.push(&request(0)).unwrap();
    assert_eq!(back.take().unwrap(), None, "pushed, not published");
    let _ = front.publish();
    assert_eq!(back.push(&response(0)), Err(AnswerError::NothingAsked), "not taken yet");
    back.take().unwrap().unwrap();
    back.push(&response(0)).unwrap();
    assert_eq!(back.push(&response(1)), Err(AnswerError::NothingAsked));
    assert_eq!(memory.load(Index::ResponseProducer), 0, "not published");
}

/// What a test does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    FrontPush,
    FrontPublish,
    FrontTake,
    FrontCheck,
    BackTake,
    BackPush,
    BackPublish,
    BackCheck,
    BackRestart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let step = prop_oneof![
        6 => Just(FrontPush), 3 => Just(FrontPublish), 4 => Just(FrontTake), 2 => Just(FrontCheck),
        5 => Just(BackTake), 5 => Just(BackPush), 3 => Just(BackPublish), 2 => Just(BackCheck),
        1 => Just(BackRestart),
    ];
    proptest::collection::vec(step, 1..400)
}

/// One direction: numbers of messages since the beginning, which never wrap.
#[derive(Default)]
struct Lane {
    pushed: u64,
    published: u64,
    taken: u64,
    /// The message at which the taker wants to be woken.
    event: u64,
}

impl Lane {
    fn new() -> Self {
        Self { event: 1, ..Self::default() }
    }

    fn publish(&mut self) -> bool {
        let old = std::mem::replace(&mut self.published, self.pushed);
        old < self.event && self.event <= self.published
    }

    fn check(&mut self) -> bool {
        if self.published == self.taken {
            self.event = self.taken + 1;
        }
        self.published != self.taken
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 512 }, failure_persistence: None, ..Default::default() })]
    #[test]
    fn both_ends_do_what_the_oracle_does(seed: u64, steps in steps()) {
        let (memory, mut front, mut back) = pair(Random(seed | 1).start());
        let (mut asks, mut answers) = (Lane::new(), Lane::new());
        let mut queue: VecDeque<u64> = VecDeque::new();
        for step in steps {
            match step {
                Step::FrontPush => {
                    let room = asks.pushed - answers.taken < 32;
                    prop_assert_eq!(front.free() as u64, 32 - (asks.pushed - answers.taken));
                    prop_assert_eq!(front.push(&request(asks.pushed)).is_ok(), room);
                    asks.pushed += u64::from(room);
                }
                Step::FrontPublish => prop_assert_eq!(front.publish(), asks.publish()),
                Step::FrontTake => {
                    let want = (answers.taken < answers.published).then(|| response(answers.taken));
                    prop_assert_eq!(front.take(), Ok(want));
                    answers.taken += u64::from(want.is_some());
                }
                Step::FrontCheck => prop_assert_eq!(front.final_check(), Ok(answers.check())),
                Step::BackTake => {
                    let want = (asks.taken < asks.published).then(|| request(asks.taken));
                    prop_assert_eq!(back.take(), Ok(want));
                    if want.is_some() {
                        queue.push_back(asks.taken);
                        asks.taken += 1;
                    }
                }
                Step::BackPush => {
                    prop_assert_eq!(back.unanswered() as usize, queue.len());
                    let next = queue.pop_front();
                    prop_assert_eq!(back.push(&response(next.unwrap_or(0))).is_ok(), next.is_some());
                    answers.pushed += u64::from(next.is_some());
                }
                Step::BackPublish => prop_assert_eq!(back.publish(), answers.publish()),
                Step::BackCheck => prop_assert_eq!(back.final_check(), Ok(asks.check())),
                Step::BackRestart => {
                    // An answer that was written and not published is gone, and its request overwritten: a back end
                    // publishes at once (see `BackRing`), so the model does too.
                    let _ = back.publish();
                    answers.publish();
                    back = Back::over(memory.clone()).unwrap();
                    asks.taken = answers.published;
                    queue.clear();
                }
            }
        }
    }
}
