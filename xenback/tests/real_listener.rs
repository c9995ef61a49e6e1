// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener with the real frontend core and its relay channels in threads of this process.

mod live;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use live::{PATIENCE, World};
use vesper_grant::{DomId, Host, VcpuState};
use vesper_relay_mirror::{Next, Reader, Start};
use vesper_ring::wire::from_bytes;
use vesper_ring::wire::listener::{RecordHeader, record_flags};
use vesper_xenback::action::listener::{DeadCause, ExportEnd, Verdict, Why};
use vesper_xenback::{DeviceState, Event};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};

const G: DomId = DomId(1);
const SCHEMA: &str = "count n:u64\npanic! cpu:u32\n";

/// The numbers that were read of each buffer, in their order. Writers count what was taken, so that none may be missing.
#[derive(Default)]
struct Read {
    numbers: [Vec<u64>; 2],
    ended: [bool; 2],
    lost: u64,
    /// It begins with what an earlier daemon had read, which the guest may write over.
    after_another: bool,
}

impl Read {
    /// Takes all that a reader is given now.
    fn all(&mut self, reader: &mut Reader) {
        for buffer in 0..2 {
            loop {
                match reader.next(buffer) {
                    Next::Data(piece) => {
                        let mut bytes = Vec::new();
                        if piece.append_to(&mut bytes).is_err() {
                            assert!(self.after_another, "no guest writes over what is held");
                            // It is told as lost next.
                            continue;
                        }
                        self.numbers[buffer].extend(numbers(&bytes));
                        reader.advance(&piece, piece.len());
                    }
                    Next::Lost(lost) => self.lost += lost.sub_buffers + lost.writes,
                    Next::Nothing => break,
                    Next::End => {
                        self.ended[buffer] = true;
                        break;
                    }
                }
            }
        }
    }

    fn count(&self) -> usize {
        self.numbers.iter().map(Vec::len).sum()
    }
}

fn numbers(mut bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let header: RecordHeader = from_bytes(&bytes[..24]).unwrap();
        assert!(header.fits(bytes.len()), "{header:?} of {} bytes", bytes.len());
        found.push(u64::from_le_bytes(bytes[24..32].try_into().unwrap()));
        bytes = &bytes[header.bytes as usize..];
    }
    found
}

fn assert_complete(numbers: &[u64], what: &str) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "{what}");
    }
}

/// Exports a channel while the daemon's loop runs.
fn export(world: &mut World, frontend: &LoopFrontend, spec: ChannelSpec) -> RelayChannel {
    let relay = frontend.relay().clone();
    let thread = std::thread::spawn(move || relay.export(&spec));
    world.until("exported", |_| thread.is_finished());
    let channel = thread.join().unwrap().unwrap();
    // A frontend that is just connecting announces it a moment later.
    let name = channel.name();
    world.until("announced", |world| world.backend.channel(G, name.as_str()).is_some());
    channel
}

fn moved(world: &mut World) -> bool {
    let moved = world.events.contains(&Event::Moved { domid: G });
    world.events.retain(|event| *event != Event::Moved { domid: G });
    moved
}

/// Writes the records of these numbers on a CPU, each again until there is room.
fn write_all(channel: &RelayChannel, cpu: u16, numbers: std::ops::Range<u64>) {
    let end = Instant::now() + PATIENCE;
    for number in numbers {
        while channel.record(cpu, 1, 0, &number.to_le_bytes()).is_err() {
            assert!(Instant::now() < end, "no room for {number}");
            std::thread::yield_now();
        }
    }
}

/// Stops a writer even where the test fails, so that it does not write for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_record_of_two_cpus_is_read_by_who_reads_only_when_told() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let channel = export(&mut world, &frontend, ChannelSpec::new("count").schema(SCHEMA));
    let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    const EACH: u64 = 20_000;
    let mut read = Read::default();
    std::thread::scope(|scope| {
        for cpu in [0, 1] {
            let channel = &channel;
            scope.spawn(move || write_all(channel, cpu, 0..EACH));
        }
        let end = Instant::now() + PATIENCE;
        while read.count() < 2 * EACH as usize {
            world.turn();
            if moved(&mut world) {
                read.all(&mut reader);
            }
            assert!(Instant::now() < end, "{} of {} were read", read.count(), 2 * EACH);
        }
    });
    for numbers in &read.numbers {
        assert_complete(numbers, "records");
        assert_eq!(numbers.len(), EACH as usize);
    }
}

