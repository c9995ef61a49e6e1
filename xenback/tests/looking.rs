// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at which domains there are: what one look must leave to the next.

mod common;

use std::time::Duration;

use common::{RawExport, World, drain, lines, write_lines};
use vesper_grant::{Access, DomId, Host, ShutdownReason};
use vesper_relay_mirror::writer::WhenFull;
use vesper_xenback::action::listener::DeadCause;
use vesper_xenback::{Event, Uuid};
use vesper_xenstore::{Store, Tx};

const G: DomId = DomId(1);

#[test]
fn a_guest_that_ended_while_no_backend_ran_and_is_kept_is_over_soon() {
    for (reason, wanted) in [
        (ShutdownReason::Crash, vec![DeadCause::Crashed]),
        (ShutdownReason::Poweroff, vec![DeadCause::PoweredOff]),
        (ShutdownReason::Suspend, vec![]),
    ] {
        let mut world = World::new();
        let mut guest = world.add_listening(1);
        let mut export = RawExport::small(&guest, 1, "panic");
        assert_eq!(guest.export(&mut world, &mut export), 0);
        let mut writer = export.writer(0, WhenFull::Refuse, guest.bell());
        write_lines(&mut writer, "a", 0..5);
        world.machine.shut_down(G, reason);
        world.store.shut_down();
        world.events.clear();
        world.restart_backend();
        let is_shared = |event: &Event| matches!(event, Event::Exported { domid: G, .. });
        assert!(world.events.iter().any(is_shared), "{:?}", world.events);
        assert_eq!(ends(&world), [], "its channels are read first");
        // Nobody comes or goes.
        let mut remains = None;
        for _ in 0..20 {
            world.pass(Duration::from_millis(100));
            remains = remains.or(world.backend.remains(G));
        }
        assert_eq!(ends(&world), wanted, "{reason:?}");
        if let Some(mut remains) = remains {
            assert_eq!(drain(&mut remains.exports[0].1, 0).0, lines("a", 0..5));
        }
    }
}

/// Nobody is to take the new one for the old one, of which things are told by its number.
#[test]
fn a_number_that_is_used_again_is_anothers_only_when_all_is_told_of_the_first() {
    let mut world = World::new();
    let _first = world.add_guest(1);
    let second = Uuid([0xcd; 16]);
    world.machine.destroy(G);
    world.store.release(1);
    world.machine.add_guest(G, second.0);
    world.store.introduce(1);
    world.events.clear();
    let told = world.backend.run(world.now);
    let cause = DeadCause::Destroyed;
    let (ended, gone) = (
        Event::GuestEnded { domid: G, uuid: World::uuid(1), cause },
        Event::GuestGone { domid: G, uuid: World::uuid(1) },
    );
    assert_eq!(told, [ended, gone]);
    assert!(world.backend.guest(G).is_none());
    world.pass(Duration::ZERO);
    assert_eq!(world.events, [Event::GuestAppeared { domid: G, uuid: second }]);
    assert_eq!(world.info(1).uuid, second);
}

/// Its device's nodes are still there, and say whose they were.
#[test]
fn a_guest_that_went_while_no_backend_ran_is_told_of_once() {
    let mut world = World::new();
    let (one, _two) = (world.add_connected(1), world.add_connected(2));
    // Xen takes its time for a large one, and for one of which somebody has a page.
    let devices = world.machine.open(G).unwrap();
    let _held = devices.map(&[one.ring_ref], Access::ReadWrite).unwrap();
    world.machine.destroy(G);
    world.store.remove(Tx::NONE, "/local/domain/1").unwrap();
    world.store.release(1);
    world.events.clear();
    world.restart_backend();
    assert!(world.machine.domain(G).unwrap().unwrap().dying);
    let went = |event: &&Event| matches!(event, Event::WentUnseen { .. });
    let told: Vec<_> = world.events.iter().filter(went).cloned().collect();
    assert_eq!(told, [Event::WentUnseen { domid: G, uuid: World::uuid(1), name: "guest1".into() }]);
    assert_eq!(world.backend_state(1), 0, "its nodes are gone");
    world.restart_backend();
    assert_eq!(world.events.iter().filter(went).count(), 1);
    // One that goes while a backend runs has told of its end, whatever is left in xenstore.
    world.machine.destroy(DomId(2));
    world.store.release(2);
    world.settle();
    world.store.write(Tx::NONE, "/local/domain/0/backend/vesper/2/0/state", b"4").unwrap();
    let whose = format!("{} guest2", World::uuid(2));
    world.store.write(Tx::NONE, "/local/domain/0/backend/vesper/2/0/guest", whose.as_bytes()).unwrap();
    world.settle();
    assert_eq!(world.backend_state(2), 0, "they are removed all the same");
    assert_eq!(world.events.iter().filter(went).count(), 1);
}

fn ends(world: &World) -> Vec<DeadCause> {
    let cause = |event: &Event| match event {
        Event::GuestEnded { domid: G, cause, .. } => Some(*cause),
        _ => None,
    };
    world.events.iter().filter_map(cause).collect()
}
