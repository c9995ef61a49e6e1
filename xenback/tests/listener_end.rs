// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a guest ends: what is left of it, what it said last, and whether it lives at all.

mod common;

use std::time::Duration;

use common::{RECORD, RawExport, RawGuest, World, drain, lines, write_lines};
use vesper_grant::{DomId, Host, ShutdownReason, VcpuState};
use vesper_relay_mirror::Start;
use vesper_relay_mirror::writer::WhenFull;
use vesper_xenback::action::listener::{DeadCause, ExportEnd, Verdict, Why};
use vesper_xenback::{DeviceState, Event};
use vesper_xenstore::{Store, Tx};

const G: DomId = DomId(1);
const SCHEMA: &str = "# what ends\nsignal pid:u32\npanic! cpu:u32\n";

/// A guest with an export of two CPUs that has a schema.
fn shared(world: &mut World) -> (RawGuest, RawExport) {
    let mut guest = world.add_listening(1);
    let mut export = RawExport::new(&guest, 1, "panic", (4096, 4), &[0, 4], SCHEMA);
    assert_eq!(guest.export(world, &mut export), 0);
    (guest, export)
}

/// Runs the backend as its owner does, and what is left of the guest if that is told of.
fn run_once(world: &mut World) -> Option<vesper_xenback::action::listener::Remains> {
    for _ in 0..100 {
        let events = world.backend.run(world.now);
        let ended = events.iter().any(|event| matches!(event, Event::GuestEnded { domid: G, .. }));
        world.events.extend(events);
        if ended {
            return world.backend.remains(G);
        }
    }
    None
}

fn position(world: &World, wanted: impl Fn(&Event) -> bool) -> usize {
    world.events.iter().position(wanted).unwrap_or_else(|| panic!("{:?}", world.events))
}

#[test]
fn what_can_be_read_of_a_destroyed_guest_is_copied_and_it_leaves_no_zombie() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut follows = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    let mut other = export.writer(1, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..500);
    world.settle();
    assert_eq!(drain(&mut follows, 0).0, lines("a", 0..500));
    // The last that it does before anyone could look.
    write_lines(&mut writer, "a", 500..520);
    write_lines(&mut other, "b", 0..7);
    guest.listener().say(0, 2, 32, b"panic", &RECORD);
    world.machine.destroy(G);
    assert!(world.machine.domain(G).unwrap().unwrap().dying, "its pages are mapped");
    world.store.release(1);
    let mut remains = run_once(&mut world).expect("what is left of it");
    assert_eq!(world.machine.domain(G).unwrap(), None, "no zombie, before anyone has read a byte of it");
    assert!(world.backend.guest(G).is_none());

    assert_eq!(remains.boot_id.as_deref(), Some(guest.boot_id.as_str()));
    assert_eq!(remains.words.len(), 1);
    let (left, reader) = &mut remains.exports[0];
    assert_eq!((left.name.as_str(), &left.cpus[..]), ("panic", &[Some(0), Some(4)][..]));
    // All that was whole, also what was read before.
    assert_eq!(drain(reader, 0), (lines("a", 0..520), Default::default(), true));
    assert_eq!(drain(reader, 1), (lines("b", 0..7), Default::default(), true));
    // And who followed it gets the rest.
    assert_eq!(drain(&mut follows, 0), (lines("a", 500..520), Default::default(), true));
    assert_eq!(drain(&mut follows, 1), (lines("b", 0..7), Default::default(), true));
    let cause = DeadCause::Destroyed;
    let words = position(&world, |event| matches!(event, Event::LastWords { .. }));
    let why = ExportEnd::GuestGone;
    let over = position(&world, |event| matches!(event, Event::Unexported { why: w, .. } if *w == why));
    let end = position(&world, |event| *event == Event::GuestEnded { domid: G, uuid: World::uuid(1), cause });
    let gone = position(&world, |event| matches!(event, Event::GuestGone { .. }));
    assert!(words < end && over < end && end < gone, "{:?}", world.events);
    world.settle();
    assert!(world.backend.remains(G).is_none(), "once");
    export.end();
}

