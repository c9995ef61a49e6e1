// SPDX-License-Identifier: MIT OR Apache-2.0
//! Channels of a guest, read by the real mirror through real grants.

use std::time::Duration;

use vesper_relay_mirror::Lost;
use vesper_ring::wire::from_bytes;
use vesper_ring::wire::listener::{RecordHeader, record_flags};
use vesper_xenfront::loopback::ChannelSpec;

use crate::bench::{Bench, until};
use crate::host::read;

const SOON: Duration = Duration::from_secs(10);
const SCHEMA: &str = "signal pid:u32 comm:str\n";

#[test]
fn records_are_read_where_they_were_written() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let spec = ChannelSpec::new("panic").cpus(&[0, 3]).schema(SCHEMA).sizes(8192, 4);
    let (channel, mirror) = ear.open(&front, &spec);
    assert_eq!((mirror.info.name().as_str(), mirror.schema.as_str()), ("panic", SCHEMA));
    assert_eq!(mirror.info.owner().unwrap().as_str(), "panic");
    assert_eq!(mirror.info.cpus().collect::<Vec<_>>(), [Some(0), Some(3)]);
    let mut reader = mirror.reader();

    let without = front.relay().clock();
    front.relay().set_clock_offset(1_000_000_000);
    let before = front.relay().clock();
    assert!(before >= without + 1_000_000_000);
    assert_eq!(channel.record(3, 1, 0, b"\x07\0\0\0\x02\0sh"), Ok(0));
    assert_eq!(channel.record(3, 1, record_flags::URGENT, b"\x08\0\0\0\x02\0sh"), Ok(1));
    assert!(ear.rung(SOON));
    assert!(mirror.channel.update().moved);
    let (bytes, lost) = read(&mut reader, 1);
    assert_eq!((bytes.len(), lost), (64, Lost::default()));
    for (seq, record) in bytes.chunks(32).enumerate() {
        let header = from_bytes::<RecordHeader>(&record[..24]).unwrap();
        assert_eq!((header.bytes, header.event, header.seq), (32, 1, seq as u64));
        assert!((before..=front.relay().clock()).contains(&header.time));
        assert_eq!(record[24], 7 + seq as u8);
    }
    assert_eq!(read(&mut reader, 0).0, []);
    assert_eq!(channel.record(1, 1, 0, b"").unwrap_err().status(), -2, "no such CPU");
}

#[test]
fn a_full_channel_drops_and_counts_until_it_is_read() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("small").sizes(64, 2).global());
    let mut reader = mirror.reader();
    let line = |n: u8| [n; 32];
    for n in 0..4 {
        channel.write(7, &line(n)).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(channel.write(7, &line(9)).unwrap_err().status(), -28);
    }
    assert_eq!(channel.write(7, &[0; 65]).unwrap_err().status(), -90);
    mirror.channel.update();
    let (bytes, lost) = read(&mut reader, 0);
    assert_eq!(bytes, [line(0), line(1), line(2), line(3)].concat());
    assert_eq!(lost.writes, 3);
    mirror.channel.arm();
    assert_eq!(channel.consumed(0).consumed, 2);
    channel.write(7, &line(4)).unwrap();
    channel.urgent(7);
    mirror.channel.update();
    assert_eq!(read(&mut reader, 0), (line(4).to_vec(), Lost::default()));
}

#[test]
fn an_overwriting_channel_says_how_much_was_lost() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let spec = ChannelSpec::new("ring").sizes(32, 4).cpus(&[0]).overwriting();
    let (channel, mirror) = ear.open(&front, &spec);
    let mut reader = mirror.reader();
    for n in 0..10 {
        channel.write(0, &[n; 32]).unwrap();
    }
    channel.urgent(0);
    mirror.channel.update();
    let (bytes, lost) = read(&mut reader, 0);
    assert_eq!(bytes, [[6; 32], [7; 32], [8; 32], [9; 32]].concat());
    assert_eq!((lost.sub_buffers, lost.bytes, lost.writes), (6, 192, 0));
}

#[test]
fn a_quiet_channel_shows_what_it_holds_unless_nobody_wants_to_know() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("quiet"));
    mirror.channel.arm();
    while ear.rung(Duration::from_millis(300)) {}
    mirror.channel.update();
    // Nobody reads: it is shown, and the bell is not rung.
    channel.write(0, b"unread").unwrap();
    until("what is shown", || mirror.channel.update().moved.then_some(()));
    assert!(!ear.rung(Duration::from_millis(50)));

    let mut reader = mirror.reader();
    assert_eq!(read(&mut reader, 0).0, b"unread");
    channel.write(1, b"read").unwrap();
    read(&mut reader, 1);
    assert!(ear.rung(SOON));
    mirror.channel.update();
    assert_eq!(read(&mut reader, 1).0, b"read");

    // A CPU that hangs shows nothing; one that goes shows what it has.
    front.relay().set_hung(1, true);
    channel.write(1, b"late").unwrap();
    std::thread::sleep(Duration::from_millis(250));
    mirror.channel.update();
    assert_eq!(read(&mut reader, 1).0, b"");
    front.relay().set_online(1, false);
    mirror.channel.update();
    assert_eq!(read(&mut reader, 1).0, b"late");
}

#[test]
fn the_bell_rings_at_the_switch_that_was_asked_for() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("switch").sizes(32, 8).cpus(&[9]));
    let mut reader = mirror.reader();
    read(&mut reader, 0);
    mirror.channel.arm();
    while ear.rung(Duration::from_millis(300)) {}
    // CPU 9 has no timer here, so only switches ring.
    channel.write(9, &[1; 32]).unwrap();
    assert!(
        !ear.rung(Duration::from_millis(50)),
        "the sub-buffer is not complete for relay before the next write"
    );
    channel.write(9, &[2; 32]).unwrap();
    assert!(ear.rung(SOON));
    mirror.channel.update();
    assert_eq!(read(&mut reader, 0).0, [1; 32]);
}

#[test]
fn the_buffer_of_a_later_cpu_is_a_part() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("grows").cpus(&[0]).schema(SCHEMA));
    let mut reader = mirror.reader();
    channel.add_cpu(2).unwrap();
    assert_eq!(channel.add_cpu(2).unwrap_err().status(), -17);
    channel.write(2, b"before it was announced").unwrap();
    let export = ear.offer();
    assert!(export.part && export.export == channel.number());
    let (info, schema, regions) = ear.map(&export);
    assert_eq!((info.cpus().collect::<Vec<_>>(), schema.as_str()), (vec![Some(2)], ""));
    info.check_part_of(&mirror.info).unwrap();
    mirror.channel.add_part(*info.geometry(), regions).unwrap();
    ear.done(0);
    channel.urgent(2);
    mirror.channel.update();
    assert_eq!(read(&mut reader, 1).0, b"before it was announced");

    // A later host is given both, one after the other.
    drop((reader, mirror));
    bench.set_state(5);
    bench.wait_front(6);
    drop(ear);
    bench.set_state(6);
    let mut ear = bench.listen();
    let first = ear.offer();
    ear.done(0);
    let second = ear.offer();
    assert_eq!((first.export, first.part), (channel.number(), false));
    assert_eq!((second.export, second.part), (channel.number(), true));
    // Without the first it is not given the second.
    ear.done(0);
    bench.set_state(5);
    bench.wait_front(6);
    drop(ear);
    bench.set_state(6);
    let mut ear = bench.listen();
    ear.offer();
    ear.done(-28);
    ear.hear_time();
}
