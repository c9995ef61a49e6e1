// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest shares and how it is read, with a guest that is driven by hand.

mod common;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{RawExport, RawGuest, World, drain, lines, write_lines};
use vesper_grant::DomId;
use vesper_relay_mirror::Start;
use vesper_relay_mirror::writer::WhenFull;
use vesper_ring::wire::listener::{Answer, Asked};
use vesper_xenback::action::listener::{ExportEnd, ExportName, Limits as Shared};
use vesper_xenback::{Event, Limits};
use vesper_xenstore::{Store, Tx};

const G: DomId = DomId(1);
const ENOENT: i32 = -2;
const EEXIST: i32 = -17;
const EINVAL: i32 = -22;
const ENOSPC: i32 = -28;

fn name(name: &str) -> ExportName {
    ExportName::new(name).unwrap()
}

/// A guest with one small export of one CPU, read from its begin.
fn shared(world: &mut World) -> (RawGuest, RawExport) {
    let mut guest = world.add_listening(1);
    let mut export = RawExport::small(&guest, 1, "panic");
    assert_eq!(guest.export(world, &mut export), 0);
    (guest, export)
}

fn moved(world: &mut World) -> bool {
    let moved = world.events.contains(&Event::Moved { domid: G });
    world.events.retain(|event| *event != Event::Moved { domid: G });
    moved
}

#[test]
fn a_reader_has_what_a_kick_tells_of_before_anything_else_is_done_for_it() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    let said = export.consumed(0);
    write_lines(&mut writer, "a", 0..9);
    assert_eq!(world.backend.run(world.now), [Event::Moved { domid: G }]);
    assert_eq!(export.consumed(0), said, "the guest has to wait");
    assert!(world.is_ready(), "there is something left to be done");
    assert_eq!(drain(&mut reader, 0).0, lines("a", 0..9));
    assert_eq!(world.backend.run(world.now), []);
    assert!(!world.is_ready());
    // And it is heard again, without having kicked for nothing.
    write_lines(&mut writer, "b", 0..9);
    assert_eq!(world.backend.run(world.now), [Event::Moved { domid: G }]);
    world.settle();
    assert_eq!(world.backend.guest(G).unwrap().counters.spurious_kicks, 0);
}

#[test]
fn an_export_is_read_where_it_lies_until_it_stops() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    assert!(world.events.contains(&Event::Exported { domid: G, export: 1, name: name("panic") }));
    assert!(export.is_mapped());
    let channels = world.backend.channels(G);
    assert_eq!((channels.len(), channels[0].export.number, channels[0].shared), (1, 1, true));
    assert_eq!(channels[0].export.owner.as_deref(), Some("probe"));
    assert_eq!(channels[0].export.cpus, [Some(0)]);
    assert!(world.backend.channel(G, "other").is_none());

    let found = world.backend.channel(G, "panic").unwrap();
    // That it is there counts as a movement.
    moved(&mut world);
    let mut reader = found.channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    assert!(!moved(&mut world), "nothing was written");
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..3);
    world.settle();
    assert!(moved(&mut world), "the kick was taken");
    assert_eq!(drain(&mut reader, 0), (lines("a", 0..3), Default::default(), false));
    // Over many sub-buffers, with a kick at each switch.
    for round in 0..40 {
        write_lines(&mut writer, "b", round * 100..(round + 1) * 100);
        world.settle();
        assert!(moved(&mut world), "round {round}");
        assert_eq!(drain(&mut reader, 0).0, lines("b", round * 100..(round + 1) * 100));
        assert_eq!(world.backend.next_deadline(), None, "an honest guest is heard at once");
    }

    write_lines(&mut writer, "c", 0..1);
    writer.finish();
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 1 }), 0);
    assert!(!export.is_mapped(), "unmapped before the answer");
    export.end();
    let why = ExportEnd::Stopped;
    assert!(world.events.contains(&Event::Unexported { domid: G, export: 1, name: name("panic"), why }));
    assert!(world.backend.channels(G).is_empty());
    // What was not read is kept for who reads.
    assert_eq!(drain(&mut reader, 0), (lines("c", 0..1), Default::default(), true));
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 1 }), ENOENT);
}

#[test]
fn an_idle_guest_wakes_nobody() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let found = world.backend.channel(G, "panic").unwrap();
    let mut reader = found.channel.reader(Start::Oldest);
    world.backend.wake(G);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..3);
    world.settle();
    drain(&mut reader, 0);
    world.settle();
    assert!(!world.is_ready());
    assert_eq!(world.backend.next_deadline(), None);
    // What readers see by themselves is heard once, and then it is quiet again.
    write_lines(&mut writer, "b", 0..3);
    drain(&mut reader, 0);
    world.settle();
    world.pass(Duration::from_secs(10));
    assert!(!world.is_ready());
    assert_eq!(world.backend.next_deadline(), None);
}