#[test]
fn a_guest_that_crashed_and_is_preserved_is_over() {
    for (reason, cause) in [
        (ShutdownReason::Crash, DeadCause::Crashed),
        (ShutdownReason::Poweroff, DeadCause::PoweredOff),
        (ShutdownReason::Watchdog, DeadCause::Watchdog),
        (ShutdownReason::Other(77), DeadCause::Other(77)),
    ] {
        let mut world = World::new();
        let (guest, mut export) = shared(&mut world);
        let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
        write_lines(&mut writer, "a", 0..5);
        world.machine.shut_down(G, reason);
        world.store.shut_down();
        let mut remains = run_once(&mut world).expect("what is left of it");
        assert!(!export.is_mapped());
        assert_eq!(drain(&mut remains.exports[0].1, 0).0, lines("a", 0..5));
        export.end();
        let ended = Event::GuestEnded { domid: G, uuid: World::uuid(1), cause };
        assert_eq!(world.events.iter().filter(|event| **event == ended).count(), 1);
        assert_eq!(world.device(1), Some(DeviceState::Closed));
        let counters = world.info(1).counters;
        assert_eq!((counters.grants_mapped, counters.ports_bound), (0, 0));
        assert_eq!(world.backend.alive(G).unwrap(), Verdict::Dead(cause));
        // It is told of once, however often one looks.
        world.store.shut_down();
        world.settle();
        world.machine.destroy(G);
        world.store.release(1);
        world.settle();
        assert_eq!(world.events.iter().filter(|e| matches!(e, Event::GuestEnded { .. })).count(), 1);
        assert!(world.events.iter().any(|event| matches!(event, Event::GuestGone { .. })));
    }
}

#[test]
fn a_guest_that_is_saved_is_not_dead() {
    let mut world = World::new();
    let (_guest, export) = shared(&mut world);
    world.machine.shut_down(G, ShutdownReason::Suspend);
    world.store.shut_down();
    world.settle();
    assert!(export.is_mapped(), "it may go on where it is");
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Saving));
    world.machine.destroy(G);
    world.store.release(1);
    world.settle();
    let cause = DeadCause::Saved;
    assert!(world.events.contains(&Event::GuestEnded { domid: G, uuid: World::uuid(1), cause }));
    assert_eq!(world.machine.domain(G).unwrap(), None);
    // One of which nothing is left to ask when it is gone.
    let _other = world.add_guest(2);
    world.machine.shut_down(DomId(2), ShutdownReason::Suspend);
    world.store.shut_down();
    world.settle();
    world.machine.destroy(DomId(2));
    world.store.release(2);
    world.settle();
    assert!(world.events.contains(&Event::GuestEnded { domid: DomId(2), uuid: World::uuid(2), cause }));
}

#[test]
fn records_that_report_the_end_are_found_in_passing() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let fatal = |world: &mut World| -> Vec<(Option<u16>, Option<String>, u64, usize)> {
        let record = |event: &Event| match event {
            Event::Fatal { export: 1, record, owner, schema, .. } => {
                // Also when the channel is gone with its guest.
                assert!(owner.is_some() && schema.as_ref().is_some_and(|schema| schema.contains("panic")));
                Some((record.cpu, record.name.clone(), record.time_ns, record.record.len()))
            }
            _ => None,
        };
        let found = world.events.iter().filter_map(record).collect();
        world.events.clear();
        found
    };
    let mut writers = [0, 1].map(|buffer| export.writer(buffer, WhenFull::Overwrite, guest.bell()));
    for n in 0..300 {
        writers[0].record(1, 0, 1000 + n, &[0; 40]).unwrap();
    }
    writers[0].record(2, 1, 2000, b"cpu.").unwrap();
    world.settle();
    assert_eq!(fatal(&mut world), [(Some(0), Some("panic".into()), 2000, 32)]);
    writers[1].record(1, 2, 2001, b"").unwrap();
    world.settle();
    assert_eq!(fatal(&mut world), [(Some(4), None, 2001, 24)], "by its flag");
    assert!(!world.backend.channel(G, "panic").unwrap().channel.has_readers(), "nothing is held for it");
    // A daemon that comes after this one does not tell them again, but what is new.
    world.restart_backend();
    assert_eq!(fatal(&mut world), []);
    writers[1].record(2, 1, 90_000, b"new.").unwrap();
    world.settle();
    assert_eq!(fatal(&mut world), [(Some(4), Some("panic".into()), 90_000, 32)]);
    // A flood is cut.
    for n in 0..5000 {
        writers[0].record(2, 0, 100_000 + n, b"cpu.").unwrap();
    }
    writers[0].urgent();
    world.settle();
    assert_eq!(fatal(&mut world).len(), 32 - 1);
    assert!(world.backend.listener(G).unwrap().fatal_left_out > 100);
    world.pass(Duration::from_secs(10));
    // The last one is found when the guest ends, too, kick or no kick.
    writers[1].record(2, 0, 200_000, b"last").unwrap();
    writers[1].publish();
    world.machine.crash(G);
    world.store.shut_down();
    world.settle();
    assert_eq!(fatal(&mut world), [(Some(4), Some("panic".into()), 200_000, 32)]);
}