#[test]
fn an_urgent_record_does_not_wait_for_its_sub_buffer() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let channel = export(&mut world, &frontend, ChannelSpec::new("count").schema(SCHEMA).sizes(65536, 4));
    let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.turn();
    moved(&mut world);
    let mut read = Read::default();
    for round in 1..=20 {
        channel.record(1, 1, record_flags::URGENT, &[0; 8]).unwrap();
        world.until("told", |world| world.events.contains(&Event::Moved { domid: G }));
        moved(&mut world);
        read.all(&mut reader);
        assert_eq!(read.count(), round);
    }
    // A quiet one is shown by the frontend's timer.
    channel.record(0, 1, 0, &7_u64.to_le_bytes()).unwrap();
    world.until("told", |world| world.events.contains(&Event::Moved { domid: G }));
    read.all(&mut reader);
    assert_eq!(read.numbers[0], [7]);
}

#[test]
fn a_resumed_guest_loses_and_repeats_nothing() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let channel = export(&mut world, &frontend, ChannelSpec::new("count").schema(SCHEMA));
    let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    let mut read = Read::default();
    const EACH: u64 = 5_000;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_all(&channel, 0, 0..EACH));
        let end = Instant::now() + PATIENCE;
        let (mut resumed, mut next) = (0, 300);
        while !writer.is_finished() || read.count() < EACH as usize {
            if resumed < 5 && read.count() >= next {
                (resumed, next) = (resumed + 1, next + 700);
                frontend.resume();
            }
            world.turn();
            read.all(&mut reader);
            assert!(Instant::now() < end, "{} of {EACH} were read", read.count());
        }
        assert!(resumed > 0);
    });
    world.until("connected", |world| world.device(1) == Some(DeviceState::Connected));
    assert_complete(&read.numbers[0], "over reconnects");
    assert_eq!(read.numbers[0].len(), EACH as usize);
    assert!(world.info(1).counters.connections > 1);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Unexported { .. })));
}

#[test]
fn a_restarted_daemon_leaves_no_gap() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let channel = export(&mut world, &frontend, ChannelSpec::new("count").schema(SCHEMA));
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = written.load(Ordering::Relaxed);
                match channel.record(0, 1, 0, &number.to_le_bytes()) {
                    Ok(_) => written.store(number + 1, Ordering::Relaxed),
                    Err(_) => std::thread::yield_now(),
                }
            }
        });
        let mut last = None;
        for round in 0..6 {
            let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
            world.backend.wake(G);
            let mut read = Read { after_another: round > 0, ..Read::default() };
            world.until("read", |_| {
                read.all(&mut reader);
                read.numbers[0].len() >= 2000
            });
            // What was not acknowledged is still there; what was, may be.
            let new: Vec<u64> = read.numbers[0]
                .iter()
                .copied()
                .filter(|number| last.is_none_or(|last| *number > last))
                .collect();
            assert_complete(&new, "within one daemon");
            if let Some(last) = last {
                assert_eq!(new[0], last + 1, "round {round}");
            }
            last = new.last().copied();
            drop(reader);
            world.restart_backend();
            world.until("taken over", |world| !world.backend.channels(G).is_empty());
            assert_eq!(world.info(1).counters.connections, 1);
        }
    });
    assert!(written.load(Ordering::Relaxed) > 6_000);
}

#[test]
fn a_guest_destroyed_while_it_writes_leaves_its_last_records() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let spec = ChannelSpec::new("count").schema(SCHEMA).overwriting();
    let channel = export(&mut world, &frontend, spec);
    let stop = AtomicBool::new(false);
    let last = AtomicU64::new(0);
    let remains = std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = last.load(Ordering::Relaxed) + 1;
                if channel.record(0, 1, record_flags::URGENT, &number.to_le_bytes()).is_ok() {
                    last.store(number, Ordering::Relaxed);
                }
            }
        });
        while last.load(Ordering::Relaxed) < 10_000 {
            world.turn();
        }
        drop(stopping);
        writer.join().unwrap();
        world.machine.destroy(G);
        world.store.release(1);
        let end = Instant::now() + PATIENCE;
        loop {
            world.turn();
            if let Some(remains) = world.backend.remains(G) {
                return remains;
            }
            assert!(Instant::now() < end, "{:?}", world.events);
        }
    });
    assert_eq!(world.machine.domain(G).unwrap(), None, "no zombie");
    let mut read = Read::default();
    let mut remains = remains;
    read.all(&mut remains.exports[0].1);
    assert!(read.ended[0]);
    assert_complete(&read.numbers[0], "what is left");
    assert_eq!(*read.numbers[0].last().unwrap(), last.load(Ordering::Relaxed), "to the very last");
    assert!(read.numbers[0].len() > 500);
    let cause = DeadCause::Destroyed;
    assert!(world.events.contains(&Event::GuestEnded { domid: G, uuid: live::uuid(1), cause }));
    drop(frontend);
}

