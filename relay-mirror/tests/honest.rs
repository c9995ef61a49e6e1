// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that keeps to the protocol, step by step beside the mirror: what is received and what is told as lost is
//! exactly what was written, and a loss is told where it is.

mod common;

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use common::{FRAME, Sink, Source, geometry, mirror};
use proptest::prelude::*;
use vesper_relay_mirror::writer::{Export, WhenFull};
use vesper_relay_mirror::{Lost, Start};
use vesper_ring::wire::listener::{Head, Positions};

#[derive(Clone, Debug)]
enum Op {
    Write(usize),
    Publish,
    Flush,
    /// So many turns of one reader.
    Read(usize, u32),
    Update,
    Arm,
    /// The mapping goes and comes again.
    Reconnect,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => (0..48_usize).prop_map(Op::Write),
        2 => Just(Op::Publish),
        1 => Just(Op::Flush),
        4 => (0..2_usize, 1..6_u32).prop_map(|(reader, turns)| Op::Read(reader, turns)),
        1 => Just(Op::Update),
        2 => Just(Op::Arm),
        1 => Just(Op::Reconnect),
    ];
    prop::collection::vec(op, 1..200)
}

/// Numbers of the first sub-buffer: half of them near the end of 32 bits, and beyond.
fn first() -> impl Strategy<Value = u64> {
    let wrap = 1_u64 << 32;
    prop_oneof![Just(0), (0..40_u64), (wrap - 40..wrap + 40), (7 * wrap - 20..7 * wrap)]
}

struct Run {
    source: Source,
    sinks: [Sink; 2],
}

fn run(subbuf_size: u32, subbufs: u32, first: u64, when_full: WhenFull, ops: &[Op]) -> Run {
    let geometry = geometry(subbuf_size, subbufs, 1);
    let export = Export::new(geometry, first);
    let mut source = Source::new(&export, 0, when_full);
    source.sizes = Some(BTreeMap::new());
    let channel = mirror(geometry, &export);
    let mut readers = [channel.reader(Start::Now), channel.reader(Start::Oldest)];
    let mut sinks = [Sink::default(), Sink::default()];
    sinks.iter_mut().for_each(|sink| sink.got = Some(Vec::new()));
    for op in ops {
        match *op {
            Op::Write(payload) => {
                let fits = payload.min(subbuf_size as usize - FRAME);
                let _ = source.write(fits);
            }
            Op::Publish => source.writer.publish(),
            Op::Flush => source.flush(),
            Op::Read(reader, turns) => {
                for _ in 0..turns {
                    sinks[reader].turn(&mut readers[reader], 0);
                }
            }
            Op::Update => {
                channel.update();
            }
            Op::Arm => {
                channel.arm();
            }
            Op::Reconnect => {
                channel.suspend();
                assert_eq!(export.mapped(), 0, "all is unmapped");
                sinks[0].turn(&mut readers[0], 0);
                channel.resume(0, export.regions()).expect("the same memory");
            }
        }
    }
    source.writer.finish();
    for (reader, sink) in readers.iter_mut().zip(&mut sinks) {
        sink.drain(reader, 0);
        assert!(sink.ended);
    }
    assert_eq!(channel.status()[0].nonsense, 0, "an honest guest says no nonsense");
    Run { source, sinks }
}

