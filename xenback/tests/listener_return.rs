// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that are lost and come back, and daemons that are: nothing that was promised is lost or told twice.

mod common;

use std::time::Duration;

use common::{RawExport, RawGuest, World, drain, lines, write_lines};
use vesper_grant::DomId;
use vesper_relay_mirror::writer::WhenFull;
use vesper_relay_mirror::{Next, Start};
use vesper_ring::wire::listener::{Answer, Asked};
use vesper_xenback::Event;
use vesper_xenback::action::listener::ExportEnd;
use vesper_xenstore::{Store, Tx};

const G: DomId = DomId(1);
const EXPORTS: &str = "/local/domain/0/backend/vesper/1/0/listener-exports";

fn shared(world: &mut World) -> (RawGuest, RawExport) {
    let mut guest = world.add_listening(1);
    let mut export = RawExport::small(&guest, 1, "panic");
    assert_eq!(guest.export(world, &mut export), 0);
    (guest, export)
}

/// The connection is lost and made anew, as after a resume: every grant is ended and made again.
fn reconnect(world: &mut World, guest: &mut RawGuest, export: &mut RawExport) {
    guest.set_state(1);
    world.settle();
    assert!(!export.is_mapped(), "unmapped before the guest ends its grants");
    export.end();
    guest.connect(world);
}

fn ended(world: &World) -> Vec<ExportEnd> {
    let why = |event: &Event| match event {
        Event::Unexported { why, .. } => Some(*why),
        _ => None,
    };
    world.events.iter().filter_map(why).collect()
}

#[test]
fn readers_go_on_where_they_were_when_the_guest_comes_back() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..300);
    world.settle();
    let Next::Data(piece) = reader.next(0) else { panic!() };
    let mut read = vec![0; 160];
    piece.copy_to(&mut read).unwrap();
    reader.advance(&piece, 160);
    for round in 1..6 {
        let from = round * 300;
        // What was not read is kept; what is written while there is no connection is found.
        guest.set_state(1);
        world.settle();
        assert!(!export.is_mapped());
        export.end();
        write_lines(&mut writer, "a", from..from + 100);
        assert!(!world.backend.channels(G)[0].shared);
        guest.connect(&mut world);
        assert_eq!(guest.export(&mut world, &mut export), 0);
        write_lines(&mut writer, "a", from + 100..from + 300);
        world.settle();
        let (bytes, lost, over) = drain(&mut reader, 0);
        assert_eq!((lost, over), (Default::default(), false));
        read.extend(bytes);
        assert_eq!(read, lines("a", 0..from + 300), "round {round}");
    }
    assert_eq!(ended(&world), []);
    assert_eq!(world.info(1).counters.connections, 6);
}

#[test]
fn a_part_comes_back_too() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut part = RawExport::new(&guest, 1, "panic", (4096, 4), &[3], "");
    part.part = true;
    assert_eq!(guest.export(&mut world, &mut part), 0);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = part.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..10);
    guest.set_state(1);
    world.settle();
    export.end();
    part.end();
    guest.connect(&mut world);
    assert_eq!(guest.export(&mut world, &mut export), 0);
    assert_eq!(guest.export(&mut world, &mut part), 0);
    write_lines(&mut writer, "a", 10..20);
    world.settle();
    assert_eq!(drain(&mut reader, 1).0, lines("a", 0..20));
    assert_eq!(world.backend.channel(G, "panic").unwrap().cpus, [Some(0), Some(3)]);
}

#[test]
fn an_export_that_does_not_come_back_has_ended() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..10);
    reconnect(&mut world, &mut guest, &mut export);
    world.pass(Duration::from_secs(9));
    assert_eq!(ended(&world), []);
    world.pass(Duration::from_secs(2));
    assert_eq!(ended(&world), [ExportEnd::Lost]);
    assert_eq!(drain(&mut reader, 0), (lines("a", 0..10), Default::default(), true));
    assert_eq!(world.backend.next_deadline(), None);
    // Its name may be another export's at once.
    let mut other = RawExport::small(&guest, 2, "panic");
    reconnect(&mut world, &mut guest, &mut export);
    assert_eq!(guest.export(&mut world, &mut other), 0);
}