#[test]
fn an_export_that_stops_hands_over_what_is_unread() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    for round in 0..20 {
        let channel = export(&mut world, &frontend, ChannelSpec::new("count").schema(SCHEMA));
        let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
        write_all(&channel, 0, 0..100);
        let thread = std::thread::spawn(move || channel.stop());
        world.until("stopped", |_| thread.is_finished());
        assert!(thread.join().unwrap(), "the host let go within a second");
        let mut read = Read::default();
        read.all(&mut reader);
        assert_eq!((read.numbers[0].len(), read.ended[0]), (100, true), "round {round}");
        let why = ExportEnd::Stopped;
        assert!(world.events.iter().any(|e| matches!(e, Event::Unexported { why: w, .. } if *w == why)));
        world.events.clear();
    }
    frontend.unload();
    world.until("closed", |world| world.device(1) == Some(DeviceState::Closed));
    world.until("all given back", |world| world.guests[0].active_grants() == 0);
    assert_eq!(world.info(1).counters.protocol_errors, 0);
}

#[test]
fn a_cpu_that_comes_later_is_read_too() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    let channel = export(&mut world, &frontend, ChannelSpec::new("count").cpus(&[0]));
    let mut reader = world.backend.channel(G, "count").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    frontend.relay().set_online(7, true);
    channel.add_cpu(7).unwrap();
    world.until("there", |world| world.backend.channel(G, "count").unwrap().cpus.len() == 2);
    write_all(&channel, 7, 0..1000);
    let mut read = Read::default();
    world.until("read", |_| {
        read.all(&mut reader);
        read.numbers[1].len() == 1000
    });
    frontend.resume();
    world.until("connected anew", |world| {
        world.info(1).counters.connections == 2 && world.backend.channels(G).first().is_some_and(|c| c.shared)
    });
    write_all(&channel, 7, 1000..1500);
    world.until("read", |_| {
        read.all(&mut reader);
        read.numbers[1].len() == 1500
    });
    assert_complete(&read.numbers[1], "the CPU that came later");
}

#[test]
fn a_hung_vcpu_is_told_from_a_starved_one() {
    let mut world = World::new();
    let frontend = world.add_connected(1);
    frontend.relay().set_heartbeat(Duration::from_millis(20));
    let mut ran = 0;
    // Looks every 100 ms, between which vCPU 1 runs for so long, until the verdict is this.
    let mut until = |world: &mut World, each: u64, wanted: Verdict| {
        let mut told = Vec::new();
        for _ in 0..40 {
            ran += each;
            let vcpu = |ran| VcpuState { online: true, blocked: false, running: true, cpu_time_ns: ran };
            world.machine.set_vcpus(G, &[vcpu(0), vcpu(ran)]);
            told.push(world.backend.alive(G).unwrap());
            if told.last() == Some(&wanted) {
                return told;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("never {wanted:?}: {told:?}");
    };
    let hung = Verdict::Hung { vcpus: vec![1] };
    until(&mut world, 0, Verdict::Alive(Why::Beating));
    frontend.relay().set_hung(1, true);
    let told = until(&mut world, 0, Verdict::Alive(Why::Starved));
    assert!(!told.contains(&hung), "it has not run: {told:?}");
    until(&mut world, 100_000_000, hung.clone());
    frontend.relay().set_hung(1, false);
    until(&mut world, 100_000_000, Verdict::Alive(Why::Beating));
}

#[test]
fn clocks_and_last_words_arrive() {
    let mut world = World::new();
    let frontend = world.add_guest(1);
    const AHEAD: i64 = 7_000_000_000;
    frontend.relay().set_clock_offset(AHEAD);
    world.attach(1);
    world.until("a clock", |world| world.backend.listener(G).unwrap().clock.is_some());
    let clock = world.backend.listener(G).unwrap().clock.unwrap();
    assert!(clock.offset_ns.abs_diff(-AHEAD) <= clock.error_ns, "{clock:?}");
    let channel = export(&mut world, &frontend, ChannelSpec::new("panic").schema(SCHEMA));
    frontend.relay().last_words(Some(&channel), 2, b"cpu.").unwrap();
    channel.record(0, 2, record_flags::URGENT | record_flags::FATAL, b"cpu.").unwrap();
    world.until("last words", |world| {
        world.events.iter().any(|event| {
            matches!(event, Event::LastWords { words, .. } if words.name.as_ref().is_some_and(|n| n.as_str() == "panic"))
        })
    });
    world.until("the record", |world| {
        world.events.iter().any(|event| {
            matches!(event, Event::Fatal { record, .. } if record.name.as_deref() == Some("panic") && record.cpu == Some(0))
        })
    });
}
