// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Our ring ends and Xen's C macros side by side: same operations, same answers, same bytes in the shared page.
//!
//! Needs gcc and `xen/io/ring.h` (package libxen-dev).
#![cfg(not(any(loom, miri)))]

#[path = "support/c_ring.rs"]
mod c_ring;
mod common;

use c_ring::Xen;
use common::{Random, Region, request, response};
use vesper_ring::memory::{HEADER_BYTES, Index, Memory};
use vesper_ring::wire::loader::{Request, Response};
use vesper_ring::{BackRing, FrontRing};

type Front = FrontRing<Request, Response>;
type Back = BackRing<Request, Response>;

#[test]
fn the_layout_is_the_one_of_the_header() {
    let xen = Xen::load();
    let indexes =
        [Index::RequestProducer, Index::RequestEvent, Index::ResponseProducer, Index::ResponseEvent];
    for (which, index) in indexes.into_iter().enumerate() {
        assert_eq!(xen.offset(which as u32), index as u32);
    }
    assert_eq!(xen.offset(4) as usize, HEADER_BYTES);
    assert_eq!(xen.offset(5), 96);
    for pages in [1, 2, 4, 8, 16] {
        let region = Region::new(pages);
        let front = Front::over(region.pages(), 0).unwrap();
        assert_eq!(xen.entries(region.bytes()), front.entries());
    }
}

/// 400 sequences of 600 operations, of one and of two pages, half of them beginning just before the wrap-around.
#[test]
fn same_operations_give_the_same_page_and_the_same_answers() {
    let xen = Xen::load();
    let mut random = Random(0x5eed);
    for sequence in 0..400 {
        let (ours, theirs) = (Region::new(1 + sequence % 2), Region::new(1 + sequence % 2));
        let start = random.start();
        let mut front = Front::over(ours.pages(), start).unwrap();
        let mut back = Back::over(ours.pages()).unwrap();
        let xen_front = xen.front(&theirs, start);
        let mut xen_back = xen.back(&theirs);
        for step in 0..600 {
            let operation = random.below(9);
            match operation {
                0 | 1 => {
                    assert_eq!(front.free(), xen_front.free());
                    let ask = request(random.next());
                    assert_eq!(front.push(&ask).is_ok(), xen_front.push(&ask));
                }
                2 => assert_eq!(front.publish(), xen_front.publish()),
                3 => assert_eq!(front.take().unwrap(), xen_front.take().unwrap()),
                4 => assert_eq!(front.final_check().unwrap(), xen_front.check()),
                5 => assert_eq!(back.take().unwrap(), xen_back.take().unwrap()),
                6 => {
                    let answer = response(random.next());
                    if back.push(&answer).is_ok() {
                        xen_back.push(&answer);
                    }
                }
                7 => assert_eq!(back.publish(), xen_back.publish()),
                _ => assert_eq!(back.final_check().unwrap(), xen_back.check()),
            }
            if random.below(200) == 0 {
                assert_eq!(back.publish(), xen_back.publish());
                back = Back::over(ours.pages()).unwrap();
                xen_back = xen.back(&theirs);
            }
            assert!(
                ours.snapshot() == theirs.snapshot(),
                "sequence {sequence} step {step}: operation {operation}"
            );
        }
    }
}

/// Each of our ends talks to the other end in C over one page.
#[test]
fn our_ends_talk_to_the_c_ends() {
    let xen = Xen::load();
    let mut random = Random(0xc0ffee);
    for _ in 0..200 {
        let region = Region::new(1);
        let start = random.start();
        let mut front = Front::over(region.pages(), start).unwrap();
        let xen_back = xen.back(&region);
        let other = Region::new(1);
        let xen_front = xen.front(&other, start);
        let mut back = Back::over(other.pages()).unwrap();
        let (mut sent, mut served, mut done) = (0, 0, 0);
        while done < 200 {
            for _ in 0..random.below(34) {
                let room = front.push(&request(sent)).is_ok();
                assert_eq!(xen_front.push(&request(sent)), room);
                sent += u64::from(room);
            }
            assert_eq!(front.publish(), xen_front.publish());
            while let Some(ask) = xen_back.take().unwrap() {
                assert_eq!(ask, request(served));
                assert_eq!(back.take().unwrap(), Some(ask));
                xen_back.push(&response(served));
                back.push(&response(served)).unwrap();
                served += 1;
            }
            assert_eq!(xen_back.publish(), back.publish());
            assert_eq!(xen_back.check(), back.final_check().unwrap());
            while let Some(answer) = front.take().unwrap() {
                assert_eq!(answer, response(done));
                assert_eq!(xen_front.take().unwrap(), Some(answer));
                done += 1;
            }
            assert_eq!(front.final_check().unwrap(), xen_front.check());
        }
    }
}

/// Whatever the macros call ill-behaved poisons our end; ours also refuses what they let through: responses to
/// requests that were never published, and a request index that goes back.
#[test]
fn what_the_macros_call_ill_behaved_poisons_our_ends() {
    let xen = Xen::load();
    let mut random = Random(0xbad);
    let (mut refused, mut stricter) = (0, 0);
    for _ in 0..4000 {
        let (ours, theirs) = (Region::new(1), Region::new(1));
        let start = random.start();
        let mut front = Front::over(ours.pages(), start).unwrap();
        let mut back = Back::over(ours.pages()).unwrap();
        let (xen_front, xen_back) = (xen.front(&theirs, start), xen.back(&theirs));
        let asked = random.below(33);
        for n in 0..asked {
            front.push(&request(n)).unwrap();
            xen_front.push(&request(n));
        }
        assert_eq!(front.publish(), xen_front.publish());
        let taken = random.below(asked + 1);
        for _ in 0..taken {
            assert_eq!(back.take().unwrap(), xen_back.take().unwrap());
        }
        let far = if random.below(4) == 0 { random.next() as u32 } else { random.below(40) as u32 };
        let at_back = random.below(2) == 0;
        let index = if at_back { Index::RequestProducer } else { Index::ResponseProducer };
        ours.pages().store(index, start.wrapping_add(far));
        theirs.pages().store(index, start.wrapping_add(far));
        // A fresh look: what was known before the peer lied may still be taken.
        let (got, want) = if at_back {
            for _ in taken..asked {
                let _ = back.take();
            }
            (back.take().map(|_| ()), xen_back.take().map(|_| ()))
        } else {
            (front.take().map(|_| ()), xen_front.take().map(|_| ()))
        };
        if want.is_err() {
            assert!(got.is_err(), "the macros refuse {far} ahead with {asked} asked, {taken} taken");
            refused += 1;
        } else if got.is_err() {
            assert!(if at_back { u64::from(far) < asked } else { u64::from(far) > asked });
            stricter += 1;
        }
    }
    assert!(refused > 500 && stricter > 100, "refused {refused}, stricter {stricter}");
}