#[test]
fn what_comes_back_as_something_else_is_something_else() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    reconnect(&mut world, &mut guest, &mut export);
    let mut other = RawExport::new(&guest, 1, "panic", (4096, 8), &[0], "");
    assert_eq!(guest.export(&mut world, &mut other), 0);
    assert_eq!(ended(&world), [ExportEnd::Lost]);
    assert!(matches!(reader.next(0), Next::End));
    // The name moved to another number while there was no connection.
    reconnect(&mut world, &mut guest, &mut other);
    let mut third = RawExport::small(&guest, 7, "panic");
    assert_eq!(guest.export(&mut world, &mut third), 0);
    assert_eq!(ended(&world), [ExportEnd::Lost; 2]);
    // Another frontend: whatever its numbers are, they are new.
    guest.boot_id = "ffeeddccbbaa99887766554433221100".into();
    guest.set_state(1);
    world.settle();
    third.end();
    guest.connect(&mut world);
    assert_eq!(ended(&world), [ExportEnd::Lost; 3]);
}

#[test]
fn a_frontend_or_device_that_is_taken_away_ends_its_exports() {
    for detach in [true, false] {
        let mut world = World::new();
        let (mut guest, mut export) = shared(&mut world);
        let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
        let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
        write_lines(&mut writer, "a", 0..10);
        if detach {
            world.backend.detach(G, false).unwrap();
            world.settle();
        }
        guest.close(&mut world);
        export.end();
        assert_eq!(ended(&world), [ExportEnd::Detached]);
        assert_eq!(drain(&mut reader, 0), (lines("a", 0..10), Default::default(), true));
        world.assert_nothing_held(&guest);
    }
}

#[test]
fn a_guest_that_breaks_the_protocol_may_come_back_to_its_readers() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut writer, "a", 0..10);
    guest.push(vesper_ring::wire::loader::Request { op: 99, ..Default::default() });
    world.settle();
    assert!(!export.is_mapped(), "its other ring is stopped too");
    export.end();
    guest.end_grants();
    guest.set_state(6);
    world.settle();
    guest.set_state(1);
    world.pass(Duration::from_secs(2));
    guest.connect(&mut world);
    assert_eq!(guest.export(&mut world, &mut export), 0);
    write_lines(&mut writer, "a", 10..20);
    world.settle();
    assert_eq!(drain(&mut reader, 0).0, lines("a", 0..20));
}

#[test]
fn a_daemon_that_comes_after_this_one_maps_what_it_had() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let mut part = RawExport::new(&guest, 1, "panic", (4096, 4), &[3], "");
    part.part = true;
    assert_eq!(guest.export(&mut world, &mut part), 0);
    let mut gone = RawExport::small(&guest, 2, "gone");
    assert_eq!(guest.export(&mut world, &mut gone), 0);
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 2 }), 0);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
    // Two sub-buffers are read and acknowledged; of the third a part.
    write_lines(&mut writer, "a", 0..600);
    world.settle();
    assert_eq!(drain(&mut reader, 0).0, lines("a", 0..600));
    world.backend.wake(G);
    world.settle();
    assert_eq!(export.consumed(0) >> 32, 2);
    drop(reader);

    world.events.clear();
    world.restart_backend();
    assert!(export.is_mapped() && part.is_mapped());
    assert_eq!(world.info(1).counters.connections, 1, "the frontend noticed nothing");
    assert_eq!(export.consumed(0) >> 32, 2, "what was acknowledged stays so");
    let names: Vec<_> = world.backend.channels(G).iter().map(|c| c.export.name.to_string()).collect();
    assert_eq!(names, ["panic"]);
    assert_eq!(world.backend.channel(G, "panic").unwrap().cpus, [Some(0), Some(3)]);
    let mut reader = world.backend.channel(G, "panic").unwrap().channel.reader(Start::Oldest);
    world.backend.wake(G);
    world.settle();
    write_lines(&mut writer, "a", 600..700);
    world.settle();
    // All that is still whole, without a gap.
    assert_eq!(drain(&mut reader, 0).0, lines("a", 0..700));
    let mut part_writer = part.writer(0, WhenFull::Refuse, guest.bell());
    write_lines(&mut part_writer, "p", 0..3);
    world.settle();
    assert_eq!(drain(&mut reader, 1).0, lines("p", 0..3));
    // And it can be stopped.
    assert_eq!(guest.status(&mut world, Asked::Unexport { export: 1 }), 0);
    export.end();
    part.end();
    gone.end();
    assert_eq!(world.store.read(Tx::NONE, EXPORTS).unwrap().iter().filter(|b| **b == b'\n').count(), 2);
}