/// A thread that reads by itself sees what is there before the kick is, and asks for a later one.
#[test]
fn what_a_reader_sees_first_is_told_without_a_kick() {
    let mut world = World::new();
    let (_guest, export) = shared(&mut world);
    // None of its kicks arrives.
    let mut writer = export.writer(0, WhenFull::Refuse, Arc::new(|| {}));
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    assert_eq!(drain(&mut reader, 0).0, []);
    world.backend.wake(G);
    world.settle();
    moved(&mut world);
    write_lines(&mut writer, "a", 0..300);
    assert!(!world.is_ready());
    thread::spawn(move || assert_eq!(drain(&mut reader, 0).0, lines("a", 0..300))).join().unwrap();
    assert!(world.is_ready());
    world.settle();
    assert!(moved(&mut world));
}

#[test]
fn without_a_reader_the_guest_is_not_asked_to_kick() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    let found = world.backend.channel(G, "panic").unwrap();
    assert!(!found.channel.has_readers());
    assert!(!writer.would_kick());
    let reader = found.channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    assert!(writer.would_kick());
    drop(reader);
    assert!(!writer.would_kick());
    // It fills up, and its oldest is there for who comes late.
    for n in 0..2000 {
        let _ = writer.write(&lines("a", n..n + 1));
    }
    let mut reader = found.channel.reader(Start::Oldest);
    let (bytes, lost, _) = drain(&mut reader, 0);
    assert_eq!(bytes, lines("a", 0..4 * 256));
    assert_eq!(lost.writes, 2000 - 4 * 256);
}

#[test]
fn a_reader_that_stands_still_is_left_behind() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let found = world.backend.channel(G, "panic").unwrap();
    let _still = found.channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    for n in 0..4 * 256 + 1 {
        let _ = writer.write(&lines("a", n..n + 1));
    }
    world.settle();
    assert!(writer.write(&lines("b", 0..1)).is_err(), "full");
    assert!(world.backend.next_deadline().is_some(), "the reader is timed");
    world.pass(Duration::from_secs(11));
    assert!(writer.write(&lines("b", 0..1)).is_ok(), "it goes on without the reader");
    assert_eq!(world.backend.next_deadline(), None);
}

#[test]
fn cpus_that_come_later_are_a_part() {
    let mut world = World::new();
    let (mut guest, mut first) = shared(&mut world);
    let found = world.backend.channel(G, "panic").unwrap();
    let mut reader = found.channel.reader(Start::Oldest);
    let part = |guest: &RawGuest, name: &str, size, cpus: &[u16], schema: &str| {
        let mut part = RawExport::new(guest, 1, name, size, cpus, schema);
        part.part = true;
        part
    };
    let mut second = part(&guest, "panic", (4096, 4), &[2, 5], "");
    assert_eq!(guest.export(&mut world, &mut second), 0);
    let now = world.backend.channel(G, "panic").unwrap();
    assert_eq!(now.cpus, [Some(0), Some(2), Some(5)]);
    let mut writer = second.writer(1, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "late", 0..5);
    world.settle();
    assert_eq!(drain(&mut reader, 2).0, lines("late", 0..5));

    for (what, mut bad) in [
        ("a CPU twice", part(&guest, "panic", (4096, 4), &[5, 6], "")),
        ("another name", part(&guest, "other", (4096, 4), &[7], "")),
        ("other sizes", part(&guest, "panic", (4096, 8), &[7], "")),
        ("a schema", part(&guest, "panic", (4096, 4), &[7], "a x:u8\n")),
        ("a global one", part(&guest, "panic", (4096, 4), &[], "")),
    ] {
        assert_eq!(guest.export(&mut world, &mut bad), EINVAL, "{what}");
        assert!(!bad.is_mapped());
        bad.end();
    }
    let mut other = part(&guest, "panic", (4096, 4), &[7], "");
    other.number = 2;
    assert_eq!(guest.export(&mut world, &mut other), ENOENT, "of no export");
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 1 }), 0);
    first.end();
    second.end();
}