/// Each gap between two writes, against what was told there.
fn check(run: &Run, when_full: WhenFull) {
    let sizes = run.source.sizes.as_ref().expect("they are noted");
    for sink in &run.sinks {
        assert_eq!(sink.torn, 0, "nobody writes while it reads");
        let mut next = 0;
        let end = (run.source.attempts, sink.gap);
        for &(number, gap) in sink.got.iter().flatten().chain([&end]) {
            let missing = sizes.range(next..number);
            assert_eq!(gap.bytes, missing.clone().map(|(_, bytes)| bytes).sum::<u64>(), "before {number}");
            match when_full {
                WhenFull::Refuse => assert_eq!(gap.writes, number - next, "before {number}"),
                WhenFull::Overwrite => assert_eq!(gap.writes, 0),
            }
            next = number + 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 512 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_refused_is_told_in_its_place(
        size in 16..200_u32, subbufs in 1..9_u32, first in first(), ops in ops()
    ) {
        let run = run(size, subbufs, first, WhenFull::Refuse, &ops);
        check(&run, WhenFull::Refuse);
        // The other one begins before what was consumed; there the guest does not wait.
        prop_assert_eq!(run.sinks[0].lost.sub_buffers, 0, "a guest that waits writes over nothing");
        for sink in &run.sinks {
            prop_assert_eq!(sink.lost.bytes, 0);
            prop_assert_eq!(sink.writes + sink.lost.writes, run.source.attempts);
        }
    }

    #[test]
    fn what_is_written_over_is_told_in_its_place(
        size in 16..200_u32, subbufs in 2..9_u32, first in first(), ops in ops()
    ) {
        let run = run(size, subbufs, first, WhenFull::Overwrite, &ops);
        check(&run, WhenFull::Overwrite);
        for sink in &run.sinks {
            prop_assert_eq!(sink.bytes + sink.lost.bytes, run.source.bytes);
        }
    }
}

#[test]
fn a_reader_that_sleeps_for_many_rounds_knows_the_bytes_it_missed() {
    let geometry = geometry(256, 4, 1);
    let export = Export::new(geometry, 0);
    let mut source = Source::new(&export, 0, WhenFull::Overwrite);
    let channel = mirror(geometry, &export);
    let mut reader = channel.reader(Start::Now);
    let mut sink = Sink::default();
    for round in 0..50_usize {
        // Many rounds of the buffer between two looks.
        for write in 0..200_usize {
            source.write((round * write) % 90).expect("it overwrites");
        }
        if round % 2 == 0 {
            sink.drain(&mut reader, 0);
        } else {
            channel.update();
        }
    }
    source.writer.finish();
    sink.drain(&mut reader, 0);
    assert!(sink.lost.sub_buffers > 100, "{:?}", sink.lost);
    assert_eq!(sink.bytes + sink.lost.bytes, source.bytes);
    assert_eq!(sink.lost.writes, 0);
}

/// Stopped there (an interrupt, a vCPU that is not run), the guest has written the new word of padding and not yet the head.
#[test]
fn a_guest_that_stops_within_a_switch_is_still_counted_to_the_byte() {
    let geometry = geometry(64, 3, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, WhenFull::Overwrite);
    let (mut reader, mut sink) = (channel.reader(Start::Now), Sink::default());
    let head = export.position(offset_of!(Positions, head));
    let mut switches = 0;
    for write in 0..60 {
        let before = head.load(Ordering::Relaxed);
        source.write((write * 7) % 40).expect("it overwrites");
        let after = head.load(Ordering::Relaxed);
        if Head::from_word(after).produced != Head::from_word(before).produced {
            switches += 1;
            if switches % 8 == 0 {
                head.store(before, Ordering::Relaxed);
                channel.update();
                head.store(after, Ordering::Relaxed);
            }
        }
    }
    source.writer.finish();
    sink.drain(&mut reader, 0);
    assert!(switches >= 24, "{switches}");
    assert_eq!(sink.bytes + sink.lost.bytes, source.bytes, "{sink:?}");
    assert_eq!(channel.status()[0].nonsense, 0);
}

#[test]
fn records_too_large_for_a_sub_buffer_are_told_too() {
    let geometry = geometry(128, 4, 1);
    let export = Export::new(geometry, 0);
    let mut writer = export.writer(0, WhenFull::Refuse, common::no_kick());
    let channel = mirror(geometry, &export);
    let mut reader = channel.reader(Start::Now);
    assert_eq!(writer.record(1, 0, 0, &[7; 10]), Ok(0));
    assert!(writer.record(1, 0, 0, &[7; 500]).is_err());
    assert_eq!(writer.record(1, 0, 0, &[7; 10]), Ok(2));
    writer.publish();
    let first = common::piece(&mut reader, 0);
    assert_eq!(first.len(), 80);
    reader.advance(&first, 80);
    assert_eq!(common::lost(&mut reader, 0), Lost { writes: 1, ..Lost::default() });
    assert_eq!(channel.status()[0].records, 3);
}