#[test]
fn what_is_mapped_is_noted_before_the_guest_is_told() {
    let mut world = World::new();
    let (guest, export) = shared(&mut world);
    let noted = String::from_utf8(world.store.read(Tx::NONE, EXPORTS).unwrap()).unwrap();
    assert_eq!(noted.lines().filter(|line| line.starts_with("export 1 ")).count(), 1, "{noted}");
    world.restart_backend();
    assert!(export.is_mapped());
    assert_eq!(world.backend_state(1), 4);
    drop(guest);
}

#[test]
fn a_daemon_that_died_before_its_answer_is_made_up_for() {
    let mut world = World::new();
    let (mut guest, mut export) = shared(&mut world);
    let noted = world.store.read(Tx::NONE, EXPORTS).unwrap();
    // It had mapped another export and noted it, but its answer never came out.
    let mut second = RawExport::small(&guest, 2, "oops");
    let offer = second.grant();
    guest.push_listener(Asked::Export(offer).request(77));
    let line = format!("export 2 {} {} {} 0\nend\n", offer.gref, offer.directory, offer.grants);
    let text = String::from_utf8(noted).unwrap().replace("end\n", &line);
    world.store.write(Tx::NONE, EXPORTS, text.as_bytes()).unwrap();
    world.restart_backend();
    assert_eq!(guest.take_listener(), Some(Answer::Done { status: 0 }));
    assert!(second.is_mapped() && export.is_mapped());
    // Or it had unmapped one, and noted that.
    guest.push_listener(Asked::Unexport { export: 1 }.request(78));
    let text = String::from_utf8(world.store.read(Tx::NONE, EXPORTS).unwrap()).unwrap();
    let without: String =
        text.lines().filter(|line| !line.starts_with("export 1 ")).map(|line| format!("{line}\n")).collect();
    world.store.write(Tx::NONE, EXPORTS, without.as_bytes()).unwrap();
    world.restart_backend();
    assert_eq!(guest.take_listener(), Some(Answer::Done { status: -2 }), "there is no such export");
    assert!(!export.is_mapped());
    export.end();
    assert_eq!(world.info(1).counters.connections, 1);
}

#[test]
fn a_daemon_that_cannot_take_over_what_is_shared_asks_for_it_anew() {
    type Damage = fn(&World, &mut RawExport);
    let cases: [(&str, Damage); 4] = [
        ("the list is not complete", |world, _| world.store.write(Tx::NONE, EXPORTS, b"ring").unwrap()),
        ("the list is of another ring", |world, _| {
            let text = String::from_utf8(world.store.read(Tx::NONE, EXPORTS).unwrap()).unwrap();
            let other = text.replacen("ring ", "ring 1", 1);
            world.store.write(Tx::NONE, EXPORTS, other.as_bytes()).unwrap();
        }),
        ("a page is granted no more", |_, export| export.end()),
        ("the descriptor says something else", |_, export| export.info.write(112, &[0; 4])),
    ];
    for (what, damage) in cases {
        let mut world = World::new();
        let (mut guest, mut export) = shared(&mut world);
        let spare = std::sync::Arc::new(vesper_xenstore::MemoryStore::new().unwrap());
        let machine = std::sync::Arc::new(vesper_grant::loopback::Machine::new());
        world.backend = vesper_xenback::Backend::new(machine, spare, Default::default()).unwrap();
        assert!(!export.is_mapped());
        damage(&world, &mut export);
        world.restart_backend();
        assert_eq!(world.backend_state(1), 5, "{what}: a fresh start");
        assert!(!export.is_mapped(), "{what}");
        guest.close(&mut world);
        export.end();
        world.settle();
        assert_eq!(world.backend_state(1), 2, "{what}");
        guest.set_state(1);
        world.settle();
        guest.connect(&mut world);
        let mut export = RawExport::small(&guest, 1, "panic");
        assert_eq!(guest.export(&mut world, &mut export), 0, "{what}");
        assert_eq!(world.info(1).counters.protocol_errors, 0, "{what}: not the guest's fault");
    }
}