#[test]
fn a_channel_without_such_events_is_not_looked_through() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    let mut export = RawExport::new(&guest, 1, "numbers", (4096, 4), &[0], "number n:u64\n");
    assert_eq!(guest.export(&mut world, &mut export), 0);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    writer.record(1, 3, 5, b"").unwrap();
    world.settle();
    assert!(!world.events.iter().any(|event| matches!(event, Event::Fatal { .. })));
    assert!(!writer.would_kick(), "nobody reads it");
}

#[test]
fn whether_a_guest_lives_is_judged_by_two_looks() {
    const PERIOD: u64 = 20_000_000;
    let patience = Duration::from_nanos(PERIOD * 3) + Duration::from_millis(5);
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    let vcpu = |blocked, ran| VcpuState { online: true, blocked, running: !blocked, cpu_time_ns: ran };
    guest.listener().beat(PERIOD, &[1000, 1000]);
    world.machine.set_vcpus(G, &[vcpu(true, 5), vcpu(false, 5)]);
    assert_eq!(world.backend.listener(G).unwrap().beat_period_ns, Some(PERIOD));
    let undecided = world.backend.alive(G).unwrap();
    let Verdict::Undecided { again_ns } = undecided else { panic!("{undecided:?}") };
    assert!(again_ns <= PERIOD * 3);

    std::thread::sleep(patience);
    guest.listener().beat(PERIOD, &[1000 + PERIOD * 3, 1000 + PERIOD * 3]);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Beating));
    // One vCPU wants a CPU and gets none.
    std::thread::sleep(patience);
    guest.listener().beat(PERIOD, &[1000 + PERIOD * 6]);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Starved));
    // It got one, and spins.
    std::thread::sleep(patience);
    guest.listener().beat(PERIOD, &[1000 + PERIOD * 9]);
    world.machine.set_vcpus(G, &[vcpu(true, 6), vcpu(false, 5 + PERIOD)]);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Hung { vcpus: vec![1] });
    world.machine.set_paused(G, true);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Paused));
    world.machine.set_paused(G, false);
    assert!(matches!(world.backend.alive(G).unwrap(), Verdict::Undecided { .. }), "just unpaused");
    // A frontend that has gone says nothing any more.
    guest.close(&mut world);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Silent));
    assert!(world.backend.alive(DomId(9)).is_err());
}

#[test]
fn who_has_its_domid_after_it_does_not_live_for_it() {
    let mut world = World::new();
    let _gone = world.add_guest(1);
    // Before xenstored has said that anything changed.
    world.machine.destroy(G);
    let _next = world.machine.add_guest(G, World::uuid(2).0);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Dead(DeadCause::Destroyed));
}

/// libxl's consoles of a guest, which it takes away when it destroys it.
const CONSOLES: &str = "/libxl/1/device/console";

fn with_consoles(world: &mut World) {
    world.store.write(Tx::NONE, &format!("{CONSOLES}/0/frontend"), b"/local/domain/1/console").unwrap();
    world.settle();
}

fn ends(world: &World) -> Vec<DeadCause> {
    let cause = |event: &Event| match event {
        Event::GuestEnded { domid: G, cause, .. } => Some(*cause),
        _ => None,
    };
    world.events.iter().filter_map(cause).collect()
}

