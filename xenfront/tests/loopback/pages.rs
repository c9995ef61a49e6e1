// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages that the host may read as long as it is connected: heartbeat and last words.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vesper_grant::Mapping;
use vesper_ring::wire::listener::{
    Heartbeat, RECORD_OFFSET, RecordHeader, WORDS, WordsHeader, record_flags, words_state,
};
use vesper_ring::wire::{PAGE_SIZE, from_bytes};
use vesper_xenfront::loopback::ChannelSpec;

use crate::bench::{Bench, until};

fn word(mapping: &Mapping, offset: usize) -> u64 {
    assert!(offset.is_multiple_of(8) && offset < mapping.len());
    // SAFETY: within the mapping, which lives, and aligned.
    unsafe { AtomicU64::from_ptr(mapping.as_ptr().as_ptr().add(offset).cast()) }.load(Ordering::Acquire)
}

fn place(mapping: &Mapping, place: usize) -> (WordsHeader, RecordHeader, Vec<u8>) {
    let page: Vec<u8> =
        (0..PAGE_SIZE / 8).flat_map(|at| word(mapping, place * PAGE_SIZE + at * 8).to_le_bytes()).collect();
    let header: WordsHeader = from_bytes(&page[..RECORD_OFFSET]).unwrap();
    let payload = RECORD_OFFSET + size_of::<RecordHeader>();
    let record = from_bytes(&page[RECORD_OFFSET..payload]).unwrap();
    (header, record, page[payload..].to_vec())
}

#[test]
fn every_cpu_beats_until_it_hangs_or_goes() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    front.relay().set_heartbeat(Duration::from_millis(20));
    let ear = bench.listen();
    let beat = |cpu: usize| word(&ear.heartbeat, offset_of!(Heartbeat, beat) + cpu * 8);
    assert_eq!(word(&ear.heartbeat, offset_of!(Heartbeat, period)), 20_000_000);
    until("when it was connected", || {
        (word(&ear.heartbeat, offset_of!(Heartbeat, connected)) > 0).then_some(())
    });
    for cpu in 0..2 {
        let first = until("a beat", || Some(beat(cpu)).filter(|&when| when > 0));
        let second = until("another beat", || Some(beat(cpu)).filter(|&when| when > first));
        assert!(second <= front.relay().clock());
    }
    front.relay().set_hung(1, true);
    let (zero, one) = (beat(0), beat(1));
    until("more beats", || (beat(0) > zero + 100_000_000).then_some(()));
    assert!(beat(1) <= one + 20_000_000, "CPU 1 hangs");
    front.relay().set_online(1, false);
    assert_eq!((beat(1), beat(2)), (0, 0));
    front.relay().set_online(2, true);
    until("a CPU that came", || (beat(2) > 0).then_some(()));
    // A guest whose kernel stopped.
    drop(front);
    let last = beat(0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(beat(0), last);
}

#[test]
fn last_words_take_a_place_each_and_are_counted_when_there_is_none() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, _mirror) = ear.open(&front, &ChannelSpec::new("panic"));
    while ear.rung(Duration::from_millis(300)) {}
    assert_eq!(place(&ear.words, 0).0.state, words_state::FREE);
    front.relay().last_words(Some(&channel), 4, b"the end").unwrap();
    assert!(ear.rung(Duration::from_secs(10)));
    let (header, record, payload) = place(&ear.words, 0);
    assert_eq!((header.state, header.record_bytes()), (words_state::DONE, Some(32)));
    assert_eq!(header.export().unwrap().unwrap().as_str(), "panic");
    assert_eq!((record.bytes, record.event, record.flags, record.seq), (32, 4, record_flags::FATAL, 0));
    assert_eq!(&payload[..8], b"the end\0");

    assert_eq!(front.relay().last_words(None, 1, &[1; 4001]).unwrap_err().status(), -90);
    front.relay().last_words(None, 1, &[1; 4000]).unwrap();
    let (header, record, _) = place(&ear.words, 1);
    assert_eq!((header.export().unwrap(), record.seq, record.bytes), (None, 1, 4024));
    for _ in 2..WORDS {
        front.relay().last_words(None, 1, b"").unwrap();
    }
    assert_eq!(word(&ear.heartbeat, offset_of!(Heartbeat, words_lost)), 0);
    assert_eq!(front.relay().last_words(None, 1, b"").unwrap_err().status(), -28);
    assert_eq!(word(&ear.heartbeat, offset_of!(Heartbeat, words_lost)), 1);

    // They outlive the connection.
    bench.set_state(5);
    bench.wait_front(6);
    drop(ear);
    bench.set_state(6);
    let ear = bench.listen();
    assert_eq!(place(&ear.words, 7).0.state, words_state::DONE);
}