#[test]
fn names_are_unique_and_numbers_too() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut namesake = RawExport::small(&guest, 2, "panic");
    assert_eq!(guest.export(&mut world, &mut namesake), EEXIST);
    namesake.end();
    let mut twice = RawExport::small(&guest, 1, "other");
    assert_eq!(guest.export(&mut world, &mut twice), EEXIST);
    twice.end();
    assert!(export.is_mapped());
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 1 }), 0);
    export.end();
    let mut namesake = RawExport::small(&guest, 2, "panic");
    assert_eq!(guest.export(&mut world, &mut namesake), 0, "the name is free again");
    assert_eq!(world.backend.listener(G).unwrap().refused, 2);
}

#[test]
fn quotas_are_asked_before_anything_is_mapped() {
    let shared = Shared { pages_per_guest: 20, exports_per_guest: 3, pages_total: 30 };
    let mut world = World::with_limits(Limits { shared, ..Limits::default() });
    let mut guest = world.add_listening(1);
    for (node, wanted) in
        [("feature-listener", "1"), ("listener-max-pages", "20"), ("listener-max-exports", "3")]
    {
        let path = format!("/local/domain/0/backend/vesper/1/0/{node}");
        assert_eq!(world.store.read(Tx::NONE, &path).unwrap(), wanted.as_bytes(), "{node}");
    }
    let mapped = |world: &World| world.info(1).counters.grants_mapped;
    let before = mapped(&world);
    let mut large = RawExport::new(&guest, 1, "large", (4096, 7), &[0, 1, 2], "");
    assert_eq!(guest.export(&mut world, &mut large), ENOSPC, "21 pages");
    assert_eq!(mapped(&world), before);
    large.end();
    let mut many: Vec<_> = (1..=3).map(|n| RawExport::small(&guest, n, &format!("n{n}"))).collect();
    for export in &mut many {
        assert_eq!(guest.export(&mut world, export), 0);
    }
    let mut fourth = RawExport::small(&guest, 4, "n4");
    assert_eq!(guest.export(&mut world, &mut fourth), ENOSPC, "four exports");
    fourth.end();
    // Another guest may not take more than is left of all.
    let mut other = world.add_listening(2);
    let mut first = RawExport::small(&other, 1, "n1");
    assert_eq!(other.export(&mut world, &mut first), 0);
    let mut second = RawExport::small(&other, 2, "n2");
    assert_eq!(other.export(&mut world, &mut second), 0);
    let mut third = RawExport::small(&other, 3, "n3");
    assert_eq!(other.export(&mut world, &mut third), ENOSPC, "5 × 6 pages are held");
    third.end();
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 2 }), 0);
    let mut third = RawExport::small(&other, 3, "n3");
    assert_eq!(other.export(&mut world, &mut third), 0, "what is given back is free for others");
}

#[test]
fn the_guest_s_clock_is_known_within_a_stated_error() {
    let mut world = World::new();
    let mut guest = world.add_listening(1);
    assert_eq!(world.backend.listener(G).unwrap().clock, None);
    // The guest's clock is the host's less this.
    const BEHIND: u64 = 12_345_678;
    let clock = || {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64 - BEHIND
    };
    let (mut prev_sent, mut prev_got) = (0, 0);
    for _ in 0..9 {
        let sent = clock();
        let answer = guest.ask_listener(&mut world, Asked::Time { sent, prev_sent, prev_got });
        let Some(Answer::TimeIs { got, sent: answered }) = answer else { panic!("{answer:?}") };
        assert!(got >= sent + BEHIND && answered >= got);
        (prev_sent, prev_got) = (sent, clock());
    }
    let known = world.backend.listener(G).unwrap().clock.expect("eight exchanges are complete");
    assert!(known.offset_ns.abs_diff(BEHIND as i64) <= known.error_ns, "{known:?}");
    assert!(known.error_ns < 50_000_000, "{known:?}");
    let event = clock();
    assert_eq!(known.to_host(event), Some(event.wrapping_add_signed(known.offset_ns)));
    // A connection anew is another clock.
    guest.close(&mut world);
    guest.set_state(1);
    world.settle();
    guest.connect(&mut world);
    assert_eq!(world.backend.listener(G).unwrap().clock, None);
}

#[test]
fn a_frontend_without_a_listener_goes_on_as_before() {
    let mut world = World::new();
    let mut guest = world.add_connected(1);
    world.load_works(&mut guest);
    let info = world.backend.listener(G).unwrap();
    assert_eq!((info.clock, info.beat_period_ns, info.words.len()), (None, None, 0));
    assert!(world.backend.channels(G).is_empty());
    world.backend.wake(G);
    world.settle();
    assert!(!world.is_ready());
}