#[test]
fn a_guest_that_is_being_destroyed_is_over_before_it_is_gone() {
    let mut world = World::new();
    let (guest, mut export) = shared(&mut world);
    with_consoles(&mut world);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..5);
    assert_eq!(world.info(1).name, "guest1");
    world.machine.set_paused(G, true);
    world.store.remove(Tx::NONE, CONSOLES).unwrap();
    // With nothing else to take away it may be that far when somebody looks.
    world.store.remove(Tx::NONE, "/local/domain/1").unwrap();
    let mut remains = run_once(&mut world).expect("what is left of it");
    assert_eq!(world.info(1).name, "guest1", "whose rule and resource it is hangs on that");
    assert_eq!(drain(&mut remains.exports[0].1, 0).0, lines("a", 0..5));
    export.end();
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Dead(DeadCause::Destroyed));
    let counters = world.info(1).counters;
    assert_eq!((counters.grants_mapped, counters.ports_bound), (0, 0));
    // Another one comes and goes meanwhile: all are looked at.
    world.add_guest(2);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Dead(DeadCause::Destroyed));
    world.machine.destroy(G);
    world.store.release(1);
    world.settle();
    assert_eq!(ends(&world), [DeadCause::Destroyed], "once");
    assert!(world.events.iter().any(|event| matches!(event, Event::GuestGone { domid: G, .. })));
}

#[test]
fn consoles_alone_do_not_end_a_guest() {
    // It runs; it was paused only afterwards.
    let mut world = World::new();
    let _shared = shared(&mut world);
    with_consoles(&mut world);
    world.store.remove(Tx::NONE, CONSOLES).unwrap();
    world.settle();
    world.machine.set_paused(G, true);
    world.add_guest(2);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Paused));
    // They come and go again, and then it goes on all the same.
    with_consoles(&mut world);
    world.store.remove(Tx::NONE, CONSOLES).unwrap();
    world.settle();
    assert_eq!(ends(&world), [DeadCause::Destroyed]);
    world.machine.set_paused(G, false);
    assert!(!matches!(world.backend.alive(G).unwrap(), Verdict::Dead(_)));
    world.machine.set_paused(G, true);
    assert_eq!(world.backend.alive(G).unwrap(), Verdict::Alive(Why::Paused));
    world.add_guest(3);
    assert_eq!(ends(&world), [DeadCause::Destroyed], "once");
}

#[test]
fn a_soft_reset_is_no_destruction() {
    for late in [false, true] {
        let mut world = World::new();
        let _shared = shared(&mut world);
        with_consoles(&mut world);
        // libxl shuts it down, releases it, pauses it and takes its devices away; only then is it no longer shut down.
        world.machine.shut_down(G, ShutdownReason::SoftReset);
        world.store.release(1);
        if !late {
            world.settle();
        }
        world.machine.set_paused(G, true);
        world.store.remove(Tx::NONE, CONSOLES).unwrap();
        if !late {
            world.settle();
        }
        world.machine.resume(G);
        world.settle();
        assert_eq!(ends(&world), if late { vec![] } else { vec![DeadCause::SoftReset] });
        world.store.introduce(1);
        with_consoles(&mut world);
        world.machine.set_paused(G, false);
        assert!(!matches!(world.backend.alive(G).unwrap(), Verdict::Dead(_)), "{late}");
        world.machine.crash(G);
        world.store.shut_down();
        world.settle();
        assert_eq!(ends(&world).last(), Some(&DeadCause::Crashed), "{late}");
    }
}

#[test]
fn a_guest_that_never_had_consoles_or_is_saved_does_not_end_by_them() {
    let mut world = World::new();
    let _shared = shared(&mut world);
    world.machine.set_paused(G, true);
    world.restart_backend();
    assert_eq!(ends(&world), []);
    // xenstored was started anew, and knows of the guest and nothing else.
    with_consoles(&mut world);
    let empty = std::sync::Arc::new(vesper_xenstore::MemoryStore::new().unwrap());
    empty.introduce(1);
    world.backend.set_store(empty).unwrap();
    world.settle();
    assert_eq!(ends(&world), []);

    let mut world = World::new();
    let _shared = shared(&mut world);
    with_consoles(&mut world);
    world.machine.shut_down(G, ShutdownReason::Suspend);
    world.store.shut_down();
    world.machine.set_paused(G, true);
    world.store.remove(Tx::NONE, CONSOLES).unwrap();
    world.settle();
    assert_eq!(ends(&world), []);
    world.machine.destroy(G);
    world.store.release(1);
    world.settle();
    assert_eq!(ends(&world), [DeadCause::Saved]);
}
