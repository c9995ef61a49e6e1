// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the next daemon makes of what the one before it saw, and of what happened while none ran.

mod support;

use support::events::{Fed, events, of_kind};
use support::{World, eventually};
use vesper_api::{Done, Request};
use vesper_events::journal::LIMIT_MIN;
use vesper_events::{End, Event, Failed, Journal, Kept, Kind, Severity};
use vesper_grant::DomId;
use vesper_grant::loopback::LoopGuest;
use vesper_xenfront::loopback::ChannelSpec;
use vesper_xenstore::{Store, Tx, read_string};

fn until(world: &World, kind: Kind) -> Event {
    Fed::begin(world, &Request::Events { dom: None, since: 0, follow: true }).unwrap().until(kind)
}

/// A guest's last words are in the journal before xenstore says that they need not be heard again. Until then the next daemon hears them,
/// too, and knows that they were told.
#[test]
fn last_words_that_are_heard_again_are_told_once() {
    let mut world = World::new();
    let guest = world.add_attached(1);
    let probe =
        guest.relay().export(&ChannelSpec::new("probe").schema("oops event=guest-oops n:u32")).unwrap();
    guest.relay().last_words(Some(&probe), 1, &7u32.to_le_bytes()).unwrap();
    // Nobody knows what these mean; they are in nobody's way.
    guest.relay().last_words(None, 1, &8u32.to_le_bytes()).unwrap();
    assert_eq!(until(&world, Kind::GuestOops).cause, "oops n=7");
    let node = "/local/domain/0/backend/vesper/1/0/listener-heard";
    let is_noted = |world: &World| {
        read_string(&*world.store, Tx::NONE, node).is_ok_and(|heard| heard.starts_with("heard 1 "))
    };
    eventually("it is noted", || is_noted(&world));
    world.stop();
    // As if it had been killed just before that.
    world.store.write(Tx::NONE, node, b"").unwrap();
    world.start().unwrap();
    eventually("it was heard again", || is_noted(&world));
    assert_eq!(of_kind(&world, Kind::GuestOops).len(), 1, "{:?}", events(&world));
}

#[test]
fn a_guest_that_crashed_meanwhile_and_is_kept_is_told_of() {
    let mut world = World::new();
    let _guest: LoopGuest = world.add_bare_guest(1, "kept", 1);
    world.stop();
    world.machine.crash(DomId(1));
    world.store.shut_down();
    world.start().unwrap();
    let event = until(&world, Kind::GuestCrashed);
    assert_eq!((event.end, event.guest.name.as_str()), (Some(End::Crashed), "kept"));
}

/// The guest has the number of before, and its UUID, and nothing in it is connected yet that could say which boot it is.
#[test]
fn what_failed_before_dom0_was_booted_does_not_count() {
    let mut world = World::new();
    let guest = world.add_attached(1);
    let probe = guest.relay().export(&ChannelSpec::new("probe").schema("panic! n:u32")).unwrap();
    probe.record(0, 1, 1, &7u32.to_le_bytes()).unwrap();
    assert_eq!(until(&world, Kind::GuestPanic).failed, Some(Failed::Guest));
    let alive = Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: true };
    for (boot_id, stands) in [(None, true), (Some("another"), false)] {
        world.stop();
        if let Some(boot_id) = boot_id {
            let dir = &world.config.events.journal_dir;
            Journal::open(dir, LIMIT_MIN, None, Kept::read(dir).next, boot_id).unwrap().booted().unwrap();
            world.destroy(1, None);
            let _again: LoopGuest = world.add_bare_guest(1, "guest1", 1);
        }
        world.start().unwrap();
        let Done::Alive(said) = world.ask(&alive).unwrap() else { panic!("that was not asked") };
        assert_eq!((said.alive, said.faults.is_empty()), (!stands, !stands), "{said:?}");
        assert_eq!(of_kind(&world, Kind::GuestPanic).len(), 1, "it is told as ever");
    }
}

/// Nobody knows how it ended, which may be as planned; so nothing is said to have failed.
#[test]
fn a_guest_that_went_meanwhile_is_told_of() {
    let mut world = World::new();
    let (one, two) = (world.add_attached(1), world.add_attached(2));
    world.stop();
    world.destroy(1, Some(one));
    world.destroy(2, Some(two));
    // It was started anew.
    let _again: LoopGuest = world.add_bare_guest(3, "guest2", 2);
    world.start().unwrap();
    eventually("they are told of", || of_kind(&world, Kind::GuestGone).len() == 2);
    let told = of_kind(&world, Kind::GuestGone);
    let of = |name: &str| told.iter().find(|event| event.guest.name == name).unwrap();
    assert_eq!(of("guest1").cause, "the domain went while no vesperd ran");
    assert_eq!(
        of("guest2").cause,
        "the domain went while no vesperd ran; the guest is there again as domain 3"
    );
    for (event, domid) in [(of("guest1"), 1), (of("guest2"), 2)] {
        assert_eq!((event.guest.domid, event.severity, event.failed), (domid, Severity::Info, None));
        assert_eq!(event.end, None);
    }
    world.stop();
    world.start().unwrap();
    world.ask(&Request::List {}).unwrap();
    assert_eq!(of_kind(&world, Kind::GuestGone).len(), 2, "once");
}
